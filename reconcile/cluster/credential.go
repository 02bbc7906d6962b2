package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	certutil "k8s.io/client-go/util/cert"
)

// ReadCredential says what the kubelet's kubeconfig at path is worth at a time.
// The files it refers to are read too, so that the credential is complete.
func ReadCredential(files Files, path string, now time.Time) Credential {
	c := Credential{Paths: []string{path}}
	fail := func(state CredentialState, format string, args ...any) Credential {
		c.State, c.Why = state, fmt.Sprintf(format, args...)
		return c
	}
	read := through(files)
	data, err := read(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail(CredentialAbsent, "%s does not exist", path)
	case errors.Is(err, fs.ErrPermission):
		return fail(CredentialUnreadable, "%s may not be read", path)
	case err != nil:
		return fail(CredentialBroken, "%v", err)
	}
	config, err := parseKubeconfig(data)
	if err != nil {
		return fail(CredentialBroken, "%s %v", path, err)
	}
	context := config.Contexts[config.CurrentContext]
	if context == nil {
		return fail(CredentialBroken, "%s has no current context", path)
	}
	cluster, user := config.Clusters[context.Cluster], config.AuthInfos[context.AuthInfo]
	if cluster == nil || user == nil {
		return fail(CredentialBroken, "the current context of %s names a cluster or user that is not there", path)
	}
	c.Server, c.ClusterName = cluster.Server, context.Cluster

	a := access{clusterName: context.Cluster, contextName: config.CurrentContext, userName: context.AuthInfo}
	var paths []string
	a.cluster, a.user, paths, err = embed(cluster, user, filepath.Dir(path), read)
	c.Paths = append(c.Paths, paths...)
	c.CA = a.cluster.CertificateAuthorityData
	switch {
	// The kubelet writes the file before it has a certificate: behaviour
	// catalogue §4.7.
	case errors.Is(err, fs.ErrNotExist) && len(a.cluster.CertificateAuthorityData) > 0 && a.user != nil && a.user.ClientCertificate+a.user.ClientKey != "":
		return fail(CredentialPending, "%s does not exist yet", paths[len(paths)-1])
	case errors.Is(err, fs.ErrPermission):
		return fail(CredentialUnreadable, "%s may not be read", paths[len(paths)-1])
	case err != nil:
		return fail(CredentialBroken, "%s refers to a file that cannot be used: %v", path, err)
	}
	if err := checkServer(c.Server); err != nil {
		return fail(CredentialBroken, "%s %v", path, err)
	}
	if _, err := certutil.ParseCertsPEM(c.CA); err != nil {
		return fail(CredentialBroken, "%s holds no CA certificate", path)
	}
	if !a.hasCredential() {
		return fail(CredentialBroken, "%s holds no credential", path)
	}
	if len(a.user.ClientCertificateData) > 0 {
		pair, err := tls.X509KeyPair(a.user.ClientCertificateData, a.user.ClientKeyData)
		if err != nil {
			if user.ClientCertificate != "" {
				c.BrokenFile = resolve(filepath.Dir(path), user.ClientCertificate)
			}
			return fail(CredentialBroken, "the client certificate and key of %s are not a pair: %v", path, err)
		}
		leaf, err := x509.ParseCertificate(pair.Certificate[0])
		if err != nil {
			return fail(CredentialBroken, "the client certificate of %s does not parse", path)
		}
		c.CommonName, c.NotAfter, c.Serial = leaf.Subject.CommonName, leaf.NotAfter, leaf.SerialNumber.Text(16)
		if now.After(leaf.NotAfter) {
			return fail(CredentialExpired, "the client certificate expired at %s", leaf.NotAfter.UTC().Format(time.RFC3339))
		}
		if now.Before(leaf.NotBefore) {
			return fail(CredentialBroken, "the client certificate is not valid before %s; is the clock right?", leaf.NotBefore.UTC().Format(time.RFC3339))
		}
	}
	if c.kubeconfig, err = a.kubeconfig(a.clusterName); err != nil {
		return fail(CredentialBroken, "%s cannot be rendered", path)
	}
	c.State = CredentialValid
	return c
}

// Certificate is a client certificate file by itself, as the kubelet keeps it.
type Certificate struct {
	CommonName string
	NotAfter   time.Time

	leaf *x509.Certificate
}

// ReadCertificate reads the certificate and key in one file. It is nil if there
// is none that a kubelet would go on using: absent, unreadable, broken or expired.
func ReadCertificate(files Files, path string, now time.Time) *Certificate {
	data, err := through(files)(path)
	if err != nil {
		return nil
	}
	pair, err := tls.X509KeyPair(data, data)
	if err != nil {
		return nil
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil || now.After(leaf.NotAfter) {
		return nil
	}
	return &Certificate{CommonName: leaf.Subject.CommonName, NotAfter: leaf.NotAfter, leaf: leaf}
}

// SignedBy tells whether one of the CA certificates in a PEM bundle signed it.
func (c *Certificate) SignedBy(bundle []byte) bool {
	certs, err := certutil.ParseCertsPEM(bundle)
	if err != nil {
		return false
	}
	for _, ca := range certs {
		if c.leaf.CheckSignatureFrom(ca) == nil {
			return true
		}
	}
	return false
}
