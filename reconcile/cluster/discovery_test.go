package cluster

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/fault"
)

func b64(data []byte) string { return base64.StdEncoding.EncodeToString(data) }

func TestDetachedJWS(t *testing.T) {
	// The header is a fixed vector: behaviour catalogue §0.4.
	const header = "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9"
	payload := []byte("apiVersion: v1\nkind: Config\n")
	mac := hmac.New(sha256.New, []byte("abcdef0123456789"))
	fmt.Fprintf(mac, "%s.%s", header, base64.RawURLEncoding.EncodeToString(payload))
	want := header + ".." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	if got := detachedJWS("abcdef", "abcdef0123456789", payload); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestParsePins(t *testing.T) {
	good := "sha256:" + strings.Repeat("0a", 32)
	for _, pin := range []string{good, strings.ToUpper(good)} {
		if _, err := ParsePins([]string{pin}); err != nil {
			t.Errorf("%s: %v", pin, err)
		}
	}
	for _, pin := range []string{"", "sha256", "sha256:", good[:70], good + "00", "sha1:" + strings.Repeat("0a", 20), strings.Repeat("0a", 32), "sha256:" + strings.Repeat("zz", 32)} {
		_, err := ParsePins([]string{good, pin})
		expect(t, err, fault.InvalidConfig, "sha256:<64 hex digits>")
	}
}

func TestSPKIPins(t *testing.T) {
	a, b := newAuthority("a"), newAuthority("b")
	sum := sha256.Sum256(b.cert.RawSubjectPublicKeyInfo)
	want := []string{a.pin(), "sha256:" + hex.EncodeToString(sum[:])}
	if diff := cmp.Diff(want, SPKIPins(append(a.pem, b.pem...))); diff != "" {
		t.Error(diff)
	}
	if got := SPKIPins([]byte("no certificate")); got != nil {
		t.Errorf("got %v", got)
	}
}

func TestTokenDiscovery(t *testing.T) {
	s := newCluster(t)
	c, st, waits, err := connect(t, s, options(s))
	if err != nil {
		t.Fatal(err)
	}
	bootstrap := strings.ReplaceAll(string(st.Bootstrap), b64(s.ca.pem), "CA")
	want := fmt.Sprintf(`apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: CA
    server: %s
  name: prod
contexts:
- context:
    cluster: prod
    user: tls-bootstrap-token-user
  name: tls-bootstrap-token-user@kubernetes
current-context: tls-bootstrap-token-user@kubernetes
kind: Config
users:
- name: tls-bootstrap-token-user
  user:
    token: %s
`, s.URL, token)
	if diff := cmp.Diff(want, bootstrap); diff != "" {
		t.Error(diff)
	}
	if st.Source != "token discovery" || st.Server != s.URL || !bytes.Equal(st.CA, s.ca.pem) || st.TokenID != tokenID ||
		st.Configuration.ClusterName != "prod" || string(st.KubeletConfig) != kubeletDocument || !st.NodeSeen || st.Node != nil {
		t.Errorf("state %v: %q %q %v", st, st.TokenID, st.KubeletConfig, st.NodeSeen)
	}
	if c.Requests() != 5 || len(s.requests()) != 5 || len(waits) != 0 {
		t.Errorf("%d requests counted, waits %v: %v", c.Requests(), waits, s.requests())
	}
	for i, r := range s.requests() {
		if anonymous := strings.HasSuffix(r, "cluster-info"); anonymous != (s.auth[i] == "") {
			t.Errorf("%s was sent with authorization %q", r, s.auth[i])
		}
	}
}

// What the cluster publishes decides where everything after discovery goes.
func TestTokenDiscoveryFollowsClusterInfo(t *testing.T) {
	s := newCluster(t)
	behind := serve(t, s.ca)
	behind.publish(behind.URL)
	s.publish(behind.URL)
	_, st, _, err := connect(t, s, options(s))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.requests()) != 2 || len(behind.requests()) != 3 || st.Server != behind.URL {
		t.Errorf("front %v, behind %v", s.requests(), behind.requests())
	}
}

func TestTokenDiscoveryPins(t *testing.T) {
	other := newAuthority("other")
	for name, tc := range map[string]struct {
		pins   func(s *apiServer) []string
		bundle func(s *apiServer) []byte
		unsafe bool
		ok     bool
		says   string
	}{
		"second of two pins":                  {pins: func(s *apiServer) []string { return []string{other.pin(), s.ca.pin()} }, ok: true},
		"second of two CAs":                   {bundle: func(s *apiServer) []byte { return append(other.pem, s.ca.pem...) }, ok: true},
		"both of two CAs":                     {bundle: func(s *apiServer) []byte { return append(other.pem, s.ca.pem...) }, pins: func(s *apiServer) []string { return []string{s.ca.pin(), other.pin()} }, ok: true},
		"none, unsafe":                        {pins: func(*apiServer) []string { return nil }, unsafe: true, ok: true},
		"another cluster's":                   {pins: func(*apiServer) []string { return []string{other.pin()} }, says: "none of the cluster's CA certificates is pinned"},
		"another cluster's, unsafe too":       {pins: func(*apiServer) []string { return []string{other.pin()} }, unsafe: true, says: "none of the cluster's CA"},
		"pinned CA added to a foreign bundle": {bundle: func(s *apiServer) []byte { return append(other.pem, s.ca.pem...) }, pins: func(*apiServer) []string { return []string{other.pin()} }, says: "not signed by a trusted CA"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newCluster(t)
			if tc.bundle != nil {
				s.on(clusterInfoPath, answer(clusterInfo(clusterInfoKubeconfig(s.URL, tc.bundle(s)))))
			}
			o := options(s)
			in := o.Join.Discovery.BootstrapToken
			if tc.pins != nil {
				in.CACertHashes = tc.pins(s)
			}
			in.UnsafeSkipCAVerification = tc.unsafe
			_, _, waits, err := connect(t, s, o)
			if tc.ok {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			expect(t, err, fault.Untrusted, tc.says)
			if len(waits) != 0 {
				t.Errorf("it was tried again: %v", waits)
			}
			if strings.Contains(tc.says, "none") && !strings.Contains(err.Error(), s.ca.pin()) {
				t.Errorf("%v does not list the pin seen", err)
			}
		})
	}
}

// Mistakes in the configuration are found without the network.
func TestTokenDiscoveryConfiguration(t *testing.T) {
	s := newCluster(t)
	for name, change := range map[string]func(*Options){
		"malformed pin":       func(o *Options) { o.Join.Discovery.BootstrapToken.CACertHashes = []string{"sha256:0"} },
		"no pin":              func(o *Options) { o.Join.Discovery.BootstrapToken.CACertHashes = nil },
		"malformed token":     func(o *Options) { o.Join.Discovery.BootstrapToken.Token = "ABC." + canary },
		"malformed tls token": func(o *Options) { o.Join.Discovery.TLSBootstrapToken = "ABC." + canary },
		"endpoint":            func(o *Options) { o.Join.Discovery.BootstrapToken.APIServerEndpoint = "10.0.0.1" },
		"no discovery":        func(o *Options) { o.Join.Discovery.BootstrapToken = nil },
	} {
		t.Run(name, func(t *testing.T) {
			o := options(s)
			change(&o)
			_, _, _, err := connect(t, s, o)
			expect(t, err, fault.InvalidConfig)
		})
	}
	if len(s.requests()) != 0 {
		t.Errorf("requests: %v", s.requests())
	}
}

// Answers after which trying again cannot help.
func TestTokenDiscoveryPermanent(t *testing.T) {
	kubeconfig := func(s *apiServer, text string) http.HandlerFunc {
		return answer(clusterInfo(strings.ReplaceAll(strings.ReplaceAll(text, "CA", b64(s.ca.pem)), "URL", s.URL)))
	}
	for name, tc := range map[string]struct {
		handler func(s *apiServer) http.HandlerFunc
		class   fault.Class
		says    string
	}{
		"wrong secret": {func(s *apiServer) http.HandlerFunc {
			k := clusterInfoKubeconfig(s.URL, s.ca.pem)
			return answer(configMap("kube-public", "cluster-info", map[string]string{"kubeconfig": k, "jws-kubeconfig-abcdef": detachedJWS(tokenID, "0123456789abcdef", []byte(k))}))
		}, fault.Untrusted, "was not made with the token abcdef"},
		"signature of other content": {func(s *apiServer) http.HandlerFunc {
			cm := clusterInfo(clusterInfoKubeconfig(s.URL, s.ca.pem))
			cm.Data["kubeconfig"] += "# changed\n"
			return answer(cm)
		}, fault.Untrusted, "was not made with the token"},
		"garbage signature": {func(s *apiServer) http.HandlerFunc {
			cm := clusterInfo(clusterInfoKubeconfig(s.URL, s.ca.pem))
			cm.Data["jws-kubeconfig-abcdef"] = strings.Repeat("x", 1000)
			return answer(cm)
		}, fault.Untrusted, "was not made with the token"},
		"empty kubeconfig": {func(s *apiServer) http.HandlerFunc { return answer(clusterInfo("")) }, fault.Untrusted, "holds no kubeconfig"},
		"unsigned": {func(s *apiServer) http.HandlerFunc {
			return answer(configMap("kube-public", "cluster-info", map[string]string{"kubeconfig": clusterInfoKubeconfig(s.URL, s.ca.pem)}))
		}, fault.Denied, "kubeadm token create"},
		"unauthorized": {func(s *apiServer) http.HandlerFunc { return refuse(401, "no") }, fault.Denied, "discovery.file"},
		"forbidden":    {func(s *apiServer) http.HandlerFunc { return refuse(403, "no") }, fault.Denied, "discovery.file"},
		"not found":    {func(s *apiServer) http.HandlerFunc { return refuse(404, "no") }, fault.Denied, "made by kubeadm"},
		"redirect": {func(s *apiServer) http.HandlerFunc {
			return http.RedirectHandler("https://example.invalid/", http.StatusFound).ServeHTTP
		}, fault.Unreachable, "does not redirect"},
		"bad request": {func(s *apiServer) http.HandlerFunc { return refuse(400, "no") }, fault.Unreachable, "http status 400 bad request: no"},
		"not json": {func(s *apiServer) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>log in first</html>") }
		}, fault.Unreachable, "not that of an API server"},
		"not a kubeconfig": {func(s *apiServer) http.HandlerFunc { return kubeconfig(s, "a: [canary") }, fault.Untrusted, "is not a kubeconfig: syntax error near line"},
		"no cluster":       {func(s *apiServer) http.HandlerFunc { return kubeconfig(s, "apiVersion: v1\nkind: Config\n") }, fault.Untrusted, "neither an unnamed cluster"},
		"http server": {func(s *apiServer) http.HandlerFunc {
			return kubeconfig(s, clusterInfoKubeconfig("http://127.0.0.1", s.ca.pem))
		}, fault.Untrusted, "https://host:port"},
		"no CA": {func(s *apiServer) http.HandlerFunc { return kubeconfig(s, clusterInfoKubeconfig("URL", nil)) }, fault.Untrusted, "holds no CA"},
		"CA as a path": {func(s *apiServer) http.HandlerFunc {
			return kubeconfig(s, strings.ReplaceAll(clusterInfoKubeconfig("URL", nil), "certificate-authority-data: ", "certificate-authority: /etc/hostname"))
		}, fault.Untrusted, "holds no CA"},
		"too long": {func(s *apiServer) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprint(w, `{"data":{"x":"`)
				_, _ = w.Write(bytes.Repeat([]byte{'x'}, fast.body))
			}
		}, fault.Unreachable, "more than"},
		"compressed bomb": {func(s *apiServer) http.HandlerFunc {
			return func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Encoding", "gzip")
				z := gzip.NewWriter(w)
				defer z.Close()
				_, _ = z.Write(make([]byte, fast.body+1))
			}
		}, fault.Unreachable, "more than"},
		"second answer differs": {func(s *apiServer) http.HandlerFunc {
			k := clusterInfoKubeconfig(s.URL, s.ca.pem)
			return first(1, answer(clusterInfo(k)), answer(clusterInfo(k+"# other\n")))
		}, fault.Untrusted, "differs between two reads"},
		"second answer forbidden": {func(s *apiServer) http.HandlerFunc {
			return first(1, answer(clusterInfo(clusterInfoKubeconfig(s.URL, s.ca.pem))), refuse(403, "no"))
		}, fault.Denied, "anonymous"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newCluster(t)
			s.on(clusterInfoPath, tc.handler(s))
			_, _, waits, err := connect(t, s, options(s))
			expect(t, err, tc.class, tc.says, s.address())
			if len(waits) != 0 && name != "unsigned" {
				t.Errorf("it was tried again: %v", waits)
			}
			for i, a := range s.auth {
				if a != "" {
					t.Errorf("%s carried a credential", s.seen[i])
				}
			}
		})
	}
}

// Plugins, paths and proxies in cluster-info are not for us.
func TestHostileClusterInfo(t *testing.T) {
	s := newCluster(t)
	ran := t.TempDir() + "/ran"
	kubeconfig := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: c
clusters:
- name: k
  cluster: {server: %q, certificate-authority-data: %s, proxy-url: "http://127.0.0.1:1", insecure-skip-tls-verify: false, tls-server-name: evil}
contexts:
- name: c
  context: {cluster: k, user: u}
users:
- name: u
  user:
    client-certificate: /etc/hostname
    tokenFile: /etc/hostname
    exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: touch, args: [%q]}
`, s.URL, b64(s.ca.pem), ran)
	s.on(clusterInfoPath, answer(clusterInfo(kubeconfig)))
	_, st, _, err := connect(t, s, options(s))
	if err != nil {
		t.Fatal(err)
	}
	for _, hostile := range []string{"exec", "evil", "proxy", "hostname"} {
		if strings.Contains(string(st.Bootstrap), hostile) {
			t.Errorf("%s got into the bootstrap kubeconfig", hostile)
		}
	}
	if _, state, _ := (diskFiles{}).ReadFile(ran, 1); state.Exists() {
		t.Error("the plugin ran")
	}
}

// Answers that are tried again, and then work.
func TestTokenDiscoveryRecovers(t *testing.T) {
	for name, broken := range map[string]http.HandlerFunc{
		"429": refuse(429, "later"),
		"500": refuse(500, "etcd"),
		"502": refuse(502, "gateway"),
		"503": refuse(503, "starting"),
		"504": refuse(504, "gateway"),
		"cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, "{")
			panic(http.ErrAbortHandler)
		},
		"hanging":        hang,
		"not yet signed": answer(configMap("kube-public", "cluster-info", map[string]string{"kubeconfig": "x"})),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newCluster(t)
			s.on(clusterInfoPath, first(2, broken, s.handler[clusterInfoPath]))
			o := options(s)
			o.limits.signer = time.Minute
			o.limits.request = 250 * time.Millisecond
			_, _, waits, err := connect(t, s, o)
			if err != nil {
				t.Fatal(err)
			}
			if len(waits) < 2 || waits[0].Attempt != 1 || waits[1].Attempt != 2 || waits[0].Err == "" || waits[0].What != "cluster-info from "+s.address() || waits[0].Left <= 0 {
				t.Errorf("waits %+v", waits)
			}
		})
	}
}

// Servers that never answer: the budget ends it, with a hint for the kind.
func TestTokenDiscoveryUnreachable(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	hanging := newCluster(t)
	hanging.on(clusterInfoPath, hang)
	slow := newCluster(t)
	slow.on(clusterInfoPath, func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			fmt.Fprint(w, " ")
			w.(http.Flusher).Flush()
			time.Sleep(10 * time.Millisecond)
		}
	})
	unavailable := newCluster(t)
	unavailable.on(clusterInfoPath, refuse(503, "starting\x1b[31m\nup"))
	for name, tc := range map[string]struct{ endpoint, says string }{
		"refused":      {closed.Addr().String(), "nothing listens there"},
		"no such name": {"not..a.name:6443", "has no address here"},
		"no tls":       {plain.Listener.Addr().String(), "does not speak TLS"},
		"hanging":      {hanging.address(), "no answer in time"},
		"slow body":    {slow.address(), "no answer in time"},
		"unavailable":  {unavailable.address(), "503 service unavailable: starting [31m up"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := brief(options(hanging))
			o.Join.Discovery.BootstrapToken.APIServerEndpoint = tc.endpoint
			start := time.Now()
			_, _, waits, err := connect(t, hanging, o)
			expect(t, err, fault.Unreachable, tc.says, tc.endpoint)
			if d := time.Since(start); d > 3*time.Second {
				t.Errorf("took %s", d)
			}
			if len(waits) == 0 && !strings.Contains(tc.says, "in time") {
				t.Error("it was tried only once")
			}
		})
	}
}

// The second, verified read does not believe other certificates.
func TestTokenDiscoveryCertificates(t *testing.T) {
	t.Run("of another name", func(t *testing.T) {
		s := serveAs(t, newAuthority("kubernetes"), func(c *x509.Certificate) { c.DNSNames = []string{"api.example", "kubernetes"} })
		s.publish(s.URL)
		_, _, waits, err := connect(t, s, options(s))
		expect(t, err, fault.Untrusted, "is for api.example, kubernetes, not for 127.0.0.1", "certSANs")
		if len(waits) != 0 {
			t.Errorf("waits %v", waits)
		}
	})
	t.Run("expired", func(t *testing.T) {
		s := serveAs(t, newAuthority("kubernetes"), func(c *x509.Certificate) {
			c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
			c.NotAfter = time.Now().Add(-time.Minute)
		})
		s.publish(s.URL)
		_, _, _, err := connect(t, s, options(s))
		expect(t, err, fault.Untrusted, "clock")
	})
	t.Run("of another CA", func(t *testing.T) {
		s := serve(t, newAuthority("impostor"))
		victim := newAuthority("kubernetes")
		s.on(clusterInfoPath, answer(clusterInfo(clusterInfoKubeconfig(s.URL, victim.pem))))
		o := options(s)
		o.Join.Discovery.BootstrapToken.CACertHashes = []string{victim.pin()}
		_, _, _, err := connect(t, s, o)
		expect(t, err, fault.Untrusted, "not signed by a trusted CA")
	})
}

func TestInterrupted(t *testing.T) {
	s := newCluster(t)
	s.on(clusterInfoPath, refuse(503, "starting"))
	o := options(s)
	o.Join.Timeouts.Discovery = time.Minute
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	o.Wait = func(w Waiting) {
		if w.Attempt == 2 {
			cancel()
		}
	}
	_, _, err := Connect(ctx, o)
	expect(t, err, fault.Interrupted, "waiting for cluster-info", "503")

	ctx, cancel = context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	o.Wait = nil
	_, _, err = Connect(ctx, o)
	expect(t, err, fault.Timeout, "waiting for cluster-info")
}

// A plan gives up sooner than the configuration says.
func TestReadTimeout(t *testing.T) {
	s := newCluster(t)
	s.on(clusterInfoPath, refuse(503, "starting"))
	o := options(s)
	o.Join.Timeouts.Discovery = time.Minute
	o.ReadTimeout = 50 * time.Millisecond
	start := time.Now()
	_, _, _, err := connect(t, s, o)
	expect(t, err, fault.Unreachable)
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("took %s", d)
	}
}
