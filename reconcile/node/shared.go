package node

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/host"
	"github.com/kubejoin/kubejoin/reconcile/pki"
)

// PKI is what the certificates, keys and kubeconfigs of a control plane should be.
type PKI struct {
	Shared      *pki.Shared
	Leaves      []pki.Leaf
	Kubeconfigs []pki.Kubeconfig
	// Algorithm and Validity are those of what is made anew.
	Algorithm   string
	Validity    time.Duration
	RenewBefore time.Duration // see pki.DefaultRenewBefore
	// Owners are those of files that do not belong to root alone, by path:
	// RootlessControlPlane (behaviour catalogue §5.5).
	Owners map[string]Owner
	// After is what must be so before a file is given to its owner.
	After []reconcile.Address
	// KubeconfigsAfter is what the kubeconfigs come after, too.
	KubeconfigsAfter []reconcile.Address
	// AnyOwner leaves the owners of files alone.
	AnyOwner bool
}

// Owner is a file's owner and mode.
type Owner struct {
	UID, GID int
	Mode     fs.FileMode
}

// pkiResources are the files of a PKI as things that can observe and apply
// themselves. Keys are made by each of them, so that the engine makes them side
// by side.
func pkiResources(p PKI, ports Ports) (certificates, kubeconfigs []reconcile.Resource) {
	authorities := map[pki.Authority][]reconcile.Address{}
	for _, f := range p.Shared.Files {
		r := &sharedResource{want: f, owner: p.owner(f.Path, f.Mode), files: ports.Files, after: p.After}
		for _, n := range p.Shared.Notes {
			if n.Path == f.Path {
				r.notes = append(r.notes, n.Text)
			}
		}
		certificates = append(certificates, r)
		if f.Authority != "" {
			authorities[f.Authority] = append(authorities[f.Authority], r.Address())
		}
	}
	signing := func(a pki.Authority) signer {
		return signer{ca: p.Shared.CAs[a], algorithm: p.Algorithm, validity: p.Validity,
			threshold: pki.Threshold(p.RenewBefore, p.Validity), now: ports.Now}
	}
	for _, l := range p.Leaves {
		certificates = append(certificates, &certificateResource{want: l, signer: signing(l.Authority), files: ports.Files, after: slices.Concat(p.After, authorities[l.Authority]),
			certOwner: p.owner(l.CertPath, 0o644), keyOwner: p.owner(l.KeyPath, 0o600)})
	}
	for _, k := range p.Kubeconfigs {
		kubeconfigs = append(kubeconfigs, &kubeconfigResource{want: k, signer: signing(pki.ClusterCA), files: ports.Files,
			after: slices.Concat(p.After, authorities[pki.ClusterCA], p.KubeconfigsAfter), owner: p.owner(k.Path, 0o600)})
	}
	return certificates, kubeconfigs
}

func (p PKI) owner(path string, mode fs.FileMode) Owner {
	o, ok := p.Owners[path]
	if !ok {
		o = Owner{Mode: mode}
	}
	if p.AnyOwner {
		o.UID, o.GID = -1, -1
	}
	return o
}

// differs are the fields in which a file's mode and owner are not right. Of
// root's own files one that may be read by fewer than it could is fine: nothing
// but root's processes reads it, and `kubeadm init` makes sa.pub so.
func (o Owner) differs(prefix string, st host.FileState) []reconcile.Field {
	var out []reconcile.Field
	if st.Mode&^o.Mode != 0 || st.Mode != o.Mode && (o.GID > 0 || st.Mode&0o400 == 0) {
		out = append(out, reconcile.Field{Path: prefix + "mode", Before: fmt.Sprintf("%#o", st.Mode), After: fmt.Sprintf("%#o", o.Mode)})
	}
	if o.UID >= 0 && (st.UID != o.UID || st.GID != o.GID) {
		out = append(out, reconcile.Field{Path: prefix + "owner", Before: fmt.Sprintf("%d:%d", st.UID, st.GID), After: fmt.Sprintf("%d:%d", o.UID, o.GID)})
	}
	return out
}

// write replaces a file. Directories are as kubeadm makes them: behaviour
// catalogue §5.14.
func (o Owner) write(files Files, path string, content []byte) error {
	return files.WriteFile(path, content, host.WriteOptions{Mode: o.Mode, UID: o.UID, GID: o.GID, DirMode: 0o755})
}

// sharedResource is one file that all control planes share. Whether the set of
// them is right was decided by pki.Resolve before.
type sharedResource struct {
	want  pki.Resolved
	notes []string
	owner Owner
	files Files
	after []reconcile.Address
}

func (r *sharedResource) Address() reconcile.Address { return FileAddress(r.want.Path) }
func (r *sharedResource) After() []reconcile.Address { return r.after }

func (r *sharedResource) Observe(context.Context) (reconcile.Observation, error) {
	return observeFile(r.files, r.want.Path), nil
}

func (r *sharedResource) Change(own reconcile.Observation, _ reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	o := own.(fileObservation)
	var findings []reconcile.Finding
	remark := func(texts ...string) {
		for _, text := range texts {
			findings = append(findings, reconcile.Finding{Severity: reconcile.SeverityInfo, Name: "Advisory", Address: r.Address(), Seen: text})
		}
	}
	c := reconcile.Change{Address: r.Address(), Disruption: reconcile.NoDisruption, Action: reconcile.Update, Reason: reconcile.Drift}
	if stop := unusable(r.Address(), o); stop != nil {
		return nil, stop, nil
	}
	remark(r.notes...)
	if r.want.Content == nil {
		return nil, append(findings, notCompared(r.Address(), "what belongs to it may not be read by this user", "run as root to compare it")), nil
	}
	if !o.state.Exists() {
		c.Action, c.Reason, c.Summary = reconcile.Create, reconcile.Missing, o.missing()
		if r.want.Origin == pki.Derived {
			c.Summary += "; is derived from sa.key"
		}
		c.Fields, c.Diff = r.content(nil), r.diff(nil)
		return &c, findings, nil
	}
	owner := r.owner.differs("", o.state)
	d, same := pki.CompareShared(r.want.Kind, o.content, r.want.Content)
	switch {
	case !same:
		c.Summary, c.Fields, c.Diff = d.Text, append(r.content(o.content), owner...), r.diff(o.content)
		if d.Foreign {
			c.Action, c.Disruption, c.Allow = reconcile.Replace, reconcile.Destructive, allowCA
		}
	case len(owner) > 0:
		c.Fields, c.Summary = owner, "content is right, mode or owner is not"
	case o.state.Leftover:
		c.Action, c.Summary = reconcile.Delete, summaryLeftover
	default:
		if r.want.Origin != pki.OnDisk { // of what stays as it is Resolve has told
			remark(d.Notes...)
		}
		return nil, findings, nil
	}
	return &c, findings, nil
}

const summaryLeftover = "an interrupted write left its temporary file beside it"

// unusable tells what keeps a file from being compared or replaced.
func unusable(a reconcile.Address, o fileObservation) []reconcile.Finding {
	switch {
	case o.state.Denied:
		return []reconcile.Finding{notCompared(a, "this user may not read it", "run as root to compare it")}
	case o.problem != "":
		return unexpected(a, o.problem)
	}
	return nil
}

func (r *sharedResource) secret() bool { return r.want.Kind == pki.KindKey }

// content shows of a key that it changes, and of the rest nothing: the diff does.
func (r *sharedResource) content(have []byte) []reconcile.Field {
	f := reconcile.Field{Path: "content", Before: maskIf(have), After: reconcile.Mask(r.want.Content)}
	if !r.secret() {
		f = reconcile.Field{Path: "content", After: "from " + string(r.want.Origin)}
	}
	return []reconcile.Field{f}
}

func (r *sharedResource) diff(have []byte) string {
	if r.secret() || r.want.Kind == pki.KindPublicKey || Sensitive("", have) {
		return ""
	}
	return UnifiedDiff(r.want.Path, describeCA(have), describeCA(r.want.Content))
}

func (r *sharedResource) Apply(_ context.Context, c reconcile.Change, _ reconcile.View, _ func(reconcile.Progress)) error {
	switch {
	case c.Action == reconcile.Delete: // the leftover only: see Change
		return r.files.RemoveLeftover(r.want.Path)
	case onlyOwnership(c.Fields):
		if err := r.files.SetOwnership(r.want.Path, r.owner.Mode, r.owner.UID, r.owner.GID); err != nil {
			return err
		}
		return r.files.RemoveLeftover(r.want.Path)
	}
	return r.owner.write(r.files, r.want.Path, r.want.Content)
}

// signer is what a new certificate is made with.
type signer struct {
	ca        *pki.CA // nil: its certificate may not be read
	algorithm string
	validity  time.Duration
	threshold time.Duration
	now       func() time.Time
}

// external tells whether nobody here can sign.
func (s signer) external() bool { return s.ca != nil && s.ca.External }

// FindingExternalCA is the name of findings about a CA whose key is kept elsewhere.
const FindingExternalCA = "ExternalCA"

// unsigned is what is said of something that an external CA would have to sign.
func unsigned(a reconcile.Address, why []pki.Mismatch, missing string) reconcile.Finding {
	text := missing
	if text == "" {
		text = reasons(why)
	}
	return reconcile.Finding{Severity: reconcile.SeverityError, Name: FindingExternalCA, Address: a,
		Seen: text + ", and its CA's key is not here", Hint: "have a new one signed by the external CA and put it here"}
}

// reasons puts mismatches into one clause.
func reasons(why []pki.Mismatch) string {
	texts := make([]string, len(why))
	for i, m := range why {
		texts[i] = m.Text
	}
	return strings.Join(texts, "; ")
}

// explain says in a change why something is made anew.
func explain(c *reconcile.Change, why []pki.Mismatch) {
	c.Action, c.Reason, c.Summary = reconcile.Update, reconcile.Intent, reasons(why)
	for _, m := range why {
		if !m.Intent {
			c.Reason = reconcile.Drift
		}
		if m.Before != "" || m.After != "" {
			c.Fields = append(c.Fields, reconcile.Field{Path: m.Field, Before: m.Before, After: m.After})
		}
	}
}

// ReadPKI reads what pki.Resolve wants to know of this machine: all files of a
// control plane's PKI. What is no file counts as one with nothing in it.
func ReadPKI(files Files, shared []pki.SharedFile, leaves []pki.Leaf, kubeconfigs []pki.Kubeconfig) map[string]pki.Disk {
	var paths []string
	for _, f := range shared {
		paths = append(paths, f.Path)
	}
	for _, l := range leaves {
		paths = append(paths, l.CertPath, l.KeyPath)
	}
	for _, k := range kubeconfigs {
		paths = append(paths, k.Path)
	}
	out := map[string]pki.Disk{}
	for _, path := range paths {
		if o := observeFile(files, path); o.state.Exists() || o.state.Denied {
			out[path] = pki.Disk{Content: o.content, Denied: o.state.Denied}
		}
	}
	return out
}

// readAtStart are the files of which a component keeps what it read when it
// started. It has to start again for a change of one that is disruptive: not for
// a mode, nor for a file that is put back. Everything else of the PKI the
// components read again by themselves: see certificateResource.
func readAtStart(component string, c *kubeadm.ClusterConfiguration) []reconcile.Address {
	var out []reconcile.Address
	for _, f := range pki.SharedFiles(c) {
		serviceAccounts := f.Authority == "" && (f.SecretKey == "sa.key" || f.SecretKey == "sa.pub")
		etcdCA := f.Kind == pki.KindCA && f.Authority != pki.ClusterCA && f.Authority != pki.FrontProxyCA
		read := map[string]bool{
			"kube-apiserver":          serviceAccounts || etcdCA,
			"kube-controller-manager": f.SecretKey == "sa.key" || f.Kind == pki.KindCA && f.Authority == pki.ClusterCA,
			"etcd":                    etcdCA,
		}
		if read[component] {
			out = append(out, FileAddress(f.Path))
		}
	}
	for _, k := range pki.Kubeconfigs(pki.Input{Cluster: c}) {
		if k.ReadBy == component {
			out = append(out, KubeconfigAddress(k.Path))
		}
	}
	return out
}
