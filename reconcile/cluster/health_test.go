package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// component serves HTTPS as a component of the control plane does.
func component(t *testing.T, ca, clients *authority, h http.HandlerFunc) string {
	t.Helper()
	certPEM, keyPEM := ca.issue(func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} })
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if clients != nil {
		s.TLS.ClientCAs = x509.NewCertPool()
		s.TLS.ClientCAs.AppendCertsFromPEM(clients.pem)
		s.TLS.ClientAuth = tls.VerifyClientCertIfGiven
	}
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

func TestHealthzTLS(t *testing.T) {
	ca, other := newAuthority("cluster"), newAuthority("other")
	fine := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }
	certPEM, keyPEM := ca.issue(nodeName("cp1"))
	_, otherKey := ca.issue(nodeName("cp1"))
	sick := func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(500)
		fmt.Fprint(w, "[+]ping ok\n[-]etcd failed: reason withheld\n[+]log ok\nlivez check failed\n")
	}
	// It answers only those who show a certificate, as with --anonymous-auth=false.
	private := func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) == 0 {
			w.WriteHeader(401)
			fmt.Fprint(w, "Unauthorized")
		}
	}
	early := func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(403)
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"kubernetes-admin may not get /livez","code":403}`)
	}
	plain := httpServer(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(503)
		fmt.Fprint(w, `{"health":"false"}`)
	})
	for name, tt := range map[string]struct {
		url           string
		ca, cert, key []byte
		want          string // part of the error; empty means healthy
	}{
		"verified":                  {url: component(t, ca, nil, fine) + "/livez", ca: ca.pem},
		"self-signed on loopback":   {url: component(t, other, nil, fine) + "/healthz"},
		"another CA":                {url: component(t, other, nil, fine) + "/livez", ca: ca.pem, want: "unknown authority"},
		"names the checks":          {url: component(t, ca, nil, sick) + "/livez", ca: ca.pem, want: "/livez says 500 Internal Server Error: etcd failed: reason withheld"},
		"before it has its rules":   {url: component(t, ca, nil, early) + "/livez", ca: ca.pem, want: "/livez says 403 Forbidden: kubernetes-admin may not get /livez"},
		"anonymous is refused":      {url: component(t, ca, ca, private) + "/livez", ca: ca.pem, want: "401 Unauthorized"},
		"with a client certificate": {url: component(t, ca, ca, private) + "/livez", ca: ca.pem, cert: certPEM, key: keyPEM},
		"key of another":            {url: component(t, ca, ca, private) + "/livez", ca: ca.pem, cert: certPEM, key: otherKey, want: "do not fit"},
		"a redirect":                {url: component(t, ca, nil, http.RedirectHandler("https://example.com/", http.StatusFound).ServeHTTP) + "/livez", ca: ca.pem, want: "302"},
		"plain, of etcd":            {url: plain + "/readyz", want: `503 Service Unavailable: {"health":"false"}`},
		"nobody listens":            {url: "https://127.0.0.1:1/livez", want: "127.0.0.1:1: connect: connection refused"},
		"no certificate in the CA":  {url: "https://127.0.0.1:1/livez", ca: []byte("x"), want: "holds no certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			err := HealthzTLS(t.Context(), tt.url, tt.ca, tt.cert, tt.key)
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want %q in it", err, tt.want)
			case err != nil && (strings.Contains(err.Error(), "[+]") || strings.Contains(err.Error(), "PRIVATE")):
				t.Errorf("says too much: %v", err)
			}
		})
	}
}
