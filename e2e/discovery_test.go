package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kubejoin/kubejoin/e2e/lab"
)

// toJoin is the plan of a fresh machine whose kubelet is stopped.
func toJoin(node string) []string {
	return []string{
		"create " + caFile + " missing", "create " + instanceFile + " missing", "create " + configFile + " missing",
		"create " + flagsFile + " missing", "create " + bootstrap + " missing", "start " + service + " missing",
		"create " + credential + " missing", "create node:" + node + " missing",
	}
}

const bootstrappers = "system:bootstrappers:kubeadm:default-node-token"

// A worker joins by every form of discovery that a cluster can serve, and is in sync from then on.
func TestWorkerJoinsByDiscovery(t *testing.T) {
	t.Parallel()
	f := use(t)
	url, webCA := f.serve(t)
	endpoint, info := f.cluster.Endpoint(), f.clusterInfo(t)
	server, ca := "https://"+endpoint, f.clusterCA(t)

	fromFile := func(path string) string { return "file:\n  kubeConfigPath: " + path + "\n" }
	tests := []struct {
		name string
		// discovery prepares the machine and returns the section.
		discovery func(*testing.T, *lab.Machine) string
		// apply is another command than apply -f /etc/join.yaml.
		apply string
	}{
		{"token and pin", func(t *testing.T, _ *lab.Machine) string {
			return byToken(endpoint, f.token(t), f.cluster.CAHash)
		}, ""},
		{"token and several pins of which one matches", func(t *testing.T, _ *lab.Machine) string {
			return byToken(endpoint, f.token(t), "sha256:"+strings.Repeat("0", 64), f.cluster.CAHash)
		}, ""},
		{"token without a pin", func(t *testing.T, _ *lab.Machine) string {
			return byToken(endpoint, f.token(t)) + "  unsafeSkipCAVerification: true\n"
		}, ""},
		{"token, and another to bootstrap with", func(t *testing.T, _ *lab.Machine) string {
			return byToken(endpoint, f.token(t), f.cluster.CAHash) + "tlsBootstrapToken: " + f.token(t) + "\n"
		}, ""},
		{"the cluster's own cluster-info, and a token", func(t *testing.T, m *lab.Machine) string {
			put(t, m, "/etc/discovery.conf", info)
			return fromFile("/etc/discovery.conf") + "tlsBootstrapToken: " + f.token(t) + "\n"
		}, ""},
		{"file with a token", func(t *testing.T, m *lab.Machine) string {
			put(t, m, "/etc/discovery.conf", kubeconfig(server, ca.pem, "token: "+f.token(t)+"\n"))
			return fromFile("/etc/discovery.conf")
		}, ""},
		{"file beside the configuration, which names a token file beside it", func(t *testing.T, m *lab.Machine) string {
			put(t, m, "/etc/discovery.conf", kubeconfig(server, ca.pem, "tokenFile: the-token\n"))
			put(t, m, "/etc/the-token", f.token(t)+"\n")
			return fromFile("discovery.conf")
		}, ""},
		{"file with a client certificate", func(t *testing.T, m *lab.Machine) string {
			cert, key := ca.client(t, "joiner", bootstrappers, time.Now().Add(time.Hour))
			put(t, m, "/etc/discovery.conf", kubeconfig(server, ca.pem, clientCertificate(cert, key)))
			return fromFile("/etc/discovery.conf")
		}, ""},
		{"file with an exec plugin", func(t *testing.T, m *lab.Machine) string {
			const script = "#!/bin/sh\n" + `printf '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"%s"}}' "$(cat /etc/the-token)"`
			put(t, m, "/etc/the-token", f.token(t))
			if err := m.WriteFile("/usr/local/bin/credential", []byte(script), 0o755); err != nil {
				t.Fatal(err)
			}
			put(t, m, "/etc/discovery.conf", kubeconfig(server, ca.pem,
				"exec:\n  apiVersion: client.authentication.k8s.io/v1\n  command: /usr/local/bin/credential\n  interactiveMode: Never\n"))
			return fromFile("/etc/discovery.conf")
		}, ""},
		{"file with an authProvider", func(t *testing.T, m *lab.Machine) string {
			put(t, m, "/etc/discovery.conf", kubeconfig(server, ca.pem,
				"auth-provider:\n  name: oidc\n  config: {idp-issuer-url: 'https://issuer.invalid', client-id: kubejoin, id-token: "+f.webToken(t)+"}\n"))
			return fromFile("/etc/discovery.conf")
		}, ""},
		{"HTTPS URL", func(t *testing.T, m *lab.Machine) string {
			put(t, m, "/usr/local/share/ca-certificates/web.crt", webCA)
			must(t, m.Run(t.Context(), "update-ca-certificates"))
			return fromFile(url+"/discovery") + "tlsBootstrapToken: " + f.token(t) + "\n"
		}, ""},
		{"configuration on standard input", func(t *testing.T, _ *lab.Machine) string {
			return byToken(endpoint, f.token(t), f.cluster.CAHash)
		}, "kubejoin apply -f - </etc/join.yaml"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := f.worker(t)
			must(t, m.Run(t.Context(), "systemctl stop kubelet"))
			put(t, m, "/etc/join.yaml", joinConfig(tt.discovery(t, m)))
			f.pending(t, m, toJoin(m.Name)...)
			command := apply
			if tt.apply != "" {
				command = tt.apply
			}
			s := run(t, m, "root", command, 0)
			wantSteps(t, s, toJoin(m.Name)...)
			if s.Outcome == nil || s.Outcome.Changes != len(toJoin("")) {
				t.Errorf("outcome %+v", s.Outcome)
			}
			f.ready(t, m)
			f.inSync(t, m)
			leftovers(t, m)
		})
	}
}

// The flags of kubeadm join mean what the file means.
func TestJoinByFlagsIsTheSame(t *testing.T) {
	t.Parallel()
	f := use(t)
	m := f.worker(t)
	must(t, m.Run(t.Context(), "systemctl stop kubelet"))
	token := f.token(t)
	join := fmt.Sprintf("kubejoin join %s --token %s --discovery-token-ca-cert-hash %s", f.cluster.Endpoint(), token, f.cluster.CAHash)
	f.unchanged(t, m, func() { wantSteps(t, run(t, m, "root", join+" --dry-run", 0), toJoin(m.Name)...) })
	run(t, m, "root", join, 0)
	f.ready(t, m)
	put(t, m, "/etc/join.yaml", joinConfig(byToken(f.cluster.Endpoint(), token, f.cluster.CAHash)))
	f.inSync(t, m)
	f.unchanged(t, m, func() { wantSteps(t, run(t, m, "root", join, 0)) })

	// A flag overrides the file.
	s := run(t, m, "root", plan+" --node-name other", 2)
	if s.Plan.Subject.Node != "other" {
		t.Errorf("node %q", s.Plan.Subject.Node)
	}
}

// A discovery file is believed only if an https server that the machine trusts answers with 200.
func TestDiscoveryURLRefused(t *testing.T) {
	t.Parallel()
	f := use(t)
	url, webCA := f.serve(t)
	m := f.worker(t)
	must(t, m.Run(t.Context(), "systemctl stop kubelet"))
	configure := func(t *testing.T, url string) {
		put(t, m, "/etc/join.yaml", joinConfig("file:\n  kubeConfigPath: "+url+"\ntlsBootstrapToken: "+f.token(t)+"\n", "timeouts:\n  discovery: 5s\n"))
	}
	t.Run("a server that the machine does not trust", func(t *testing.T) {
		configure(t, url+"/discovery")
		f.refused(t, m, 5)
	})
	put(t, m, "/usr/local/share/ca-certificates/web.crt", webCA)
	must(t, m.Run(t.Context(), "update-ca-certificates"))
	tests := []struct {
		name, path string
		code       int
	}{
		{"404", "/missing", 9},
		{"a redirect to http", "/redirect", 9},
		{"a page that is no kubeconfig", "/page", 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			configure(t, url+tt.path)
			f.refused(t, m, tt.code)
		})
	}
	t.Run("http", func(t *testing.T) {
		configure(t, strings.Replace(url, "https", "http", 1)+"/discovery")
		f.refused(t, m, 3)
	})
}

// A kubelet.conf that was there before and serves is used: there is nothing to bootstrap.
func TestPreProvisionedKubeletCredential(t *testing.T) {
	t.Parallel()
	f := use(t)
	m := f.worker(t)
	must(t, m.Run(t.Context(), "systemctl stop kubelet"))
	f.configure(t, m)
	r := must(t, f.cluster.ControlPlane.RunSecret(t.Context(), "kubeadm kubeconfig user --org system:nodes --client-name system:node:"+m.Name))
	if err := m.WriteFile("/etc/kubernetes/kubelet.conf", []byte(r.Stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	steps := toJoin(m.Name)
	f.pending(t, m, steps[0], steps[1], steps[2], steps[3], steps[5], steps[7])

	mark, err := f.cluster.Audit.Mark()
	if err != nil {
		t.Fatal(err)
	}
	watch, err := m.Watch("/etc/kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	run(t, m, "root", apply, 0)
	events, err := watch.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events {
		if strings.Contains(e.Path, "bootstrap") {
			t.Error(e)
		}
	}
	f.ready(t, m)
	requests, err := f.cluster.Audit.Since(t.Context(), mark)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range requests {
		if r.Source == m.Address && strings.HasPrefix(r.User, "system:bootstrap:") {
			t.Errorf("bootstrapped: %s", r)
		}
	}
	f.inSync(t, m)
}

// clusterInfo is the kubeconfig that the cluster publishes.
func (f *fixture) clusterInfo(t *testing.T) string {
	t.Helper()
	return f.kubectl(t, "get configmap cluster-info --namespace=kube-public --output=jsonpath={.data.kubeconfig}")
}

// webToken is a JSON Web Token that joins nodes. The API server itself issued it, to a service account: that this is no OpenID
// Connect issuer of the lab's own makes no difference to who presents it.
func (f *fixture) webToken(t *testing.T) string {
	t.Helper()
	const account = "--serviceaccount=kube-system:joiner"
	for object, more := range map[string]string{
		"serviceaccount joiner --namespace=kube-system":      "",
		"clusterrolebinding joiner-bootstrap":                "--clusterrole=system:node-bootstrapper " + account,
		"clusterrolebinding joiner-approve":                  "--clusterrole=system:certificates.k8s.io:certificatesigningrequests:nodeclient " + account,
		"clusterrolebinding joiner-nodes":                    "--clusterrole=kubeadm:get-nodes " + account,
		"rolebinding joiner-kubelet --namespace=kube-system": "--role=kubeadm:kubelet-config " + account,
		"rolebinding joiner-kubeadm --namespace=kube-system": "--role=kubeadm:nodes-kubeadm-config " + account,
	} {
		f.kubectl(t, "create %s %s", object, more)
		t.Cleanup(func() {
			if _, err := f.cluster.Kubectl(context.WithoutCancel(t.Context()), "delete "+object); err != nil {
				t.Error(err)
			}
		})
	}
	until(t, "the rights are seen", func() bool {
		_, err := f.cluster.Kubectl(t.Context(), "auth can-i get configmaps/kubeadm-config --namespace=kube-system --as=system:serviceaccount:kube-system:joiner")
		return err == nil
	})
	r := must(t, f.cluster.ControlPlane.RunSecret(t.Context(), "kubectl create token joiner --namespace=kube-system --duration=1h"))
	token := strings.TrimSpace(r.Stdout)
	f.Canary.Add("token of a service account", token)
	return token
}

// serve starts a web server on the control plane and returns its URL and its CA, which no machine trusts. It serves
// cluster-info at /discovery and some bad answers.
func (f *fixture) serve(t *testing.T) (url, ca string) {
	t.Helper()
	web, cp := otherCA(t), f.cluster.ControlPlane
	dir := "/srv/" + strings.ToLower(t.Name())
	cert, key := web.server(t, cp.Name)
	answer := func(status, header, body string) string {
		return fmt.Sprintf("HTTP/1.0 %s\r\n%sContent-Length: %d\r\n\r\n%s", status, header, len(body), body)
	}
	for name, content := range map[string]string{
		"tls.crt":   cert,
		"tls.key":   key,
		"discovery": answer("200 OK", "", f.clusterInfo(t)),
		"missing":   answer("404 Not Found", "", f.clusterInfo(t)),
		"redirect":  answer("302 Found", "Location: http://cp1/discovery\r\n", ""),
		"page":      answer("200 OK", "Content-Type: text/html\r\n", "<html>log in</html>"),
	} {
		put(t, cp, dir+"/"+name, content)
	}
	port := 8000 + f.servers.Add(1)
	p, err := cp.Start(t.Context(), "root", fmt.Sprintf("cd %s && exec openssl s_server -quiet -HTTP -accept %d -cert tls.crt -key tls.key", dir, port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Wait() }) // the test's context ended it
	url = fmt.Sprintf("https://%s:%d", cp.Name, port)
	must(t, cp.Run(t.Context(), "curl --silent --insecure --retry 20 --retry-delay 1 --retry-connrefused --output /dev/null "+url+"/page"))
	return url, web.pem
}
