package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/kubejoin/kubejoin/e2e/lab"
)

// steady is how long etcd may acknowledge nothing while control planes come and go: an election takes about 2 s.
const steady = 10 * time.Second

// One control plane becomes three and more, and kubeadm works with what it finds. One case after the other: they share one etcd.
func TestControlPlane(t *testing.T) {
	t.Parallel()
	f := alone(t, shared137)
	for _, c := range []struct {
		name string
		run  func(*testing.T, *fixture)
	}{
		{"of kubeadm", kubeadmsControlPlane},
		{"one becomes three, one at a time", oneBecomesThree},
		{"two at once, and drift", twoAtOnce},
		{"adopted", adopted},
		{"another member joins", anotherLearner},
		{"a learner of its own is left", ownLearner},
		{"an external CA", externalCA},
		{"refused", refusedControlPlane},
		{"broken", brokenControlPlane},
		{"interrupted", interrupted},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, f) })
	}
}

// What a cluster of the minor before has is what kubeadm of that minor writes.
func TestControlPlaneOf136(t *testing.T) {
	t.Parallel()
	f := alone(t, shared136)
	t.Run("of kubeadm", func(t *testing.T) { kubeadmsControlPlane(t, f) })
	t.Run("adopted", func(t *testing.T) { adopted(t, f) })
	t.Run("one becomes three, one at a time", func(t *testing.T) { oneBecomesThree(t, f) })
	t.Run("changed", func(t *testing.T) { changedControlPlane(t, f) })
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
				"--apiserver-advertise-address %s",
				f.cluster.Endpoint(), f.token(t), f.cluster.CAHash, f.cluster.CertificateKey, third.Address)
			run(t, third, "root", join, 0)
			f.unchanged(t, third, func() { wantSteps(t, run(t, third, "root", join, 0)) })
			f.configureControlPlane(t, third)
			f.converged(t, third)
			f.healthy(t, first, second, third)
			for _, m := range []*lab.Machine{second, third} {
				f.kubeadmWorks(t, m)
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
	driftOfControlPlane(t, f, machines[0], f.cluster.ControlPlane, machines[1])
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
	f.kubeadmWorks(t, m)
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
	must(t, f.cluster.Etcdctl(t.Context(), "member add "+m.Name+" --learner --peer-urls=https://"+m.HostPort("2380")))
	f.becomes(t, m)
	f.healthy(t, f.cluster.ControlPlane, m)
}

// Whatever happens to some things gives exactly their changes, and a restart of the pods that read them only when they start.
// etcd has a quorum without the machine.
func driftOfControlPlane(t *testing.T, f *fixture, m *lab.Machine, others ...*lab.Machine) {
	const pki = "/etc/kubernetes/pki/"
	// Not by sed -i: its temporary name begins with no dot, so that the kubelet takes it for a second manifest and starts the pod again.
	const beside = "/etc/kubernetes/manifests/.edited"
	const edited = "cp -p FILE " + beside + " && sed -E 's,^    - (kube-[a-z-]*|etcd)$,&\\n    - --v=4,' FILE >" + beside + " && mv " + beside + " FILE"
	var authorities, leaves, kubeconfigs, manifests []string
	for _, name := range []string{"ca", "etcd/ca", "front-proxy-ca"} {
		authorities = append(authorities, pki+name)
	}
	for _, name := range []string{
		"apiserver", "apiserver-etcd-client", "apiserver-kubelet-client", "etcd/healthcheck-client", "etcd/peer", "etcd/server", "front-proxy-client",
	} {
		leaves = append(leaves, pki+name)
	}
	for _, name := range []string{"admin", "controller-manager", "scheduler"} {
		kubeconfigs = append(kubeconfigs, "/etc/kubernetes/"+name+".conf")
	}
	components := []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"}
	for _, name := range components {
		manifests = append(manifests, "/etc/kubernetes/manifests/"+name+".yaml")
	}
	each := func(format string, names []string) string {
		var commands []string
		for _, name := range names {
			commands = append(commands, strings.ReplaceAll(format, "FILE", name))
		}
		return strings.Join(commands, " && ")
	}
	steps := func(action, address string, names []string, suffix, reason string) []string {
		var steps []string
		for _, name := range names {
			steps = append(steps, action+" "+address+name+suffix+" "+reason)
		}
		return steps
	}
	restart := func(reason string, pods ...string) []string { return steps("restart", "static-pod:", pods, "", reason) }
	kubectl := func(format string) string {
		return "kubectl --server=https://" + others[0].HostPort("6443") + " " + fmt.Sprintf(format, m.Name) + " >/dev/null"
	}
	readKubeconfigs := []string{"kube-controller-manager", "kube-scheduler"}
	readAuthorities := []string{"etcd", "kube-apiserver", "kube-controller-manager"}
	for _, tt := range []struct {
		name, command string
		want          []string
	}{
		{
			"certificates of authorities missing", each("rm FILE.crt", authorities),
			slices.Concat(steps("create", "file:", authorities, ".crt", "missing"), restart("missing", readAuthorities...)),
		},
		{"keys of authorities missing", each("rm FILE.key", authorities), steps("create", "file:", authorities, ".key", "missing")},
		{"keys of authorities empty", each("truncate -s0 FILE.key", authorities), steps("update", "file:", authorities, ".key", "drift")},
		{
			"keys that everybody may read", each("chmod 0644 FILE.key", slices.Concat(authorities, leaves)),
			slices.Concat(steps("update", "file:", authorities, ".key", "drift"), steps("update", "certificate:", leaves, ".crt", "drift")),
		},
		{
			"service accounts' keys missing", each("rm FILE", []string{pki + "sa.key", pki + "sa.pub"}),
			slices.Concat(steps("create", "file:"+pki, []string{"sa.key", "sa.pub"}, "", "missing"), restart("missing", "kube-apiserver", "kube-controller-manager")),
		},
		{
			"sa.pub of another key", "openssl genrsa 2048 2>/dev/null | openssl rsa -pubout -out " + pki + "sa.pub 2>/dev/null",
			append(restart("drift", "kube-apiserver"), "update file:"+pki+"sa.pub drift"),
		},
		// etcd reads its certificate for each connection.
		{"certificates missing", each("rm FILE.crt", leaves), append(steps("update", "certificate:", leaves, ".crt", "missing"), "wait static-pod:etcd drift")},
		{"their keys missing", each("rm FILE.key", leaves), append(steps("update", "certificate:", leaves, ".crt", "missing"), "wait static-pod:etcd drift")},
		{"certificates empty", each("truncate -s0 FILE.crt", leaves), append(steps("update", "certificate:", leaves, ".crt", "drift"), "wait static-pod:etcd drift")},
		// The kubelet makes empty files of the others sooner or later.
		{"a kubeconfig missing", "rm /etc/kubernetes/admin.conf", []string{"create kubeconfig:/etc/kubernetes/admin.conf missing"}},
		{
			"kubeconfigs empty", each("truncate -s0 FILE", kubeconfigs),
			append(steps("update", "kubeconfig:", kubeconfigs, "", "drift"), restart("drift", readKubeconfigs...)...),
		},
		{
			"kubeconfigs of another server", each("sed -i 's,server:.*,server: https://192.0.2.1:6443,' FILE", kubeconfigs),
			append(steps("update", "kubeconfig:", kubeconfigs, "", "intent"), restart("intent", readKubeconfigs...)...),
		},
		{"kubeconfigs that everybody may read", each("chmod 0644 FILE", kubeconfigs), steps("update", "kubeconfig:", kubeconfigs, "", "drift")},
		{"manifests missing", each("rm FILE", manifests), steps("create", "static-pod:", components, "", "missing")},
		{"manifests empty", each("truncate -s0 FILE", manifests), steps("update", "static-pod:", components, "", "drift")},
		{
			"manifests with another argument", each(edited, manifests),
			steps("update", "static-pod:", components, "", "drift"),
		},
		{"manifests that everybody may read", each("chmod 0644 FILE", manifests), steps("update", "static-pod:", components, "", "drift")},
		{
			"label and taint missing", kubectl("label node %s node-role.kubernetes.io/control-plane-") + " && " +
				kubectl("taint node %s node-role.kubernetes.io/control-plane:NoSchedule-"), []string{"update node-marks:" + m.Name + " drift"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// A kubelet waits longer before each further start of a container, but it forgets.
			must(t, m.Run(t.Context(), "systemctl restart kubelet && until curl --silent --fail --output /dev/null localhost:10248/healthz; do sleep 0.1; done"))
			must(t, m.Run(t.Context(), tt.command))
			var s said
			f.unchanged(t, m, func() { s = run(t, m, "root", plan, 2) })
			got := s.steps()
			slices.Sort(got)
			slices.Sort(tt.want)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("plan (-want +got):\n%s\n%s", diff, s)
			}
			for _, c := range s.Plan.Changes {
				if c.Allow != "" {
					t.Errorf("is destructive: %+v", c)
				}
			}
			if f.repair(t, m) {
				t.Error("the kubelet was restarted")
			}
			f.healthy(t, append(others, m)...)
		})
	}
	t.Run("meaning nothing", func(t *testing.T) {
		for _, command := range []string{
			"echo '# a comment' >> /etc/kubernetes/manifests/kube-scheduler.yaml",
			"touch /etc/kubernetes/manifests/etcd.yaml",
			kubectl("label node %s example.com/zone=a"),
			kubectl("taint node %s example.com/zone=a:PreferNoSchedule"),
		} {
			must(t, m.Run(t.Context(), command))
		}
		f.unchanged(t, m, func() {
			run(t, m, "root", "HTTPS_PROXY=http://192.0.2.1:3128 NO_PROXY=10.77.0.0/24,cp20,cp40 "+plan, 0)
		})
	})
}

// moments is how many runs are killed at random.
const moments = 30

// Kill it anywhere, run it again, and it converges: two machines at once, so that each also meets what is left of the other.
func interrupted(t *testing.T, f *fixture) {
	first, second := f.cluster.ControlPlane, f.controlPlane(t)
	f.configureControlPlane(t, second)
	s := run(t, second, "root", plan, 2)
	var steps []string
	for _, c := range s.Plan.Changes {
		steps = append(steps, strings.ReplaceAll(c.Address, second.Name, "NAME"))
	}
	took := run(t, second, "root", apply, 0).Took
	f.converged(t, second)
	both := []*lab.Machine{first, second}
	written := f.write(t)

	t.Run("at every step", func(t *testing.T) {
		for _, step := range oneOfEach(steps) {
			t.Run(step, func(t *testing.T) {
				f.interruptTwo(t, both, [2]func(*testing.T, *lab.Machine){
					func(t *testing.T, m *lab.Machine) { killedAt(t, m, "start", step) },
					func(t *testing.T, m *lab.Machine) { killedAt(t, m, "done", step) },
				})
			})
		}
	})
	t.Run("at random moments", func(t *testing.T) {
		seed := rand.Uint64()
		t.Logf("seed %d, an apply takes %s", seed, took)
		random := rand.New(rand.NewPCG(seed, 0))
		var died atomic.Int32
		var mu sync.Mutex
		shortest := took
		shorter := func(than time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			shortest = min(shortest, than)
		}
		for i := range moments / 2 {
			var after [2]time.Duration
			var interrupt [2]func(*testing.T, *lab.Machine)
			for j := range after {
				share := (float64(i+j*moments/2) + random.Float64()) / moments
				after[j] = time.Duration(share * float64(shortest))
				interrupt[j] = func(t *testing.T, m *lab.Machine) {
					p, err := m.Start(t.Context(), "root", apply)
					if err != nil {
						t.Error(err)
						return
					}
					<-time.After(after[j])
					_ = p.Signal(syscall.SIGKILL) // it may have ended already
					if r := p.Wait(); r.Code == 137 {
						died.Add(1)
					} else {
						shorter(r.Took) // than the first one, which was slow
					}
				}
			}
			t.Run(fmt.Sprintf("after %d and %d ms", after[0].Milliseconds(), after[1].Milliseconds()), func(t *testing.T) {
				f.interruptTwo(t, both, interrupt)
			})
		}
		if died.Load() < moments/2 {
			t.Errorf("only %d of %d runs were killed: the others had ended", died.Load(), moments)
		}
	})
	// The machine ends, not only the program: the kubelet and etcd come back as they were.
	t.Run("by a power cut", func(t *testing.T) {
		cut := func(share float64) func(*testing.T, *lab.Machine) {
			return func(t *testing.T, m *lab.Machine) {
				p, err := m.Start(t.Context(), "root", apply)
				if err != nil {
					t.Error(err)
					return
				}
				<-time.After(time.Duration(share * float64(took)))
				if err := m.CutPower(); err != nil {
					t.Error(err)
				}
				p.Wait()
				if err := m.PowerOn(t.Context()); err != nil {
					t.Error(err)
				}
			}
		}
		for _, shares := range [][2]float64{{0.2, 0.7}, {0.5, 0.9}} {
			t.Run(fmt.Sprintf("at %.0f and %.0f %%", 100*shares[0], 100*shares[1]), func(t *testing.T) {
				f.interruptTwo(t, both, [2]func(*testing.T, *lab.Machine){cut(shares[0]), cut(shares[1])})
			})
		}
	})
	written(both...)
}

// oneOfEach is one step of each kind where there are many that differ only in what they write.
func oneOfEach(steps []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, s := range steps {
		kind := s
		for _, prefix := range []string{"file:/etc/kubernetes/pki/", "certificate:", "image:"} {
			if strings.HasPrefix(s, prefix) {
				kind = prefix
			}
		}
		if !seen[kind] {
			seen[kind] = true
			out = append(out, s)
		}
	}
	return out
}

// killedAt applies until a step begins or has ended.
func killedAt(t *testing.T, m *lab.Machine, when, step string) {
	t.Helper()
	r := m.Run(t.Context(), hooked(when, strings.ReplaceAll(step, "NAME", m.Name)))
	if r.Code != 137 {
		t.Errorf("%s: was not killed: exit code %d\n%s%s", m.Name, r.Code, r.Stdout, r.Stderr)
	}
}

// interruptTwo interrupts two fresh machines that join, each at once followed by a run that is not, and finds two control planes
// more.
func (f *fixture) interruptTwo(t *testing.T, others []*lab.Machine, interrupt [2]func(*testing.T, *lab.Machine)) {
	t.Helper()
	machines := []*lab.Machine{f.controlPlane(t), f.controlPlane(t)}
	results := make([]lab.Result, len(machines))
	var wg sync.WaitGroup
	for i, m := range machines {
		f.configureControlPlane(t, m)
		wg.Go(func() {
			interrupt[i](t, m)
			results[i] = m.Run(t.Context(), apply+" -o json")
		})
	}
	wg.Wait()
	for i, m := range machines {
		if s := parse(t, results[i]); s.Code != 0 {
			t.Errorf("%s: exit code %d\n%s", m.Name, s.Code, s)
			continue
		}
		f.ready(t, m)
		f.inSync(t, m)
		leftovers(t, m)
	}
	f.healthy(t, append(others, machines...)...)
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
	// API servers do not serve while etcd elects.
	for _, m := range machines {
		deadline := time.Now().Add(steady)
		for {
			_, err := f.cluster.Kubectl(t.Context(), "--server=https://"+m.HostPort("6443")+" get --raw /readyz")
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Error(err)
				break
			}
			<-time.After(250 * time.Millisecond)
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
func (f *fixture) kubeadmWorks(t *testing.T, m *lab.Machine) {
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
		change := strings.HasPrefix(line, "+") || strings.HasPrefix(line, "-")
		if header := strings.HasPrefix(line, "--- ") || strings.HasPrefix(line, "+++ "); f.rootless {
			// It leaves out the users of the components, also where kubeadm itself has just set them.
			change = change && !header && !ofUsers.MatchString(line)
		}
		if change {
			t.Errorf("kubeadm upgrade would change the manifests:\n%s", r.Stdout)
			break
		}
	}
	must(t, m.RunSecret(t.Context(), "kubeadm upgrade node --dry-run --ignore-preflight-errors=all"))
}
