package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kubejoin/kubejoin/e2e/lab"
)

const workerConfig = `apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
discovery:
  bootstrapToken:
    apiServerEndpoint: %s
    token: %s
    caCertHashes: [%s]
`

// configure writes a JoinConfiguration for a worker to /etc/join.yaml, which everybody may read, with a token of its own.
func (f *fixture) configure(t *testing.T, m *lab.Machine) {
	t.Helper()
	token, err := f.cluster.Token(t.Context(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	f.configureWith(t, m, f.cluster.Endpoint(), token, f.cluster.CAHash)
}

func (f *fixture) configureWith(t *testing.T, m *lab.Machine, endpoint, token, hash string) {
	t.Helper()
	config := fmt.Sprintf(workerConfig, endpoint, token, hash)
	if err := m.WriteFile("/etc/join.yaml", []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
}

const (
	plan  = "kubejoin plan -f /etc/join.yaml --detailed-exitcode"
	apply = "kubejoin apply -f /etc/join.yaml --ignore-preflight-errors=SystemVerification" // cgroup v1
)

// expect runs a command and fails the test if its exit code is another.
func expect(t *testing.T, m *lab.Machine, user, command string, code int) lab.Result {
	t.Helper()
	r := m.RunAs(t.Context(), user, command)
	if r.Code != code {
		t.Fatalf("%s as %s: exit code %d, want %d\n%s%s", command, user, r.Code, code, r.Stdout, r.Stderr)
	}
	return r
}

// A worker joins, and is in sync from then on.
func TestWorker(t *testing.T) {
	f := use(t)
	m := f.worker(t)
	f.configure(t, m)
	must(t, m.Run(t.Context(), "systemctl stop kubelet")) // else it restarts by itself, and counts

	t.Run("plan writes nothing", func(t *testing.T) {
		for _, user := range []string{"root", "nobody"} {
			requests := f.unchanged(t, m, func() { expect(t, m, user, plan, 2) })
			if len(requests) == 0 {
				t.Error("no request was seen: the audit log proves nothing")
			}
			r, calls, err := m.Trace(t.Context(), user, plan)
			if err != nil {
				t.Fatal(err)
			}
			if len(calls) > 0 {
				t.Errorf("as %s: plan asked for changes:\n%s\n%s%s", user, strings.Join(calls, "\n"), r.Stdout, r.Stderr)
			}
		}
	})
	t.Run("apply joins", func(t *testing.T) {
		r, calls, err := m.Trace(t.Context(), "root", apply) // for the canary: no secret in an argument of a program
		if err != nil {
			t.Fatal(err)
		}
		if r.Code != 0 || len(calls) == 0 {
			t.Fatalf("exit code %d, %d calls\n%s%s", r.Code, len(calls), r.Stdout, r.Stderr)
		}
		if err := f.cluster.WaitReady(t.Context(), m.Name); err != nil {
			t.Fatal(err)
		}
		if err := f.cluster.LearnSecrets(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("a second plan is empty", func(t *testing.T) {
		f.unchanged(t, m, func() { expect(t, m, "root", plan, 0) })
	})
	t.Run("a second apply writes nothing", func(t *testing.T) {
		f.unchanged(t, m, func() { expect(t, m, "root", apply, 0) })
	})
}

// Kill it anywhere, run it again, and it converges.
func TestWorkerKilled(t *testing.T) {
	f := use(t)
	for _, after := range []time.Duration{50, 150, 250, 400, 550, 700} {
		t.Run(fmt.Sprintf("after %d ms", after), func(t *testing.T) {
			m := f.worker(t)
			f.configure(t, m)
			p, err := m.Start(t.Context(), "root", apply)
			if err != nil {
				t.Fatal(err)
			}
			<-time.After(after * time.Millisecond)
			_ = p.Signal(syscall.SIGKILL) // it may have ended already
			p.Wait()
			expect(t, m, "root", apply, 0)
			if err := f.cluster.WaitReady(t.Context(), m.Name); err != nil {
				t.Fatal(err)
			}
			f.unchanged(t, m, func() { expect(t, m, "root", plan, 0) })
			if left := m.Run(t.Context(), `find /etc /var/lib/kubelet -xdev -name '.*' -newer /etc/machine-id -type f`); left.Stdout != "" {
				t.Errorf("temporary files are left: %s", left.Stdout)
			}
		})
	}
}

// What must not be joined is refused, with the exit code that says why, and nothing is written.
func TestWorkerRefused(t *testing.T) {
	f := use(t)
	m := f.worker(t)
	must(t, m.Run(t.Context(), "systemctl stop kubelet"))
	token, err := f.cluster.Token(t.Context(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, endpoint, token, hash string
		code                        int
	}{
		{"a CA with another key", f.cluster.Endpoint(), token, "sha256:" + strings.Repeat("0", 64), 5},
		{"nobody listens", "cp1:6444", token, f.cluster.CAHash, 6},
		{"an unknown token", f.cluster.Endpoint(), "aaaaaa.0123456789abcdef", f.cluster.CAHash, 9},
		{"a token with another secret", f.cluster.Endpoint(), token[:7] + "0123456789abcdef", f.cluster.CAHash, 5},
		{"a pin that is none", f.cluster.Endpoint(), token, "sha256:xyz", 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f.configureWith(t, m, tt.endpoint, tt.token, tt.hash)
			config, err := m.ReadFile("/etc/join.yaml")
			if err != nil {
				t.Fatal(err)
			}
			short := string(config) + "timeouts:\n  discovery: 5s\n"
			if err := m.WriteFile("/etc/join.yaml", []byte(short), 0o644); err != nil {
				t.Fatal(err)
			}
			f.unchanged(t, m, func() { expect(t, m, "root", apply, tt.code) })
		})
	}
}

// A change of a file or of the configuration is found and put right, and nothing else.
func TestWorkerDrift(t *testing.T) {
	f := use(t)
	m := f.worker(t)
	f.configure(t, m)
	expect(t, m, "root", apply, 0)
	tests := []struct {
		name, command string
		says          string // what the plan mentions
		restart       bool
	}{
		{"kubelet stopped", "systemctl stop kubelet", "service:kubelet", true},
		{"kubelet disabled", "systemctl disable kubelet 2>/dev/null", "service:kubelet", false},
		{"kubelet configuration edited", "sed -i 's/^clusterDomain:.*/clusterDomain: other.example/' /var/lib/kubelet/config.yaml", "file:/var/lib/kubelet/config.yaml", true},
		{"kubelet configuration deleted", "rm /var/lib/kubelet/config.yaml", "file:/var/lib/kubelet/config.yaml", true},
		{"CA readable by all, writable by group", "chmod 0664 /etc/kubernetes/pki/ca.crt", "file:/etc/kubernetes/pki/ca.crt", false},
		{"kubelet flags emptied", "truncate -s0 /var/lib/kubelet/kubeadm-flags.env", "file:/var/lib/kubelet/kubeadm-flags.env", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			must(t, m.Run(t.Context(), tt.command))
			before, err := m.Unit(t.Context(), "kubelet")
			if err != nil {
				t.Fatal(err)
			}
			f.unchanged(t, m, func() {
				if r := expect(t, m, "root", plan, 2); !strings.Contains(r.Stdout, tt.says) {
					t.Errorf("the plan does not mention %s:\n%s", tt.says, r.Stdout)
				}
			})
			expect(t, m, "root", apply, 0)
			f.unchanged(t, m, func() { expect(t, m, "root", plan, 0) })
			after, err := m.Unit(t.Context(), "kubelet")
			if err != nil {
				t.Fatal(err)
			}
			if restarted := after.InvocationID != before.InvocationID; restarted != tt.restart {
				t.Errorf("kubelet restarted: %t, want %t", restarted, tt.restart)
			}
		})
	}
}

// A node that kubeadm joined is taken over: there is nothing to do.
func TestWorkerOfKubeadm(t *testing.T) {
	f := use(t)
	m := f.worker(t)
	if err := f.cluster.KubeadmJoin(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if err := f.cluster.WaitReady(t.Context(), m.Name); err != nil {
		t.Fatal(err)
	}
	f.configure(t, m)
	f.unchanged(t, m, func() { expect(t, m, "root", plan, 0) })
	f.unchanged(t, m, func() { expect(t, m, "root", apply, 0) })
}
