package node

import (
	"context"
	"io/fs"
	"slices"
	"strings"

	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

// DropInPath is kubejoin's own addition to the kubelet's unit. kubeadm's package
// brings one like it, the kubelet's package does not.
const DropInPath = "/etc/systemd/system/kubelet.service.d/20-kubejoin.conf"

// kubeletFlags are what the unit has to give the kubelet so that it reads what
// kubejoin writes; behaviour catalogue §4.7.
var kubeletFlags = []string{
	"--bootstrap-kubeconfig=" + BootstrapKubeconfigPath,
	"--kubeconfig=" + KubeletKubeconfigPath,
	"--config=" + KubeletConfigPath,
}

// dropIn is the content for a kubelet binary at a path: the flags, and the
// files that kubeadm's and the distributions' packages agree on.
func dropIn(kubelet string) []byte {
	return []byte(`# Written by kubejoin: the kubelet's unit lacks what makes it read these files.
[Service]
Environment="KUBELET_KUBECONFIG_ARGS=` + kubeletFlags[0] + ` ` + kubeletFlags[1] + `"
Environment="KUBELET_CONFIG_ARGS=` + kubeletFlags[2] + `"
EnvironmentFile=-` + KubeletFlagsPath + `
EnvironmentFile=-/etc/default/kubelet
EnvironmentFile=-/etc/sysconfig/kubelet
ExecStart=
ExecStart=` + kubelet + ` $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
`)
}

// dropInResource is there when the unit lacks the flags without it. Once made
// it is kept: the unit has the flags only because of it.
type dropInResource struct {
	content []byte
	files   Files
}

func (r *dropInResource) Address() reconcile.Address { return FileAddress(DropInPath) }
func (r *dropInResource) After() []reconcile.Address { return nil }

func (r *dropInResource) Observe(context.Context) (reconcile.Observation, error) {
	return observeFile(r.files, DropInPath), nil
}

func (r *dropInResource) Change(own reconcile.Observation, v reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	o := own.(fileObservation)
	svc, ok := v.Observed(KubeletService).(serviceObservation)
	if !ok || svc.Manager != "systemd" || !svc.Found || svc.ExecStart == "" {
		return nil, nil, nil // nothing is known of the unit
	}
	missing := lacks(svc.ServiceState)
	c := reconcile.Change{Address: r.Address(), Disruption: reconcile.KubeletRestart}
	switch {
	case !o.state.Exists() && len(missing) == 0:
		return nil, nil, nil
	case !o.state.Exists():
		c.Action, c.Reason = reconcile.Create, reconcile.Missing
		c.Summary = "the kubelet's unit lacks " + strings.Join(missing, ", ")
	case o.state.Denied:
		return nil, []reconcile.Finding{notCompared(r.Address(), "this user may not read it", "run as root to compare it")}, nil
	case string(o.content) != string(r.content) || o.state.Mode != dropInMode || o.state.Leftover:
		c.Action, c.Reason, c.Summary = reconcile.Update, reconcile.Drift, "content or mode differs"
	default:
		return nil, nil, nil
	}
	c.Diff = UnifiedDiff(DropInPath, o.content, r.content)
	return &c, nil, nil
}

const dropInMode fs.FileMode = 0o644

func (r *dropInResource) Apply(context.Context, reconcile.Change, reconcile.View, func(reconcile.Progress)) error {
	return r.files.WriteFile(DropInPath, r.content, host.WriteOptions{Mode: dropInMode, UID: 0, GID: 0, DirMode: 0o755})
}

// lacks lists what a unit does not give the kubelet. Flags may have other
// values: then somebody chose them.
func lacks(s host.ServiceState) []string {
	var out []string
	for _, f := range kubeletFlags {
		name, _, _ := strings.Cut(f, "=")
		if !strings.Contains(s.ExecStart, name+"=") && !strings.Contains(s.ExecStart, name+" ") {
			out = append(out, name)
		}
	}
	if !slices.Contains(s.EnvironmentFiles, KubeletFlagsPath) {
		out = append(out, KubeletFlagsPath)
	}
	return out
}
