package pki

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	certutil "k8s.io/client-go/util/cert"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/fault"
)

// Disk is what was found at a path. A path that is not known is absent.
type Disk struct {
	Content []byte // nil if Denied
	// Denied says that this user may not read it.
	Denied bool
}

// Sources are where the shared files can come from.
type Sources struct {
	Cluster *kubeadm.ClusterConfiguration
	// Disk holds what is at the paths of the shared files, of the leaves and of
	// the kubeconfigs.
	Disk map[string]Disk
	// Bundle is the opened kubeadm-certs Secret; nil without one.
	Bundle map[string][]byte
	// BundleProblem says why there is none: "the Secret does not exist".
	BundleProblem string
	// Discovered is the cluster's CA as discovery gave it, in PEM; nil if unknown.
	Discovered []byte
	// CertificateKey says that the configuration has one: whoever gives it wants
	// the files, so that a missing key is no external CA.
	CertificateKey bool
	// KeyUsed says of which authorities something on this machine shows that it
	// had the key: a controller manager told to sign with it. Then a missing key is lost.
	KeyUsed     map[Authority]bool
	Leaves      []Leaf
	Kubeconfigs []Kubeconfig
	Now         time.Time
}

// Origin says where a shared file's content is from.
type Origin string

// The origins.
const (
	OnDisk     Origin = "disk"
	FromSecret Origin = "secret"
	Discovery  Origin = "discovery"
	Derived    Origin = "derived" // from another file
	Unread     Origin = "unread"  // there, and this user may not read it
)

// Resolved is a shared file and what it should hold.
type Resolved struct {
	SharedFile
	Content []byte // nil if Unread; secret if the file is a key
	Origin  Origin
}

// Shared is the complete and verified set of shared files.
type Shared struct {
	Files []Resolved
	// CAs has each authority of the cluster whose certificate could be read.
	CAs map[Authority]*CA
	// Notes are remarks, by path.
	Notes []Note
}

// Note is a remark on a file.
type Note struct{ Path, Text string }

const hintCopy = "or copy the file from a control plane of this cluster"

// caWarning is how long before its end a CA is worth a remark: to replace it takes planning.
const caWarning = 180 * 24 * time.Hour

// Resolve chooses what the shared files should hold, and verifies them as a set
// before anything is written: each key belongs to its certificate, the CA is the
// discovered one, sa.pub is of sa.key. What is right on the machine stays, what
// is missing comes from the Secret. The error names every file that is missing
// or does not fit, and how to get it. A CA is never made.
func Resolve(s Sources) (*Shared, error) {
	r := &resolver{Sources: s, out: &Shared{CAs: map[Authority]*CA{}}}
	if len(s.Discovered) > 0 {
		var err error
		if r.discovered, err = parseCertificates(s.Discovered); err != nil {
			return nil, fault.New(fault.Untrusted, "the discovered CA %w", err)
		}
	}
	files := map[string]SharedFile{}
	for _, f := range SharedFiles(s.Cluster) {
		files[f.SecretKey] = f
	}
	r.authority(files["ca.crt"], files["ca.key"])
	r.authority(files["front-proxy-ca.crt"], files["front-proxy-ca.key"])
	r.serviceAccounts(files[secretSAPub], files[secretSAKey])
	if s.Cluster.Etcd.External == nil {
		r.authority(files["etcd-ca.crt"], files["etcd-ca.key"])
	} else {
		r.externalEtcd(files)
	}
	if len(r.errs) > 0 {
		return nil, errors.Join(r.errs...)
	}
	return r.out, nil
}

type resolver struct {
	Sources
	discovered []*x509.Certificate
	out        *Shared
	errs       []error
}

func (r *resolver) keep(f SharedFile, content []byte, o Origin) {
	r.out.Files = append(r.out.Files, Resolved{f, content, o})
}

func (r *resolver) note(f SharedFile, format string, args ...any) {
	r.out.Notes = append(r.out.Notes, Note{f.Path, fmt.Sprintf(format, args...)})
}

// lack says that a file cannot be had. Problems are why those that there are
// cannot be taken.
func (r *resolver) lack(f SharedFile, problems []string, hint string) {
	what := "is missing"
	if len(problems) > 0 {
		what = strings.Join(problems, ", and ")
	}
	r.errs = append(r.errs, fault.New(fault.Preflight, "%s, and %s", what, r.secretState(f)).At("file:"+f.Path).WithHint("%s", hint))
}

// secretState says why the Secret does not help.
func (r *resolver) secretState(f SharedFile) string {
	content, there := r.Bundle[f.SecretKey]
	switch {
	case r.Bundle == nil && r.BundleProblem != "":
		return r.BundleProblem
	case r.Bundle == nil && r.CertificateKey:
		return "the Secret kubeadm-certs was not read"
	case r.Bundle == nil:
		return "no controlPlane.certificateKey is given"
	case !there:
		return "the Secret kubeadm-certs has no entry " + f.SecretKey
	case len(content) == 0:
		return "entry " + f.SecretKey + " of the Secret kubeadm-certs is empty: the control plane that uploaded it has no such file"
	}
	return "entry " + f.SecretKey + " of the Secret kubeadm-certs does not fit"
}

func hintShared() string { return hintUpload + "; " + hintCopy }

// certificates is one place's certificates for a file.
type certificates struct {
	content []byte
	certs   []*x509.Certificate
	origin  Origin
}

// authority resolves the pair of a CA.
func (r *resolver) authority(cf, kf SharedFile) {
	disk, onDisk := r.Disk[cf.Path]
	var problems []string
	var foreign error
	usable := func(content []byte, o Origin) *certificates {
		certs, why := r.caProblem(cf.Authority, content)
		if why == "" {
			return &certificates{content, certs, o}
		}
		if o == FromSecret {
			why = "entry " + cf.SecretKey + " of the Secret kubeadm-certs " + why
			if cf.Authority == ClusterCA && len(certs) > 0 && len(r.discovered) > 0 && !sharesSPKI(certs, r.discovered) {
				foreign = fault.New(fault.Untrusted, "%s", why).At("file:"+cf.Path).WithHint("%s", hintUpload)
			}
		}
		problems = append(problems, why)
		return nil
	}
	var have, bundle, chosen *certificates
	if onDisk && !disk.Denied {
		have = usable(disk.Content, OnDisk)
	}
	if content := r.Bundle[cf.SecretKey]; len(content) > 0 {
		bundle = usable(content, FromSecret)
	}
	switch {
	case foreign != nil:
		r.errs = append(r.errs, foreign)
		return
	case bundle != nil && have != nil && sameSPKI(have.certs[0], bundle.certs[0]):
		chosen = have
	case bundle != nil:
		chosen = bundle
		if have != nil {
			r.note(cf, "holds another CA, %s, than the Secret kubeadm-certs, %s", pin(have.certs[0]), pin(bundle.certs[0]))
		}
	case have != nil:
		chosen = have
	case cf.Authority == ClusterCA && len(r.discovered) > 0:
		chosen = r.fromDiscovery(kf)
	case onDisk && disk.Denied:
		r.keep(cf, nil, Unread)
		r.keep(kf, nil, Unread)
		return
	default:
		r.lack(cf, problems, hintShared())
		r.key(kf, nil, nil)
		return
	}
	r.keep(cf, chosen.content, chosen.origin)
	ca := &CA{Certificates: chosen.certs}
	r.out.CAs[cf.Authority] = ca
	r.remarks(cf, ca)
	before := len(r.errs)
	ca.Key = r.key(kf, chosen.certs[0], ca)
	if len(r.errs) > before && chosen.origin == Discovery && len(problems) > 0 {
		// The certificate could be mended by itself, and is a part of the same mess.
		r.errs = slices.Insert(r.errs, before, error(fault.New(fault.Preflight, "%s", strings.Join(problems, ", and ")).
			At("file:"+cf.Path).WithHint("%s", hintShared())))
	}
}

// caProblem says why a content cannot be the CA; certs is what it holds.
func (r *resolver) caProblem(a Authority, content []byte) (certs []*x509.Certificate, why string) {
	certs, err := parseCertificates(content)
	switch {
	case err != nil:
		return nil, err.Error()
	case !certs[0].IsCA || !certs[0].BasicConstraintsValid:
		return certs, "does not begin with the certificate of a CA"
	case r.Now.After(certs[0].NotAfter):
		return certs, "expired on " + certs[0].NotAfter.UTC().Format(time.DateOnly)
	case r.Now.Before(certs[0].NotBefore):
		return certs, "is not valid before " + certs[0].NotBefore.UTC().Format(time.RFC3339)
	case a == ClusterCA && len(r.discovered) > 0 && !sharesSPKI(certs, r.discovered):
		return certs, "holds the CA of another cluster, " + pin(certs[0])
	}
	return certs, ""
}

// fromDiscovery is the cluster's CA file made of what discovery gave, the
// certificate of the key that there is first: the first one signs.
func (r *resolver) fromDiscovery(kf SharedFile) *certificates {
	certs := slices.Clone(r.discovered)
	for _, content := range [][]byte{r.Disk[kf.Path].Content, r.Bundle[kf.SecretKey]} {
		key, err := parseKey(content)
		if err != nil {
			continue
		}
		if i := slices.IndexFunc(certs, func(c *x509.Certificate) bool { return samePublic(c.PublicKey, key.Public()) }); i >= 0 {
			certs[0], certs[i] = certs[i], certs[0]
			break
		}
	}
	content, err := certutil.EncodeCertificates(certs...)
	if err != nil {
		content = r.Discovered
	}
	return &certificates{content, certs, Discovery}
}

// remarks on a CA that is taken.
func (r *resolver) remarks(cf SharedFile, ca *CA) {
	first := ca.Certificates[0]
	if left := first.NotAfter.Sub(r.Now); left < caWarning {
		r.note(cf, "the CA expires in %s", span(left))
	}
	if cf.Authority != ClusterCA || len(r.discovered) == 0 {
		return
	}
	for _, c := range ca.Certificates {
		if !containsSPKI(r.discovered, c) {
			r.note(cf, "holds a further CA, %s, that the cluster does not publish (a rotation?)", pin(c))
		}
	}
	for _, c := range r.discovered {
		if !containsSPKI(ca.Certificates, c) {
			r.note(cf, "lacks a further CA, %s, that the cluster publishes (a rotation?)", pin(c))
		}
	}
}

// key resolves the private key of a certificate; nil if it may not be read, or
// is elsewhere by intent, or is missing. Without a certificate only a missing
// key is told. For a CA that is not nil the key may be elsewhere.
func (r *resolver) key(f SharedFile, cert *x509.Certificate, ca *CA) crypto.Signer {
	disk, onDisk := r.Disk[f.Path]
	var problems []string
	for _, c := range []struct {
		content []byte
		there   bool
		origin  Origin
	}{
		{disk.Content, onDisk && !disk.Denied, OnDisk},
		{r.Bundle[f.SecretKey], len(r.Bundle[f.SecretKey]) > 0, FromSecret},
	} {
		if !c.there {
			continue
		}
		key, err := parseKey(c.content)
		switch {
		case err != nil && c.origin == OnDisk:
			problems = append(problems, err.Error())
		case err != nil:
			problems = append(problems, "entry "+f.SecretKey+" of the Secret kubeadm-certs "+err.Error())
		case cert == nil:
			return key
		case samePublic(key.Public(), cert.PublicKey):
			r.keep(f, c.content, c.origin)
			return key
		case c.origin == OnDisk:
			problems = append(problems, "does not belong to the certificate beside it")
		default:
			problems = append(problems, "entry "+f.SecretKey+" of the Secret kubeadm-certs does not belong to the certificate")
		}
	}
	switch {
	case onDisk && disk.Denied:
		r.keep(f, nil, Unread)
	case ca == nil || len(problems) > 0:
		r.lack(f, problems, hintShared())
	default:
		r.external(f, ca)
	}
	return nil
}

// external decides whether a CA without a key is meant to be one. It is only if
// nothing speaks for the key: neither a certificate key in the configuration,
// unless the Secret shows that the others have none either, nor a trace of its
// use here; and if everything that it would have to sign is there.
func (r *resolver) external(f SharedFile, ca *CA) {
	var unsigned []string
	want := func(path string) {
		if _, there := r.Disk[path]; !there {
			unsigned = append(unsigned, path)
		}
	}
	for _, l := range r.Leaves {
		if l.Authority == f.Authority {
			want(l.CertPath)
			want(l.KeyPath)
		}
	}
	if f.Authority == ClusterCA {
		for _, k := range r.Kubeconfigs {
			want(k.Path)
		}
	}
	content, there := r.Bundle[f.SecretKey]
	nobodyHasIt := there && len(content) == 0
	var why []string
	if r.KeyUsed[f.Authority] {
		why = append(why, "is missing although the controller manager here signs with it")
	}
	if len(why) == 0 && len(unsigned) == 0 && (nobodyHasIt || !r.CertificateKey) {
		ca.External = true
		return
	}
	hint := hintShared()
	if len(unsigned) > 0 {
		hint += "; or, if its CA is external, put the files that it has to sign here: " + strings.Join(unsigned, ", ")
	} else {
		hint += "; or, if its CA is external, leave out controlPlane.certificateKey: all that it has to sign is here"
	}
	if len(why) == 0 {
		why = []string{"is missing"}
	}
	r.lack(f, why, hint)
}

// serviceAccounts resolves the keys of service account tokens. sa.pub can always
// be had from sa.key.
func (r *resolver) serviceAccounts(pf, kf SharedFile) {
	diskKey, keyOnDisk := r.Disk[kf.Path]
	diskPub, pubOnDisk := r.Disk[pf.Path]
	var problems []string
	parse := func(content []byte, prefix string) crypto.Signer {
		key, err := parseKey(content)
		if err != nil {
			problems = append(problems, prefix+err.Error())
		}
		return key
	}
	var have, bundle crypto.Signer
	if keyOnDisk && !diskKey.Denied {
		have = parse(diskKey.Content, "")
	}
	if content := r.Bundle[kf.SecretKey]; len(content) > 0 {
		bundle = parse(content, "entry "+kf.SecretKey+" of the Secret kubeadm-certs ")
	}
	key := have
	switch {
	case bundle != nil && have != nil && samePublic(have.Public(), bundle.Public()), bundle == nil && have != nil:
		r.keep(kf, diskKey.Content, OnDisk)
	case bundle != nil:
		key = bundle
		r.keep(kf, r.Bundle[kf.SecretKey], FromSecret)
		if have != nil {
			r.note(kf, "holds another key than the Secret kubeadm-certs")
		}
	case keyOnDisk && diskKey.Denied:
		r.keep(kf, nil, Unread)
	default:
		r.lack(kf, problems, hintShared())
		return
	}
	switch {
	case pubOnDisk && diskPub.Denied:
		r.keep(pf, nil, Unread)
	case key == nil && pubOnDisk:
		r.keep(pf, diskPub.Content, OnDisk) // what it belongs to is not known
	case key == nil:
		r.keep(pf, nil, Unread)
	default:
		r.publicKey(pf, kf, key, pubOnDisk, diskPub.Content)
	}
}

func (r *resolver) publicKey(pf, kf SharedFile, key crypto.Signer, onDisk bool, disk []byte) {
	if onDisk {
		keys, err := parsePublicKeys(disk)
		switch {
		case err == nil && containsPublic(keys, key.Public()):
			r.keep(pf, disk, OnDisk)
			return
		case err == nil && len(r.Bundle[kf.SecretKey]) == 0:
			// Which of the two is the cluster's is not for a machine to guess.
			r.lack(pf, []string{"does not belong to sa.key beside it"}, hintShared())
			return
		}
	}
	if content := r.Bundle[pf.SecretKey]; len(content) > 0 {
		if keys, err := parsePublicKeys(content); err == nil && containsPublic(keys, key.Public()) {
			r.keep(pf, content, FromSecret)
			return
		}
	}
	content, err := publicPEM(key)
	if err != nil {
		r.errs = append(r.errs, fault.New(fault.Preflight, "cannot be derived from sa.key").At("file:"+pf.Path))
		return
	}
	r.keep(pf, content, Derived)
}

// externalEtcd resolves the credential for an etcd that somebody else runs. There
// is nothing to verify it against but itself.
func (r *resolver) externalEtcd(files map[string]SharedFile) {
	ca, hasCA := files[secretExternalEtcdCA]
	cert, hasCert := files[secretExternalEtcdCert]
	key, hasKey := files[secretExternalEtcdKey]
	sameCA := true
	if hasCA {
		if chosen := r.plain(ca, true); chosen != nil {
			// Each machine may have a certificate of its own for the same etcd.
			bundle, err := parseCertificates(r.Bundle[ca.SecretKey])
			sameCA = err != nil || sharesSPKI(chosen, bundle) && r.origin(ca) == OnDisk
		}
	}
	switch {
	case hasCert && hasKey:
		chosen := r.plain(cert, !sameCA || !r.pairOnDisk(cert, key))
		switch {
		case len(chosen) > 0:
			r.key(key, chosen[0], nil)
		case r.origin(cert) == Unread:
			r.keep(key, nil, Unread)
		default:
			r.key(key, nil, nil)
		}
	case hasCert:
		r.plain(cert, true)
	case hasKey:
		r.errs = append(r.errs, fault.New(fault.InvalidConfig, "the cluster's etcd.external has a keyFile and no certFile"))
	}
}

// plain resolves certificates that belong to no authority of the cluster; those
// of the Secret go first if they differ and preferSecret says so.
func (r *resolver) plain(f SharedFile, preferSecret bool) []*x509.Certificate {
	disk, onDisk := r.Disk[f.Path]
	var problems []string
	parse := func(content []byte, prefix string) []*x509.Certificate {
		certs, err := parseCertificates(content)
		if err == nil && r.Now.After(certs[0].NotAfter) {
			err = errors.New("expired on " + certs[0].NotAfter.UTC().Format(time.DateOnly))
		}
		if err != nil {
			problems = append(problems, prefix+err.Error())
			return nil
		}
		return certs
	}
	var have, bundle []*x509.Certificate
	if onDisk && !disk.Denied {
		have = parse(disk.Content, "")
	}
	if content := r.Bundle[f.SecretKey]; len(content) > 0 {
		bundle = parse(content, "entry "+f.SecretKey+" of the Secret kubeadm-certs ")
	}
	switch {
	case have != nil && (bundle == nil || !preferSecret || sameSPKI(have[0], bundle[0])):
		r.keep(f, disk.Content, OnDisk)
		return have
	case bundle != nil:
		if have != nil {
			r.note(f, "differs from the Secret kubeadm-certs")
		}
		r.keep(f, r.Bundle[f.SecretKey], FromSecret)
		return bundle
	case onDisk && disk.Denied:
		r.keep(f, nil, Unread)
		return nil
	}
	r.lack(f, problems, hintShared())
	return nil
}

// pairOnDisk tells whether a certificate and key on the machine belong together.
func (r *resolver) pairOnDisk(cert, key SharedFile) bool {
	certs, err := parseCertificates(r.Disk[cert.Path].Content)
	if err != nil {
		return false
	}
	k, err := parseKey(r.Disk[key.Path].Content)
	return err == nil && samePublic(k.Public(), certs[0].PublicKey)
}

func (r *resolver) origin(f SharedFile) Origin {
	for _, x := range r.out.Files {
		if x.Path == f.Path {
			return x.Origin
		}
	}
	return ""
}
