package node

import (
	"context"
	"net/url"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

// KubeletServer is the address of what a control plane's kubelet.conf says
// about the API server: its kubelet asks the one beside it (behaviour catalogue
// §5.7 item 2).
const KubeletServer reconcile.Address = "kubeconfig:" + KubeletKubeconfigPath

// kubeletServerResource turns a control plane's kubelet to the API server on
// this machine. While it joins it asks the cluster's: kubeadm's kubelet has to
// wait for its own API server, which has to wait for the kubelet to start etcd,
// and loses up to 16 s to its own backoff in between.
//
// That a join has come this far and no further is known by the bootstrap
// credential, which is removed last. Without it a kubelet that asks the
// cluster's endpoint is one that an older release joined, and is left alone
// (behaviour catalogue, appendix B 13).
type kubeletServerResource struct {
	server   string // URL of the local API server
	endpoint string // URL of the cluster's
	service  *serviceResource
	nodeName string
	ports    Ports
	after    []reconcile.Address
}

type kubeletServerObservation struct {
	state  cluster.CredentialState
	server string
}

// turned tells whether the kubelet asks its own API server.
func (o kubeletServerObservation) turned(to string) bool { return o.server == to }

func (r *kubeletServerResource) Address() reconcile.Address { return KubeletServer }
func (r *kubeletServerResource) After() []reconcile.Address { return r.after }

func (r *kubeletServerResource) Observe(context.Context) (reconcile.Observation, error) {
	c := r.ports.ReadCredential()
	return kubeletServerObservation{c.State, c.Server}, nil
}

func (r *kubeletServerResource) Change(own reconcile.Observation, v reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	o := own.(kubeletServerObservation)
	joining := replacesCredential(v) || unfinished(v)
	c := &reconcile.Change{Address: KubeletServer, Action: reconcile.Update, Reason: reconcile.Missing, Disruption: reconcile.KubeletRestart,
		Summary: "the kubelet is turned from the cluster's API server to its own, once that serves",
		Fields:  []reconcile.Field{{Path: "server", Before: printable(o.server), After: r.server}}}
	switch {
	case joining && o.turned(r.server) && !replacesCredential(v):
		c.Action, c.Reason, c.Disruption, c.Fields = reconcile.Wait, reconcile.Missing, reconcile.NoDisruption, nil
		c.Summary = "its own API server has to accept the kubelet before the bootstrap credential is removed"
		return c, nil, nil
	case joining:
		if o.server == "" || o.state == cluster.CredentialPending {
			c.Fields[0].Before = "" // whatever it bootstraps with
		}
		return c, nil, nil
	case o.server == "", o.turned(r.server):
		return nil, nil, nil // what is wrong beside the server is the credential's to say
	case o.server == r.endpoint:
		return nil, []reconcile.Finding{{Severity: reconcile.SeverityInfo, Name: "Advisory", Address: KubeletServer,
			Seen: "the kubelet asks the cluster's endpoint " + printable(o.server) + " and not its own API server " + r.server + ", as older releases had it",
			Hint: "nothing has to be done; a kubelet that bootstraps anew asks its own"}}, nil
	}
	c.Reason, c.Summary = reconcile.Intent, "the kubelet asks an API server that is not its own"
	return c, nil, nil
}

// unfinished tells whether a join left its bootstrap credential, or this one wrote
// it, so that the kubelet may still have to be turned. It may have its certificate
// by then: a kubelet that is quick needs nobody to wait for it.
func unfinished(v reconcile.View) bool {
	if c := v.Changed(FileAddress(BootstrapKubeconfigPath)); c != nil && c.Action != reconcile.Delete {
		return true
	}
	o, ok := v.Observed(FileAddress(BootstrapKubeconfigPath)).(fileObservation)
	return ok && o.state.Exists()
}

// printable drops what must not be shown of a URL.
func printable(server string) string {
	u, err := url.Parse(server)
	if err != nil {
		return "(not a URL)"
	}
	return u.Redacted()
}

// Apply stops the kubelet before it writes the file: one that is killed in
// between leaves a kubelet that does not run, which the next run sees, and not
// one that runs with a file that has changed.
func (r *kubeletServerResource) Apply(ctx context.Context, _ reconcile.Change, _ reconcile.View, say func(reconcile.Progress)) error {
	if c := r.ports.ReadCredential(); c.Server != r.server {
		if err := r.turn(ctx, say); err != nil {
			return err
		}
	}
	api, err := r.ports.As(r.ports.ReadCredential())
	if err != nil {
		return err
	}
	if _, err := api.Node(ctx, r.nodeName); err != nil {
		return fault.New(fault.ClassOf(err), "the kubelet's certificate does not work with its own API server: %w", err).WithHint("%s", fault.HintOf(err))
	}
	return r.ports.Files.Remove(BootstrapKubeconfigPath)
}

func (r *kubeletServerResource) turn(ctx context.Context, say func(reconcile.Progress)) error {
	data, st, err := r.ports.Files.ReadFile(KubeletKubeconfigPath, maxFile)
	if err != nil {
		return err
	}
	config, err := clientcmd.Load(data)
	if err != nil {
		return fault.New(fault.Preflight, "does not parse").WithHint("move it away, and run again")
	}
	for _, c := range config.Clusters {
		// How the cluster is reached says nothing of a server on this machine.
		c.Server, c.TLSServerName, c.ProxyURL = r.server, "", ""
	}
	if data, err = clientcmd.Write(*config); err != nil {
		return err
	}
	unit, err := r.ports.Services.State(ctx, kubeletUnit)
	if err != nil {
		return err
	}
	if unit.Active {
		if err := r.ports.Services.Stop(ctx, kubeletUnit); err != nil {
			return err
		}
	}
	if err := r.ports.Files.WriteFile(KubeletKubeconfigPath, data, host.WriteOptions{Mode: st.Mode, UID: st.UID, GID: st.GID}); err != nil {
		return err
	}
	if unit.Manager == "" {
		say(reconcile.Progress{Message: "the kubelet has to be restarted by whoever runs it"})
		return nil
	}
	return r.service.restart(ctx, say)
}

// ManifestDir is the address of the directory that the kubelet watches.
const ManifestDir reconcile.Address = "directory:" + manifestDir

// dirResource is a directory that has to be there before somebody looks for it:
// a kubelet that starts without its manifest directory looks again only 20 s
// later.
type dirResource struct {
	path  string
	files Files
}

func (r *dirResource) Address() reconcile.Address { return reconcile.Address("directory:" + r.path) }
func (r *dirResource) After() []reconcile.Address { return nil }

func (r *dirResource) Observe(context.Context) (reconcile.Observation, error) {
	return r.files.Stat(r.path)
}

func (r *dirResource) Change(own reconcile.Observation, _ reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	o := own.(host.FileState)
	switch {
	case o.Denied || o.Kind == host.Dir:
		return nil, nil, nil // what is in it says more
	case o.Blocked != "":
		return nil, unexpected(r.Address(), o.Blocked), nil
	case o.Exists():
		return nil, unexpected(r.Address(), "is no directory"), nil
	}
	return &reconcile.Change{Address: r.Address(), Action: reconcile.Create, Reason: reconcile.Missing, Summary: "does not exist",
		Disruption: reconcile.NoDisruption}, nil, nil
}

func (r *dirResource) Apply(context.Context, reconcile.Change, reconcile.View, func(reconcile.Progress)) error {
	return r.files.MakeDir(r.path, manifestDirMode)
}
