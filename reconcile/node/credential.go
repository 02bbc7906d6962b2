package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

// KubeletCredential is the address of the node's own credential: kubelet.conf
// and the client certificate it names. The kubelet makes it (behaviour
// catalogue §4.7); kubejoin makes sure that it can, and waits.
const KubeletCredential reconcile.Address = "credential:kubelet"

// What --allow has to name before something of another node or cluster is
// replaced.
const (
	allowCA       = "replace-ca"
	allowIdentity = "replace-identity"
	allowNode     = "replace-node"
)

// AllowNames are the names that a plan may give to destructive changes.
func AllowNames() []string {
	return []string{allowCA, allowIdentity, allowNode, allowMember, allowEtcdData}
}

type credentialObservation struct {
	cluster.Credential
	// wrong says why a credential that parses and has not expired does not
	// serve; empty if it does.
	wrong string
	// foreign says that it is the identity of another node or cluster.
	foreign bool
	// stray says why the kubelet's certificate must not be found without a
	// kubelet.conf: the kubelet would use it instead of asking for one. Empty if
	// there is none, or if it is what is wanted.
	stray string
	// kubeconfig and certificate are the files with the credential, as far as they
	// are there and this user may see them.
	kubeconfig, certificate host.FileState
}

// credentialMode is how the kubelet makes the files of its credential.
const credentialMode fs.FileMode = 0o600

// insecure lists where somebody else than root may read the credential or
// replace it.
func (o credentialObservation) insecure(owner Owner) []reconcile.Field {
	var out []reconcile.Field
	if len(o.inTheWay()) > 0 {
		return nil // they are removed
	}
	if o.kubeconfig.Kind == host.File {
		out = append(out, owner.differs("kubelet.conf ", o.kubeconfig)...)
	}
	if o.certificate.Kind == host.File {
		out = append(out, owner.differs("certificate ", o.certificate)...)
	}
	return out
}

// mustRemove tells whether the kubelet would go on with this credential
// although it does not serve.
func (o credentialObservation) mustRemove() bool {
	return o.wrong != "" && o.State == cluster.CredentialValid
}

// inTheWay lists the files that must be gone before the kubelet can bootstrap
// anew.
func (o credentialObservation) inTheWay() []string {
	switch {
	case o.mustRemove(), o.stray != "":
		// The certificate first: without it a kubelet.conf is worth nothing.
		return []string{KubeletCertificatePath, KubeletKubeconfigPath}
	case o.BrokenFile == KubeletCertificatePath:
		return []string{KubeletCertificatePath}
	}
	return nil
}

type credentialResource struct {
	nodeName  string
	clusterCA []byte
	refused   string // why the API server did not accept it; empty otherwise
	serial    string // of the certificate that was refused
	bootstrap bool   // this run can bootstrap a new one
	// keepBootstrap leaves it to KubeletServer to remove the bootstrap credential.
	keepBootstrap bool
	timeout       time.Duration
	owner         Owner
	ports         Ports
	after         []reconcile.Address
}

func (r *credentialResource) Address() reconcile.Address { return KubeletCredential }
func (r *credentialResource) After() []reconcile.Address { return r.after }

func (r *credentialResource) Observe(context.Context) (reconcile.Observation, error) {
	o := r.judge(r.ports.ReadCredential())
	// The files that a handmade kubelet.conf refers to are their maker's.
	var errs [2]error
	o.kubeconfig, errs[0] = r.ports.Files.Stat(KubeletKubeconfigPath)
	o.certificate, errs[1] = r.ports.Files.Stat(KubeletCertificatePath)
	return o, errors.Join(errs[:]...)
}

func (r *credentialResource) judge(c cluster.Credential) credentialObservation {
	o := credentialObservation{Credential: c}
	switch {
	case c.State == cluster.CredentialAbsent, c.State == cluster.CredentialBroken:
		o.stray = r.strayCertificate()
		o.foreign = o.stray != ""
	case c.State != cluster.CredentialValid:
	case c.CommonName != "" && c.CommonName != commonName(r.nodeName):
		o.wrong, o.foreign = fmt.Sprintf("is %s, not %s", c.CommonName, commonName(r.nodeName)), true
	case len(c.CA) > 0 && foreignCA(c.CA, r.clusterCA):
		o.wrong, o.foreign = "belongs to another cluster", true
	case r.refused != "" && c.Serial == r.serial:
		o.wrong = "is refused by the API server: " + r.refused
	}
	return o
}

// strayCertificate judges the certificate that a lost kubelet.conf left behind.
func (r *credentialResource) strayCertificate() string {
	c := r.ports.ReadCertificate()
	switch {
	case c == nil:
		return ""
	case c.CommonName != commonName(r.nodeName):
		return fmt.Sprintf("%s holds the certificate of %s, not %s", KubeletCertificatePath, c.CommonName, commonName(r.nodeName))
	case len(r.clusterCA) > 0 && !c.SignedBy(r.clusterCA):
		return KubeletCertificatePath + " holds a certificate of another cluster"
	}
	return ""
}

// handmade tells whether somebody else than the kubelet made the credential:
// it cannot be had again by asking.
func (o credentialObservation) handmade() bool {
	return !slices.Contains(o.Paths, KubeletCertificatePath)
}

// replacesCredential tells whether the kubelet has to get a credential, or to
// prove the one that it has; one that is only put under lock is the same as before.
func replacesCredential(v reconcile.View) bool {
	c := v.Changed(KubeletCredential)
	return c != nil && c.Action != reconcile.Update
}

func commonName(node string) string { return "system:node:" + node }

func (r *credentialResource) Change(own reconcile.Observation, v reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	o := own.(credentialObservation)
	c := &reconcile.Change{Address: KubeletCredential, Disruption: reconcile.KubeletRestart}
	issued := reconcile.Field{Path: "certificate", After: commonName(r.nodeName) + ", " + reconcile.KnownAfterApply}
	if o.kubeconfig.Blocked != "" { // nor could the kubelet write it
		return nil, unexpected(KubeletCredential, KubeletKubeconfigPath+": "+o.kubeconfig.Blocked), nil
	}
	if o.certificate.Blocked != "" {
		return nil, unexpected(KubeletCredential, KubeletCertificatePath+": "+o.certificate.Blocked), nil
	}
	owner := o.insecure(r.owner)
	switch o.State {
	case cluster.CredentialUnreadable:
		return nil, []reconcile.Finding{notCompared(KubeletCredential, o.Why, "run as root to compare it")}, nil
	case cluster.CredentialValid:
		if o.wrong == "" {
			c.Disruption, c.Fields = reconcile.NoDisruption, owner
			if r.keepBootstrap || !bootstrapUnfinished(v) {
				if len(owner) == 0 {
					return nil, nil, nil
				}
				c.Action, c.Reason, c.Summary = reconcile.Update, reconcile.Drift, "serves, mode or owner is not right"
				return c, nil, nil
			}
			c.Action, c.Reason = reconcile.Wait, reconcile.Missing
			c.Summary = "has to be accepted by the API server before the bootstrap credential is removed"
			return c, nil, nil
		}
		c.Action, c.Reason, c.Summary = reconcile.Replace, reconcile.Drift, o.wrong
		issued.Before = o.CommonName
		if o.foreign || o.handmade() {
			c.Disruption, c.Allow = reconcile.Destructive, allowIdentity
		}
	case cluster.CredentialAbsent:
		c.Action, c.Reason, c.Summary = reconcile.Create, reconcile.Missing, "the kubelet asks for a client certificate"
	case cluster.CredentialPending:
		c.Action, c.Reason, c.Summary = reconcile.Wait, reconcile.Missing, "the kubelet asked for a client certificate and has none yet"
		if b := v.Changed(FileAddress(BootstrapKubeconfigPath)); b == nil || b.Disruption == reconcile.NoDisruption {
			c.Disruption = reconcile.NoDisruption
		}
	default: // expired, broken
		c.Action, c.Reason, c.Summary = reconcile.Replace, reconcile.Drift, o.Why
		issued.Before = o.CommonName
	}
	c.Fields = append([]reconcile.Field{issued}, owner...)
	if o.stray != "" {
		c.Summary, c.Disruption, c.Allow = o.stray, reconcile.Destructive, allowIdentity
	}
	if unmanaged(v) {
		return nil, []reconcile.Finding{{Severity: reconcile.SeverityWarning, Name: "NoCredential", Address: KubeletCredential,
			Seen: "the kubelet has no certificate that serves (" + c.Summary + ")", Hint: "it gets one when you start it"}}, nil
	}
	if !r.bootstrap {
		return nil, nil, errNoBootstrap(fmt.Sprintf("the node's credential is %s", o.State))
	}
	return c, nil, nil
}

// bootstrapUnfinished tells whether the kubelet got its certificate during this
// run, so that the bootstrap credential is still there.
func bootstrapUnfinished(v reconcile.View) bool {
	address := FileAddress(BootstrapKubeconfigPath)
	if c := v.Changed(address); c != nil {
		return c.Action != reconcile.Delete
	}
	o, ok := v.Observed(address).(fileObservation)
	return ok && o.state.Exists() && !o.state.Denied
}

// Apply waits for the kubelet's certificate, proves that the API server accepts
// it, and only then removes the bootstrap credential: the kubelet may need it
// until that moment (behaviour catalogue §9.5 W7, W8).
func (r *credentialResource) Apply(ctx context.Context, c reconcile.Change, v reconcile.View, say func(reconcile.Progress)) error {
	if err := r.secure(v); err != nil || c.Action == reconcile.Update {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, r.timeout,
		fault.New(fault.Timeout, "no client certificate after %s (timeouts.tlsBootstrap)", r.timeout))
	defer cancel()
	begin := r.ports.Now()

	changed, err := r.ports.Files.Watch(ctx, KubeletKubeconfigPath, KubeletCertificatePath)
	if err != nil {
		return err
	}
	watch, stop := context.WithCancel(ctx)
	defer stop()
	requests := make(chan cluster.CSRInfo, 1)
	if r.ports.Bootstrap != nil {
		go func() {
			// What this watch may not see is not needed for success, only for
			// telling why it takes long.
			_ = r.ports.Bootstrap.WatchCSRs(watch, r.nodeName, func(i cluster.CSRInfo) bool {
				if i.Created.Before(begin.Add(-csrSkew)) && i.State != cluster.CSRPending {
					return false // an earlier attempt's
				}
				select {
				case requests <- i:
				case <-watch.Done():
				}
				return false
			})
		}()
	}
	crash := reportCrashes(watch, r.ports, begin, say)
	// A request that is approved automatically is pending for a moment: only
	// one that stays so is worth a word.
	var pending *time.Timer
	var stillPending <-chan time.Time
	var newest cluster.CSRInfo
	hint := ""
	for {
		o := r.judge(r.ports.ReadCredential())
		if o.State == cluster.CredentialValid && o.wrong == "" {
			return r.prove(ctx, o.Credential)
		}
		select {
		case _, ok := <-changed:
			if !ok {
				changed = nil
			}
		case i := <-requests:
			// A kubelet that was restarted lost the key of its earlier requests:
			// only the newest one is of use.
			if i.Created.Before(newest.Created) {
				continue
			}
			newest, hint = i, ""
			if i.State == cluster.CSRPending {
				hint = "kubectl certificate approve " + i.Name
			}
			switch i.State {
			case cluster.CSRPending, cluster.CSRApproved:
				// One that an earlier run left has had its moment.
				grace := min(max(0, pendingGrace-r.ports.Now().Sub(i.Created)), pendingGrace)
				if pending == nil {
					pending = time.NewTimer(grace)
					defer pending.Stop()
				} else {
					pending.Reset(grace)
				}
				stillPending = pending.C
			case cluster.CSRDenied, cluster.CSRFailed:
				return fault.New(fault.Denied, "certificate signing request %s was %s: %s", i.Name, i.State, i.Message).
					WithHint("ask who denied it; `kubectl delete csr %s` and run again lets the kubelet ask anew", i.Name)
			}
		case <-stillPending:
			msg := "certificate signing request " + newest.Name + " is approved, and waits for its signer"
			if hint != "" {
				msg = "certificate signing request " + newest.Name + " is pending: somebody has to approve it"
			}
			say(reconcile.Progress{Message: msg, Hint: hint})
		case <-ctx.Done():
			err := context.Cause(ctx)
			var e *fault.Error
			if errors.As(err, &e) && e.Class == fault.Timeout {
				if hint == "" {
					hint = crash.hint("look at `journalctl -u kubelet`")
				}
				return e.WithHint("%s; the bootstrap credential stays in place, run again to go on waiting", hint)
			}
			return err
		}
	}
}

// pendingGrace is how long a cluster that approves by itself may take.
const pendingGrace = 2 * time.Second

// csrSkew is how far the API server's clock may lag behind this machine's
// before a request of this run is taken for an earlier one's.
const csrSkew = 5 * time.Minute

// secure corrects mode and owner of what is there: the kubelet keeps both when it
// writes its kubelet.conf anew.
func (r *credentialResource) secure(v reconcile.View) error {
	o, ok := v.Observed(KubeletCredential).(credentialObservation)
	if !ok || len(o.insecure(r.owner)) == 0 {
		return nil
	}
	for path, st := range map[string]host.FileState{KubeletKubeconfigPath: o.kubeconfig, KubeletCertificatePath: o.certificate} {
		if st.Kind != host.File || len(r.owner.differs("", st)) == 0 {
			continue
		}
		if err := r.ports.Files.SetOwnership(path, r.owner.Mode, r.owner.UID, r.owner.GID); err != nil {
			return err
		}
	}
	return nil
}

func (r *credentialResource) prove(ctx context.Context, c cluster.Credential) error {
	api, err := r.ports.As(c)
	if err != nil {
		return err
	}
	if _, err := api.Node(ctx, r.nodeName); err != nil {
		return fmt.Errorf("the new client certificate does not work: %w", err)
	}
	if r.keepBootstrap {
		return nil
	}
	return r.ports.Files.Remove(BootstrapKubeconfigPath)
}
