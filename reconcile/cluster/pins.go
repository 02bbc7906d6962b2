package cluster

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"strings"

	certutil "k8s.io/client-go/util/cert"

	"github.com/kubejoin/kubejoin/fault"
)

// Pins are digests of the public keys of CA certificates.
type Pins [][sha256.Size]byte

// ParsePins reads pins of the form "sha256:<64 hex digits>", the digest of a
// certificate's SubjectPublicKeyInfo. The error has class fault.InvalidConfig.
func ParsePins(pins []string) (Pins, error) {
	var out Pins
	for _, pin := range pins {
		algorithm, digits, ok := strings.Cut(pin, ":")
		digest, err := hex.DecodeString(digits)
		if !ok || !strings.EqualFold(algorithm, "sha256") || err != nil || len(digest) != sha256.Size {
			return nil, fault.New(fault.InvalidConfig, "CA pin %q is not of the form sha256:<64 hex digits>", pin).
				At("discovery.bootstrapToken.caCertHashes")
		}
		out = append(out, [sha256.Size]byte(digest))
	}
	return out, nil
}

// Match are the certificates that are pinned. Order and position in a chain do
// not matter: behaviour catalogue §11 #49.
func (p Pins) Match(certs []*x509.Certificate) []*x509.Certificate {
	var out []*x509.Certificate
	for _, c := range certs {
		sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
		for _, pin := range p {
			if sum == pin {
				out = append(out, c)
				break
			}
		}
	}
	return out
}

// SPKIPins are the pins of each certificate in a PEM bundle, in its order; nil
// if it holds none or one that does not parse.
func SPKIPins(pemBundle []byte) []string {
	certs, err := certutil.ParseCertsPEM(pemBundle)
	if err != nil {
		return nil
	}
	pins := make([]string, len(certs))
	for i, c := range certs {
		sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
		pins[i] = "sha256:" + hex.EncodeToString(sum[:])
	}
	return pins
}

// sharesCA tells whether two PEM bundles have a CA key in common.
func sharesCA(a, b []byte) bool {
	pins, err := ParsePins(SPKIPins(a))
	if err != nil {
		return false
	}
	certs, err := certutil.ParseCertsPEM(b)
	return err == nil && len(pins.Match(certs)) > 0
}
