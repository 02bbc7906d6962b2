package pki

import (
	"io/fs"
	"path"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
)

// Authority is a certificate authority of the cluster, by its file name below
// certificatesDir without the ending.
type Authority string

// The authorities. Behaviour catalogue §5.3.
const (
	ClusterCA    Authority = "ca"
	FrontProxyCA Authority = "front-proxy-ca"
	EtcdCA       Authority = "etcd/ca"
)

// Kind is what a shared file holds.
type Kind string

// The kinds.
const (
	KindCA         Kind = "ca"          // certificates of an authority
	KindKey        Kind = "key"         // a private key
	KindPublicKey  Kind = "public-key"  // that service account tokens are verified with
	KindClientCert Kind = "client-cert" // for an external etcd
)

// SharedFile is a file that is the same on every control plane.
type SharedFile struct {
	Path string
	// SecretKey is its name in the kubeadm-certs Secret. Behaviour catalogue §8.3.
	SecretKey string
	Mode      fs.FileMode
	Kind      Kind
	// Authority is empty for what belongs to none: the service account keys and
	// the credential for an external etcd.
	Authority Authority
}

// The names in the Secret.
const (
	secretSAKey            = "sa.key"
	secretSAPub            = "sa.pub"
	secretExternalEtcdCA   = "external-etcd-ca.crt"
	secretExternalEtcdCert = "external-etcd.crt"
	secretExternalEtcdKey  = "external-etcd.key"
)

// SharedFiles are the files that a control plane of this cluster shares with the
// others, each certificate before its key.
func SharedFiles(c *kubeadm.ClusterConfiguration) []SharedFile {
	dir := c.CertificatesDir
	if dir == "" {
		dir = kubeadm.DefaultCertificatesDir
	}
	var out []SharedFile
	authority := func(a Authority, secret string) {
		out = append(out,
			SharedFile{path.Join(dir, string(a)+".crt"), secret + ".crt", 0o644, KindCA, a},
			SharedFile{path.Join(dir, string(a)+".key"), secret + ".key", 0o600, KindKey, a})
	}
	authority(ClusterCA, "ca")
	authority(FrontProxyCA, "front-proxy-ca")
	out = append(out,
		SharedFile{path.Join(dir, "sa.pub"), secretSAPub, 0o644, KindPublicKey, ""},
		SharedFile{path.Join(dir, "sa.key"), secretSAKey, 0o600, KindKey, ""})
	if c.Etcd.External == nil {
		authority(EtcdCA, "etcd-ca")
		return out
	}
	// Without TLS there are no such files, and the CA alone will do.
	for _, f := range []SharedFile{
		{c.Etcd.External.CAFile, secretExternalEtcdCA, 0o644, KindCA, ""},
		{c.Etcd.External.CertFile, secretExternalEtcdCert, 0o644, KindClientCert, ""},
		{c.Etcd.External.KeyFile, secretExternalEtcdKey, 0o600, KindKey, ""},
	} {
		if f.Path != "" {
			out = append(out, f)
		}
	}
	return out
}

// Difference between what a shared file holds and what it should hold.
type Difference struct {
	// Text is one clause, with the file as its subject: "holds another key".
	Text string
	// Foreign says that what is there is whole, and another cluster's or of an
	// earlier life of this one: replacing it destroys something.
	Foreign bool
	// Notes are remarks on a content that is accepted as it is.
	Notes []string
}

// CompareShared tells whether a file means what it should; ok is true if it does.
// Comments and line ends do not count, nor do further CAs beside the right one
// (behaviour catalogue, appendix B 9).
func CompareShared(k Kind, have, want []byte) (d Difference, ok bool) {
	switch k {
	case KindCA, KindClientCert:
		return compareCertificates(k, have, want)
	case KindPublicKey:
		h, err := parsePublicKeys(have)
		if err != nil {
			return Difference{Text: err.Error()}, false
		}
		w, err := parsePublicKeys(want)
		if err != nil {
			return Difference{Text: "should hold something that does not parse"}, false
		}
		for _, key := range w {
			if !containsPublic(h, key) {
				return Difference{Text: "lacks the public key of sa.key"}, false
			}
		}
		return Difference{}, true
	}
	h, err := parseKey(have)
	if err != nil {
		return Difference{Text: err.Error()}, false
	}
	w, err := parseKey(want)
	if err != nil || !samePublic(h.Public(), w.Public()) {
		return Difference{Text: "holds another key than the cluster's", Foreign: true}, false
	}
	return Difference{}, true
}

func compareCertificates(k Kind, have, want []byte) (Difference, bool) {
	h, err := parseCertificates(have)
	if err != nil {
		return Difference{Text: err.Error()}, false
	}
	w, err := parseCertificates(want)
	switch {
	case err != nil:
		return Difference{Text: "should hold something that does not parse"}, false
	case k == KindCA && !sharesSPKI(h, w):
		return Difference{Text: "holds the CA of another cluster", Foreign: true}, false
	case k == KindClientCert && !sameSPKI(h[0], w[0]):
		return Difference{Text: "holds another certificate than the cluster's", Foreign: true}, false
	case !sameSPKI(h[0], w[0]):
		// kubeadm and the components that sign take the first one.
		return Difference{Text: "does not begin with the CA that signs"}, false
	case h[0].NotAfter.Before(w[0].NotAfter):
		return Difference{Text: "holds an older certificate of the same key"}, false
	}
	d := Difference{}
	for _, c := range h[1:] {
		if k == KindCA && !containsSPKI(w, c) {
			d.Notes = append(d.Notes, "holds a further CA, "+pin(c)+" (a rotation?)")
		}
	}
	return d, true
}
