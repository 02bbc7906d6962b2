package node

import (
	"context"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/host"
	"github.com/kubejoin/kubejoin/reconcile/pki"
)

// CertificateAddress is the address of a certificate and its key, by the
// certificate's path.
func CertificateAddress(certPath string) reconcile.Address {
	return reconcile.Address("certificate:" + certPath)
}

// certificateResource keeps a certificate and its key as they should be. It
// disrupts nothing: kube-apiserver watches its serving certificate and the one
// for the front proxy, reads the one for kubelets with each new connection, and
// etcd and its clients read theirs with each handshake.
type certificateResource struct {
	want                pki.Leaf
	signer              signer
	certOwner, keyOwner Owner
	files               Files
	after               []reconcile.Address
}

type certificateObservation struct {
	cert, key fileObservation
	// mismatches are those of a pair of which both files can be looked at.
	mismatches []pki.Mismatch
}

func (r *certificateResource) Address() reconcile.Address { return CertificateAddress(r.want.CertPath) }
func (r *certificateResource) After() []reconcile.Address { return r.after }

func (r *certificateResource) Observe(context.Context) (reconcile.Observation, error) {
	o := certificateObservation{cert: observeFile(r.files, r.want.CertPath), key: observeFile(r.files, r.want.KeyPath)}
	if o.cert.state.Exists() && !o.cert.state.Denied && o.cert.problem == "" {
		key := o.key.content
		if key == nil && !o.key.state.Denied {
			key = []byte{} // absent is not the same as unreadable
		}
		o.mismatches = pki.Inspect(r.want.Identity, o.cert.content, key, r.signer.ca, r.signer.now(), r.signer.threshold)
	}
	return o, nil
}

func (r *certificateResource) Change(own reconcile.Observation, _ reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	o := own.(certificateObservation)
	c := reconcile.Change{Address: r.Address(), Disruption: reconcile.NoDisruption}
	var findings []reconcile.Finding
	if stop := unusable(r.Address(), o.cert); stop != nil {
		return nil, stop, nil
	}
	cert, key := o.cert.state.Exists(), o.key.state.Exists() || o.key.state.Denied
	if stop := unusable(FileAddress(r.want.KeyPath), o.key); stop != nil {
		if !o.key.state.Denied {
			return nil, stop, nil
		}
		findings = append(findings, notCompared(r.Address(), "its key may not be read by this user", "run as root to compare it"))
	}
	missing := ""
	switch {
	case !cert && !key:
		missing = "does not exist"
	case !cert:
		missing = "does not exist, its key does"
	case !key:
		missing = "has no key beside it"
	}
	owner := append(r.certOwner.differs("", o.cert.state), r.keyOwner.differs("key ", o.key.state)...)
	switch {
	case (missing != "" || len(o.mismatches) > 0) && r.signer.external():
		return nil, append(findings, unsigned(r.Address(), o.mismatches, missing)), nil
	case missing != "":
		c.Action, c.Reason, c.Summary = reconcile.Create, reconcile.Missing, missing
		if cert || key {
			c.Action = reconcile.Update
		}
		c.Fields = r.fresh()
	case len(o.mismatches) > 0:
		explain(&c, o.mismatches)
	case !o.key.state.Denied && len(owner) > 0:
		c.Action, c.Reason, c.Fields = reconcile.Update, reconcile.Drift, owner
		c.Summary = "content is right, mode or owner is not"
	case o.cert.state.Leftover || o.key.state.Leftover:
		c.Action, c.Reason, c.Summary = reconcile.Delete, reconcile.Drift, summaryLeftover
	default:
		return nil, findings, nil
	}
	return &c, findings, nil
}

// fresh says what is in a certificate that is made anew.
func (r *certificateResource) fresh() []reconcile.Field {
	out := []reconcile.Field{{Path: "commonName", After: r.want.CommonName}}
	if names := sanList(r.want.Identity); names != "" {
		out = append(out, reconcile.Field{Path: "sans", After: names})
	}
	return append(out, reconcile.Field{Path: "notAfter", After: reconcile.KnownAfterApply})
}

func (r *certificateResource) Apply(_ context.Context, c reconcile.Change, v reconcile.View, _ func(reconcile.Progress)) error {
	o := v.Observed(r.Address()).(certificateObservation)
	if c.Action == reconcile.Delete || len(o.mismatches) == 0 && o.cert.state.Exists() && o.key.state.Exists() {
		return r.tidy(o)
	}
	if err := r.signer.ready(); err != nil {
		return err
	}
	cert, key, err := pki.Issue(r.want.Identity, r.signer.ca, r.signer.algorithm, r.signer.now(), r.signer.validity)
	if err != nil {
		return err
	}
	// The key first: a certificate that is there announces a key. Interrupted
	// between the two, the next run finds that they are not a pair.
	if err := r.keyOwner.write(r.files, r.want.KeyPath, key); err != nil {
		return err
	}
	return r.certOwner.write(r.files, r.want.CertPath, cert)
}

// tidy corrects everything but the contents.
func (r *certificateResource) tidy(o certificateObservation) error {
	for _, f := range []struct {
		path  string
		owner Owner
		state host.FileState
	}{{r.want.CertPath, r.certOwner, o.cert.state}, {r.want.KeyPath, r.keyOwner, o.key.state}} {
		if err := f.owner.tidy(r.files, f.path, f.state); err != nil {
			return err
		}
	}
	return nil
}

// tidy corrects mode and owner of a file and removes what an interrupted write
// left beside it.
func (o Owner) tidy(files Files, path string, st host.FileState) error {
	if len(o.differs("", st)) > 0 {
		if err := files.SetOwnership(path, o.Mode, o.UID, o.GID); err != nil {
			return err
		}
	}
	return files.RemoveLeftover(path)
}

// ready tells whether this run can sign.
func (s signer) ready() error {
	if s.ca == nil || s.ca.Key == nil {
		return fault.New(fault.Preflight, "the CA's private key may not be read by this user").WithHint("run as root")
	}
	return nil
}

// sanList shows the names in a certificate.
func sanList(id pki.Identity) string {
	out := ""
	add := func(name string) {
		if out != "" {
			out += ", "
		}
		out += name
	}
	for _, n := range id.DNSNames {
		add(n)
	}
	for _, ip := range id.IPs {
		add(ip.String())
	}
	return out
}
