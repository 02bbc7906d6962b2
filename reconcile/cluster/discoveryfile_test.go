package cluster

import (
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubejoin/kubejoin/fault"
)

func redirect(to string) http.HandlerFunc {
	return http.RedirectHandler(to, http.StatusFound).ServeHTTP
}

// discoveryFile is a kubeconfig; cluster and user are YAML flow mappings.
func discoveryFile(cluster, user string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- name: some
  cluster: %s
contexts:
- name: ctx
  context: {cluster: some, user: me}
current-context: ctx
users:
- name: me
  user: %s
`, cluster, user)
}

func (s *apiServer) clusterYAML(more ...string) string {
	return "{" + strings.Join(append(more, "server: '"+s.URL+"'", "certificate-authority-data: "+b64(s.ca.pem)), ", ") + "}"
}

// Every kind of credential that a discovery file may hold, used for all
// requests and written to the bootstrap kubeconfig.
func TestFileDiscoveryCredentials(t *testing.T) {
	s := newCluster(t)
	cert, key := s.ca.issue(nodeName("bootstrap"))
	dir := t.TempDir()
	write(t, filepath.Join(dir, "token"), canary+"\n")
	write(t, filepath.Join(dir, "c.pem"), string(cert))
	write(t, filepath.Join(dir, "k.pem"), string(key))
	plugin := write(t, filepath.Join(dir, "plugin.sh"), "#!/bin/sh\necho '{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":{\"token\":\"'$SECRET'\"}}'\n")
	if err := os.Chmod(plugin, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ user, auth, contains string }{
		"token":       {"{token: " + canary + "}", "Bearer " + canary, "token: " + canary},
		"token file":  {"{tokenFile: token}", "Bearer " + canary, "token: " + canary},
		"password":    {"{username: u, password: " + canary + "}", "Basic ", "password: " + canary},
		"certificate": {fmt.Sprintf("{client-certificate-data: %s, client-key-data: %s}", b64(cert), b64(key)), "", "client-key-data: " + b64(key)},
		"files":       {"{client-certificate: c.pem, client-key: " + dir + "/k.pem}", "", "client-key-data: " + b64(key)},
		"oidc":        {"{auth-provider: {name: oidc, config: {idp-issuer-url: 'https://127.0.0.1:1', client-id: kubejoin, id-token: " + idToken() + "}}}", "Bearer " + idToken(), "    token: " + idToken()},
		"exec":        {"{exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: ./plugin.sh, env: [{name: SECRET, value: " + canary + "}]}}", "Bearer " + canary, "command: " + plugin},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, s.ca)
			s.publish(s.URL)
			o := withFile(options(s), write(t, filepath.Join(dir, name+".conf"), discoveryFile(s.clusterYAML("proxy-url: ''"), tc.user)))
			o.Join.Discovery.TLSBootstrapToken = ""
			_, st, _, err := connect(t, s, o)
			if err != nil {
				t.Fatal(err)
			}
			if st.Source != "file discovery" || st.TokenID != "" || len(s.requests()) != 4 || !strings.Contains(string(st.Bootstrap), tc.contains) ||
				strings.Contains(string(st.Bootstrap), "tokenFile") || strings.Contains(string(st.Bootstrap), "auth-provider") {
				t.Errorf("%v %v", st, s.requests())
			}
			for _, a := range s.auth {
				if !strings.HasPrefix(a, tc.auth) || (tc.auth == "") != (a == "") {
					t.Errorf("authorization %q", a)
				}
			}
			config, err := clientcmd.Load(st.Bootstrap)
			if err != nil {
				t.Fatal(err)
			}
			if config.CurrentContext != "ctx" || config.Contexts["ctx"].Cluster != "prod" || config.Contexts["ctx"].AuthInfo != "me" || len(config.Clusters) != 1 {
				t.Errorf("contexts %v", config.Contexts)
			}
		})
	}
}

// A TLS bootstrap token replaces the file's user, and keeps how the server is
// reached: kubeadm loses that.
func TestFileDiscoveryWithToken(t *testing.T) {
	s := serveAs(t, newAuthority("kubernetes"), func(c *x509Certificate) { c.DNSNames = []string{"internal"} })
	s.publish(s.URL)
	proxy := connectProxy(t)
	file := write(t, filepath.Join(t.TempDir(), "d.conf"), discoveryFile(s.clusterYAML("tls-server-name: internal", "proxy-url: '"+proxy+"'"), "{token: file-"+canary+"}"))
	_, st, _, err := connect(t, s, withFile(options(s), file))
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.Load(st.Bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	c := config.Clusters["prod"]
	if c == nil || c.TLSServerName != "internal" || c.ProxyURL != proxy || c.Server != s.URL {
		t.Errorf("cluster %+v", c)
	}
	if len(config.AuthInfos) != 1 || config.AuthInfos["tls-bootstrap-token-user"].Token != token || st.TokenID != tokenID {
		t.Error("the token is not the only credential")
	}
	if got := s.auth; got[0] != "Bearer file-"+canary || got[1] != "Bearer "+token {
		t.Errorf("cluster-info was read with %q, the rest with %q", got[0], got[1])
	}
}

// The shape that kubeadm publishes and documents: no context, no user.
func TestFileDiscoveryUnnamed(t *testing.T) {
	s := newCluster(t)
	o := withFile(options(s), "discovery.conf")
	o.LocalFiles = func(path string) ([]byte, error) {
		if path != "discovery.conf" {
			return nil, fs.ErrNotExist
		}
		return []byte(clusterInfoKubeconfig(s.URL, s.ca.pem)), nil
	}
	_, st, _, err := connect(t, s, o)
	if err != nil {
		t.Fatal(err)
	}
	if st.TokenID != tokenID || s.auth[0] != "" {
		t.Errorf("%q, authorization %q", st.TokenID, s.auth[0])
	}
}

func TestFileDiscoveryClusterInfo(t *testing.T) {
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		class   fault.Class // 0: it works
		says    string      // in the warning or the error
	}{
		"forbidden":      {refuse(403, "no"), 0, "used as it is"},
		"absent":         {refuse(404, "no"), 0, "used as it is"},
		"garbage inside": {answer(configMap("kube-public", "cluster-info", map[string]string{"kubeconfig": "]"})), 0, ""},
		"another server": {answer(clusterInfo(clusterInfoKubeconfig("https://other:6443", newAuthority("x").pem))), 0, "https://other:6443"},
		"unauthorized":   {refuse(401, "no"), fault.Denied, "discovery file's credential is not accepted"},
		"unavailable":    {refuse(503, "starting"), fault.Unreachable, "503"},
		"hanging":        {hang, fault.Unreachable, "no answer in time"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newCluster(t)
			s.on(clusterInfoPath, tc.handler)
			file := write(t, filepath.Join(t.TempDir(), "d.conf"), discoveryFile(s.clusterYAML(), "{token: "+canary+"}"))
			o := withFile(options(s), file)
			if tc.class == fault.Unreachable {
				o = brief(o)
			}
			_, st, waits, err := connect(t, s, o)
			if tc.class != 0 {
				expect(t, err, tc.class, tc.says)
				if tc.class == fault.Denied && len(waits) != 0 {
					t.Errorf("waits %v", waits)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(strings.Join(st.Warnings, "\n"), tc.says) || (tc.says == "") != (len(st.Warnings) == 0) {
				t.Errorf("warnings %q", st.Warnings)
			}
			if st.Server != s.URL || string(st.CA) != string(s.ca.pem) {
				t.Error("the file does not win")
			}
		})
	}
}

// A file without a CA takes the cluster's, but only from a server that the
// machine's trust store vouches for.
func TestFileDiscoveryWithoutCA(t *testing.T) {
	user := "{token: " + canary + "}"
	public := serve(t, trusted)
	public.publish(public.URL)
	file := write(t, filepath.Join(t.TempDir(), "d.conf"), discoveryFile("{server: '"+public.URL+"'}", user))
	_, st, _, err := connect(t, public, withFile(options(public), file))
	if err != nil {
		t.Fatal(err)
	}
	if string(st.CA) != string(trusted.pem) {
		t.Error("the CA was not filled in")
	}

	public.on(clusterInfoPath, refuse(403, "no"))
	_, _, _, err = connect(t, public, withFile(options(public), file))
	expect(t, err, fault.InvalidConfig, "names no CA", "certificate-authority-data")

	private := newCluster(t)
	_, _, _, err = connect(t, private, withFile(options(private), write(t, file, discoveryFile("{server: '"+private.URL+"'}", user))))
	expect(t, err, fault.Untrusted, "not signed")
	if len(private.requests()) != 0 {
		t.Error("the credential was sent")
	}
}

func TestFileDiscoveryUnusable(t *testing.T) {
	s := newCluster(t)
	cluster, user := s.clusterYAML(), "{token: "+canary+"}"
	for name, tc := range map[string]struct {
		content string
		noToken bool
		class   fault.Class
		says    string
	}{
		"syntax":                   {"users: [{canary", false, fault.InvalidConfig, "is not a kubeconfig"},
		"empty":                    {"", false, fault.InvalidConfig, "neither an unnamed cluster"},
		"other kind":               {"apiVersion: v1\nkind: Secret\n", false, fault.InvalidConfig, "is not a kubeconfig"},
		"http":                     {discoveryFile("{server: 'http://127.0.0.1:1'}", user), false, fault.InvalidConfig, "https://host:port"},
		"insecure":                 {discoveryFile("{server: '"+s.URL+"', insecure-skip-tls-verify: true}", user), false, fault.InvalidConfig, "insecure-skip-tls-verify"},
		"token file absent":        {discoveryFile(cluster, "{tokenFile: nope}"), false, fault.InvalidConfig, "nope"},
		"CA file absent":           {discoveryFile("{server: '"+s.URL+"', certificate-authority: nope}", user), false, fault.InvalidConfig, "nope"},
		"no credential":            {discoveryFile(cluster, "{}"), true, fault.InvalidConfig, "tlsBootstrapToken is not set"},
		"certificate without key":  {discoveryFile(cluster, "{client-certificate-data: "+b64(s.ca.pem)+"}"), true, fault.InvalidConfig, "tlsBootstrapToken is not set"},
		"removed auth provider":    {discoveryFile(cluster, "{auth-provider: {name: gcp, config: {access-token: "+canary+"}}}"), true, fault.InvalidConfig, "no Auth Provider found"},
		"oidc that expired":        {discoveryFile(cluster, "{auth-provider: {name: oidc, config: {client-id: kubejoin, idp-issuer-url: 'https://127.0.0.1:1', id-token: "+idTokenUntil(1)+"}}}"), true, fault.Denied, "log in again"},
		"oidc that is no token":    {discoveryFile(cluster, "{auth-provider: {name: oidc, config: {client-id: kubejoin, idp-issuer-url: 'https://127.0.0.1:1', id-token: "+canary+"}}}"), true, fault.Denied, "log in again"},
		"oidc that is not reached": {discoveryFile(cluster, "{auth-provider: {name: oidc, config: {client-id: kubejoin, idp-issuer-url: 'https://127.0.0.1:1', refresh-token: "+canary+"}}}"), true, fault.Unreachable, "idp-issuer-url"},
		"oidc without issuer":      {discoveryFile(cluster, "{auth-provider: {name: oidc, config: {client-id: kubejoin, id-token: "+canary+"}}}"), true, fault.InvalidConfig, "idp-issuer-url"},
		"exec that does not exist": {discoveryFile(cluster, "{exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: ./nope, env: [{name: S, value: "+canary+"}]}}"), true, fault.Denied, "exec plugin"},
		"exec that asks":           {discoveryFile(cluster, "{exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Always, command: /bin/true}}"), true, fault.Denied, "interactive mode"},
		"exec that fails":          {discoveryFile(cluster, "{exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: 'false', env: [{name: S, value: "+canary+"}]}}"), true, fault.Denied, "exit code 1"},
		"exec that hangs":          {discoveryFile(cluster, "{exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: sleep, args: ['1']}}"), true, fault.Unreachable, "no answer in time"},
		"proxy of another kind":    {discoveryFile(s.clusterYAML("proxy-url: 'ftp://u:"+canary+"@h'"), user), false, fault.InvalidConfig, "proxy"},
		"proxy refused":            {discoveryFile(s.clusterYAML("proxy-url: 'http://u:"+canary+"@127.0.0.1:1'"), user), false, fault.Unreachable, "proxy-url"},
	} {
		t.Run(name, func(t *testing.T) {
			o := withFile(options(s), write(t, filepath.Join(t.TempDir(), "d.conf"), tc.content))
			if tc.class == fault.Unreachable || name == "exec that fails" {
				o = brief(o)
			}
			if tc.noToken {
				o.Join.Discovery.TLSBootstrapToken = ""
			}
			_, _, _, err := connect(t, s, o)
			expect(t, err, tc.class, tc.says)
		})
	}
	_, _, _, err := connect(t, s, withFile(options(s), filepath.Join(t.TempDir(), "absent.conf")))
	expect(t, err, fault.InvalidConfig, "absent.conf", "kubeConfigPath")
	_, _, _, err = connect(t, s, withFile(options(s), "relative.conf"))
	expect(t, err, fault.InvalidConfig, "relative")
	if n := len(s.requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestHTTPSDiscovery(t *testing.T) {
	s := newCluster(t)
	file := func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, discoveryFile(s.clusterYAML(), "{token: "+canary+"}"))
	}
	elsewhere := serve(t, trusted)
	elsewhere.on("/d.conf", file)
	plain := httpServer(t, file)
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		class   fault.Class
		says    string
	}{
		"200":               {file, 0, ""},
		"503 at first":      {first(2, refuse(503, "x"), file), 0, ""},
		"redirect to https": {redirect(elsewhere.URL + "/d.conf"), 0, ""},
		"redirect to http":  {redirect(plain + "/d.conf"), fault.Denied, "302"},
		"redirect for ever": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.String(), http.StatusFound) }, fault.Denied, "302"},
		"201":               {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(201); file(w, r) }, fault.Denied, "201"},
		"403":               {refuse(403, "expired link"), fault.Denied, "expired link"},
		"404":               {refuse(404, "x"), fault.Denied, "404"},
		"500":               {refuse(500, "x"), fault.Unreachable, "the web server with the discovery file"},
		"hanging":           {hang, fault.Unreachable, "no answer in time"},
		"too long":          {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, maxFile+1)) }, fault.InvalidConfig, "more than"},
		"html":              {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>: :") }, fault.InvalidConfig, "is not a kubeconfig"},
	} {
		t.Run(name, func(t *testing.T) {
			web := serve(t, trusted)
			web.on("/d.conf", tc.handler)
			o := withFile(options(s), web.URL+"/d.conf?signature="+canary)
			if tc.class == fault.Unreachable {
				o = brief(o)
			}
			_, st, _, err := connect(t, s, o)
			if tc.class != 0 {
				expect(t, err, tc.class, tc.says)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if st.Source != "file discovery" || st.Server != s.URL {
				t.Errorf("%v", st)
			}
		})
	}
	untrusted := serve(t, s.ca)
	untrusted.on("/d.conf", file)
	_, _, _, err := connect(t, s, withFile(options(s), untrusted.URL+"/d.conf"))
	expect(t, err, fault.Untrusted, "a CA that this machine trusts", "update-ca-certificates")
	misnamed := serveAs(t, trusted, func(c *x509Certificate) { c.DNSNames, c.IPAddresses = []string{"internal"}, nil })
	_, _, _, err = connect(t, s, withFile(options(s), misnamed.URL+"/d.conf"))
	expect(t, err, fault.Untrusted, "is for internal", "discovery.file.kubeConfigPath")
	_, _, _, err = connect(t, s, withFile(brief(options(s)), "https://127.0.0.1:1/d.conf"))
	expect(t, err, fault.Unreachable, "connection refused", "no web server listens there")
	_, _, _, err = connect(t, s, withFile(options(s), plain+"/d.conf"))
	expect(t, err, fault.InvalidConfig, "https://host/path")
}

// What a web server says must not make root read this machine's files or run its
// programs.
func TestHTTPSDiscoveryIsInline(t *testing.T) {
	s := newCluster(t)
	dir := t.TempDir()
	ran := filepath.Join(dir, "ran")
	local := write(t, filepath.Join(dir, "token"), "local-"+canary)
	cert, key := s.ca.issue(nodeName("bootstrap"))
	write(t, filepath.Join(dir, "c.pem"), string(cert))
	write(t, filepath.Join(dir, "k.pem"), string(key))
	write(t, filepath.Join(dir, "ca.pem"), string(s.ca.pem))
	certData := "client-certificate-data: " + b64(cert)
	for name, tc := range map[string]struct{ cluster, user, says string }{
		"token file":         {s.clusterYAML(), "{tokenFile: " + local + "}", "tokenFile"},
		"relative":           {s.clusterYAML(), "{tokenFile: token}", "tokenFile"},
		"beside a token":     {s.clusterYAML(), "{token: " + canary + ", tokenFile: " + local + "}", "tokenFile"},
		"certificate":        {s.clusterYAML(), "{client-certificate: " + dir + "/c.pem, client-key-data: " + b64(key) + "}", "client-certificate"},
		"key":                {s.clusterYAML(), "{" + certData + ", client-key: " + dir + "/k.pem}", "client-key"},
		"CA":                 {"{server: '" + s.URL + "', certificate-authority: " + dir + "/ca.pem}", "{token: " + canary + "}", "certificate-authority"},
		"exec":               {s.clusterYAML(), "{exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: touch, args: ['" + ran + "']}}", "exec"},
		"auth provider":      {s.clusterYAML(), "{auth-provider: {name: oidc, config: {idp-issuer-url: 'https://127.0.0.1:1', client-id: kubejoin, id-token: " + idToken() + "}}}", "auth-provider"},
		"inline certificate": {s.clusterYAML(), "{" + certData + ", client-key-data: " + b64(key) + "}", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, s.ca)
			s.publish(s.URL)
			web := serve(t, trusted)
			web.on("/d.conf", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, discoveryFile(tc.cluster, tc.user)) })
			_, st, _, err := connect(t, s, withFile(options(s), web.URL+"/d.conf"))
			if tc.says == "" {
				if err != nil || st.Source != "file discovery" {
					t.Errorf("%v, %v", st, err)
				}
				return
			}
			expect(t, err, fault.InvalidConfig, tc.says, "download the file")
			if _, err := os.Stat(ran); err == nil || len(s.requests()) > 0 {
				t.Errorf("it ran, or %d requests were sent", len(s.requests()))
			}
		})
	}
}

// What an image says to run must not run on the machine that builds it.
func TestNoPluginsBelowARoot(t *testing.T) {
	s := newCluster(t)
	dir := t.TempDir()
	ran := filepath.Join(dir, "ran")
	for name, user := range map[string]string{
		"exec": "{exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: touch, args: ['" + ran + "']}}",
		"oidc": "{auth-provider: {name: oidc, config: {idp-issuer-url: 'https://127.0.0.1:1', client-id: kubejoin, id-token: " + idToken() + "}}}",
	} {
		o := withFile(options(s), write(t, filepath.Join(dir, name+".conf"), discoveryFile(s.clusterYAML(), user)))
		o.NoPlugins = true
		_, _, _, err := connect(t, s, o)
		expect(t, err, fault.InvalidConfig, "not run for a machine below --rootfs")
	}
	if _, err := os.Stat(ran); err == nil || len(s.requests()) > 0 {
		t.Errorf("it ran, or %d requests were sent", len(s.requests()))
	}
}
