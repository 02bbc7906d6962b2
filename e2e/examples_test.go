package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kubejoin/kubejoin/e2e/lab"
)

// Stand-ins in the examples of the documentation of kubeadm join.
const (
	exampleEndpoint = "1.2.3.4:6443"
	exampleToken    = "abcdef.1234567890abcdef"
	exampleHash     = "sha256:1234..cdef"
	exampleURL      = "https://url/file.conf"
)

// example is a command of that page, word for word.
type example struct {
	command string
	prepare func(*testing.T, *fixture, *lab.Machine) // what the page tells to do before
	url     string                                   // of the discovery file
}

// on is the command as a user of the page gives it to a machine: another program, real values.
func (e example) on(t *testing.T, f *fixture) string {
	t.Helper()
	return strings.NewReplacer("sudo kubeadm", "kubejoin", "kubeadm", "kubejoin", // the machines have no sudo: cases are root
		exampleEndpoint, f.cluster.Endpoint(), exampleToken, f.token(t), exampleHash, f.cluster.CAHash, exampleURL, e.url).Replace(e.command)
}

// runs joins a machine by an example as it stands, without waivers, twice.
func (e example) runs(t *testing.T, f *fixture, m *lab.Machine) {
	t.Helper()
	if e.prepare != nil {
		e.prepare(t, f, m)
	}
	command := e.on(t, f)
	must(t, m.Run(t.Context(), command))
	f.ready(t, m)
	leftovers(t, m)
	f.unchanged(t, m, func() { must(t, m.Run(t.Context(), command)) })
}

// discoveryFile is one that holds a credential to join with.
func (f *fixture) discoveryFile(t *testing.T) string {
	t.Helper()
	return kubeconfig("https://"+f.cluster.Endpoint(), f.clusterCA(t).pem, "token: "+f.token(t)+"\n")
}

// Every example of the page that joins a worker.
func TestExamplesOfWorkers(t *testing.T) {
	t.Parallel()
	f := use(t)
	url, webCA := f.serve(t)
	web := func(t *testing.T, f *fixture, m *lab.Machine) {
		put(t, m, "/usr/local/share/ca-certificates/web.crt", webCA)
		must(t, m.Run(t.Context(), "update-ca-certificates"))
		body := f.discoveryFile(t)
		put(t, f.cluster.ControlPlane, "/srv/"+strings.ToLower("TestExamplesOfWorkers")+"/file.conf",
			fmt.Sprintf("HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	}
	for _, e := range []example{
		{command: "kubeadm join --discovery-token abcdef.1234567890abcdef --discovery-token-ca-cert-hash sha256:1234..cdef 1.2.3.4:6443"},
		{command: "kubeadm join --token abcdef.1234567890abcdef --discovery-token-unsafe-skip-ca-verification 1.2.3.4:6443"},
		{command: "kubeadm join --discovery-file path/to/file.conf", prepare: func(t *testing.T, f *fixture, m *lab.Machine) {
			put(t, m, "/path/to/file.conf", f.discoveryFile(t)) // commands run in /
		}},
		{command: "kubeadm join --discovery-file https://url/file.conf", prepare: web, url: url + "/file.conf"},
		{command: "sudo kubeadm join --skip-phases=preflight --config=config.yaml", prepare: func(t *testing.T, f *fixture, m *lab.Machine) {
			put(t, m, "/config.yaml", joinConfig(byToken(f.cluster.Endpoint(), f.token(t), f.cluster.CAHash)))
		}},
		// Of the section on a credential of one's own; the page leaves the rest of the command to the reader.
		{
			command: "kubeadm join --ignore-preflight-errors=FileAvailable--etc-kubernetes-kubelet.conf --token abcdef.1234567890abcdef --discovery-token-ca-cert-hash sha256:1234..cdef 1.2.3.4:6443",
			prepare: func(t *testing.T, f *fixture, m *lab.Machine) {
				must(t, m.Run(t.Context(), "systemctl stop kubelet"))
				r := must(t, f.cluster.ControlPlane.RunSecret(t.Context(), "kubeadm kubeconfig user --org system:nodes --client-name system:node:"+m.Name))
				if err := m.WriteFile("/etc/kubernetes/kubelet.conf", []byte(r.Stdout), 0o600); err != nil {
					t.Fatal(err)
				}
			},
		},
	} {
		t.Run(e.command, func(t *testing.T) {
			t.Parallel()
			e.runs(t, f, f.worker(t))
		})
	}
	t.Run("that join nothing", func(t *testing.T) {
		t.Parallel()
		m := f.worker(t)
		must(t, m.Run(t.Context(), "systemctl stop kubelet"))
		for _, command := range []string{"kubeadm join --help", "kubeadm join phase kubelet-start --help"} {
			r := must(t, m.Run(t.Context(), strings.Replace(command, "kubeadm", "kubejoin", 1)))
			if !strings.Contains(r.Stdout, "--discovery-token") || !strings.Contains(r.Stdout, "kubejoin join") {
				t.Errorf("%s: %s", command, r.Stdout)
			}
		}
		// The synopsis shows it without a pin, which kubeadm refuses as well.
		e := example{command: "kubeadm join --discovery-token abcdef.1234567890abcdef 1.2.3.4:6443"}
		command := e.on(t, f)
		f.unchanged(t, m, func() {
			r := m.Run(t.Context(), command)
			if r.Code != 3 || !strings.Contains(r.Stderr, "--discovery-token-ca-cert-hash") || !strings.Contains(r.Stderr, "--discovery-token-unsafe-skip-ca-verification") {
				t.Errorf("exit code %d: %s", r.Code, r.Stderr)
			}
		})
		if r := m.Run(t.Context(), strings.Replace(command, "kubejoin", "kubeadm", 1)); r.Code == 0 {
			t.Error("kubeadm does not refuse it")
		}
	})
}

// The example of the page that joins a control plane, with the shared certificates copied by hand: with a certificate key besides,
// other cases do it.
func TestExampleOfControlPlane(t *testing.T) {
	f := alone(t, shared137)
	first, m := f.cluster.ControlPlane, f.controlPlane(t)
	e := example{
		command: "kubeadm join --discovery-token abcdef.1234567890abcdef --discovery-token-ca-cert-hash sha256:1234..cdef --control-plane 1.2.3.4:6443",
		prepare: func(t *testing.T, _ *fixture, m *lab.Machine) {
			for _, name := range []string{"ca.crt", "ca.key", "sa.key", "sa.pub", "front-proxy-ca.crt", "front-proxy-ca.key", "etcd/ca.crt", "etcd/ca.key"} {
				data, err := first.ReadFile("/etc/kubernetes/pki/" + name)
				if err != nil {
					t.Fatal(err)
				}
				if err := m.WriteFile("/etc/kubernetes/pki/"+name, data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		},
	}
	e.runs(t, f, m)
	f.healthy(t, first, m)
}
