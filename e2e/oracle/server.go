package oracle

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"
)

// What every case joins with. The token's id must not be that of the example
// which kubeadm's own dry-run objects are signed for (behaviour catalogue §0.3).
const (
	token          = "oracle.0123456789abcdef"
	certificateKey = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
)

// Authority is the cluster's shared key material, by the paths below certificatesDir.
type Authority struct {
	Files map[string][]byte
	ca    *x509.Certificate
	key   crypto.Signer
}

// NewAuthority makes the three CAs and the key pair for service accounts.
// They are elliptic: it is the leaves that follow encryptionAlgorithm.
func NewAuthority() (*Authority, error) {
	a := &Authority{Files: map[string][]byte{}}
	for base, cn := range map[string]string{"ca": "kubernetes", "front-proxy-ca": "front-proxy-ca", "etcd/ca": "etcd-ca"} {
		cert, key, err := newCA(cn)
		if err != nil {
			return nil, err
		}
		if base == "ca" {
			a.ca, a.key = cert, key
		}
		private, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			return nil, err
		}
		a.Files[base+".crt"] = encode("CERTIFICATE", cert.Raw)
		a.Files[base+".key"] = encode("EC PRIVATE KEY", private)
	}
	sa, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalECPrivateKey(sa)
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(sa.Public())
	if err != nil {
		return nil, err
	}
	a.Files["sa.key"], a.Files["sa.pub"] = encode("EC PRIVATE KEY", private), encode("PUBLIC KEY", public)
	return a, nil
}

func encode(kind string, data []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data})
}

func newCA(cn string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: cn}, DNSNames: []string{cn},
		NotBefore: time.Now().Add(-time.Hour).UTC(), NotAfter: time.Now().Add(24 * time.Hour).UTC(),
		KeyUsage: x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		IsCA:     true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return cert, key, err
}

// serving is the fake server's own certificate, for 127.0.0.1.
func (a *Authority) serving() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "oracle"},
		NotBefore: a.ca.NotBefore, NotAfter: a.ca.NotAfter, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.ca, key.Public(), a.key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// bundle is the data of the kubeadm-certs Secret (behaviour catalogue §8.3).
func (a *Authority) bundle(external map[string][]byte) (map[string][]byte, error) {
	key, err := hex.DecodeString(certificateKey)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	data := map[string][]byte{}
	add := func(name string, content []byte) {
		nonce := make([]byte, gcm.NonceSize())
		_, _ = rand.Read(nonce)
		data[strings.ReplaceAll(name, "/", "-")] = gcm.Seal(nonce, nonce, content, nil)
	}
	for name, content := range a.Files {
		if external == nil || !strings.HasPrefix(name, "etcd/") {
			add(name, content)
		}
	}
	for name, content := range external {
		add(name, content)
	}
	return data, nil
}

// published is what the fake server publishes.
type published struct {
	configuration, kubelet string
	bundle                 map[string][]byte
}

// serve starts the fake API server: GET only, and NotFound for whatever a join
// does not need, which kubeadm's dry-run then makes up.
func (a *Authority) serve(c published) (*httptest.Server, error) {
	cert, err := a.serving()
	if err != nil {
		return nil, err
	}
	objects := map[string]any{}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		object, found := objects[r.URL.Path]
		if r.Method != http.MethodGet || !found {
			w.WriteHeader(http.StatusNotFound)
			object = map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": http.StatusNotFound,
				"message": r.Method + " " + r.URL.Path + " not found", "details": map[string]any{}}
		}
		_ = json.NewEncoder(w).Encode(object)
	}))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	srv.Config.ErrorLog = nil
	srv.StartTLS()
	kubeconfig := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters:\n- name: \"\"\n  cluster:\n    server: %s\n    certificate-authority-data: %s\n",
		srv.URL, base64.StdEncoding.EncodeToString(a.Files["ca.crt"]))
	for _, o := range []struct {
		namespace, resource, name, kind, field string
		data                                   any
	}{
		{"kube-public", "configmaps", "cluster-info", "ConfigMap", "data", map[string]string{"kubeconfig": kubeconfig, "jws-kubeconfig-oracle": sign(kubeconfig)}},
		{"kube-system", "configmaps", "kubeadm-config", "ConfigMap", "data", map[string]string{"ClusterConfiguration": c.configuration}},
		{"kube-system", "configmaps", "kubelet-config", "ConfigMap", "data", map[string]string{"kubelet": c.kubelet}},
		{"kube-system", "configmaps", "kube-proxy", "ConfigMap", "data", map[string]string{"config.conf": "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"}},
		{"kube-system", "secrets", "kubeadm-certs", "Secret", "data", c.bundle},
	} {
		objects["/api/v1/namespaces/"+o.namespace+"/"+o.resource+"/"+o.name] = map[string]any{
			"apiVersion": "v1", "kind": o.kind, "metadata": map[string]any{"namespace": o.namespace, "name": o.name}, o.field: o.data}
	}
	return srv, nil
}

// sign gives the detached signature of cluster-info (behaviour catalogue §0.4).
func sign(kubeconfig string) string {
	id, secret, _ := strings.Cut(token, ".")
	b64 := base64.RawURLEncoding
	header := b64.EncodeToString([]byte(`{"alg":"HS256","kid":"` + id + `"}`))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(header + "." + b64.EncodeToString([]byte(kubeconfig))))
	return header + ".." + b64.EncodeToString(mac.Sum(nil))
}

// parseCertificate reads the first certificate of a PEM file.
func parseCertificate(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	return x509.ParseCertificate(block.Bytes)
}
