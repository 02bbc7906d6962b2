package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// What must not be joined is refused, with the exit code that says why, and nothing is written.
func TestRefused(t *testing.T) {
	t.Parallel()
	f := use(t)
	m := f.worker(t)
	must(t, m.Run(t.Context(), "systemctl stop kubelet"))
	token, endpoint, pin := f.token(t), f.cluster.Endpoint(), f.cluster.CAHash
	expired, err := f.cluster.Token(t.Context(), 4*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the token has expired", func() bool {
		return f.kubectl(t, "get secret bootstrap-token-%s --namespace=kube-system --ignore-not-found --output=name", expired[:6]) == ""
	})
	tests := []struct {
		name, discovery string
		code            int
		class           string
		within          time.Duration
	}{
		{"a CA with another key", byToken(endpoint, token, "sha256:"+strings.Repeat("0", 64)), 5, "cluster-untrusted", time.Second},
		{"a token with another secret", byToken(endpoint, token[:7]+"0123456789abcdef", pin), 5, "cluster-untrusted", time.Second},
		{"nobody listens", byToken("cp1:6444", token, pin), 6, "cluster-unreachable", 7 * time.Second},
		{"no such host", byToken("nowhere.invalid:6443", token, pin), 6, "cluster-unreachable", 7 * time.Second},
		{"an unknown token", byToken(endpoint, "aaaaaa.0123456789abcdef", pin), 9, "credential-refused", 11 * time.Second},
		{"an expired token", byToken(endpoint, expired, pin), 9, "credential-refused", 11 * time.Second},
		{"an unknown token to bootstrap with", byToken(endpoint, token, pin) + "tlsBootstrapToken: aaaaaa.0123456789abcdef\n", 9, "credential-refused", time.Second},
		{"a pin that is none", byToken(endpoint, token, "sha256:xyz"), 3, "invalid-configuration", time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			put(t, m, "/etc/join.yaml", joinConfig(tt.discovery, "timeouts:\n  discovery: 5s\n"))
			s := f.refused(t, m, tt.code)
			if s.Failure.Class != tt.class || s.Failure.Hint == "" && len(s.Failure.Problems) == 0 {
				t.Errorf("said %+v", *s.Failure)
			}
			if s.Took > tt.within+3*time.Second { // for a busy lab; who tries again needs 5 s more
				t.Errorf("took %s", s.Took)
			}
		})
	}
}

// A configuration that cannot be meant is told in one screen, before anything is touched.
func TestBadInput(t *testing.T) {
	t.Parallel()
	f := use(t)
	m := f.worker(t)
	must(t, m.Run(t.Context(), "systemctl stop kubelet"))
	good := byToken(f.cluster.Endpoint(), "abcdef.0123456789abcdef", f.cluster.CAHash)
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&bomb, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), ", "))
	}
	tests := []struct{ name, content, prepare, user string }{
		{"an unknown field", joinConfig(good, "nodeRegistation: {}\n"), "", "root"},
		{"a wrong type", joinConfig(good, "nodeRegistration:\n  taints: yes\n"), "", "root"},
		{"a token that is none", joinConfig(byToken("cp1:6443", "hunter2", f.cluster.CAHash)), "", "root"},
		{"both ways of discovery", joinConfig(good + "file:\n  kubeConfigPath: /etc/x\n"), "", "root"},
		{"no discovery", joinConfig("tlsBootstrapToken: abcdef.0123456789abcdef\n"), "", "root"},
		{"another kind", "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n", "", "root"},
		{"an unknown version", strings.Replace(joinConfig(good), "v1beta4", "v9", 1), "", "root"},
		{"nothing", "", "", "root"},
		{"no YAML", "apiVersion: [\n", "", "root"},
		{"an alias bomb", bomb.String(), "", "root"},
		{"a discovery file that is not there", joinConfig("file:\n  kubeConfigPath: /etc/none\n"), "", "root"},
		{"no file", "", "rm /etc/join.yaml", "root"},
		{"a directory", "", "rm /etc/join.yaml && mkdir /etc/join.yaml", "root"},
		{"a file that may not be read", joinConfig(good), "rm -rf /etc/join.yaml && touch /etc/join.yaml && chmod 0600 /etc/join.yaml", "nobody"},
		{"100 MB", "", "rm -f /etc/join.yaml && yes 'apiVersion: kubeadm.k8s.io/v1beta4' | head -c 100000000 >/etc/join.yaml", "root"},
		{"a device that never ends", "", "rm /etc/join.yaml && ln -s /dev/zero /etc/join.yaml", "root"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			must(t, m.Run(t.Context(), "rm -rf /etc/join.yaml"))
			put(t, m, "/etc/join.yaml", tt.content)
			if tt.prepare != "" {
				must(t, m.Run(t.Context(), tt.prepare))
			}
			requests := f.unchanged(t, m, func() {
				s := run(t, m, tt.user, "timeout 20 "+apply, 3)
				if s.Failure == nil || s.Failure.Class != "invalid-configuration" {
					t.Errorf("said %+v", s.Failure)
				}
				r := m.RunAs(t.Context(), tt.user, "timeout 20 "+apply)
				if r.Code != 3 || strings.Count(r.Stderr, "\n") > 24 || !strings.HasPrefix(r.Stderr, "error: ") || r.Stdout != "" {
					t.Errorf("exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
				}
				if r.Took > 10*time.Second { // a bomb or a device would take for ever
					t.Errorf("took %s", r.Took)
				}
			})
			if len(requests) > 0 {
				t.Errorf("asked the cluster: %v", requests)
			}
		})
	}
}

// The token of the configuration is for joining. A joined node has a credential of its own.
func TestExpiredTokenOfJoinedNode(t *testing.T) {
	t.Parallel()
	f := use(t)
	m, _ := f.joined(t)
	expired, err := f.cluster.Token(t.Context(), 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the token has expired", func() bool {
		return f.kubectl(t, "get secret bootstrap-token-%s --namespace=kube-system --ignore-not-found --output=name", expired[:6]) == ""
	})
	discovery := byToken(f.cluster.Endpoint(), expired, f.cluster.CAHash)
	put(t, m, "/etc/join.yaml", joinConfig(discovery))
	f.inSync(t, m)
	put(t, m, "/etc/join.yaml", joinConfig(discovery, "nodeRegistration:\n  kubeletExtraArgs:\n  - {name: v, value: \"3\"}\n"))
	f.pending(t, m, "update "+flagsFile+" intent", "restart "+service+" intent")
	f.repair(t, m)

	t.Run("which lost its own credential cannot be helped", func(t *testing.T) {
		must(t, m.Run(t.Context(), "systemctl stop kubelet; rm "+kubeletConf))
		put(t, m, "/etc/join.yaml", joinConfig(discovery))
		s := f.refused(t, m, 9)
		if !strings.Contains(s.Failure.Hint, "kubeadm token create") {
			t.Errorf("no way out is said: %+v", *s.Failure)
		}
		f.configure(t, m)
		f.repair(t, m)
	})
}

// Two machines cannot be one Node, unless one is to replace the other.
func TestNameConflict(t *testing.T) {
	t.Parallel()
	f := use(t)
	first, _ := f.joined(t)
	before := unit(t, first)
	second := f.worker(t)
	must(t, second.Run(t.Context(), "systemctl stop kubelet"))
	f.configure(t, second, "nodeRegistration:\n  name: "+first.Name+"\n")
	conflict := func(t *testing.T) {
		t.Helper()
		s := f.refused(t, second, 7)
		if s.Failure.Address != "node:"+first.Name || !strings.Contains(s.Failure.Message, first.Address) {
			t.Errorf("does not name the other machine: %+v", *s.Failure)
		}
		if c := s.change("node:" + first.Name); c.Allow != "replace-node" || c.Action != "replace" {
			t.Errorf("plans %+v", c)
		}
	}
	conflict(t)
	if after := unit(t, first); after != before {
		t.Errorf("the first machine's kubelet: %+v, was %+v", after, before)
	}
	f.inSync(t, first)

	t.Run("a machine that is gone still owns its name, until somebody replaces it", func(t *testing.T) {
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		conflict(t)
		run(t, second, "root", apply+" --allow=replace-node", 0)
		f.inSync(t, second)
		id := strings.TrimSpace(must(t, second.Run(t.Context(), "cat /etc/machine-id")).Stdout)
		if got := f.kubectl(t, "get node %s --output=jsonpath={.status.nodeInfo.machineID}", first.Name); got != id {
			t.Errorf("the Node is machine %s, not %s", got, id)
		}
	})
}
