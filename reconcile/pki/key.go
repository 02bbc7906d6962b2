package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"

	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"

	"github.com/kubejoin/kubejoin/fault"
)

// NewKey makes a private key of one of ClusterConfiguration's encryption
// algorithms; empty means RSA-2048. Behaviour catalogue §5.3.
func NewKey(algorithm string) (crypto.Signer, error) {
	switch algorithm {
	case "", "RSA-2048":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "RSA-3072":
		return rsa.GenerateKey(rand.Reader, 3072)
	case "RSA-4096":
		return rsa.GenerateKey(rand.Reader, 4096)
	case "ECDSA-P256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ECDSA-P384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	}
	return nil, fault.New(fault.InvalidConfig, "unknown encryption algorithm %q", algorithm).At("encryptionAlgorithm")
}

// parseKey reads a private key. Its errors repeat nothing of the content.
func parseKey(content []byte) (crypto.Signer, error) {
	if len(bytes.TrimSpace(content)) == 0 {
		return nil, errors.New("is empty")
	}
	key, err := keyutil.ParsePrivateKeyPEM(content)
	if err != nil {
		return nil, errors.New("holds no private key, or a broken one")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("holds a key that cannot sign")
	}
	return signer, nil
}

// parseCertificates reads all certificates of a PEM file. One that is cut off is
// an error: the PEM decoder skips it silently.
func parseCertificates(content []byte) ([]*x509.Certificate, error) {
	if len(bytes.TrimSpace(content)) == 0 {
		return nil, errors.New("is empty")
	}
	certs, err := certutil.ParseCertsPEM(content)
	if err != nil || len(certs) != bytes.Count(content, []byte("-----BEGIN CERTIFICATE-----")) {
		return nil, errors.New("holds no certificate, or a broken one")
	}
	return certs, nil
}

// parsePublicKeys reads the keys with which service account tokens are verified.
func parsePublicKeys(content []byte) ([]crypto.PublicKey, error) {
	if len(bytes.TrimSpace(content)) == 0 {
		return nil, errors.New("is empty")
	}
	keys, err := keyutil.ParsePublicKeysPEM(content)
	if err != nil {
		return nil, errors.New("holds no public key, or a broken one")
	}
	out := make([]crypto.PublicKey, len(keys))
	for i, k := range keys {
		out[i] = k
	}
	return out, nil
}

// publicPEM is the form of sa.pub.
func publicPEM(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

func samePublic(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(x crypto.PublicKey) bool })
	return ok && k.Equal(b)
}

func containsPublic(keys []crypto.PublicKey, key crypto.PublicKey) bool {
	for _, k := range keys {
		if samePublic(k, key) {
			return true
		}
	}
	return false
}

func sameSPKI(a, b *x509.Certificate) bool {
	return bytes.Equal(a.RawSubjectPublicKeyInfo, b.RawSubjectPublicKeyInfo)
}

// sharesSPKI tells whether two sets of certificates have a key in common.
func sharesSPKI(a, b []*x509.Certificate) bool {
	for _, x := range a {
		if containsSPKI(b, x) {
			return true
		}
	}
	return false
}

func containsSPKI(certs []*x509.Certificate, c *x509.Certificate) bool {
	for _, x := range certs {
		if sameSPKI(x, c) {
			return true
		}
	}
	return false
}

// pin is a certificate's key as kubeadm writes it: "sha256:<digest of the SPKI>".
func pin(c *x509.Certificate) string {
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return "sha256:" + hex.EncodeToString(sum[:])
}
