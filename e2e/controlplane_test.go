package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kubejoin/kubejoin/e2e/lab"
)

// steady is how long etcd may acknowledge nothing while control planes come and go: an election takes about 2 s.
const steady = 10 * time.Second

// One control plane becomes three and more, and kubeadm works with what it finds. One case after the other: they share one etcd.
func TestControlPlane(t *testing.T) {
	t.Parallel()
	f := of(t, shared137)
	for _, c := range []struct {
		name string
		run  func(*testing.T, *fixture)
	}{
		{"one becomes three, one at a time", oneBecomesThree},
		{"two at once", twoAtOnce},
		{"adopted", adopted},
		{"another member joins", anotherLearner},
		{"a learner of its own is left", ownLearner},
		{"refused", refusedControlPlane},
		{"broken", brokenControlPlane},
		{"drift", driftOfControlPlane},
		{"killed at every step", killedAtEveryStep},
		{"killed at random moments", killedAtRandomMoments},
		{"power cut", powerCut},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, f) })
	}
}

// What a cluster of the minor before has is what kubeadm of that minor writes.
func TestControlPlaneOf136(t *testing.T) {
	t.Parallel()
	f := of(t, shared136)
	t.Run("adopted", func(t *testing.T) { adopted(t, f) })
	t.Run("one becomes three, one at a time", func(t *testing.T) { oneBecomesThree(t, f) })
}

func oneBecomesThree(t *testing.T, f *fixture) {
	first := f.cluster.ControlPlane
	written := f.write(t)
	var second, third *lab.Machine
	t.Run("by file", func(t *testing.T) {
		second = f.controlPlane(t)
		must(t, second.Run(t.Context(), "systemctl stop kubelet"))
		f.configureControlPlane(t, second)
		var s said
		f.unchanged(t, second, func() { s = run(t, second, "root", plan, 2) })
		for _, address := range []string{
			"file:/etc/kubernetes/pki/ca.key", "certificate:/etc/kubernetes/pki/apiserver.crt", "kubeconfig:/etc/kubernetes/admin.conf",
			"static-pod:kube-apiserver", "static-pod:kube-controller-manager", "static-pod:kube-scheduler",
			"etcd-member:" + second.Name, "etcd-voter:" + second.Name, "node:" + second.Name, "node-marks:" + second.Name, service,
		} {
			if s.change(address).Action == "" {
				t.Errorf("%s is not planned:\n%s", address, s)
			}
		}
		f.becomes(t, second)
		f.healthy(t, first, second)

		t.Run("by flags", func(t *testing.T) {
			third = f.controlPlane(t)
			join := fmt.Sprintf("kubejoin join %s --token %s --discovery-token-ca-cert-hash %s --control-plane --certificate-key %s "+
				"--apiserver-advertise-address %s --ignore-preflight-errors=SystemVerification",
				f.cluster.Endpoint(), f.token(t), f.cluster.CAHash, f.cluster.CertificateKey, third.Address)
			run(t, third, "root", join, 0)
			f.unchanged(t, third, func() { wantSteps(t, run(t, third, "root", join, 0)) })
			f.configureControlPlane(t, third)
			f.converged(t, third)
			f.healthy(t, first, second, third)
			for _, m := range []*lab.Machine{second, third} {
				kubeadmWorks(t, m)
			}
			written(first, second, third)
			must(t, third.Run(t.Context(), "kubeadm reset --force"))
			f.healthy(t, first, second)
		})
	})
}

// Whoever comes second waits for its turn.
func twoAtOnce(t *testing.T, f *fixture) {
	machines := []*lab.Machine{f.controlPlane(t), f.controlPlane(t)}
	written := f.write(t)
	var wg sync.WaitGroup
	results := make([]lab.Result, len(machines))
	for i, m := range machines {
		f.configureControlPlane(t, m)
		wg.Go(func() { results[i] = m.Run(t.Context(), apply) })
	}
	wg.Wait()
	for i, m := range machines {
		must(t, results[i])
		f.converged(t, m)
	}
	all := append([]*lab.Machine{f.cluster.ControlPlane}, machines...)
	f.healthy(t, all...)
	written(all...)
}

// A control plane that kubeadm joined is taken over.
func adopted(t *testing.T, f *fixture) {
	m := f.controlPlane(t)
	if err := f.cluster.KubeadmJoinControlPlane(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	f.configureControlPlane(t, m)
	f.converged(t, m)
	f.healthy(t, f.cluster.ControlPlane, m)
	kubeadmWorks(t, m)
}

// etcd takes one learner at a time.
func anotherLearner(t *testing.T, f *fixture) {
	m := f.controlPlane(t)
	f.configureControlPlane(t, m)
	must(t, f.cluster.Etcdctl(t.Context(), "member add other --learner --peer-urls=https://10.77.0.254:2380"))
	removed := false
	remove := func() {
		if removed {
			return
		}
		removed = true
		members, err := f.cluster.Members(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, member := range members {
			if member.Peer == "https://10.77.0.254:2380" {
				must(t, f.cluster.Etcdctl(t.Context(), fmt.Sprintf("member remove %x", member.ID)))
			}
		}
	}
	defer remove()
	p, err := m.Start(t.Context(), "root", apply)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "apply says what it waits for", func() bool { return strings.Contains(p.Stderr(), "learner") })
	remove()
	end(t, p, 0)
	f.converged(t, m)
	f.healthy(t, f.cluster.ControlPlane, m)
}

// A run that was killed after it had added the member is continued, not repeated.
func ownLearner(t *testing.T, f *fixture) {
	m := f.controlPlane(t)
	f.configureControlPlane(t, m)
	must(t, f.cluster.Etcdctl(t.Context(), "member add "+m.Name+" --learner --peer-urls=https://"+m.Address+":2380"))
	f.becomes(t, m)
	f.healthy(t, f.cluster.ControlPlane, m)
}

// Whatever happens to one thing gives that thing's change, and at most a restart of the pods that read it.
func driftOfControlPlane(t *testing.T, f *fixture) {
	first, m := f.cluster.ControlPlane, f.controlPlane(t)
	f.configureControlPlane(t, m)
	f.becomes(t, m)
	type drift struct{ name, command, address string }
	var tests []drift
	const pki = "/etc/kubernetes/pki/"
	for _, name := range []string{"ca", "front-proxy-ca", "etcd/ca"} {
		tests = append(tests,
			drift{name + ".crt missing", "rm " + pki + name + ".crt", "file:" + pki + name + ".crt"},
			drift{name + ".key missing", "rm " + pki + name + ".key", "file:" + pki + name + ".key"},
			drift{name + ".key empty", "truncate -s0 " + pki + name + ".key", "file:" + pki + name + ".key"},
			drift{name + ".key that everybody may read", "chmod 0644 " + pki + name + ".key", "file:" + pki + name + ".key"})
	}
	tests = append(tests,
		drift{"sa.key missing", "rm " + pki + "sa.key", "file:" + pki + "sa.key"},
		drift{"sa.pub missing", "rm " + pki + "sa.pub", "file:" + pki + "sa.pub"},
		drift{"sa.pub of another key", "openssl genrsa 2048 2>/dev/null | openssl rsa -pubout -out " + pki + "sa.pub 2>/dev/null", "file:" + pki + "sa.pub"})
	for _, name := range []string{
		"apiserver", "apiserver-kubelet-client", "front-proxy-client", "apiserver-etcd-client", "etcd/server", "etcd/peer", "etcd/healthcheck-client",
	} {
		tests = append(tests,
			drift{name + ".crt missing", "rm " + pki + name + ".crt", "certificate:" + pki + name + ".crt"},
			drift{name + ".key missing", "rm " + pki + name + ".key", "certificate:" + pki + name + ".crt"},
			drift{name + ".crt empty", "truncate -s0 " + pki + name + ".crt", "certificate:" + pki + name + ".crt"},
			drift{name + ".key that everybody may read", "chmod 0644 " + pki + name + ".key", "certificate:" + pki + name + ".crt"})
	}
	for _, name := range []string{"admin", "controller-manager", "scheduler"} {
		file := "/etc/kubernetes/" + name + ".conf"
		tests = append(tests,
			drift{name + ".conf missing", "rm " + file, "kubeconfig:" + file},
			drift{name + ".conf empty", "truncate -s0 " + file, "kubeconfig:" + file},
			drift{name + ".conf of another server", "sed -i 's,server:.*,server: https://192.0.2.1:6443,' " + file, "kubeconfig:" + file},
			drift{name + ".conf that everybody may read", "chmod 0644 " + file, "kubeconfig:" + file})
	}
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"} {
		file := "/etc/kubernetes/manifests/" + name + ".yaml"
		tests = append(tests,
			drift{name + " missing", "rm " + file, "static-pod:" + name},
			drift{name + " empty", "truncate -s0 " + file, "static-pod:" + name},
			drift{name + " with another argument", "sed -i 's,^    - " + name + "$,&\\n    - --v=4,' " + file, "static-pod:" + name},
			drift{name + " that everybody may read", "chmod 0644 " + file, "static-pod:" + name})
	}
	kubectl := func(format string) string {
		return "kubectl --server=https://" + first.Address + ":6443 " + fmt.Sprintf(format, m.Name) + " >/dev/null"
	}
	tests = append(tests,
		drift{"label missing", kubectl("label node %s node-role.kubernetes.io/control-plane-"), "node-marks:" + m.Name},
		drift{"taint missing", kubectl("taint node %s node-role.kubernetes.io/control-plane:NoSchedule-"), "node-marks:" + m.Name})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			must(t, m.Run(t.Context(), tt.command))
			var s said
			f.unchanged(t, m, func() { s = run(t, m, "root", plan, 2) })
			if c := s.change(tt.address); c.Action == "" || c.Reason != "missing" && c.Reason != "drift" || c.Allow != "" {
				t.Errorf("%s: %+v\n%s", tt.address, c, s)
			}
			for _, c := range s.Plan.Changes {
				if c.Address != tt.address && !strings.HasPrefix(c.Address, "static-pod:") {
					t.Errorf("%s is planned, too:\n%s", c.Address, s)
				}
			}
			if f.repair(t, m) {
				t.Error("the kubelet was restarted")
			}
			f.healthy(t, first, m)
		})
	}
	t.Run("meaning nothing", func(t *testing.T) {
		for _, tt := range []drift{
			{"comment in a manifest", "sed -i '1i # a comment' /etc/kubernetes/manifests/kube-scheduler.yaml", ""},
			{"manifest written again", "touch /etc/kubernetes/manifests/etcd.yaml", ""},
			{"proxy of the shell", "true", ""},
			{"foreign label", kubectl("label node %s example.com/zone=a"), ""},
			{"foreign taint", kubectl("taint node %s example.com/zone=a:PreferNoSchedule"), ""},
		} {
			t.Run(tt.name, func(t *testing.T) {
				must(t, m.Run(t.Context(), tt.command))
				f.unchanged(t, m, func() {
					run(t, m, "root", "HTTPS_PROXY=http://192.0.2.1:3128 NO_PROXY=10.77.0.0/24,cp20,cp40 "+plan, 0)
				})
			})
		}
	})
}

// becoming is a cluster of two control planes, and what a third one's plan has to do.
func becoming(t *testing.T, f *fixture) (both []*lab.Machine, steps []string, took time.Duration) {
	t.Helper()
	second := f.controlPlane(t)
	f.configureControlPlane(t, second)
	s := run(t, second, "root", plan, 2)
	for _, c := range s.Plan.Changes {
		steps = append(steps, strings.ReplaceAll(c.Address, second.Name, "NAME"))
	}
	took = run(t, second, "root", apply, 0).Took
	f.converged(t, second)
	return []*lab.Machine{f.cluster.ControlPlane, second}, steps, took
}

func killedAtEveryStep(t *testing.T, f *fixture) {
	both, steps, _ := becoming(t, f)
	written := f.write(t)
	for _, step := range steps {
		for _, when := range []string{"start", "done"} {
			t.Run(when+" of "+step, func(t *testing.T) {
				m := f.controlPlane(t)
				f.configureControlPlane(t, m)
				r := m.Run(t.Context(), hooked(when, strings.ReplaceAll(step, "NAME", m.Name)))
				if r.Code != 137 {
					t.Fatalf("was not killed: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
				}
				f.becomes(t, m)
				f.healthy(t, append(both, m)...)
			})
		}
	}
	written(both...)
}

func killedAtRandomMoments(t *testing.T, f *fixture) {
	both, _, took := becoming(t, f)
	written := f.write(t)
	seed := rand.Uint64()
	t.Logf("seed %d, an apply takes %s", seed, took)
	random := rand.New(rand.NewPCG(seed, 0))
	const moments = 30
	died := 0
	for i := range moments {
		after := time.Duration((float64(i) + random.Float64()) / moments * float64(took))
		t.Run(fmt.Sprintf("after %d ms", after.Milliseconds()), func(t *testing.T) {
			m := f.controlPlane(t)
			f.configureControlPlane(t, m)
			p, err := m.Start(t.Context(), "root", apply)
			if err != nil {
				t.Fatal(err)
			}
			<-time.After(after)
			_ = p.Signal(syscall.SIGKILL) // it may have ended already
			if p.Wait().Code == 137 {
				died++
			}
			f.becomes(t, m)
			f.healthy(t, append(both, m)...)
		})
	}
	if died < moments/2 {
		t.Errorf("only %d of %d runs were killed: the others had ended", died, moments)
	}
	written(both...)
}

// The machine ends, not only the program: the kubelet and etcd come back as they were.
func powerCut(t *testing.T, f *fixture) {
	both, _, took := becoming(t, f)
	for _, share := range []float64{0.3, 0.6, 0.9} {
		t.Run(fmt.Sprintf("at %.0f %%", 100*share), func(t *testing.T) {
			m := f.controlPlane(t)
			f.configureControlPlane(t, m)
			p, err := m.Start(t.Context(), "root", apply)
			if err != nil {
				t.Fatal(err)
			}
			<-time.After(time.Duration(share * float64(took)))
			if err := m.CutPower(); err != nil {
				t.Fatal(err)
			}
			p.Wait()
			if err := m.PowerOn(t.Context()); err != nil {
				t.Fatal(err)
			}
			f.becomes(t, m)
			f.healthy(t, append(both, m)...)
		})
	}
}

// configureControlPlane writes a JoinConfiguration for a control plane to /etc/join.yaml. It carries a certificate key: only root
// may read it.
func (f *fixture) configureControlPlane(t testing.TB, m *lab.Machine, more ...string) {
	t.Helper()
	token, err := f.cluster.Token(t.Context(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	sections := append([]string{fmt.Sprintf("controlPlane:\n  localAPIEndpoint:\n    advertiseAddress: %s\n  certificateKey: %s\n",
		m.Address, f.cluster.CertificateKey)}, more...)
	// The components' own timeout stays: their startup probes follow from it, and kubeadm upgrade compares them with its default.
	sections = append(sections, "timeouts:\n  tlsBootstrap: 1m\n  kubeletHealthCheck: 1m\n  etcdAPICall: 2m\n")
	config := joinConfig(byToken(f.cluster.Endpoint(), token, f.cluster.CAHash), sections...)
	if err := m.WriteFile("/etc/join.yaml", []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
}

// becomes applies, and finds a control plane that is in sync.
func (f *fixture) becomes(t *testing.T, m *lab.Machine) {
	t.Helper()
	run(t, m, "root", apply, 0)
	f.converged(t, m)
}

// converged finds nothing to do on a machine that joined; apply does nothing.
func (f *fixture) converged(t *testing.T, m *lab.Machine) {
	t.Helper()
	f.ready(t, m)
	f.inSync(t, m)
	f.unchanged(t, m, func() { wantSteps(t, run(t, m, "root", apply, 0)) })
	leftovers(t, m)
}

// healthy fails unless etcd's members are exactly these machines, all of them voters, and their API servers serve.
func (f *fixture) healthy(t testing.TB, machines ...*lab.Machine) {
	t.Helper()
	if err := f.cluster.Healthy(t.Context(), machines...); err != nil {
		t.Error(err)
	}
	for _, m := range machines {
		if _, err := f.cluster.Kubectl(t.Context(), "--server=https://"+m.Address+":6443 get --raw /readyz"); err != nil {
			t.Error(err)
		}
	}
}

// write writes to etcd from now on. What it returns ends that, and fails the test unless all acknowledged writes are on these
// machines and there were some all the time.
func (f *fixture) write(t *testing.T) func(machines ...*lab.Machine) {
	t.Helper()
	w, err := f.cluster.Write(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	t.Cleanup(func() {
		if !stopped {
			w.Abort()
		}
	})
	return func(machines ...*lab.Machine) {
		t.Helper()
		stopped = true
		written, err := w.Stop(t.Context(), machines...)
		if err != nil {
			t.Error(err)
		}
		t.Logf("etcd acknowledged %d writes, the longest pause was %s, failed: %q", written.Acknowledged, written.Pause, written.Failed)
		if written.Pause > steady {
			t.Errorf("etcd acknowledged nothing for %s", written.Pause)
		}
	}
}

// kubeadmWorks has kubeadm look at a control plane: it finds every certificate, and nothing to change in the manifests.
func kubeadmWorks(t *testing.T, m *lab.Machine) {
	t.Helper()
	r := must(t, m.Run(t.Context(), "kubeadm certs check-expiration --output=json 2>/dev/null"))
	var expiration struct {
		Certificates, CertificateAuthorities []struct {
			Name    string
			Missing bool
		}
	}
	if err := json.Unmarshal([]byte(r.Stdout), &expiration); err != nil {
		t.Fatalf("%v: %s", err, r.Stdout)
	}
	if len(expiration.Certificates) < 10 || len(expiration.CertificateAuthorities) != 3 {
		t.Errorf("kubeadm sees %d certificates and %d authorities", len(expiration.Certificates), len(expiration.CertificateAuthorities))
	}
	for _, c := range append(expiration.Certificates, expiration.CertificateAuthorities...) {
		if c.Missing && c.Name != "super-admin.conf" { // which only the first control plane has
			t.Errorf("kubeadm misses certificate %s", c.Name)
		}
	}
	r = must(t, m.Run(t.Context(), "kubeadm upgrade diff $(kubeadm version --output=short)"))
	for line := range strings.Lines(r.Stdout) {
		if strings.HasPrefix(line, "+") || strings.HasPrefix(line, "-") {
			t.Errorf("kubeadm upgrade would change the manifests:\n%s", r.Stdout)
			break
		}
	}
	must(t, m.RunSecret(t.Context(), "kubeadm upgrade node --dry-run --ignore-preflight-errors=all"))
}
