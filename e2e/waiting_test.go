package e2e

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kubejoin/kubejoin/e2e/lab"
)

// manual is the group of tokens whose nodes somebody has to approve.
const manual = "system:bootstrappers:manual"

// configureManual is configure with such a token. It returns the name of the token's user.
func (f *fixture) configureManual(t *testing.T, m *lab.Machine, more string) (user string) {
	t.Helper()
	f.manual.Do(func() {
		for _, binding := range []string{
			"clusterrolebinding manual-bootstrap --clusterrole=system:node-bootstrapper",
			"clusterrolebinding manual-nodes --clusterrole=kubeadm:get-nodes",
			"rolebinding manual-kubelet --namespace=kube-system --role=kubeadm:kubelet-config",
			"rolebinding manual-kubeadm --namespace=kube-system --role=kubeadm:nodes-kubeadm-config",
		} {
			f.kubectl(t, "create %s --group=%s", binding, manual)
		}
	})
	token, err := f.cluster.Token(t.Context(), time.Hour, manual)
	if err != nil {
		t.Fatal(err)
	}
	put(t, m, "/etc/join.yaml", joinConfig(byToken(f.cluster.Endpoint(), token, f.cluster.CAHash), more))
	return "system:bootstrap:" + token[:6]
}

var toApprove = regexp.MustCompile(`kubectl certificate approve (\S+)`)

// applyManual starts apply and returns the name of the request that it says has to be approved. It must say so within 5 s, once there is one.
func (f *fixture) applyManual(t *testing.T, m *lab.Machine, user string) (*lab.Process, string) {
	t.Helper()
	begin := time.Now()
	p, err := m.Start(t.Context(), "root", apply)
	if err != nil {
		t.Fatal(err)
	}
	var match []string
	until(t, "apply names the request", func() bool {
		match = toApprove.FindStringSubmatch(p.Stderr())
		return match != nil
	})
	said := time.Now()
	var list struct {
		Items []struct {
			Metadata struct {
				Name              string
				CreationTimestamp time.Time
			}
			Spec struct{ Username string }
		}
	}
	if err := json.Unmarshal([]byte(f.kubectl(t, "get csr --output=json")), &list); err != nil {
		t.Fatal(err)
	}
	for _, csr := range list.Items {
		if csr.Spec.Username == user && csr.Metadata.Name == match[1] {
			since := csr.Metadata.CreationTimestamp
			if since.Before(begin) { // by a kubelet that an apply before had started
				since = begin
			}
			if after := said.Sub(since); after > 5*time.Second {
				t.Errorf("named after %s", after)
			}
			return p, match[1]
		}
	}
	t.Fatalf("%s is not a request of %s:\n%s", match[1], user, p.Stderr())
	return nil, ""
}

// end waits for a started apply and compares its exit code.
func end(t *testing.T, p *lab.Process, code int) lab.Result {
	t.Helper()
	r := p.Wait()
	if r.Code != code {
		t.Fatalf("exit code %d, want %d\n%s%s", r.Code, code, r.Stdout, r.Stderr)
	}
	return r
}

// While a request waits for somebody, apply says who can do what, holds others off, and can be ended at any time.
func TestManualApproval(t *testing.T) {
	t.Parallel()
	f := use(t)

	t.Run("approved", func(t *testing.T) {
		t.Parallel()
		m := f.worker(t)
		p, name := f.applyManual(t, m, f.configureManual(t, m, ""))
		t.Run("a second apply is busy, and a plan is not", func(t *testing.T) {
			pid := strings.TrimSpace(must(t, m.Run(t.Context(), "pgrep -x kubejoin")).Stdout)
			s := run(t, m, "root", apply, 8)
			if s.Failure.Class != "busy" || !strings.Contains(s.Failure.Message, pid) {
				t.Errorf("process %s is not named: %+v", pid, *s.Failure)
			}
			wantSteps(t, run(t, m, "root", plan, 2), "wait "+credential+" missing", "create node:"+m.Name+" missing")
		})
		f.kubectl(t, "certificate approve %s", name)
		end(t, p, 0)
		f.ready(t, m)
		f.inSync(t, m)
		leftovers(t, m)
	})

	t.Run("denied", func(t *testing.T) {
		t.Parallel()
		m := f.worker(t)
		user := f.configureManual(t, m, "")
		p, name := f.applyManual(t, m, user)
		f.kubectl(t, "certificate deny %s", name)
		if r := end(t, p, 9); !strings.Contains(r.Stderr, "kubectl delete csr "+name) {
			t.Errorf("no way out is said:\n%s", r.Stderr)
		}
		f.kubectl(t, "delete csr %s", name)
		p, name = f.applyManual(t, m, user)
		f.kubectl(t, "certificate approve %s", name)
		end(t, p, 0)
		f.inSync(t, m)
	})

	t.Run("nobody answers in time", func(t *testing.T) {
		t.Parallel()
		m := f.worker(t)
		user := f.configureManual(t, m, "timeouts:\n  tlsBootstrap: 15s\n")
		begin := time.Now()
		p, name := f.applyManual(t, m, user)
		r := end(t, p, 10)
		if took := time.Since(begin); took < 15*time.Second || took > 40*time.Second {
			t.Errorf("took %s", took)
		}
		if !strings.Contains(r.Stderr, "timeouts.tlsBootstrap") {
			t.Errorf("does not say what ended:\n%s", r.Stderr)
		}
		must(t, m.Run(t.Context(), "test -s /etc/kubernetes/bootstrap-kubelet.conf")) // the kubelet still needs it
		f.kubectl(t, "certificate approve %s", name)
		f.repair(t, m)
		f.ready(t, m)
		leftovers(t, m)
	})

	t.Run("interrupted", func(t *testing.T) {
		t.Parallel()
		m := f.worker(t)
		user := f.configureManual(t, m, "")
		var name string
		for _, signal := range []string{"INT", "TERM"} {
			var p *lab.Process
			p, name = f.applyManual(t, m, user)
			begin := time.Now()
			must(t, m.Run(t.Context(), "pkill -x -"+signal+" kubejoin"))
			end(t, p, 130)
			if took := time.Since(begin); took > 10*time.Second { // of the 40 s it would wait
				t.Errorf("took %s to end", took)
			}
		}
		f.kubectl(t, "certificate approve %s", name)
		f.repair(t, m)
		f.ready(t, m)
		leftovers(t, m)
	})
}

// A kubelet that does not stay up says why, in its own words, while apply waits.
func TestCrashingKubelet(t *testing.T) {
	t.Parallel()
	f := use(t)
	m := f.worker(t)
	discovery := f.configure(t, m, "nodeRegistration:\n  kubeletExtraArgs:\n  - {name: no-such-flag, value: x}\ntimeouts:\n  tlsBootstrap: 15s\n")
	begin := time.Now()
	p, err := m.Start(t.Context(), "root", apply)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the kubelet's error", func() bool { return strings.Contains(p.Stderr(), "unknown flag: --no-such-flag") })
	if took := time.Since(begin); took > 8*time.Second {
		t.Errorf("said after %s", took)
	}
	if r := end(t, p, 10); !strings.Contains(r.Stderr, "does not stay up") {
		t.Errorf("the crash is not mentioned:\n%s", r.Stderr)
	}
	put(t, m, "/etc/join.yaml", joinConfig(discovery))
	f.repair(t, m)
	f.ready(t, m)

	t.Run("on a joined node", func(t *testing.T) {
		put(t, m, "/etc/join.yaml", joinConfig(discovery, "nodeRegistration:\n  kubeletExtraArgs:\n  - {name: no-such-flag, value: x}\ntimeouts:\n  kubeletHealthCheck: 8s\n"))
		p, err := m.Start(t.Context(), "root", apply)
		if err != nil {
			t.Fatal(err)
		}
		if r := end(t, p, 10); !strings.Contains(r.Stderr, "unknown flag: --no-such-flag") || !strings.Contains(r.Stderr, "timeouts.kubeletHealthCheck") {
			t.Errorf("does not say why:\n%s", r.Stderr)
		}
		put(t, m, "/etc/join.yaml", joinConfig(discovery))
		f.repair(t, m)
	})
}

func TestWaitForReady(t *testing.T) {
	t.Parallel()
	f := use(t)
	m := f.worker(t)
	f.configure(t, m)
	run(t, m, "root", apply+" --wait=ready", 0)
	ready := f.kubectl(t, `get node %s --output=jsonpath='{.status.conditions[?(@.type=="Ready")].status}'`, m.Name)
	if ready != "True" {
		t.Errorf("Ready is %s", ready)
	}
	f.inSync(t, m)
	run(t, m, "root", apply+" --wait=never", 3)

	t.Run("which does not come", func(t *testing.T) {
		m := f.worker(t)
		must(t, m.Run(t.Context(), "rm -r /etc/cni/net.d && systemctl restart containerd"))
		f.configure(t, m, "timeouts:\n  tlsBootstrap: 20s\n")
		s := run(t, m, "root", apply+" --wait=ready", 10)
		if !strings.Contains(s.Failure.Hint, "cni") && !strings.Contains(s.Failure.Hint, "network") {
			t.Errorf("does not say why: %+v", *s.Failure)
		}
		f.inSync(t, m) // for a plan, it is the kubelet's business
	})
}

// The node comes back after a boot, and is what it was.
func TestReboot(t *testing.T) {
	t.Parallel()
	f := use(t)
	m, _ := f.joined(t)
	must(t, m.Run(t.Context(), "systemctl disable --quiet kubelet")) // which apply has to put right, or the node would not come back
	run(t, m, "root", apply, 0)
	before := unit(t, m)
	if err := m.Reboot(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, "the kubelet runs", func() bool {
		u := unit(t, m)
		return u.ActiveState == "active" && u.InvocationID != before.InvocationID
	})
	f.ready(t, m)
	f.inSync(t, m)
	f.unchanged(t, m, func() { run(t, m, "root", apply, 0) })
}

// until waits until something is so, two minutes at most.
func until(t testing.TB, what string, so func() bool) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !so() {
		if time.Now().After(deadline) {
			t.Fatalf("not so after two minutes: %s", what)
		}
		<-time.After(50 * time.Millisecond)
	}
}
