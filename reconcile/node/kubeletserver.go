package node

import (
	"context"
	"net/url"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

// KubeletServer is the address of what a control plane's kubelet.conf says
// about the API server: the kubelet asks the one beside it (behaviour catalogue
// §5.7 item 2).
const KubeletServer reconcile.Address = "kubeconfig:" + KubeletKubeconfigPath

// kubeletServerResource corrects the server in the kubeconfig that a control
// plane's kubelet wrote: it keeps the one that it was bootstrapped with, which a
// changed bindPort leaves behind.
type kubeletServerResource struct {
	server   string // URL of the local API server
	endpoint string // URL of the cluster's
	ports    Ports
	after    []reconcile.Address
}

type kubeletServerObservation struct {
	state  cluster.CredentialState
	server string
	file   host.FileState
}

func (r *kubeletServerResource) Address() reconcile.Address { return KubeletServer }
func (r *kubeletServerResource) After() []reconcile.Address { return r.after }

func (r *kubeletServerResource) Observe(context.Context) (reconcile.Observation, error) {
	c := r.ports.ReadCredential()
	st, err := r.ports.Files.Stat(KubeletKubeconfigPath)
	return kubeletServerObservation{c.State, c.Server, st}, err
}

func (r *kubeletServerResource) Change(own reconcile.Observation, _ reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	o := own.(kubeletServerObservation)
	switch {
	case o.server == "" || o.server == r.server:
		return nil, nil, nil // what is wrong beside the server is the credential's to say
	case o.server == r.endpoint:
		// The default of kubeadm up to 1.32: behaviour catalogue App. B 13.
		return nil, []reconcile.Finding{{Severity: reconcile.SeverityInfo, Name: "Advisory", Address: KubeletServer,
			Seen: "the kubelet asks the cluster's endpoint " + o.server + " and not its own API server " + r.server + ", as older releases had it",
			Hint: "nothing has to be done; a kubelet that bootstraps anew asks its own"}}, nil
	}
	return &reconcile.Change{Address: KubeletServer, Action: reconcile.Update, Reason: reconcile.Intent,
		Summary: "the kubelet asks an API server that is not its own", Disruption: reconcile.KubeletRestart,
		Fields: []reconcile.Field{{Path: "server", Before: printable(o.server), After: r.server}}}, nil, nil
}

// printable drops what must not be shown of a URL.
func printable(server string) string {
	u, err := url.Parse(server)
	if err != nil {
		return "(not a URL)"
	}
	return u.Redacted()
}

func (r *kubeletServerResource) Apply(_ context.Context, _ reconcile.Change, _ reconcile.View, _ func(reconcile.Progress)) error {
	data, st, err := r.ports.Files.ReadFile(KubeletKubeconfigPath, maxFile)
	if err != nil {
		return err
	}
	config, err := clientcmd.Load(data)
	if err != nil {
		return fault.New(fault.Preflight, "does not parse").WithHint("move it away, and run again")
	}
	for _, c := range config.Clusters {
		c.Server = r.server
	}
	if data, err = clientcmd.Write(*config); err != nil {
		return err
	}
	return r.ports.Files.WriteFile(KubeletKubeconfigPath, data, host.WriteOptions{Mode: st.Mode, UID: st.UID, GID: st.GID})
}

// ownWriteGrace is how long after its start a kubelet may write kubelet.conf
// itself: it does so at once when it has to bootstrap (behaviour catalogue
// §4.7), and never again.
const ownWriteGrace = time.Minute

// rewritten tells whether somebody else wrote kubelet.conf while the kubelet
// ran, so that it runs with another server than the file names.
func rewritten(started time.Time, v reconcile.View) bool {
	o, ok := v.Observed(KubeletServer).(kubeletServerObservation)
	return ok && !started.IsZero() && o.file.Exists() && o.file.ModTime.After(started.Add(ownWriteGrace))
}
