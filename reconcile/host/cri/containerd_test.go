package cri

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/kubejoin/kubejoin/reconcile/host"
)

// containerdVar names the directory of containerd and its runc shim. Without
// it, and without root, the tests against a real runtime are skipped; the lab
// has one on each of its machines.
const containerdVar = "KUBEJOIN_TEST_CONTAINERD"

const program = `package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if len(os.Args) > 1 {
		fmt.Println("first")
		fmt.Fprintln(os.Stderr, "listen tcp :10257: bind: address already in use")
		os.Exit(3)
	}
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	<-c
}
`

// registry is a small real registry on loopback with one image, "good:1".
type testRegistry struct {
	address string
	pulls   atomic.Int32 // requests for a manifest
	slow    atomic.Bool
}

func serveImage(t *testing.T) *testRegistry {
	t.Helper()
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "run"), source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GO111MODULE=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	binary, err := os.ReadFile(filepath.Join(dir, "run"))
	if err != nil {
		t.Fatal(err)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.WriteHeader(&tar.Header{Name: "run", Mode: 0o755, Size: int64(len(binary)), Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(binary); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	blobs := map[string][]byte{}
	add := func(b []byte) string {
		sum := sha256.Sum256(b)
		d := "sha256:" + hex.EncodeToString(sum[:])
		blobs[d] = b
		return d
	}
	object := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	type m = map[string]any
	const oci = "application/vnd.oci.image."
	manifest := func(arch string) []byte {
		layerDigest := add(layer.Bytes())
		config := object(m{"architecture": arch, "os": "linux", "config": m{"Entrypoint": []string{"/run"}},
			"rootfs": m{"type": "layers", "diff_ids": []string{layerDigest}}})
		return object(m{"schemaVersion": 2, "mediaType": oci + "manifest.v1+json",
			"config": m{"mediaType": oci + "config.v1+json", "digest": add(config), "size": len(config)},
			"layers": []m{{"mediaType": oci + "layer.v1.tar", "digest": layerDigest, "size": layer.Len()}}})
	}
	good := manifest(runtime.GOARCH)
	alien := manifest("s390x")
	index := object(m{"schemaVersion": 2, "mediaType": oci + "index.v1+json", "manifests": []m{{
		"mediaType": oci + "manifest.v1+json", "digest": add(alien), "size": len(alien), "platform": m{"os": "linux", "architecture": "s390x"}}}})
	add(good)
	add(index)
	r := &testRegistry{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		name := q.URL.Path[strings.LastIndex(q.URL.Path, "/")+1:]
		body, kind := blobs[name], "application/octet-stream"
		if strings.Contains(q.URL.Path, "/manifests/") {
			r.pulls.Add(1)
			kind = oci + "manifest.v1+json"
			switch {
			case strings.HasPrefix(q.URL.Path, "/v2/secret/"):
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				w.WriteHeader(401)
				return
			case strings.HasPrefix(q.URL.Path, "/v2/broken/"):
				w.WriteHeader(503)
				return
			case strings.HasPrefix(q.URL.Path, "/v2/good/") && name == "1":
				body = good
			case strings.HasPrefix(q.URL.Path, "/v2/alien/") && name == "1":
				body, kind = index, oci+"index.v1+json"
			}
			if bytes.Equal(body, index) {
				kind = oci + "index.v1+json"
			}
		} else if q.URL.Path == "/v2/" {
			return
		}
		if body == nil {
			w.WriteHeader(404)
			return
		}
		if r.slow.Load() {
			<-q.Context().Done()
			return
		}
		sum := sha256.Sum256(body)
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Docker-Content-Digest", "sha256:"+hex.EncodeToString(sum[:]))
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		if q.Method != http.MethodHead {
			_, _ = w.Write(body)
		}
	}))
	t.Cleanup(s.Close)
	r.address = strings.TrimPrefix(s.URL, "http://")
	return r
}

// startContainerd runs a containerd of its own, and gives its socket.
func startContainerd(t *testing.T, pause string) string {
	t.Helper()
	programs := os.Getenv(containerdVar)
	if programs == "" || os.Geteuid() != 0 {
		t.Skipf("needs root, and %s", containerdVar)
	}
	// A socket's path is short, and a test's directory is not.
	dir, err := os.MkdirTemp("", "cri")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	config := fmt.Sprintf(`version = 3
root = %q
state = %q
disabled_plugins = ['io.containerd.nri.v1.nri']
[grpc]
address = %q
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = %q
[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = 'io.containerd.runc.v2'
`, filepath.Join(dir, "root"), filepath.Join(dir, "state"), socket, pause)
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	// The cleanup below ends it, when its containers are gone.
	daemon := exec.Command(filepath.Join(programs, "containerd"), "--config", filepath.Join(dir, "config.toml"))
	daemon.Stdout, daemon.Stderr = log, log
	daemon.Env = append(os.Environ(), "PATH="+programs+":"+os.Getenv("PATH"))
	// With mounts of its own, none can be left behind.
	daemon.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = daemon.Process.Signal(syscall.SIGTERM)
		_ = daemon.Wait()
		_ = log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("containerd: %s", text[max(0, len(text)-4000):])
		}
	})
	return socket
}

// client waits until a runtime answers.
func client(t *testing.T, socket string, tail Tail) *Client {
	t.Helper()
	c, err := Open("unix://"+socket, tail)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	until(t, "the runtime answers", func() bool {
		_, err = c.Version(t.Context())
		return err == nil
	})
	return c
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for begin := time.Now(); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Since(begin) > 30*time.Second {
			t.Fatalf("waited too long: %s", what)
		}
	}
}

func TestContainerdImages(t *testing.T) {
	r := serveImage(t)
	c := client(t, startContainerd(t, r.address+"/good:1"), nil)
	good := r.address + "/good:1"
	present := func() bool {
		ok, err := c.ImagePresent(t.Context(), good)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	if present() || r.pulls.Load() > 0 {
		t.Fatal("present before it was pulled, or the registry was asked")
	}
	if err := c.Pull(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	asked := r.pulls.Load()
	if !present() || r.pulls.Load() != asked {
		t.Error("not present, or the registry was asked")
	}
	images, err := c.Images(t.Context())
	if err != nil || len(images) != 1 || !slices.Contains(images[0].Tags, good) {
		t.Errorf("%+v, %v", images, err)
	}
	for name, tt := range map[string]struct {
		ref       string
		permanent bool
		reason    string
	}{
		"absent":            {r.address + "/nothing:1", true, "not found"},
		"another platform":  {r.address + "/alien:1", true, "no match for platform"},
		"refused":           {r.address + "/secret:1", true, "authorization failed"},
		"not a name":        {"UPPER//case", true, "invalid reference format"},
		"a sick registry":   {r.address + "/broken:1", false, "503 Service Unavailable"},
		"nobody there":      {"127.0.0.1:1/x:1", false, "connection refused"},
		"no such registry":  {"registry.invalid/x:1", false, ""},
		"present in no tag": {r.address + "/good:2", true, "not found"},
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			err := c.Pull(t.Context(), tt.ref)
			p, ok := err.(*PullError) //nolint:errorlint // exactly this
			if !ok {
				t.Fatalf("%T: %v", err, err)
			}
			t.Logf("%s: %s", time.Since(begin), p)
			if p.Permanent != tt.permanent || !strings.Contains(p.Reason, tt.reason) || p.Hint == "" || strings.Contains(p.Reason, "failed to pull and unpack") {
				t.Errorf("%+v", p)
			}
		})
	}
	t.Run("ends with its context", func(t *testing.T) {
		r.slow.Store(true)
		defer r.slow.Store(false)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if err := c.Pull(ctx, r.address+"/good:1"); err != context.DeadlineExceeded { //nolint:errorlint // exactly this
			t.Errorf("%v", err)
		}
	})
	conditions, err := c.RuntimeStatus(t.Context())
	if err != nil || !slices.ContainsFunc(conditions, func(x Condition) bool { return x.Type == runtimeapi.RuntimeReady && x.Status }) {
		t.Errorf("%+v, %v", conditions, err)
	}
	if driver, err := c.RuntimeConfig(t.Context()); err != nil || driver != "cgroupfs" {
		t.Errorf("%q, %v", driver, err)
	}
	if v, err := c.Version(t.Context()); err != nil || v.Name != "containerd" || v.API != "v1" {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestContainerdPods(t *testing.T) {
	r := serveImage(t)
	machine, err := host.Open("")
	if err != nil {
		t.Fatal(err)
	}
	defer machine.Close()
	c := client(t, startContainerd(t, r.address+"/good:1"), machine.ReadTail)
	image := r.address + "/good:1"
	if err := c.Pull(t.Context(), image); err != nil {
		t.Fatal(err)
	}
	logs := t.TempDir()
	cgroup := fmt.Sprintf("/kubejoin-cri-test-%d", os.Getpid())
	labels := map[string]string{labelPodNamespace: "kube-system", labelPodName: "kube-scheduler-cp1", "io.kubernetes.pod.uid": "u1"}
	sandbox := &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: "kube-scheduler-cp1", Namespace: "kube-system", Uid: "u1"},
		LogDirectory: logs, Labels: labels,
		Linux: &runtimeapi.LinuxPodSandboxConfig{CgroupParent: cgroup, SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_NODE}}},
	}
	made, err := c.run.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: sandbox})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.Background()
		if _, err := c.run.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: made.PodSandboxId}); err != nil {
			t.Error(err)
		}
		if _, err := c.run.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: made.PodSandboxId}); err != nil {
			t.Error(err)
		}
		for _, pattern := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
			left, _ := filepath.Glob(pattern + cgroup)
			for _, dir := range left {
				_ = os.Remove(dir)
			}
		}
	})
	start := func(attempt uint32, args ...string) string {
		t.Helper()
		made, err := c.run.CreateContainer(t.Context(), &runtimeapi.CreateContainerRequest{
			PodSandboxId: made.PodSandboxId, SandboxConfig: sandbox,
			Config: &runtimeapi.ContainerConfig{
				Metadata: &runtimeapi.ContainerMetadata{Name: "kube-scheduler", Attempt: attempt},
				Image:    &runtimeapi.ImageSpec{Image: image}, Args: args, Labels: labels,
				LogPath: fmt.Sprintf("%d.log", attempt), Linux: &runtimeapi.LinuxContainerConfig{},
			}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.run.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: made.ContainerId}); err != nil {
			t.Fatal(err)
		}
		return made.ContainerId
	}
	pod := func() Pod {
		t.Helper()
		pods, err := c.Pods(t.Context(), "kube-system", "kube-scheduler-cp1")
		if err != nil || len(pods) != 1 {
			t.Fatalf("%+v, %v", pods, err)
		}
		return pods[0]
	}
	if p := pod(); !p.Ready || p.UID != "u1" || p.Created.IsZero() || len(p.Containers) != 0 {
		t.Errorf("%+v", p)
	}
	crashed := start(0, "crash")
	until(t, "the container exits", func() bool { return pod().Containers[0].State == Exited })
	if x := pod().Containers[0]; x.ID != crashed || x.ExitCode != 3 || x.Reason != "Error" || x.Finished.IsZero() || x.Image != image {
		t.Errorf("%+v", x)
	}
	lines, err := c.Logs(t.Context(), crashed, 1)
	if err != nil || len(lines) != 1 || lines[0] != "listen tcp :10257: bind: address already in use" {
		t.Errorf("%q, %v", lines, err)
	}
	runs := start(1)
	if p := pod(); len(p.Containers) != 2 || p.Containers[1].ID != runs || p.Containers[1].State != Running || p.Containers[1].Attempt != 1 || p.Containers[1].Started.IsZero() {
		t.Errorf("%+v", p)
	}
	if err := c.StopContainer(t.Context(), runs, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	if x := pod().Containers[1]; x.State != Exited || x.ExitCode != 0 {
		t.Errorf("%+v", x)
	}
	if err := c.StopContainer(t.Context(), "no-such-container", time.Second); err != nil {
		t.Errorf("a container that is gone is stopped: %v", err)
	}
	if _, err := c.Logs(t.Context(), "no-such-container", 1); err == nil {
		t.Error("no error for a container that does not exist")
	}
	if pods, err := c.Pods(t.Context(), "kube-system", "etcd-cp1"); err != nil || len(pods) != 0 {
		t.Errorf("another pod: %+v, %v", pods, err)
	}
}
