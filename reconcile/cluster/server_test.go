package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

// trusted is a CA in the test process's system trust store, for HTTPS downloads
// and for API servers with a public certificate.
var trusted *authority

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "kubejoin-cluster")
	if err != nil {
		log.Fatal(err)
	}
	trusted = newAuthority("public")
	file := filepath.Join(dir, "roots.pem")
	if err := os.WriteFile(file, trusted.pem, 0o600); err != nil {
		log.Fatal(err)
	}
	os.Setenv("SSL_CERT_FILE", file)
	os.Setenv("SSL_CERT_DIR", dir)
	for _, v := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		os.Unsetenv(v)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// authority is a CA made at run time.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(name string) *authority {
	key := newKey()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return &authority{cert: cert, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

func (a *authority) pin() string { return SPKIPins(a.pem)[0] }

// issue makes a certificate and its key, both PEM.
func (a *authority) issue(change func(*x509.Certificate)) (certPEM, keyPEM []byte) {
	key := newKey()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(0x5eed), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		panic(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
}

func nodeName(name string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: "system:node:" + name, Organization: []string{"system:nodes"}}
	}
}

// apiServer answers like an API server, or as badly as a test wants.
type apiServer struct {
	*httptest.Server
	ca      *authority
	mu      sync.Mutex
	conns   int
	seen    []string // "METHOD path" of each request, "auth" header kept apart
	auth    []string
	handler map[string]http.HandlerFunc
}

// serve starts a server whose certificate is signed by ca and names 127.0.0.1.
func serve(t *testing.T, ca *authority) *apiServer {
	t.Helper()
	return serveAs(t, ca, func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} })
}

func serveAs(t *testing.T, ca *authority, names func(*x509.Certificate)) *apiServer {
	t.Helper()
	s := &apiServer{ca: ca, handler: map[string]http.HandlerFunc{}}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.seen = append(s.seen, r.Method+" "+r.URL.Path)
		s.auth = append(s.auth, r.Header.Get("Authorization"))
		h := s.handler[r.URL.Path]
		s.mu.Unlock()
		if h == nil {
			h = refuse(404, "not found")
		}
		h(w, r)
	}))
	pair, err := tls.X509KeyPair(ca.issue(names))
	if err != nil {
		t.Fatal(err)
	}
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequestClientCert}
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.mu.Lock()
			s.conns++
			s.mu.Unlock()
		}
	}
	s.StartTLS()
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s
}

func (s *apiServer) address() string { return strings.TrimPrefix(s.URL, "https://") }

func (s *apiServer) on(path string, h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handler[path] = h
}

func (s *apiServer) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.seen...)
}

const (
	clusterInfoPath   = "/api/v1/namespaces/kube-public/configmaps/cluster-info"
	kubeadmConfigPath = "/api/v1/namespaces/kube-system/configmaps/kubeadm-config"
	kubeletConfigPath = "/api/v1/namespaces/kube-system/configmaps/kubelet-config"
	nodePath          = "/api/v1/nodes/w1"
	nodesPath         = "/api/v1/nodes"
	csrPath           = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
)

func answer(v any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
}

func refuse(code int, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		// A hostile server echoes what it was sent.
		_ = json.NewEncoder(w).Encode(metav1.Status{Status: "Failure", Code: int32(code), Message: message + " " + r.Header.Get("Authorization")})
	}
}

// first answers the first n requests by one handler, later ones by another.
func first(n int, h, then http.HandlerFunc) http.HandlerFunc {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n--
		use := then
		if n >= 0 {
			use = h
		}
		mu.Unlock()
		use(w, r)
	}
}

func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func configMap(namespace, name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Data:       data,
	}
}

// The token's secret half is the canary: no text may show it.
const (
	tokenID = "abcdef"
	canary  = "canary0123456789"
	token   = tokenID + "." + canary
)

func clusterInfoKubeconfig(server string, ca []byte) string {
	return fmt.Sprintf(`apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: %s
    server: %s
  name: ""
contexts: null
current-context: ""
kind: Config
preferences: {}
users: null
`, b64(ca), server)
}

func clusterInfo(kubeconfig string) *corev1.ConfigMap {
	return configMap("kube-public", "cluster-info", map[string]string{
		"kubeconfig":                kubeconfig,
		"jws-kubeconfig-" + tokenID: detachedJWS(tokenID, canary, []byte(kubeconfig)),
	})
}

var kubeletDocument = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"

// cluster is a healthy one; the tests break it.
func newCluster(t *testing.T) *apiServer {
	t.Helper()
	s := serve(t, newAuthority("kubernetes"))
	s.publish(s.URL)
	return s
}

func (s *apiServer) publish(server string) {
	s.on(clusterInfoPath, answer(clusterInfo(clusterInfoKubeconfig(server, s.ca.pem))))
	s.on(kubeadmConfigPath, answer(configMap("kube-system", "kubeadm-config", map[string]string{"ClusterConfiguration": "clusterName: prod\nkubernetesVersion: v1.37.2\n"})))
	s.on(kubeletConfigPath, answer(configMap("kube-system", "kubelet-config", map[string]string{"kubelet": kubeletDocument})))
}

// diskFiles reads below a temporary directory.
type diskFiles struct{}

func (diskFiles) ReadFile(path string, max int64) ([]byte, host.FileState, error) {
	info, err := os.Stat(path)
	if os.IsNotExist(err) {
		return nil, host.FileState{}, nil
	}
	if err != nil {
		return nil, host.FileState{}, err
	}
	if info.Mode().Perm() == 0 { // also for root
		return nil, host.FileState{Kind: host.File, Denied: true}, nil
	}
	data, err := os.ReadFile(path)
	return data, host.FileState{Kind: host.File, Size: info.Size()}, err
}

func write(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

var fast = limits{request: 30 * time.Second, base: 2 * time.Millisecond, longest: 10 * time.Millisecond, signer: 50 * time.Millisecond, body: 64 << 10}

// brief is for servers that do not recover.
func brief(o Options) Options {
	o.Join.Timeouts = kubeadm.Timeouts{Discovery: 150 * time.Millisecond, KubernetesAPICall: 150 * time.Millisecond}
	return o
}

// options join by token. Nobody should wait as long as the budgets allow.
func options(s *apiServer) Options {
	return Options{
		Join: &kubeadm.JoinConfiguration{
			Discovery: kubeadm.Discovery{
				BootstrapToken:    &kubeadm.BootstrapTokenDiscovery{Token: token, APIServerEndpoint: s.address(), CACertHashes: []string{s.ca.pin()}},
				TLSBootstrapToken: token,
			},
			Timeouts: kubeadm.Timeouts{Discovery: time.Minute, KubernetesAPICall: time.Minute},
		},
		NodeName:  "w1",
		Files:     diskFiles{},
		UserAgent: "kubejoin/test",
		DecodeClusterConfiguration: func(_ string, data []byte) (*kubeadm.ClusterConfiguration, []string, error) {
			var c struct{ ClusterName, KubernetesVersion string }
			if err := yaml.UnmarshalStrict(data, &c); err != nil {
				return nil, nil, err
			}
			return &kubeadm.ClusterConfiguration{ClusterName: c.ClusterName, KubernetesVersion: c.KubernetesVersion}, nil, nil
		},
		limits: fast,
	}
}

// withFile joins by a discovery file instead.
func withFile(o Options, path string) Options {
	o.Join.Discovery.BootstrapToken = nil
	o.Join.Discovery.File = &kubeadm.FileDiscovery{KubeConfigPath: path}
	return o
}

// connect is Connect, and checks what holds for every call: no canary in any
// text, an address in every error, no request that is not a GET.
func connect(t *testing.T, s *apiServer, o Options) (*Client, *State, []Waiting, error) {
	t.Helper()
	var waits []Waiting
	o.Wait = func(w Waiting) { waits = append(waits, w) }
	c, st, err := Connect(context.Background(), o)
	noCanary(t, waits)
	if err != nil {
		noCanary(t, err.Error(), fault.HintOf(err))
		if c != nil || st != nil {
			t.Errorf("an error comes with a client or state")
		}
	} else {
		noCanary(t, fmt.Sprintf("%+v %#v %v", *st, *st, st), st.Warnings, st.Unseen)
	}
	for _, r := range s.requests() {
		if !strings.HasPrefix(r, "GET ") {
			t.Errorf("%s is not a read", r)
		}
	}
	return c, st, waits, err
}

func noCanary(t *testing.T, values ...any) {
	t.Helper()
	for _, v := range values {
		if text := fmt.Sprintf("%+v", v); strings.Contains(text, "canary") {
			t.Errorf("shows a secret: %s", text)
		}
	}
}

// expect checks an error's class and that it and its hint contain each fragment.
func expect(t *testing.T, err error, class fault.Class, fragments ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %s", class)
	}
	if got := fault.ClassOf(err); got != class {
		t.Errorf("class %s, want %s: %v", got, class, err)
	}
	text := err.Error() + "\n" + fault.HintOf(err)
	for _, f := range fragments {
		if !strings.Contains(text, f) {
			t.Errorf("%q does not say %q", text, f)
		}
	}
}

type x509Certificate = x509.Certificate

// httpServer serves without TLS.
func httpServer(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// connectProxy is an HTTP proxy that tunnels.
func connectProxy(t *testing.T) string {
	t.Helper()
	return httpServer(t, func(w http.ResponseWriter, r *http.Request) {
		server, err := net.Dial("tcp", r.Host)
		if r.Method != http.MethodConnect || err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer server.Close()
		client, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer client.Close()
		_, _ = io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(server, client) }()
		_, _ = io.Copy(client, server)
	})
}
