package node

import (
	"context"

	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/host"
	"github.com/kubejoin/kubejoin/reconcile/pki"
	"github.com/kubejoin/kubejoin/reconcile/staticpod"
)

// KubeconfigAddress is the address of a kubeconfig that kubejoin writes.
func KubeconfigAddress(path string) reconcile.Address {
	return reconcile.Address("kubeconfig:" + path)
}

// kubeconfigResource keeps a kubeconfig as it should be. The components read
// theirs once, when they start: a change says so by its Disruption, for the
// static pod that comes after it.
type kubeconfigResource struct {
	want   pki.Kubeconfig
	signer signer
	owner  Owner
	files  Files
	after  []reconcile.Address
}

type kubeconfigObservation struct {
	file       fileObservation
	mismatches []pki.Mismatch
	unread     string // a file that it refers to and that may not be read
	// running says that a static pod reads it, or is about to.
	running bool
}

func (r *kubeconfigResource) Address() reconcile.Address { return KubeconfigAddress(r.want.Path) }
func (r *kubeconfigResource) After() []reconcile.Address { return r.after }

func (r *kubeconfigResource) Observe(context.Context) (reconcile.Observation, error) {
	o := kubeconfigObservation{file: observeFile(r.files, r.want.Path)}
	if r.want.ReadBy != "" {
		st, err := r.files.Stat(staticpod.Path(r.want.ReadBy))
		o.running = err == nil && st.Kind == host.File
	}
	if !o.file.state.Exists() || o.file.state.Denied || o.file.problem != "" {
		return o, nil
	}
	referenced := map[string][]byte{}
	for _, path := range pki.References(r.want, o.file.content) {
		f := observeFile(r.files, path)
		if f.state.Denied {
			o.unread = path
			return o, nil
		}
		referenced[path] = f.content
	}
	o.mismatches = pki.InspectKubeconfig(r.want, o.file.content, referenced, r.signer.ca, r.signer.now(), r.signer.threshold)
	return o, nil
}

func (r *kubeconfigResource) Change(own reconcile.Observation, _ reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	o := own.(kubeconfigObservation)
	if stop := unusable(r.Address(), o.file); stop != nil {
		return nil, stop, nil
	}
	if o.unread != "" {
		return nil, []reconcile.Finding{notCompared(r.Address(), "it refers to "+o.unread+", which this user may not read", "run as root to compare it")}, nil
	}
	c := reconcile.Change{Address: r.Address(), Disruption: reconcile.NoDisruption}
	missing := ""
	if !o.file.state.Exists() {
		missing = o.file.missing()
	}
	if (missing != "" || len(o.mismatches) > 0) && r.signer.external() {
		return nil, []reconcile.Finding{unsigned(r.Address(), o.mismatches, missing)}, nil
	}
	if o.running {
		c.Disruption = PodRestart(r.want.ReadBy)
	}
	owner := r.owner.differs("", o.file.state)
	switch {
	case missing != "":
		c.Action, c.Reason, c.Summary = reconcile.Create, reconcile.Missing, missing
		c.Fields = []reconcile.Field{{Path: "user", After: r.want.CommonName}, {Path: "server", After: r.want.Server}}
	case len(o.mismatches) > 0:
		explain(&c, o.mismatches)
	case len(owner) > 0:
		c.Action, c.Reason, c.Fields, c.Disruption = reconcile.Update, reconcile.Drift, owner, reconcile.NoDisruption
		c.Summary = "content is right, mode or owner is not"
	case o.file.state.Leftover:
		c.Action, c.Reason, c.Disruption = reconcile.Delete, reconcile.Drift, reconcile.NoDisruption
		c.Summary = summaryLeftover
	default:
		return nil, nil, nil
	}
	return &c, nil, nil
}

func (r *kubeconfigResource) Apply(_ context.Context, c reconcile.Change, v reconcile.View, _ func(reconcile.Progress)) error {
	o := v.Observed(r.Address()).(kubeconfigObservation)
	if c.Action == reconcile.Delete || len(o.mismatches) == 0 && o.file.state.Exists() {
		return r.owner.tidy(r.files, r.want.Path, o.file.state)
	}
	if err := r.signer.ready(); err != nil {
		return err
	}
	content, err := pki.IssueKubeconfig(r.want, r.signer.ca, r.signer.algorithm, r.signer.now(), r.signer.validity)
	if err != nil {
		return err
	}
	return r.owner.write(r.files, r.want.Path, content)
}
