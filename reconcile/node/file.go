package node

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

// maxFile bounds what is read of a file that this package manages; all of them
// are a few KiB.
const maxFile = 4 << 20

// FileAddress is the address of the file at a path.
func FileAddress(path string) reconcile.Address { return reconcile.Address("file:" + path) }

// fileObservation is what was found at a managed path.
type fileObservation struct {
	state   host.FileState
	content []byte
	problem string // not a regular file, too large: why the content is unknown
	// dangling says that a link is there that leads to nothing. What it leads to
	// can be made.
	dangling bool
}

// missing says that nothing is there.
func (o fileObservation) missing() string {
	if o.dangling {
		return "is a link to something that does not exist"
	}
	return "does not exist"
}

// fileResource keeps one file of the desired state as it should be.
type fileResource struct {
	want File
	// clusterCA decides whether a CA file belongs to another cluster.
	clusterCA []byte
	files     Files
	after     []reconcile.Address
}

func (r *fileResource) Address() reconcile.Address { return FileAddress(r.want.Path) }
func (r *fileResource) After() []reconcile.Address { return r.after }

func (r *fileResource) Observe(context.Context) (reconcile.Observation, error) {
	return observeFile(r.files, r.want.Path), nil
}

func observeFile(files Files, path string) fileObservation {
	data, st, err := files.ReadFile(path, maxFile)
	o := fileObservation{state: st, content: data}
	if err != nil {
		o.problem = err.Error()
	}
	if st.Blocked != "" {
		o.problem = st.Blocked
	}
	if st.Kind == host.Link && o.problem == "" {
		o.state, o.dangling = host.FileState{Leftover: st.Leftover}, true
	}
	return o
}

func (r *fileResource) Change(own reconcile.Observation, v reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	o := own.(fileObservation)
	c := reconcile.Change{Address: r.Address(), Disruption: reconcile.NoDisruption}
	if r.want.RestartsKubelet {
		c.Disruption = reconcile.KubeletRestart
	}
	if o.state.Denied {
		return nil, []reconcile.Finding{notCompared(r.Address(), "this user may not read it", "run as root to compare it")}, nil
	}
	if o.problem != "" {
		return nil, unexpected(r.Address(), o.problem), nil
	}
	if !o.state.Exists() {
		c.Action, c.Reason, c.Summary = reconcile.Create, reconcile.Missing, o.missing()
		c.Diff = r.diff(nil)
		return &c, nil, nil
	}
	equal, fields, notes := Compare(r.want.Format, o.content, r.want.Content)
	var findings []reconcile.Finding
	for _, n := range notes {
		findings = append(findings, reconcile.Finding{Severity: reconcile.SeverityInfo, Name: "Advisory", Address: r.Address(), Seen: n})
	}
	owner := r.ownership(o.state)
	switch {
	case !equal:
		c.Action, c.Fields, c.Diff = reconcile.Update, slices.Concat(fields, owner), r.diff(o.content)
		c.Reason, c.Summary = r.contentReason(o, fields, v)
		if unparseable(fields) && len(o.content) > 0 {
			// Nobody knows what it is: it could be a secret.
			c.Reason, c.Summary, c.Diff = reconcile.Drift, "does not parse", r.diff(nil)
		}
		if r.want.Format == FormatCABundle && foreignCA(o.content, r.clusterCA) {
			c.Action, c.Disruption, c.Allow = reconcile.Replace, reconcile.Destructive, allowCA
			c.Summary = "holds the CA of another cluster"
		}
	case len(owner) > 0:
		c.Action, c.Reason, c.Fields, c.Disruption = reconcile.Update, reconcile.Drift, owner, reconcile.NoDisruption
		c.Summary = "content is right, mode or owner is not"
	case o.state.Leftover:
		c.Action, c.Reason, c.Disruption = reconcile.Delete, reconcile.Drift, reconcile.NoDisruption
		c.Summary = "an interrupted write left its temporary file beside it"
	default:
		return nil, findings, nil
	}
	return &c, findings, nil
}

// contentReason tells drift from intent without a record of earlier runs: a
// file that the running kubelet was started with, and that nobody wrote since,
// is what was wanted then, so that the configuration must have changed. A CA is
// not the configuration's to change.
func (r *fileResource) contentReason(o fileObservation, fields []reconcile.Field, v reconcile.View) (reconcile.Reason, string) {
	if len(o.content) == 0 {
		return reconcile.Drift, "is empty"
	}
	if len(fields) > 0 && fields[0].Path == fieldCAEnds && r.want.Format == FormatCABundle {
		return reconcile.Drift, "holds an older certificate of the same key"
	}
	svc, ok := v.Observed(KubeletService).(serviceObservation)
	if ok && r.want.Format != FormatCABundle && !svc.StartedAt.IsZero() && svc.StartedAt.After(o.state.ModTime) {
		return reconcile.Intent, "the configuration wants another content"
	}
	return reconcile.Drift, "content differs"
}

func (r *fileResource) ownership(st host.FileState) []reconcile.Field {
	return Owner{UID: r.want.UID, GID: r.want.GID, Mode: r.want.Mode}.unlike(st)
}

// unlike are the fields in which a file that others may read as well is not as
// it is made.
func (o Owner) unlike(st host.FileState) []reconcile.Field {
	var out []reconcile.Field
	if st.Mode != o.Mode {
		out = append(out, reconcile.Field{Path: "mode", Before: fmt.Sprintf("%#o", st.Mode), After: fmt.Sprintf("%#o", o.Mode)})
	}
	if o.UID >= 0 && (st.UID != o.UID || st.GID != o.GID) {
		out = append(out, reconcile.Field{Path: "owner", Before: fmt.Sprintf("%d:%d", st.UID, st.GID), After: fmt.Sprintf("%d:%d", o.UID, o.GID)})
	}
	return out
}

func (r *fileResource) diff(have []byte) string {
	if r.want.Sensitive || Sensitive(r.want.Format, have) {
		return "" // the fields say what differs, with values masked
	}
	want := r.want.Content
	if r.want.Format == FormatCABundle {
		have, want = describeCA(have), describeCA(want)
	}
	return UnifiedDiff(r.want.Path, have, want)
}

func (r *fileResource) Apply(_ context.Context, c reconcile.Change, _ reconcile.View, _ func(reconcile.Progress)) error {
	switch {
	case c.Action == reconcile.Delete: // the leftover only: see Change
		// The file stays untouched: a newer one would restart the kubelet.
		return r.files.RemoveLeftover(r.want.Path)
	case onlyOwnership(c.Fields):
		if err := r.files.SetOwnership(r.want.Path, r.want.Mode, r.want.UID, r.want.GID); err != nil {
			return err
		}
		return r.files.RemoveLeftover(r.want.Path)
	}
	return r.files.WriteFile(r.want.Path, r.want.Content, r.writeOptions())
}

func onlyOwnership(fields []reconcile.Field) bool {
	for _, f := range fields {
		if f.Path != "mode" && f.Path != "owner" {
			return false
		}
	}
	return len(fields) > 0
}

func (r *fileResource) writeOptions() host.WriteOptions {
	return host.WriteOptions{Mode: r.want.Mode, UID: r.want.UID, GID: r.want.GID, DirMode: r.want.DirMode}
}

// foreignCA tells whether a file holds CA certificates of which none belongs
// to the cluster. What does not parse, or is not known, is nobody's.
func foreignCA(have, clusterCA []byte) bool {
	pins, want := cluster.SPKIPins(have), cluster.SPKIPins(clusterCA)
	if len(pins) == 0 || len(want) == 0 {
		return false // nothing to compare
	}
	for _, p := range pins {
		for _, w := range want {
			if p == w {
				return false
			}
		}
	}
	return true
}

// transientFile is bootstrap-kubelet.conf: there while the kubelet needs it,
// and only then.
type transientFile struct {
	content []byte // secret; nil when this run has no bootstrap credential
	tokenID string
	owner   Owner
	files   Files
}

// BootstrapKubeconfigPath is where the kubelet's unit looks for its bootstrap
// credential. Behaviour catalogue §4.7.
const BootstrapKubeconfigPath = cluster.BootstrapKubeconfigPath

// KubeletKubeconfigPath is the node's own credential, which the kubelet writes.
const KubeletKubeconfigPath = "/etc/kubernetes/kubelet.conf"

// KubeletCertificatePath is where the kubelet keeps its current client
// certificate and key; behaviour catalogue §4.7.
const KubeletCertificatePath = "/var/lib/kubelet/pki/kubelet-client-current.pem"

func (r *transientFile) Address() reconcile.Address { return FileAddress(BootstrapKubeconfigPath) }
func (r *transientFile) After() []reconcile.Address { return nil }

func (r *transientFile) Observe(context.Context) (reconcile.Observation, error) {
	return observeFile(r.files, BootstrapKubeconfigPath), nil
}

func (r *transientFile) Change(own reconcile.Observation, v reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	o := own.(fileObservation)
	cred, ok := v.Observed(KubeletCredential).(credentialObservation)
	switch {
	case !ok || cred.State == cluster.CredentialUnreadable:
		return nil, nil, nil
	case o.state.Denied:
		return nil, []reconcile.Finding{notCompared(r.Address(), "this user may not read it", "run as root to compare it")}, nil
	}
	c := reconcile.Change{Address: r.Address(), Disruption: reconcile.NoDisruption}
	if cred.wrong == "" && cred.State == cluster.CredentialValid {
		if !o.state.Exists() && !o.state.Leftover {
			return nil, nil, nil
		}
		if _, ok := v.Observed(KubeletServer).(kubeletServerObservation); ok && o.state.Exists() {
			return nil, nil, nil // a control plane's is removed once its own API server has accepted the kubelet
		}
		c.Action, c.Reason = reconcile.Delete, reconcile.Drift
		c.Summary = "holds a credential that the kubelet no longer needs"
		return &c, nil, nil
	}
	if len(r.content) == 0 {
		return nil, nil, nil // the credential's resource says what is missing
	}
	c.Disruption = reconcile.KubeletRestart
	what := "lets the kubelet ask for a certificate; removed as soon as that works"
	if r.tokenID != "" {
		what = "lets the kubelet ask for a certificate with token " + r.tokenID + "; removed as soon as that works"
	}
	owner := r.owner.differs("", o.state)
	switch {
	case o.problem != "":
		return nil, unexpected(r.Address(), o.problem), nil
	case !o.state.Exists():
		c.Action, c.Reason, c.Summary = reconcile.Create, reconcile.Missing, what
	case string(o.content) != string(r.content):
		c.Action, c.Reason, c.Summary = reconcile.Update, reconcile.Intent, what
	case len(cred.inTheWay()) > 0:
		c.Action, c.Reason, c.Summary = reconcile.Update, reconcile.Drift, what
	case len(owner) > 0:
		c.Action, c.Reason, c.Fields, c.Disruption = reconcile.Update, reconcile.Drift, owner, reconcile.NoDisruption
		c.Summary = "content is right, mode or owner is not"
		return &c, nil, nil
	default:
		return nil, nil, nil
	}
	c.Fields = []reconcile.Field{{Path: "content", Before: maskIf(o.content), After: reconcile.Mask(r.content)}}
	for _, p := range cred.inTheWay() {
		c.Fields = append(c.Fields, reconcile.Field{Path: p, Before: "the credential it replaces", After: "(removed)"})
	}
	if cred.foreign || cred.mustRemove() && cred.handmade() {
		c.Disruption, c.Allow = reconcile.Destructive, allowIdentity
	}
	return &c, nil, nil
}

func maskIf(b []byte) string {
	if b == nil {
		return ""
	}
	return reconcile.Mask(b)
}

func (r *transientFile) Apply(_ context.Context, c reconcile.Change, v reconcile.View, _ func(reconcile.Progress)) error {
	if c.Action == reconcile.Delete {
		return r.files.Remove(BootstrapKubeconfigPath)
	}
	if onlyOwnership(c.Fields) {
		return r.files.SetOwnership(BootstrapKubeconfigPath, r.owner.Mode, r.owner.UID, r.owner.GID)
	}
	cred, _ := v.Observed(KubeletCredential).(credentialObservation)
	// The kubelet looks at nothing but the expiry date of what it finds
	// (behaviour catalogue §4.7): a credential that parses and is refused by
	// the cluster must be out of its sight before it starts. With a certificate
	// file that does not parse it does not start at all.
	for _, p := range cred.inTheWay() {
		if err := r.files.Remove(p); err != nil {
			return err
		}
	}
	return r.owner.write(r.files, BootstrapKubeconfigPath, r.content)
}

// unexpected is what is said of something that cannot be replaced by a file.
func unexpected(a reconcile.Address, problem string) []reconcile.Finding {
	return []reconcile.Finding{{Severity: reconcile.SeverityError, Name: "UnexpectedFile", Address: a,
		Seen: problem, Hint: "move it away; kubejoin does not remove what it did not make"}}
}

func notCompared(a reconcile.Address, seen, hint string) reconcile.Finding {
	return reconcile.Finding{Severity: reconcile.SeverityWarning, Name: FindingNotCompared, Address: a, Seen: seen, Hint: hint}
}

// FindingNotCompared is the name of the finding for something that could not be
// observed. A plan with one is incomplete.
const FindingNotCompared = "NotCompared"

// olderThan tells whether a process that started at a time may have read an
// older version of a file: it was written after the start.
func olderThan(started time.Time, st host.FileState) bool {
	return st.Exists() && !started.IsZero() && st.ModTime.After(started)
}

// errNoBootstrap is what is said when a credential is needed and nothing is
// there to get it with.
func errNoBootstrap(why string) error {
	return fault.New(fault.Denied, "%s, and there is no credential to ask for a new one", why).
		WithHint("give a fresh token: `kubeadm token create --print-join-command` on a control plane prints one")
}
