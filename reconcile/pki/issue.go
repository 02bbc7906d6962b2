package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math"
	"math/big"
	"time"

	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"

	"github.com/kubejoin/kubejoin/fault"
)

// CA is a certificate authority as this machine has it.
type CA struct {
	// Certificates are those of its file; the first one signs.
	Certificates []*x509.Certificate
	// Key is nil if it is elsewhere by intent (External), or may not be read.
	Key crypto.Signer
	// External says that nobody has the key here: this CA signs nothing.
	External bool
}

// backdate is how far before now a certificate begins, for clocks that are
// behind. Behaviour catalogue §5.3.
const backdate = 5 * time.Minute

// Issue makes a certificate and a key for it, as kubeadm does (behaviour
// catalogue §5.3). The key is generated here: callers run several at once.
func Issue(id Identity, ca *CA, algorithm string, now time.Time, validity time.Duration) (certPEM, keyPEM []byte, err error) {
	key, err := NewKey(algorithm)
	if err != nil {
		return nil, nil, err
	}
	return sign(id, ca, key, now.Add(-backdate), now.Add(validity))
}

// ClientCertificate makes a client certificate that lives in memory only, for
// asking as somebody whose certificate is not written yet or may not be read.
func ClientCertificate(ca *CA, commonName string, organization []string, now time.Time, validity time.Duration) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	return sign(Identity{CommonName: commonName, Organization: organization, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
		ca, key, now.Add(-backdate), now.Add(validity))
}

func sign(id Identity, ca *CA, key crypto.Signer, from, until time.Time) (certPEM, keyPEM []byte, err error) {
	if ca == nil || ca.Key == nil || len(ca.Certificates) == 0 {
		return nil, nil, fault.New(fault.Preflight, "the CA's private key is not on this machine").
			WithHint("a certificate of an external CA has to be made by who holds its key")
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(math.MaxInt64-1))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial.Add(serial, big.NewInt(1)),
		Subject:      pkix.Name{CommonName: id.CommonName, Organization: id.Organization},
		DNSNames:     id.DNSNames,
		IPAddresses:  id.IPs,
		NotBefore:    from.UTC(),
		NotAfter:     until.UTC(),
		// Also for ECDSA, as kubeadm has it: behaviour catalogue §11 #18.
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:           id.Usages,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Certificates[0], key.Public(), ca.Key)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	if certPEM, err = certutil.EncodeCertificates(cert); err != nil {
		return nil, nil, err
	}
	keyPEM, err = keyutil.MarshalPrivateKeyToPEM(key) // PKCS#1 for RSA, SEC1 for ECDSA
	return certPEM, keyPEM, err
}
