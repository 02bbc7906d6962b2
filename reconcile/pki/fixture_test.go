package pki

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"maps"
	"math/big"
	"strings"
	"testing"
	"time"

	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

const year = 365 * 24 * time.Hour

func cluster() *kubeadm.ClusterConfiguration {
	return &kubeadm.ClusterConfiguration{
		ClusterName: "kubernetes", CertificatesDir: "/etc/kubernetes/pki", ControlPlaneEndpoint: "api.example.com:8443",
		Networking: kubeadm.Networking{ServiceSubnet: "10.96.0.0/12", DNSDomain: "cluster.local"},
	}
}

func input() Input {
	return Input{Cluster: cluster(), NodeName: "cp2", Endpoint: kubeadm.APIEndpoint{AdvertiseAddress: "10.0.0.5", BindPort: 6443}}
}

// authority is a CA of a test, made here because the product never makes one.
func authority(t *testing.T, cn string, until time.Time) (ca *CA, cert, key []byte) {
	t.Helper()
	signer := newKey(t)
	return authorityWith(t, cn, until, signer)
}

func authorityWith(t *testing.T, cn string, until time.Time, signer crypto.Signer) (ca *CA, cert, key []byte) {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<60))
	must(t, err)
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: cn}, DNSNames: []string{cn},
		NotBefore: until.Add(-10 * year), NotAfter: until, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	must(t, err)
	c, err := x509.ParseCertificate(der)
	must(t, err)
	cert, err = certutil.EncodeCertificates(c)
	must(t, err)
	return &CA{Certificates: []*x509.Certificate{c}, Key: signer}, cert, keyPEM(t, signer)
}

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	k, err := NewKey("ECDSA-P256")
	must(t, err)
	return k
}

func keyPEM(t *testing.T, k crypto.Signer) []byte {
	t.Helper()
	out, err := keyutil.MarshalPrivateKeyToPEM(k)
	must(t, err)
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// set is all shared files of a cluster, by their name in the Secret.
func set(t *testing.T) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, name := range []string{"ca", "front-proxy-ca", "etcd-ca"} {
		_, out[name+".crt"], out[name+".key"] = authority(t, name, now.Add(9*year))
	}
	k := newKey(t)
	pub, err := publicPEM(k)
	must(t, err)
	out["sa.key"], out["sa.pub"] = keyPEM(t, k), pub
	return out
}

// onDisk puts files of a set where they belong, all of them if none is named.
func onDisk(set map[string][]byte, names ...string) map[string]Disk {
	out := map[string]Disk{}
	for _, f := range SharedFiles(cluster()) {
		for _, n := range names {
			if n == f.SecretKey {
				out[f.Path] = Disk{Content: set[n]}
			}
		}
		if len(names) == 0 {
			out[f.Path] = Disk{Content: set[f.SecretKey]}
		}
	}
	return out
}

// others is everything that the CAs have signed, whatever it holds: Resolve only
// looks at whether it is there.
func others(t *testing.T) map[string]Disk {
	t.Helper()
	leaves, _, err := Leaves(input())
	must(t, err)
	out := map[string]Disk{}
	for _, l := range leaves {
		out[l.CertPath], out[l.KeyPath] = Disk{}, Disk{}
	}
	for _, k := range Kubeconfigs(input()) {
		out[k.Path] = Disk{}
	}
	return out
}

func union(all ...map[string]Disk) map[string]Disk {
	out := map[string]Disk{}
	for _, m := range all {
		maps.Copy(out, m)
	}
	return out
}

// seal is what kubeadm does to a file before it uploads it.
func seal(t *testing.T, content, key []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(key)
	must(t, err)
	gcm, err := cipher.NewGCM(block)
	must(t, err)
	nonce := make([]byte, gcm.NonceSize())
	_, err = rand.Read(nonce)
	must(t, err)
	return gcm.Seal(nonce, nonce, content, nil)
}

// noSecret fails if a private key shows in a text.
func noSecret(t *testing.T, text string, secrets ...[]byte) {
	t.Helper()
	for _, s := range secrets {
		for line := range strings.Lines(string(s)) {
			if line = strings.TrimSpace(line); len(line) > 20 && !strings.HasPrefix(line, "---") && strings.Contains(text, line) {
				t.Errorf("a secret shows: %s", text)
			}
		}
	}
}
