package cluster

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/fault"
)

// kubeletConf writes what a kubelet has after bootstrap: a kubeconfig that
// refers to its certificate by path. It returns the path of the kubeconfig.
func kubeletConf(t *testing.T, server string, ca, pair []byte) string {
	t.Helper()
	dir := t.TempDir()
	if pair != nil {
		write(t, filepath.Join(dir, "pki/kubelet-client-current.pem"), string(pair))
	}
	return write(t, filepath.Join(dir, "kubelet.conf"), fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- name: default-cluster
  cluster: {server: %q, certificate-authority-data: %s}
contexts:
- name: default-context
  context: {cluster: default-cluster, user: default-auth, namespace: default}
current-context: default-context
users:
- name: default-auth
  user: {client-certificate: %[3]s, client-key: %[3]s}
`, server, b64(ca), filepath.Join(dir, "pki/kubelet-client-current.pem")))
}

func issuePair(ca *authority, change ...func(*x509.Certificate)) []byte {
	cert, key := ca.issue(func(c *x509.Certificate) {
		nodeName("w1")(c)
		for _, f := range change {
			f(c)
		}
	})
	return append(cert, key...)
}

func TestReadCredential(t *testing.T) {
	ca := newAuthority("kubernetes")
	cert, _ := ca.issue(nodeName("w1"))
	_, otherKey := ca.issue(nodeName("w1"))
	now := time.Now()
	edit := func(t *testing.T, old, new string) string {
		path := kubeletConf(t, "https://10.0.0.1:6443", ca.pem, issuePair(ca))
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(data), old) {
			t.Fatalf("%q is not in the file", old)
		}
		return write(t, path, strings.ReplaceAll(string(data), old, new))
	}
	whole := func(pair []byte) func(*testing.T) string {
		return func(t *testing.T) string { return kubeletConf(t, "https://10.0.0.1:6443", ca.pem, pair) }
	}
	user := func(user string) func(*testing.T) string {
		return func(t *testing.T) string {
			return write(t, filepath.Join(t.TempDir(), "kubelet.conf"), fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters:\n- name: k\n  cluster: {server: 'https://h:1', certificate-authority-data: %s}\ncontexts:\n- name: c\n  context: {cluster: k, user: u}\nusers:\n- name: u\n  user: %s\n", b64(ca.pem), user))
		}
	}
	for name, tc := range map[string]struct {
		path  func(*testing.T) string
		state CredentialState
		why   string
	}{
		"kubelet's":          {whole(issuePair(ca)), CredentialValid, ""},
		"token":              {user("{token: " + canary + "}"), CredentialValid, ""},
		"exec":               {user("{exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never, command: /bin/token}}"), CredentialValid, ""},
		"absent":             {func(t *testing.T) string { return filepath.Join(t.TempDir(), "kubelet.conf") }, CredentialAbsent, "does not exist"},
		"no certificate yet": {whole(nil), CredentialPending, "kubelet-client-current.pem does not exist yet"},
		"expired":            {whole(issuePair(ca, func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Second) })), CredentialExpired, "expired at"},
		"not valid yet":      {whole(issuePair(ca, func(c *x509.Certificate) { c.NotBefore = now.Add(time.Minute) })), CredentialBroken, "clock"},
		"another's key":      {whole(append(cert, otherKey...)), CredentialBroken, "not a pair"},
		"no key":             {whole(cert), CredentialBroken, "not a pair"},
		"no pem":             {whole([]byte("canary")), CredentialBroken, "not a pair"},
		"empty":              {func(t *testing.T) string { return write(t, filepath.Join(t.TempDir(), "kubelet.conf"), "") }, CredentialBroken, "no current context"},
		"half written": {func(t *testing.T) string {
			return write(t, filepath.Join(t.TempDir(), "kubelet.conf"), "users: [{canary")
		}, CredentialBroken, "is not a kubeconfig"},
		"no such context": {func(t *testing.T) string { return edit(t, "current-context: default-context", "current-context: x") }, CredentialBroken, "no current context"},
		"no such user":    {func(t *testing.T) string { return edit(t, "- name: default-auth", "- name: x") }, CredentialBroken, "not there"},
		"http":            {func(t *testing.T) string { return edit(t, "https://", "http://") }, CredentialBroken, "https://host:port"},
		"CA that is none": {func(t *testing.T) string { return edit(t, b64(ca.pem), b64([]byte("none"))) }, CredentialBroken, "no CA certificate"},
		"CA file absent": {func(t *testing.T) string {
			return edit(t, "certificate-authority-data: "+b64(ca.pem), "certificate-authority: ca.crt")
		}, CredentialBroken, "cannot be used"},
		"insecure": {func(t *testing.T) string {
			return edit(t, "certificate-authority-data: "+b64(ca.pem), "insecure-skip-tls-verify: true")
		}, CredentialBroken, "no CA certificate"},
		"no credential":     {user("{}"), CredentialBroken, "no credential"},
		"token file absent": {user("{tokenFile: token}"), CredentialBroken, "cannot be used"},
		"may not be read": {func(t *testing.T) string {
			path := whole(nil)(t)
			if err := os.Chmod(path, 0); err != nil {
				t.Fatal(err)
			}
			return path
		}, CredentialUnreadable, "may not be read"},
		"certificate may not be read": {func(t *testing.T) string {
			path := whole(issuePair(ca))(t)
			if err := os.Chmod(filepath.Join(filepath.Dir(path), "pki/kubelet-client-current.pem"), 0); err != nil {
				t.Fatal(err)
			}
			return path
		}, CredentialUnreadable, "may not be read"},
	} {
		t.Run(name, func(t *testing.T) {
			c := ReadCredential(diskFiles{}, tc.path(t), now)
			if c.State != tc.state || !strings.Contains(c.Why, tc.why) || (tc.why == "") != (c.Why == "") {
				t.Errorf("%s: %q", c.State, c.Why)
			}
			noCanary(t, c, c.Why, c.Paths, fmt.Sprintf("%#v", c))
			if (c.kubeconfig != nil) != (tc.state == CredentialValid) {
				t.Errorf("kubeconfig of %d bytes", len(c.kubeconfig))
			}
		})
	}
}

func TestReadCredentialFields(t *testing.T) {
	ca := newAuthority("kubernetes")
	path := kubeletConf(t, "https://10.0.0.1:6443", ca.pem, issuePair(ca))
	write(t, filepath.Join(filepath.Dir(path), "ca.crt"), string(ca.pem))
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, strings.ReplaceAll(string(data), "certificate-authority-data: "+b64(ca.pem), "certificate-authority: ca.crt")) // relative to the file
	c := ReadCredential(diskFiles{}, path, time.Now())
	dir := filepath.Dir(path)
	pem := filepath.Join(dir, "pki/kubelet-client-current.pem")
	if diff := cmp.Diff([]string{path, filepath.Join(dir, "ca.crt"), pem, pem}, c.Paths); diff != "" {
		t.Error(diff)
	}
	if c.CommonName != "system:node:w1" || c.ClusterName != "default-cluster" || c.Serial != "5eed" || string(c.CA) != string(ca.pem) || c.NotAfter.IsZero() {
		t.Errorf("%+v", c)
	}
	// It is complete: the files may go.
	if strings.Contains(string(c.kubeconfig), dir) {
		t.Error("the kubeconfig refers to a file")
	}
}

func node(change ...func(map[string]any)) map[string]any {
	n := map[string]any{
		"kind": "Node", "apiVersion": "v1",
		"metadata": map[string]any{"name": "w1", "uid": "u-1", "creationTimestamp": "2026-01-02T03:04:05Z"},
		"status": map[string]any{
			"nodeInfo":   map[string]any{"machineID": "m-1", "systemUUID": "s-1", "bootID": "b-1", "kubeletVersion": "v1.37.2"},
			"conditions": []any{map[string]any{"type": "MemoryPressure", "status": "False"}, map[string]any{"type": "Ready", "status": "True", "message": "kubelet is posting ready status"}},
			"addresses":  []any{map[string]any{"type": "InternalIP", "address": "10.0.0.7"}, map[string]any{"type": "Hostname", "address": "w1"}},
		},
	}
	for _, f := range change {
		f(n)
	}
	return n
}

func ready(status string) func(map[string]any) {
	return func(n map[string]any) {
		n["status"].(map[string]any)["conditions"] = []any{map[string]any{"type": "Ready", "status": status, "message": "because"}}
	}
}

// joined is a cluster with this machine in it.
func joined(t *testing.T) (*apiServer, Options) {
	t.Helper()
	s := newCluster(t)
	s.on(nodePath, answer(node()))
	o := options(s)
	o.Credential = ReadCredential(diskFiles{}, kubeletConf(t, s.URL, s.ca.pem, issuePair(s.ca)), time.Now())
	if o.Credential.State != CredentialValid {
		t.Fatal(o.Credential.Why)
	}
	return s, o
}

func TestConnectAsNode(t *testing.T) {
	s, o := joined(t)
	c, st, waits, err := connect(t, s, o)
	if err != nil {
		t.Fatal(err)
	}
	want := &NodeInfo{
		Name: "w1", UID: "u-1", MachineID: "m-1", SystemUUID: "s-1", BootID: "b-1", KubeletVersion: "v1.37.2",
		Ready: true, ReadyKnown: true, Addresses: []string{"10.0.0.7", "w1"}, Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
	if diff := cmp.Diff(want, st.Node); diff != "" {
		t.Error(diff)
	}
	if st.Source != "node credential" || st.Bootstrap != nil || st.CredentialRefused != "" || !st.NodeSeen || st.Configuration == nil || st.KubeletConfig == nil || len(waits) != 0 {
		t.Errorf("%v %+v", st, waits)
	}
	if c.Requests() != 3 || len(s.requests()) != 3 || s.conns != 1 {
		t.Errorf("%d requests on %d connections: %v", c.Requests(), s.conns, s.requests())
	}
}

// The client certificate is really used, and a derived client shares the count.
func TestWithCredential(t *testing.T) {
	s, o := joined(t)
	own := o.Credential
	o.Credential = Credential{}
	c, _, _, err := connect(t, s, o)
	if err != nil {
		t.Fatal(err)
	}
	node, err := c.WithCredential(own)
	if err != nil {
		t.Fatal(err)
	}
	if err := node.WatchNode(t.Context(), "w1", func(*NodeInfo) bool { return true }); err == nil {
		t.Error("this server has no watch")
	}
	if c.Requests() != 6 || node.Requests() != 6 {
		t.Errorf("%d and %d requests", c.Requests(), node.Requests())
	}
	if _, err := c.WithCredential(Credential{State: CredentialPending}); err == nil {
		t.Error("a pending credential makes a client")
	}
}

func TestNodeReadiness(t *testing.T) {
	s, o := joined(t)
	for status, want := range map[string]NodeInfo{
		"True":    {Ready: true, ReadyKnown: true},
		"False":   {ReadyKnown: true, NotReadyReason: "because"},
		"Unknown": {NotReadyReason: "because"},
	} {
		s.on(nodePath, answer(node(ready(status))))
		_, st, _, err := connect(t, s, o)
		if err != nil {
			t.Fatal(err)
		}
		got := NodeInfo{Ready: st.Node.Ready, ReadyKnown: st.Node.ReadyKnown, NotReadyReason: st.Node.NotReadyReason}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", status, diff)
		}
	}
}

// A machine stays with its cluster until it is reset.
func TestAnotherClustersNode(t *testing.T) {
	s, o := joined(t)
	other := newAuthority("other")
	o.Join.Discovery.BootstrapToken.CACertHashes = []string{other.pin()}
	_, _, _, err := connect(t, s, o)
	expect(t, err, fault.Conflict, "already belongs to another cluster", s.ca.pin(), other.pin())

	file := write(t, filepath.Join(t.TempDir(), "discovery.conf"), clusterInfoKubeconfig(s.URL, other.pem))
	_, _, _, err = connect(t, s, withFile(o, file))
	expect(t, err, fault.Conflict, "already belongs to another cluster", file)
	if len(s.requests()) != 0 {
		t.Errorf("requests: %v", s.requests())
	}
	// A node needs its discovery file no more.
	if _, _, _, err = connect(t, s, withFile(o, "/nonexistent/discovery.conf")); err != nil {
		t.Error(err)
	}
}

func TestRefusedCredential(t *testing.T) {
	s, o := joined(t)
	ok := s.handler[kubeadmConfigPath]
	s.on(kubeadmConfigPath, first(1, refuse(401, "Unauthorized"), ok))
	_, st, _, err := connect(t, s, o)
	if err != nil {
		t.Fatal(err)
	}
	if st.Source != "token discovery" || !strings.Contains(st.CredentialRefused, "401") || len(st.Warnings) != 1 || st.Bootstrap == nil {
		t.Errorf("%v %q %v", st, st.CredentialRefused, st.Warnings)
	}

	s.on(kubeadmConfigPath, refuse(401, "Unauthorized"))
	_, _, _, err = connect(t, s, o)
	expect(t, err, fault.Denied, "the bootstrap token abcdef is not accepted", "the node's own credential was refused", "kubeadm token create")

	o.Join.Discovery.BootstrapToken = nil
	_, _, _, err = connect(t, s, o)
	expect(t, err, fault.InvalidConfig, "neither", "the node's own credential was refused")
}

// A plan shows what can be seen; an apply does not go on without the rest.
func TestUnseen(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*apiServer)
		unseen int
		class  fault.Class
		says   string
	}{
		"server down":              {func(s *apiServer) { s.Close() }, 3, fault.Unreachable, "nothing listens"},
		"starting":                 {func(s *apiServer) { s.on(kubeletConfigPath, refuse(503, "starting")) }, 1, fault.Unreachable, "reading kubelet-config"},
		"kubeadm-config forbidden": {func(s *apiServer) { s.on(kubeadmConfigPath, refuse(403, "no")) }, 1, fault.Denied, "kubeadm:nodes-kubeadm-config"},
		"kubelet-config absent":    {func(s *apiServer) { s.on(kubeletConfigPath, refuse(404, "no")) }, 1, fault.Denied, "upload-config kubelet"},
		"kubelet-config empty":     {func(s *apiServer) { s.on(kubeletConfigPath, answer(configMap("kube-system", "kubelet-config", nil))) }, 1, fault.Denied, "kubelet-config has no kubelet"},
		"kubeadm-config unknown": {func(s *apiServer) {
			s.on(kubeadmConfigPath, answer(configMap("kube-system", "kubeadm-config", map[string]string{"ClusterConfiguration": "x: 1"})))
		}, 1, fault.Internal, "newer kubeadm"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, o := joined(t)
			tc.change(s)
			if tc.class == fault.Unreachable {
				o.ReadTimeout = 600 * time.Millisecond
			}
			_, _, _, err := connect(t, s, o)
			expect(t, err, tc.class, tc.says)
			o.AllowUnseen = true
			c, st, _, err := connect(t, s, o)
			if err != nil {
				t.Fatal(err)
			}
			if len(st.Unseen) != tc.unseen || c == nil || st.Server != s.URL || len(st.CA) == 0 {
				t.Errorf("unseen %+v", st.Unseen)
			}
		})
	}
}

// The credential of another node: the planner says so, with both names at hand.
func TestForbiddenNode(t *testing.T) {
	s, o := joined(t)
	s.on(nodePath, refuse(403, "node w2 may not"))
	_, st, _, err := connect(t, s, o)
	if err != nil {
		t.Fatal(err)
	}
	if st.NodeSeen || len(st.Unseen) != 1 || st.Unseen[0].What != "node w1" {
		t.Errorf("%+v", st.Unseen)
	}
	// A bootstrap token has to be allowed to look for a namesake.
	o.Credential = Credential{}
	_, _, _, err = connect(t, s, o)
	expect(t, err, fault.Denied, "kubeadm:get-nodes")
}

// Whoever answers with another certificate is not the cluster, not even for a plan.
func TestImpostor(t *testing.T) {
	s, o := joined(t)
	impostor := serve(t, newAuthority("impostor"))
	o.AllowUnseen = true
	o.Credential = ReadCredential(diskFiles{}, kubeletConf(t, impostor.URL, s.ca.pem, issuePair(s.ca)), time.Now())
	_, _, waits, err := connect(t, s, o)
	expect(t, err, fault.Untrusted, "not signed")
	if len(waits) != 0 || len(impostor.requests()) != 0 {
		t.Errorf("waits %v, requests %v", waits, impostor.requests())
	}
}

// A redirect is not followed: it would carry the credential away.
func TestRedirectWithCredential(t *testing.T) {
	s, o := joined(t)
	o.Credential = ReadCredential(diskFiles{}, write(t, filepath.Join(t.TempDir(), "kubelet.conf"), fmt.Sprintf(
		"apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters:\n- name: k\n  cluster: {server: %q, certificate-authority-data: %s}\ncontexts:\n- name: c\n  context: {cluster: k, user: u}\nusers:\n- name: u\n  user: {token: %s}\n",
		s.URL, b64(s.ca.pem), canary)), time.Now())
	elsewhere := serve(t, s.ca)
	s.on(kubeadmConfigPath, redirect(elsewhere.URL))
	_, _, _, err := connect(t, s, o)
	expect(t, err, fault.Unreachable, "does not redirect")
	if len(elsewhere.requests()) != 0 {
		t.Error("followed")
	}
}
