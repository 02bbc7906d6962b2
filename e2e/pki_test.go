package e2e

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"testing"
	"time"
)

// authority is a CA that signs what a case needs.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  string
}

// otherCA is a CA that the cluster does not know.
func otherCA(t *testing.T) authority {
	t.Helper()
	key := newKey(t)
	a := authority{key: key, cert: &x509.Certificate{
		Subject: pkix.Name{CommonName: "another-ca"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}}
	a.pem, _ = a.issue(t, a.cert, key)
	block, _ := pem.Decode([]byte(a.pem))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	a.cert = cert
	return a
}

// clusterCA is the cluster's own CA.
func (f *fixture) clusterCA(t *testing.T) authority {
	t.Helper()
	read := func(name string) *pem.Block {
		data, err := f.cluster.ControlPlane.ReadFile("/etc/kubernetes/pki/" + name)
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(data)
		if block == nil {
			t.Fatalf("%s holds no PEM block", name)
		}
		return block
	}
	block := read("ca.crt")
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.ParsePKCS1PrivateKey(read("ca.key").Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key, string(pem.EncodeToMemory(block))}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue signs a certificate and returns it and its key as PEM.
func (a authority) issue(t *testing.T, template *x509.Certificate, key *ecdsa.PrivateKey) (certPEM, keyPEM string) {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}))
}

// client issues a client certificate that is valid until a time.
func (a authority) client(t *testing.T, name, organization string, until time.Time) (certPEM, keyPEM string) {
	t.Helper()
	return a.issue(t, &x509.Certificate{
		Subject:   pkix.Name{CommonName: name, Organization: []string{organization}},
		NotBefore: until.Add(-48 * time.Hour), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, newKey(t))
}

// server issues the certificate of a web server.
func (a authority) server(t *testing.T, host string) (certPEM, keyPEM string) {
	t.Helper()
	return a.issue(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, newKey(t))
}

// kubeconfig renders one; user is its lines as YAML, none for a file without user.
func kubeconfig(server, ca, user string) string {
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- name: lab
  cluster:
    server: %s
    certificate-authority-data: %s
`, server, base64.StdEncoding.EncodeToString([]byte(ca)))
	if user == "" {
		return text + "contexts:\n- name: lab\n  context: {cluster: lab, user: \"\"}\ncurrent-context: lab\n"
	}
	return text + "users:\n- name: lab\n  user:\n" + indent(indent(user)) +
		"contexts:\n- name: lab\n  context: {cluster: lab, user: lab}\ncurrent-context: lab\n"
}

// clientCertificate is the user of a kubeconfig that holds a certificate.
func clientCertificate(cert, key string) string {
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	return "client-certificate-data: " + encode(cert) + "\nclient-key-data: " + encode(key) + "\n"
}
