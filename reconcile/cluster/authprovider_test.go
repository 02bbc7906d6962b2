package cluster

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

// idToken is an unsigned OpenID Connect token that expires late enough: a client
// looks at nothing but what it says of itself, the API server at the rest.
func idToken() string { return idTokenUntil(4102444800) }

func idTokenUntil(unix int64) string { return webToken("https://issuer", "a", unix) }

// webToken differs from others of the same claims by its mark.
func webToken(issuer, mark string, unix int64) string {
	part := func(v string) string { return base64.RawURLEncoding.EncodeToString([]byte(v)) }
	return part(`{"alg":"none","kid":"`+mark+`"}`) + "." +
		part(fmt.Sprintf(`{"exp":%d,"sub":"%s","iss":"%s","aud":["other","kubejoin"]}`, unix, canary, issuer)) + "."
}

// issuer is an OpenID Connect issuer whose token endpoint is handled by token.
func issuer(t *testing.T, token http.HandlerFunc) *apiServer {
	t.Helper()
	i := serve(t, trusted)
	i.on("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"token_endpoint":"%s/token"}`, i.URL)
	})
	i.on("/token", token)
	return i
}

// issue answers with a status and what a token endpoint says, secrets of the request
// and all.
func issue(status int, format string, a ...any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"echo":%q,`, r.Form.Encode()+r.Header.Get("Authorization"))
		fmt.Fprintf(w, format+"}", a...)
	}
}

const renewed = `"access_token":"access-token","token_type":"bearer","id_token":"%s"`

// providedBy is a user with an auth-provider of that issuer, and more.
func providedBy(i *apiServer, more string) string {
	return "{auth-provider: {name: oidc, config: {idp-issuer-url: '" + i.URL + "', idp-certificate-authority-data: " + b64(trusted.pem) +
		", client-id: kubejoin, " + more + "}}}"
}

func withUser(t *testing.T, s *apiServer, user string) (o Options, path string) {
	t.Helper()
	path = write(t, filepath.Join(t.TempDir(), "d.conf"), discoveryFile(s.clusterYAML(), user))
	o = withFile(options(s), path)
	o.Join.Discovery.TLSBootstrapToken = ""
	return o, path
}

// An expired token is renewed with the file's refresh-token, for this run only.
// The issuer's certificate is verified by the CA that the file has for it.
func TestAuthProviderRenews(t *testing.T) {
	old := "id-token: " + idTokenUntil(1) + ", refresh-token: refresh+/" + canary + ", client-secret: secret+/" + canary
	soon := "id-token: " + idTokenUntil(time.Now().Add(40*time.Second).Unix())
	for name, tc := range map[string]struct {
		config string
		token  http.HandlerFunc
		class  fault.Class
		says   string
		asked  int // how often the token endpoint was; 0 means that it does not matter
	}{
		"same refresh-token":  {old, issue(200, renewed, idToken()), 0, "", 1},
		"other refresh-token": {old, issue(200, renewed+`,"refresh_token":"next-`+canary+`"`, idToken()), 0, "log in again", 1},
		"no id-token yet":     {"refresh-token: " + canary, issue(200, renewed, idToken()), 0, "", 1},
		"about to expire":     {soon + ", refresh-token: " + canary, issue(200, renewed, idToken()), 0, "", 1},
		"503 at first":        {old, first(2, issue(503, `"error":"temporarily_unavailable"`), issue(200, renewed, idToken())), 0, "", 0},
		"429 at first":        {old, first(2, issue(429, `"error":"slow_down"`), issue(200, renewed, idToken())), 0, "", 0},
		"no id_token":         {old, issue(200, `"access_token":"access-token","token_type":"bearer"`), fault.Denied, "scope openid", 1},
		"refused":             {old, issue(400, `"error":"invalid_grant","error_description":"%s"`, canary), fault.Denied, "400 bad request (invalid_grant)", 0},
		"no such endpoint":    {old, issue(404, `"a":"b"`), fault.Denied, "404 not found", 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, i := newCluster(t), issuer(t, tc.token)
			o, path := withUser(t, s, providedBy(i, tc.config))
			before, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, st, _, err := connect(t, s, o)
			if after, e := os.ReadFile(path); e != nil || string(after) != string(before) {
				t.Errorf("the file was changed: %v", e)
			}
			if n := strings.Count(strings.Join(i.requests(), ","), "POST /token"); tc.asked != 0 && n != tc.asked {
				t.Errorf("asked for a token %d times", n)
			}
			if tc.class != 0 {
				expect(t, err, tc.class, tc.says)
				if n := len(s.requests()); n != 0 {
					t.Errorf("%d requests", n)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(st.Warnings, "\n"); (tc.says == "") != (got == "") || !strings.Contains(got, tc.says) {
				t.Errorf("warnings %q", got)
			}
			if boot := string(st.Bootstrap); !strings.Contains(boot, "    token: "+idToken()) || strings.Contains(boot, "auth-provider") || strings.Contains(boot, "refresh") {
				t.Error("the bootstrap kubeconfig has not the new token alone")
			}
			for _, a := range s.auth {
				if a != "Bearer "+idToken() {
					t.Errorf("authorization %q", a)
				}
			}
		})
	}
}

// What is wrong with the issuer is told as that, and waited for only where it may pass.
func TestAuthProviderWithoutIssuer(t *testing.T) {
	const refresh = "refresh-token: " + canary
	for name, tc := range map[string]struct {
		metadata http.HandlerFunc
		user     func(*apiServer) string
		class    fault.Class
		says     string
		waits    bool
	}{
		"wrong path":     {refuse(404, "x"), nil, fault.Denied, "check idp-issuer-url", false},
		"out of order":   {refuse(503, "x"), nil, fault.Unreachable, "503", true},
		"plain endpoint": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"token_endpoint":"http://a/token"}`) }, nil, fault.Denied, "no https token_endpoint", false},
		"no metadata":    {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, nil, fault.Denied, "no https token_endpoint", false},
		"redirect":       {redirect("https://127.0.0.1:1"), nil, fault.Denied, "302", false},
		"hangs":          {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, nil, fault.Unreachable, "no answer in time", false},
		"of another CA": {nil, func(i *apiServer) string {
			return "{auth-provider: {name: oidc, config: {idp-issuer-url: '" + i.URL + "', idp-certificate-authority-data: " + b64(newAuthority("x").pem) + ", client-id: kubejoin, " + refresh + "}}}"
		}, fault.Untrusted, "set idp-certificate-authority", false},
		"CA file absent": {nil, func(i *apiServer) string {
			return "{auth-provider: {name: oidc, config: {idp-issuer-url: '" + i.URL + "', idp-certificate-authority: /nope/ca.pem, client-id: kubejoin, " + refresh + "}}}"
		}, fault.InvalidConfig, "/nope/ca.pem", false},
		"CA is none": {nil, func(i *apiServer) string {
			return "{auth-provider: {name: oidc, config: {idp-issuer-url: '" + i.URL + "', idp-certificate-authority-data: bm9uZQ==, client-id: kubejoin, " + refresh + "}}}"
		}, fault.InvalidConfig, "no certificate", false},
		"http": {nil, func(*apiServer) string {
			return "{auth-provider: {name: oidc, config: {idp-issuer-url: 'http://a', client-id: kubejoin, " + refresh + "}}}"
		}, fault.InvalidConfig, "https://host/path", false},
	} {
		t.Run(name, func(t *testing.T) {
			s, i := newCluster(t), issuer(t, issue(500, `"error":"x"`))
			if tc.metadata != nil {
				i.on("/.well-known/openid-configuration", tc.metadata)
			}
			user := providedBy(i, refresh)
			if tc.user != nil {
				user = tc.user(i)
			}
			o, _ := withUser(t, s, user)
			o = brief(o)
			_, _, waits, err := connect(t, s, o)
			expect(t, err, tc.class, tc.says)
			if tc.waits != (len(waits) > 0) {
				t.Errorf("waited: %v", waits)
			}
			if n := len(s.requests()); n != 0 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// A request to the issuer that is lost is not in the way of the next one.
func TestAuthProviderHangsOnce(t *testing.T) {
	s := newCluster(t)
	var n atomic.Int32
	good := issue(200, renewed, idToken())
	i := issuer(t, func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) == 1 {
			<-r.Context().Done()
			return
		}
		good(w, r)
	})
	o, _ := withUser(t, s, providedBy(i, "refresh-token: "+canary))
	o.limits = defaultLimits
	o.limits.request = 200 * time.Millisecond
	if _, _, _, err := connect(t, s, o); err != nil {
		t.Error(err)
	}
}

// What an interrupted run left for the kubelet is used again, as long as it is valid:
// the next one wants the same file, and an issuer that renews once is not asked twice.
func TestAuthProviderIsTakenUp(t *testing.T) {
	s := newCluster(t)
	var n atomic.Int64
	var i *apiServer
	i = issuer(t, func(w http.ResponseWriter, r *http.Request) {
		issue(200, renewed+`,"refresh_token":"next-`+canary+`"`, webToken(i.URL, fmt.Sprint(n.Add(1)), time.Now().Add(time.Hour).Unix()))(w, r)
	})
	for name, tc := range map[string]struct {
		more string
		left func(bootstrap string) string
		same bool
	}{
		"as it was left":   {"", func(b string) string { return b }, true},
		"with the old one": {"id-token: " + webToken("https://issuer", "a", 1) + ", ", func(b string) string { return b }, true},
		"nothing was left": {"", nil, false},

		"expired":          {"", func(string) string { return discoveryFile(s.clusterYAML(), "{token: "+webToken(i.URL, "x", 1)+"}") }, false},
		"another issuer's": {"", func(string) string { return discoveryFile(s.clusterYAML(), "{token: "+idToken()+"}") }, false},
		"no web token":     {"", func(string) string { return discoveryFile(s.clusterYAML(), "{token: "+token+"}") }, false},
		"no kubeconfig":    {"", func(string) string { return "x" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			o, _ := withUser(t, s, providedBy(i, tc.more+"refresh-token: "+canary))
			_, st, _, err := connect(t, s, o)
			if err != nil {
				t.Fatal(err)
			}
			asked := n.Load()
			if tc.left != nil {
				o.Files = leftFile{tc.left(string(st.Bootstrap))}
			}
			_, again, _, err := connect(t, s, o)
			if err != nil {
				t.Fatal(err)
			}
			if same := n.Load() == asked; same != tc.same || tc.same != (string(again.Bootstrap) == string(st.Bootstrap)) {
				t.Errorf("the issuer was not asked: %t, the bootstrap kubeconfig is the same: %t", same, string(again.Bootstrap) == string(st.Bootstrap))
			}
		})
	}
}

// leftFile is a machine with a bootstrap kubeconfig.
type leftFile struct{ bootstrap string }

func (f leftFile) ReadFile(path string, max int64) ([]byte, host.FileState, error) {
	if path == BootstrapKubeconfigPath {
		return []byte(f.bootstrap), host.FileState{Kind: host.File}, nil
	}
	return diskFiles{}.ReadFile(path, max)
}

// A credential that client-go prefers to the auth-provider is the one that is used.
func TestAuthProviderBesides(t *testing.T) {
	s := newCluster(t)
	i := issuer(t, issue(200, renewed, idToken()))
	config := strings.TrimSuffix(strings.TrimPrefix(providedBy(i, "refresh-token: "+canary), "{"), "}")
	for name, tc := range map[string]struct{ user, auth, contains string }{
		"token":    {"{token: " + canary + ", " + config + "}", "Bearer " + canary, "    token: " + canary},
		"password": {"{username: u, password: " + canary + ", " + config + "}", "Basic ", "username: u"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, s.ca)
			s.publish(s.URL)
			o, _ := withUser(t, s, tc.user)
			_, st, _, err := connect(t, s, o)
			if err != nil {
				t.Fatal(err)
			}
			if boot := string(st.Bootstrap); !strings.Contains(boot, tc.contains) || strings.Contains(boot, "auth-provider") || strings.Contains(boot, "token: Basic") {
				t.Error("the bootstrap kubeconfig has another credential")
			}
			for _, a := range s.auth {
				if !strings.HasPrefix(a, tc.auth) {
					t.Errorf("authorization %q", a)
				}
			}
		})
	}
	if n := len(i.requests()); n != 0 {
		t.Errorf("the issuer was asked %d times", n)
	}
}

// With the cluster as a file no issuer is asked.
func TestAuthProviderOffline(t *testing.T) {
	s, maps := offline(t)
	data := document(t, map[string]any{"apiVersion": "v1", "kind": "List", "items": maps})
	i := issuer(t, issue(200, renewed, idToken()))
	for name, tc := range map[string]struct {
		config string
		ok     bool
	}{
		"valid":   {"id-token: " + idToken(), true},
		"expired": {"id-token: " + idTokenUntil(1) + ", refresh-token: " + canary, false},
		"none":    {"refresh-token: " + canary, false},
	} {
		t.Run(name, func(t *testing.T) {
			o, _ := withUser(t, s, providedBy(i, tc.config))
			st, err := FromFile([]byte(data), o)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(string(st.Bootstrap), "    token: "+idToken()); got != tc.ok || strings.Contains(string(st.Bootstrap), "auth-provider") {
				t.Errorf("has the token: %t", got)
			}
			if got := strings.Contains(fmt.Sprint(st.Unseen), "auth-provider"); got == tc.ok {
				t.Errorf("unseen %v", st.Unseen)
			}
		})
	}
	if n := len(i.requests()) + len(s.requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}
