package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
	"github.com/kubejoin/kubejoin/reconcile/host"
	"github.com/kubejoin/kubejoin/reconcile/host/cri"
)

const (
	schedulerManifest = "/etc/kubernetes/manifests/kube-scheduler.yaml"
	schedulerConf     = "/etc/kubernetes/scheduler.conf"
	schedulerImage    = "registry.k8s.io/kube-scheduler:v1.37.2"
	proxyPassword     = "hunter2-proxy"
)

func scheduler(args ...string) []byte {
	return fmt.Appendf(nil, `apiVersion: v1
kind: Pod
metadata:
  name: kube-scheduler
  namespace: kube-system
spec:
  containers:
  - command: [kube-scheduler, %s]
    image: %s
    name: kube-scheduler
    env:
    - name: HTTPS_PROXY
      value: http://me:%s@proxy:3128
status: {}
`, strings.Join(args, ", "), schedulerImage, proxyPassword)
}

// fakeKubelet is a kubelet together with a container runtime: it runs what the
// manifest says, as far as a test tells it to. Neither can run in a unit test;
// the lab has the real ones.
type fakeKubelet struct {
	t    *testing.T
	path string // of the manifest on the real file system

	mu       sync.Mutex
	pods     []cri.Pod
	n        int // IDs given
	manifest []byte
	// serves tells whether the pod of a manifest becomes healthy.
	serves func(manifest []byte) bool
	// broken is what becomes of the container of a pod that does not serve:
	// nil lets it run without serving.
	broken  *cri.Container
	noImage bool
	pullErr error
	pulled  []string
	logs    []string
	reading func() // is called before the logs are given
	stopped []string
	ignores bool // does not look at its manifests
	calls   int
	err     error // of Pods
}

func (k *fakeKubelet) id(kind string) string { k.n++; return fmt.Sprintf("%s%d", kind, k.n) }

// sync does what the kubelet would do now.
func (k *fakeKubelet) sync() {
	now, err := os.ReadFile(k.path)
	if err != nil || k.ignores {
		return
	}
	if !bytes.Equal(now, k.manifest) {
		for i := range k.pods {
			k.pods[i].Ready = false
			for j := range k.pods[i].Containers {
				k.pods[i].Containers[j].State = cri.Exited
			}
		}
		k.manifest = now
		k.pods = append(k.pods, cri.Pod{ID: k.id("s"), UID: fmt.Sprintf("u%x", now[len(now)-20:]) + fmt.Sprint(len(now)), Ready: true, Created: time.Now()})
	}
	p := &k.pods[len(k.pods)-1]
	if k.noImage {
		return
	}
	if len(p.Containers) > 0 && p.Containers[len(p.Containers)-1].State == cri.Running {
		return
	}
	c := cri.Container{ID: k.id("c"), Name: "kube-scheduler", State: cri.Running, Started: time.Now(), Attempt: uint32(len(p.Containers))}
	if !k.serves(now) && k.broken != nil {
		if len(p.Containers) > 0 && k.calls%3 != 0 {
			return // the back-off
		}
		id, attempt := c.ID, c.Attempt
		c = *k.broken
		c.ID, c.Attempt = id, attempt
	}
	p.Containers = append(p.Containers, c)
}

func (k *fakeKubelet) health(context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sync()
	if c := running(k.pods); c == nil || !k.serves(k.manifest) {
		return errors.New("127.0.0.1:10259: connect: connection refused")
	}
	return nil
}

func (k *fakeKubelet) ImagePresent(context.Context, string) (bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.noImage, nil
}

func (k *fakeKubelet) Pull(_ context.Context, ref string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pulled = append(k.pulled, ref)
	if k.pullErr == nil {
		k.noImage = false
	}
	return k.pullErr
}

func (k *fakeKubelet) Pods(_ context.Context, namespace, name string) ([]cri.Pod, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if namespace != "kube-system" || name != "kube-scheduler-cp1" {
		k.t.Errorf("asked for %s/%s", namespace, name)
	}
	k.calls++
	k.sync()
	var out []cri.Pod
	for _, p := range k.pods {
		p.Containers = slices.Clone(p.Containers)
		out = append(out, p)
	}
	return out, k.err
}

func (k *fakeKubelet) Logs(context.Context, string, int) ([]string, error) {
	if k.reading != nil {
		k.reading()
	}
	return k.logs, nil
}

func (k *fakeKubelet) StopContainer(_ context.Context, id string, _ time.Duration) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stopped = append(k.stopped, id)
	for i := range k.pods {
		for j := range k.pods[i].Containers {
			if k.pods[i].Containers[j].ID == id {
				k.pods[i].Containers[j].State = cri.Exited
			}
		}
	}
	return nil
}

// podCase is a machine with one static pod.
type podCase struct {
	t       *testing.T
	root    string
	kubelet *fakeKubelet
	pod     StaticPod
}

func newPodCase(t *testing.T) *podCase {
	t.Helper()
	root := t.TempDir()
	h, err := host.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	c := &podCase{t: t, root: root}
	c.kubelet = &fakeKubelet{t: t, path: filepath.Join(root, schedulerManifest), serves: func([]byte) bool { return true }}
	c.pod = StaticPod{
		Name: "kube-scheduler", NodeName: "CP1", Path: schedulerManifest, Want: scheduler("--leader-elect=true"),
		Health: c.kubelet.health, RestartOn: []reconcile.Address{"kubeconfig:" + schedulerConf},
		Timeout: 20 * time.Second, AnyOwner: os.Geteuid() != 0, Files: h, Runtime: c.kubelet,
		Services: &fakeServices{state: host.ServiceState{Manager: "systemd", Found: true, Active: true}},
	}
	c.pod.Compare = func(have []byte) (bool, []reconcile.Field, error) {
		h, err := decodeMapping(have)
		if err != nil {
			return false, nil, err
		}
		w, err := decodeMapping(c.pod.Want)
		if err != nil {
			t.Fatal(err)
		}
		f := differences("", h, w)
		return len(f) == 0, f, nil
	}
	return c
}

// newWorsening is a machine whose pod serves with another manifest than the one
// that is wanted, and with no other.
func newWorsening(t *testing.T) (c *podCase, old []byte) {
	t.Helper()
	c = newPodCase(t)
	old = scheduler("--leader-elect=false")
	c.started(old)
	c.kubelet.serves = func(m []byte) bool { return bytes.Equal(m, old) }
	return c, old
}

func (c *podCase) write(path string, content []byte, mode fs.FileMode) {
	c.t.Helper()
	full := filepath.Join(c.root, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(full, content, mode); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Chmod(full, mode); err != nil {
		c.t.Fatal(err)
	}
}

func (c *podCase) read() string {
	c.t.Helper()
	b, err := os.ReadFile(filepath.Join(c.root, schedulerManifest))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(b)
}

// started is a machine whose pod runs a manifest since a minute.
func (c *podCase) started(manifest []byte) {
	c.t.Helper()
	old := time.Now().Add(-2 * time.Minute)
	c.write(schedulerConf, []byte("kubeconfig"), 0o600)
	if err := os.Chtimes(filepath.Join(c.root, schedulerConf), old, old); err != nil {
		c.t.Fatal(err)
	}
	c.write(schedulerManifest, manifest, 0o600)
	if err := c.kubelet.health(c.t.Context()); err != nil && c.kubelet.serves(manifest) {
		c.t.Fatal(err)
	}
	c.kubelet.pods[0].Containers[0].Started = time.Now().Add(-time.Minute)
}

func (c *podCase) set() *reconcile.Set {
	c.t.Helper()
	set, err := reconcile.NewSet(StaticPodResource(c.pod))
	if err != nil {
		c.t.Fatal(err)
	}
	return set
}

func (c *podCase) plan() *reconcile.Computed {
	c.t.Helper()
	p, err := c.set().Compute(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	for _, ch := range p.Changes {
		if s := fmt.Sprintf("%+v", ch); strings.Contains(ch.Diff, proxyPassword) {
			c.t.Errorf("a secret shows in the diff: %s", s)
		}
	}
	return p
}

// change is the only planned change; nil if there is none.
func (c *podCase) change() *reconcile.Change {
	c.t.Helper()
	p := c.plan()
	switch len(p.Changes) {
	case 0:
		return nil
	case 1:
		return &p.Changes[0]
	}
	c.t.Fatalf("%+v", p.Changes)
	return nil
}

// apply makes what is planned, and gives what was said meanwhile.
func (c *podCase) apply() ([]reconcile.Progress, error) {
	c.t.Helper()
	set := c.set()
	p, err := set.Compute(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	var said told
	err = set.Apply(c.t.Context(), p, nil, func(e reconcile.Event) {
		if e.Type == reconcile.EventProgress {
			said.say(*e.Say)
		}
	})
	return said.list(), err
}

func (c *podCase) applied() {
	c.t.Helper()
	if _, err := c.apply(); err != nil {
		c.t.Fatal(err)
	}
	if ch := c.change(); ch != nil {
		c.t.Fatalf("still to do: %+v", ch)
	}
}

func expectChange(t *testing.T, c *reconcile.Change, a reconcile.Action, d reconcile.Disruption, summary string) {
	t.Helper()
	if c == nil || c.Action != a || c.Disruption != d || !strings.Contains(c.Summary, summary) {
		t.Errorf("want %s, %s, %q: %+v", a, d, summary, c)
	}
}

const schedulerRestart = reconcile.Disruption("pod-restart(kube-scheduler)")

func TestStaticPodCreated(t *testing.T) {
	t.Parallel()
	c := newPodCase(t)
	ch := c.change()
	expectChange(t, ch, reconcile.Create, reconcile.NoDisruption, "does not exist")
	if !strings.Contains(ch.Diff, "+    - --leader-elect=true") || !strings.Contains(ch.Diff, "(sensitive, sha256:") {
		t.Errorf("%s", ch.Diff)
	}
	c.applied()
	info, err := os.Stat(filepath.Join(c.root, schedulerManifest))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if dir, err := os.Stat(filepath.Dir(filepath.Join(c.root, schedulerManifest))); err != nil || dir.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", dir, err)
	}
}

func TestStaticPodRendered(t *testing.T) {
	t.Parallel()
	c := newPodCase(t)
	final := scheduler("--leader-elect=false")
	c.pod.Render = func(context.Context) ([]byte, error) { return final, nil }
	if _, err := c.apply(); err != nil {
		t.Fatal(err)
	}
	if c.read() != string(final) {
		t.Error("what was rendered was not written")
	}
	failed := errors.New("no member list")
	c = newPodCase(t)
	c.pod.Render = func(context.Context) ([]byte, error) { return nil, failed }
	if _, err := c.apply(); !errors.Is(err, failed) {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(c.root, schedulerManifest)); err == nil {
		t.Error("something was written")
	}
}

// What was rendered may have been overtaken before the pod starts with it.
func TestStaticPodOvertaken(t *testing.T) {
	t.Parallel()
	c := newPodCase(t)
	right := scheduler("--leader-elect=false")
	c.kubelet.serves = func(m []byte) bool { return bytes.Equal(m, right) }
	renders := 0
	c.pod.Render = func(context.Context) ([]byte, error) {
		if renders++; renders == 1 {
			return scheduler("--leader-elect=true"), nil
		}
		return right, nil
	}
	c.pod.Outdated = func(_ context.Context, manifest []byte) bool { return !bytes.Equal(manifest, right) }
	said, err := c.apply()
	if err != nil || renders != 2 || c.read() != string(right) || !strings.Contains(fmt.Sprint(said), "written anew") {
		t.Errorf("%v, rendered %d times, %v", err, renders, said)
	}
}

func TestStaticPodConverged(t *testing.T) {
	t.Parallel()
	c := newPodCase(t)
	c.started(c.pod.Want)
	if ch := c.change(); ch != nil {
		t.Errorf("%+v", ch)
	}
	// The same meaning in another layout is no change, and a stricter mode neither.
	c.write(schedulerManifest, bytes.ReplaceAll(c.pod.Want, []byte("[kube-scheduler, --leader-elect=true]"), []byte(`["kube-scheduler", "--leader-elect=true"]`)), 0o400)
	if ch := c.change(); ch != nil {
		t.Errorf("%+v", ch)
	}
}

func TestStaticPodDrift(t *testing.T) {
	t.Parallel()
	c := newPodCase(t)
	c.started(c.pod.Want)
	c.write(schedulerManifest, c.pod.Want, 0o644)
	expectChange(t, c.change(), reconcile.Update, reconcile.NoDisruption, "mode or owner")
	before := c.kubelet.n
	c.applied()
	if c.kubelet.n != before {
		t.Error("a mode restarted the pod")
	}
	leftover := filepath.Join(filepath.Dir(schedulerManifest), ".kube-scheduler.yaml.kubejoin-tmp")
	c.write(leftover, []byte("half"), 0o600)
	expectChange(t, c.change(), reconcile.Delete, reconcile.NoDisruption, "temporary file")
	c.applied()

	c.write(schedulerManifest, scheduler("--leader-elect=false"), 0o600)
	ch := c.change()
	expectChange(t, ch, reconcile.Update, schedulerRestart, "another pod")
	if !strings.Contains(ch.Diff, "-    - --leader-elect=false\n+    - --leader-elect=true") {
		t.Error(ch.Diff)
	}
	c.applied()

	c.write(schedulerManifest, scheduler("--proxy=http://me:"+proxyPassword+"@proxy:3128"), 0o600)
	if ch := c.change(); !strings.Contains(ch.Diff, "http://(sensitive, sha256:") {
		t.Error(ch.Diff)
	}

	secret := "apiVersion: v1\nkind: Config\nusers: [{user: {client-key-data: " + proxyPassword + "}}]\n"
	c.write(schedulerManifest, []byte(secret), 0o600)
	c.change() // plan looks for the password
	c.write(schedulerManifest, []byte("{{"+proxyPassword), 0o600)
	c.kubelet.ignores = true
	expectChange(t, c.change(), reconcile.Update, schedulerRestart, "does not parse")
}

func TestStaticPodDenied(t *testing.T) {
	t.Parallel()
	c := newPodCase(t)
	c.started(c.pod.Want)
	c.pod.Files = &testFiles{Host: c.pod.Files.(*host.Host), denied: map[string]bool{schedulerManifest: true}}
	asked := false
	c.pod.Health = func(context.Context) error { asked = true; return nil }
	p := c.plan()
	if len(p.Changes) != 0 || len(p.Findings) != 1 || p.Findings[0].Name != FindingNotCompared || asked {
		t.Errorf("%+v", p)
	}
}

func TestStaticPodUnhealthy(t *testing.T) {
	t.Parallel()
	c := newPodCase(t)
	sick := true
	c.kubelet.serves = func([]byte) bool { return !sick }
	c.kubelet.broken = &cri.Container{State: cri.Exited, ExitCode: 2, Reason: "Error", Message: "boom"}
	c.started(c.pod.Want)
	ch := c.change()
	expectChange(t, ch, reconcile.Wait, reconcile.NoDisruption, "connection refused; its container exited with code 2: boom")
	go func() {
		time.Sleep(time.Second)
		c.kubelet.mu.Lock()
		defer c.kubelet.mu.Unlock()
		sick = false
	}()
	c.applied()
}

func TestStaticPodPutBack(t *testing.T) {
	t.Parallel()
	c, old := newWorsening(t)
	c.kubelet.broken = &cri.Container{State: cri.Exited, ExitCode: 1, Reason: "Error"}
	c.kubelet.logs = []string{"starting", "listen tcp 127.0.0.1:10259: bind: address already in use"}
	c.pod.Timeout = 2 * time.Second
	said, err := c.apply()
	if fault.ClassOf(err) != fault.Unhealthy || c.read() != string(old) {
		t.Fatalf("%v\n%s", err, c.read())
	}
	for _, want := range []string{"exited with code 1", "a port that it needs is taken", "the previous manifest is back in place"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
	if !strings.Contains(fault.HintOf(err), "ss -ltnp") {
		t.Errorf("hint %q", fault.HintOf(err))
	}
	if len(said) < 2 || !strings.Contains(said[0].Message, "a port that it needs is taken") || !slices.Equal(said[0].Lines, c.kubelet.logs) {
		t.Errorf("%+v", said)
	}
	if err := c.kubelet.health(t.Context()); err != nil {
		t.Errorf("the previous pod: %v", err)
	}
}

// A pod that is to serve elsewhere is no worse for not serving there yet: what
// served is put back, and not only when the time is over if it exits again and
// again.
func TestStaticPodMovesNowhere(t *testing.T) {
	t.Parallel()
	c, old := newWorsening(t)
	c.kubelet.broken = &cri.Container{State: cri.Exited, ExitCode: 1, Reason: "Error"}
	c.pod.Health = func(context.Context) error { return errors.New("127.0.0.1:20259: connect: connection refused") }
	c.pod.Served = func(ctx context.Context, manifest []byte) error {
		if !bytes.Equal(manifest, old) {
			t.Errorf("asked for %s", manifest)
		}
		return c.kubelet.health(ctx)
	}
	c.pod.Timeout = time.Minute
	_, err := c.apply()
	if fault.ClassOf(err) != fault.Unhealthy || c.read() != string(old) ||
		!strings.Contains(err.Error(), "for the 4th time") || !strings.Contains(err.Error(), "back in place") {
		t.Errorf("%v\n%s", err, c.read())
	}
}

// The previous pod serves until the kubelet sees the new manifest: that proves
// nothing.
func TestStaticPodOldOneServes(t *testing.T) {
	t.Parallel()
	c, old := newWorsening(t)
	c.kubelet.ignores = true
	time.AfterFunc(time.Second, func() {
		c.kubelet.mu.Lock()
		defer c.kubelet.mu.Unlock()
		c.kubelet.ignores = false
	})
	c.pod.Timeout = 3 * time.Second
	if _, err := c.apply(); fault.ClassOf(err) != fault.Unhealthy || c.read() != string(old) ||
		!strings.Contains(err.Error(), "does not serve after 3s (timeouts.controlPlaneComponentHealthCheck)") {
		t.Errorf("%v", err)
	}
	if err := c.kubelet.health(t.Context()); err != nil {
		t.Fatal(err)
	}
	// One that never sees it is not taken for one that did.
	c.kubelet.ignores = true
	c.pod.Timeout = time.Second
	if _, err := c.apply(); err == nil || !strings.Contains(err.Error(), "has not replaced the pod") || c.read() != string(old) {
		t.Errorf("%v", err)
	}
}

// What did not serve before either is no better than what was tried.
func TestStaticPodNotPutBack(t *testing.T) {
	t.Parallel()
	c := newPodCase(t)
	c.kubelet.serves = func([]byte) bool { return false }
	c.started(scheduler("--leader-elect=false"))
	c.pod.Timeout = time.Second
	_, err := c.apply()
	if fault.ClassOf(err) != fault.Unhealthy || !strings.Contains(err.Error(), "did not serve either") || c.read() != string(c.pod.Want) {
		t.Errorf("%v\n%s", err, c.read())
	}
}

func TestStaticPodHopeless(t *testing.T) {
	t.Parallel()
	c := newPodCase(t)
	c.kubelet.serves = func([]byte) bool { return false }
	c.kubelet.broken = &cri.Container{State: cri.Exited, ExitCode: 1, Reason: "Error"}
	c.kubelet.logs = []string{"Error: unknown flag: --no-such-thing"}
	c.pod.Timeout = time.Minute
	begin := time.Now()
	_, err := c.apply()
	if fault.ClassOf(err) != fault.Unhealthy || !strings.Contains(err.Error(), "does not accept its arguments") ||
		!strings.Contains(fault.HintOf(err), "--no-such-thing") || time.Since(begin) > 10*time.Second {
		t.Errorf("%v (%s)", err, fault.HintOf(err))
	}
}

// A manifest that was put right a moment ago is not judged by the pod of the
// one before, which the kubelet still has; one that it must have seen is.
func TestStaticPodHopelessBefore(t *testing.T) {
	t.Parallel()
	c := newPodCase(t)
	c.kubelet.serves = func(m []byte) bool { return bytes.Equal(m, c.pod.Want) }
	c.kubelet.broken = &cri.Container{State: cri.Exited, ExitCode: 1, Reason: "Error"}
	c.kubelet.logs = []string{"Error: unknown flag: --no-such-thing"}
	c.started(scheduler("--no-such-thing"))
	c.kubelet.ignores = true
	c.kubelet.pods[0].Created = time.Now().Add(-time.Second)
	c.write(schedulerManifest, c.pod.Want, 0o600)
	old := time.Now().Add(-time.Hour) // it is moved back from where it was kept
	if err := os.Chtimes(filepath.Join(c.root, schedulerManifest), old, old); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(time.Second, func() {
		c.kubelet.mu.Lock()
		defer c.kubelet.mu.Unlock()
		c.kubelet.ignores = false
	})
	said, err := c.apply()
	if err != nil {
		t.Fatal(err)
	}
	if len(said) == 0 || !strings.Contains(said[0].Message, "may not have seen the manifest's last change yet") {
		t.Errorf("%+v", said)
	}

	s := &podStory{
		podWait: &podWait{runtime: c.kubelet, written: time.Now().Add(-time.Second)},
		say:     func(reconcile.Progress) {}, begin: time.Now(),
	}
	container := *c.kubelet.broken
	container.ID = "c"
	now := seen{pods: []cri.Pod{{Created: s.written.Add(-time.Second), Containers: []cri.Container{container}}}}
	for range 2 {
		if err := s.tell(t.Context(), now); err != nil {
			t.Error(err)
		}
	}
	s.written = s.written.Add(-noticeGrace)
	now.pods[0].Created = s.written.Add(-time.Second)
	for range 2 {
		if err := s.tell(t.Context(), now); err == nil || !strings.Contains(err.Error(), "does not accept its arguments") {
			t.Error(err)
		}
	}
}

func TestStaticPodImageMissing(t *testing.T) {
	t.Parallel()
	c := newPodCase(t)
	c.kubelet.noImage = true
	c.kubelet.pullErr = &cri.PullError{Image: schedulerImage, Reason: "not found", Permanent: true, Hint: "check imageTag"}
	c.pod.Timeout = time.Minute
	begin := time.Now()
	said, err := c.apply()
	if fault.ClassOf(err) != fault.Unhealthy || !strings.Contains(err.Error(), schedulerImage+": not found") || fault.HintOf(err) != "check imageTag" {
		t.Errorf("%v (%s)", err, fault.HintOf(err))
	}
	if time.Since(begin) > 10*time.Second || len(said) == 0 {
		t.Errorf("told after %s: %+v", time.Since(begin), said)
	}
	if c.read() != string(c.pod.Want) {
		t.Error("a created manifest stays")
	}

	c = newPodCase(t) // pulling it is what helps
	c.kubelet.noImage = true
	c.applied()
	if !slices.Equal(c.kubelet.pulled, []string{schedulerImage}) {
		t.Errorf("%q", c.kubelet.pulled)
	}
}

func TestStaticPodJoinedUnhealthy(t *testing.T) {
	t.Parallel()
	c := newPodCase(t)
	r := StaticPodResource(c.pod).(*staticPodResource)
	v := viewOf{observed: map[reconcile.Address]reconcile.Observation{nodeAddress("CP1"): nodeObservation{seen: true, info: &cluster.NodeInfo{Name: "CP1"}}}}
	err := r.joined(fault.New(fault.Unhealthy, "does not serve").WithHint("h"), v)
	if fault.ClassOf(err) != fault.Unhealthy || !strings.Contains(err.Error(), "the node has joined") || fault.HintOf(err) != "h" {
		t.Error(err)
	}
	if err := r.joined(context.Canceled, v); !errors.Is(err, context.Canceled) || r.joined(nil, v) != nil {
		t.Error(err)
	}
	if err := r.joined(fault.New(fault.Unhealthy, "x"), viewOf{}); strings.Contains(err.Error(), "joined") {
		t.Error(err)
	}
}

// The user ends the wait, and nothing is put back.
func TestStaticPodInterrupted(t *testing.T) {
	t.Parallel()
	c, _ := newWorsening(t)
	set := c.set()
	p, err := set.Compute(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Second, cancel)
	if err := set.Apply(ctx, p, nil, func(reconcile.Event) {}); !errors.Is(err, context.Canceled) || c.read() != string(c.pod.Want) {
		t.Errorf("%v", err)
	}
}

// When another change fails, a pod that was changed at the same time is still
// waited for: it serves, or its manifest is put back as well.
func TestStaticPodAnotherFails(t *testing.T) {
	t.Parallel()
	for name, serves := range map[string]bool{"serves": true, "does not serve": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newPodCase(t)
			old := scheduler("--leader-elect=false")
			c.started(old)
			late := time.Now().Add(time.Second)
			c.kubelet.serves = func(m []byte) bool { return bytes.Equal(m, old) || serves && time.Now().After(late) }
			c.pod.Timeout = 2 * time.Second
			set, err := reconcile.NewSet(StaticPodResource(c.pod), &changing{address: "file:/x", err: fault.New(fault.Unhealthy, "x is broken"), write: func() { <-time.After(300 * time.Millisecond) }})
			if err != nil {
				t.Fatal(err)
			}
			p, err := set.Compute(t.Context())
			if err != nil || len(p.Changes) != 2 {
				t.Fatalf("%+v, %v", p, err)
			}
			err = set.Apply(t.Context(), p, nil, func(reconcile.Event) {})
			if err == nil || !strings.Contains(err.Error(), "x is broken") {
				t.Fatal(err)
			}
			back := strings.Contains(err.Error(), "the previous manifest is back in place")
			if back == serves || (c.read() == string(old)) == serves {
				t.Errorf("%v\n%s", err, c.read())
			}
		})
	}
}

// It is put back, too, if it is known not to serve at the moment at which the
// other one fails.
func TestStaticPodFailsWithAnother(t *testing.T) {
	t.Parallel()
	c, old := newWorsening(t)
	c.kubelet.broken = &cri.Container{State: cri.Exited, ExitCode: 1, Reason: "Error"}
	c.kubelet.logs = []string{"Error: unknown flag: --no-such-thing"}
	reads, failed := make(chan struct{}), make(chan struct{})
	var once sync.Once
	c.kubelet.reading = func() {
		once.Do(func() { close(reads) })
		<-failed
		<-time.After(50 * time.Millisecond) // until all others are stopped
	}
	other := &changing{address: "file:/x", err: fault.New(fault.Unhealthy, "x is broken"), write: func() { <-reads }}
	set, err := reconcile.NewSet(StaticPodResource(c.pod), other)
	if err != nil {
		t.Fatal(err)
	}
	p, err := set.Compute(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = set.Apply(t.Context(), p, nil, func(e reconcile.Event) {
		if e.Type == reconcile.EventFail && e.Address == other.address {
			close(failed)
		}
	})
	if err == nil || !strings.Contains(err.Error(), "x is broken") || !strings.Contains(err.Error(), "back in place") || c.read() != string(old) {
		t.Errorf("%v\n%s", err, c.read())
	}
}

// changing stands for the kubeconfig's resource.
type changing struct {
	address reconcile.Address
	fields  []reconcile.Field
	write   func()
	err     error // of Apply
	done    bool
}

func (r *changing) Address() reconcile.Address                             { return r.address }
func (r *changing) After() []reconcile.Address                             { return nil }
func (r *changing) Observe(context.Context) (reconcile.Observation, error) { return nil, nil }
func (r *changing) Apply(context.Context, reconcile.Change, reconcile.View, func(reconcile.Progress)) error {
	r.done = true
	r.write()
	return r.err
}

func (r *changing) Change(reconcile.Observation, reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	if r.done {
		return nil, nil, nil
	}
	return &reconcile.Change{Address: r.address, Action: reconcile.Update, Reason: reconcile.Intent, Fields: r.fields, Disruption: reconcile.NoDisruption}, nil, nil
}

func TestStaticPodRestartsWithItsKubeconfig(t *testing.T) {
	t.Parallel()
	c := newPodCase(t)
	c.started(c.pod.Want)
	write := func() { c.write(schedulerConf, []byte("another"), 0o600) }
	config := &changing{address: "kubeconfig:" + schedulerConf, fields: []reconcile.Field{{Path: "server"}}, write: write}
	set, err := reconcile.NewSet(StaticPodResource(c.pod), config)
	if err != nil {
		t.Fatal(err)
	}
	p, err := set.Compute(t.Context())
	if err != nil || len(p.Changes) != 2 {
		t.Fatalf("%+v, %v", p, err)
	}
	expectChange(t, &p.Changes[1], reconcile.Restart, schedulerRestart, "reads "+schedulerConf+" only when it starts")
	if p.Changes[1].Reason != reconcile.Intent || !slices.Equal(p.Changes[1].Because, []reconcile.Address{config.address}) {
		t.Errorf("%+v", p.Changes[1])
	}
	if err := set.Apply(t.Context(), p, nil, func(reconcile.Event) {}); err != nil {
		t.Fatal(err)
	}
	if err := set.Converged(t.Context()); err != nil {
		t.Error(err)
	}
	if len(c.kubelet.stopped) != 1 || len(c.kubelet.pods) != 1 || len(c.kubelet.pods[0].Containers) != 2 {
		t.Errorf("%q, %+v", c.kubelet.stopped, c.kubelet.pods)
	}
	// A run that was killed between the two: the next one sees it.
	// (A file's time lags behind the clock by some milliseconds.)
	c.kubelet.pods[0].Containers[1].Started = time.Now().Add(-time.Second)
	c.write(schedulerConf, []byte("a third"), 0o600)
	expectChange(t, c.change(), reconcile.Restart, schedulerRestart, "only when it starts")
	c.applied()
	// Its mode is not its content.
	config.done, config.fields, config.write = false, []reconcile.Field{{Path: "mode"}}, func() {}
	if p, err := set.Compute(t.Context()); err != nil || len(p.Changes) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestStaticPodRuntimeUnknown(t *testing.T) {
	t.Parallel()
	c := newPodCase(t)
	c.started(scheduler("--leader-elect=false"))
	c.kubelet.err = fault.New(fault.Preflight, "the container runtime does not answer").WithHint("start it")
	p := c.plan()
	if len(p.Findings) != 1 || p.Findings[0].Name != FindingNotCompared {
		t.Errorf("%+v", p.Findings)
	}
	old := c.read()
	if _, err := c.apply(); fault.ClassOf(err) != fault.Preflight || c.read() != old {
		t.Errorf("nothing is changed that nobody can follow: %v", err)
	}
}

func TestStaticPodFilesOnly(t *testing.T) {
	t.Parallel()
	c := newPodCase(t)
	c.pod.FilesOnly, c.pod.Runtime, c.pod.Services = true, nil, nil
	c.pod.Health = func(context.Context) error { t.Error("asked"); return nil }
	c.applied()
	c.write(schedulerManifest, scheduler("--leader-elect=false"), 0o600)
	c.applied()
}

func TestStaticPodKubeletIsStuck(t *testing.T) {
	t.Parallel()
	line := `E1124 kubelet: "Could not process manifest file" err="no such kind" path="` + schedulerManifest + `"`
	for name, tt := range map[string]struct {
		state   host.ServiceState
		logs    []string
		message string
		lines   []string
		hint    string
	}{
		"it runs":         {host.ServiceState{Found: true, Active: true}, []string{line, "I1124 unrelated"}, "the kubelet has not started the pod yet", []string{line}, "no such kind"},
		"it does not run": {host.ServiceState{Found: true}, nil, "the kubelet does not run, so that nothing starts the pod", nil, "journalctl -u kubelet"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newPodCase(t)
			c.kubelet.ignores = true
			c.pod.Timeout = quietStart + time.Second
			c.pod.Services = &fakeServices{state: tt.state, logs: tt.logs}
			said, err := c.apply()
			if len(said) != 1 || said[0].Message != tt.message || !slices.Equal(said[0].Lines, tt.lines) {
				t.Errorf("%+v", said)
			}
			if fault.ClassOf(err) != fault.Unhealthy || !strings.Contains(err.Error(), tt.message) || !strings.Contains(fault.HintOf(err), tt.hint) {
				t.Errorf("%v (%s)", err, fault.HintOf(err))
			}
		})
	}
}

func TestNotAmong(t *testing.T) {
	before := []cri.Pod{{ID: "s1", UID: "u1"}, {ID: "s2", UID: "u2", Ready: true}}
	after := []cri.Pod{
		{ID: "s1", UID: "u1"}, {ID: "s2", UID: "u2"},
		{ID: "s3", UID: "u2"}, // the old pod in a new sandbox
		{ID: "s4", UID: "u1"}, // back to the pod before that
		{ID: "s5", UID: "u3"},
	}
	var ids []string
	for _, p := range notAmong(before)(after) {
		ids = append(ids, p.ID)
	}
	if !slices.Equal(ids, []string{"s4", "s5"}) || len(after) != 5 {
		t.Errorf("%q", ids)
	}
}

func TestDescribeContainer(t *testing.T) {
	for want, c := range map[string]cri.Container{
		"": {State: cri.Running},
		"its container exited with code 137 (OOMKilled), for the 3rd time": {State: cri.Exited, ExitCode: 137, Reason: "OOMKilled", Attempt: 2},
		"its container exited with code 0":                                 {State: cri.Exited, Reason: "Completed"},
		"its container exited with code 1, for the 12th time":              {State: cri.Exited, ExitCode: 1, Reason: "Error", Attempt: 11},
		"its container exited with code 128 (StartError): a b":             {State: cri.Exited, ExitCode: 128, Reason: "StartError", Message: "a\n b"},
	} {
		if got := describeContainer(c); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
