package session

import (
	"strings"
	"time"

	"github.com/kubejoin/kubejoin/reconcile/cluster"
	"github.com/kubejoin/kubejoin/reconcile/host"
	"github.com/kubejoin/kubejoin/reconcile/node"
	"github.com/kubejoin/kubejoin/reconcile/staticpod"
)

// Known is what a machine knows by itself of the node that it is.
type Known struct {
	// Kubeconfig says where the cluster is; empty on a machine that has not joined.
	Kubeconfig string
	// NodeName is the name that it joined with; empty if that is not known.
	NodeName     string
	ControlPlane bool
}

// Know reads it from the files of a machine; root is --rootfs.
func Know(root string) (Known, error) {
	var k Known
	machine, err := host.Open(root)
	if err != nil {
		return k, err
	}
	defer func() { _ = machine.Close() }() // it was only read
	there := func(path string) bool {
		st, err := machine.Stat(path)
		return err == nil && (st.Exists() || st.Denied)
	}
	k.ControlPlane = there(staticpod.Path(staticpod.APIServer))
	if name, ok := strings.CutPrefix(cluster.ReadCredential(machine, node.KubeletKubeconfigPath, time.Now()).CommonName, "system:node:"); ok {
		k.NodeName = name
	}
	for _, path := range []string{adminPath, node.KubeletKubeconfigPath} {
		if k.Kubeconfig == "" && there(path) && (path != adminPath || k.ControlPlane) {
			k.Kubeconfig = path
		}
	}
	return k, nil
}

// Addresses are those of the plan's resources, in the order in which they are
// applied.
func (r *Run) Addresses() []string {
	var out []string
	for _, a := range addresses(r.resources) {
		out = append(out, string(a))
	}
	return out
}

// ControlPlane tells whether the machine is to be one.
func (r *Run) ControlPlane() bool { return r.selection.ControlPlane }
