package cri

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/kubejoin/kubejoin/fault"
)

// fakeRuntime speaks CRI over a real socket and answers what a test says. A
// real runtime needs root: see containerd_test.go.
type fakeRuntime struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	runtimeapi.UnimplementedImageServiceServer
	sandboxes  []*runtimeapi.PodSandbox
	containers []*runtimeapi.ContainerStatus
	gone       string // a container that is listed, and then is no more
	config     *runtimeapi.RuntimeConfigResponse
	refuse     error
	stopped    []string
}

func (f *fakeRuntime) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{RuntimeName: "fake", RuntimeVersion: "1", RuntimeApiVersion: "v1"}, f.refuse
}

func (f *fakeRuntime) RuntimeConfig(ctx context.Context, q *runtimeapi.RuntimeConfigRequest) (*runtimeapi.RuntimeConfigResponse, error) {
	if f.config == nil {
		return f.UnimplementedRuntimeServiceServer.RuntimeConfig(ctx, q)
	}
	return f.config, nil
}

func matches(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return len(selector) > 0
}

func (f *fakeRuntime) ListPodSandbox(_ context.Context, q *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	a := &runtimeapi.ListPodSandboxResponse{}
	for _, s := range f.sandboxes {
		if matches(q.Filter.LabelSelector, s.Labels) {
			a.Items = append(a.Items, s)
		}
	}
	return a, f.refuse
}

func (f *fakeRuntime) ListContainers(context.Context, *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	a := &runtimeapi.ListContainersResponse{}
	for _, c := range f.containers {
		a.Containers = append(a.Containers, &runtimeapi.Container{Id: c.Id, PodSandboxId: c.Labels["sandbox"]})
	}
	return a, nil
}

func (f *fakeRuntime) ContainerStatus(_ context.Context, q *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error) {
	for _, c := range f.containers {
		if c.Id == q.ContainerId && c.Id != f.gone {
			return &runtimeapi.ContainerStatusResponse{Status: c}, nil
		}
	}
	return nil, status.Error(codes.NotFound, "no such container")
}

func (f *fakeRuntime) StopContainer(_ context.Context, q *runtimeapi.StopContainerRequest) (*runtimeapi.StopContainerResponse, error) {
	f.stopped = append(f.stopped, q.ContainerId)
	return &runtimeapi.StopContainerResponse{}, nil
}

func (f *fakeRuntime) ImageStatus(context.Context, *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	return &runtimeapi.ImageStatusResponse{}, f.refuse
}

func (f *fakeRuntime) PullImage(context.Context, *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	return nil, f.refuse
}

// shortDir is for sockets, whose paths must not be long.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "cri")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func serveFake(t *testing.T, f *fakeRuntime, tail Tail) *Client {
	t.Helper()
	socket := filepath.Join(shortDir(t), "s")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	runtimeapi.RegisterRuntimeServiceServer(s, f)
	runtimeapi.RegisterImageServiceServer(s, f)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	return client(t, socket, tail)
}

func TestOpen(t *testing.T) {
	for endpoint, ok := range map[string]bool{
		"unix:///run/containerd/containerd.sock": true,
		"/run/containerd/containerd.sock":        true,
		"unix:/run/containerd/containerd.sock":   true,
		"unix://run/containerd.sock":             false,
		"run/containerd.sock":                    false,
		"tcp://127.0.0.1:1":                      false,
		"":                                       false,
	} {
		c, err := Open(endpoint, nil)
		if (err == nil) != ok || !ok && fault.ClassOf(err) != fault.InvalidConfig {
			t.Errorf("%q: %v", endpoint, err)
		}
		if c != nil {
			_ = c.Close()
		}
	}
}

// slow is a listener on a busy machine: who connects waits for the first word.
type slow struct{ net.Listener }

func (l slow) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	time.Sleep(time.Second)
	return c, err
}

func TestSlowRuntime(t *testing.T) {
	socket := filepath.Join(shortDir(t), "s")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	runtimeapi.RegisterRuntimeServiceServer(s, &fakeRuntime{})
	go func() { _ = s.Serve(slow{l}) }()
	t.Cleanup(s.Stop)
	c, err := Open(socket, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Version(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestNobodyAnswers(t *testing.T) {
	dir := shortDir(t)
	c, err := Open(filepath.Join(dir, "s"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	begin := time.Now()
	_, err = c.ImagePresent(t.Context(), "x")
	if fault.ClassOf(err) != fault.Preflight || !strings.Contains(err.Error(), "does not answer") || fault.HintOf(err) == "" || Denied(err) {
		t.Errorf("%v (%s)", err, fault.HintOf(err))
	}
	if err := c.Pull(t.Context(), "x"); fault.ClassOf(err) != fault.Preflight {
		t.Errorf("pull: %v", err)
	}
	if time.Since(begin) > 2*time.Second {
		t.Error("a socket that is not there takes long to see")
	}
	// It comes back without another client.
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	runtimeapi.RegisterRuntimeServiceServer(s, &fakeRuntime{})
	go func() { _ = s.Serve(l) }()
	defer s.Stop()
	until(t, "the runtime is seen again", func() bool { _, err := c.Version(t.Context()); return err == nil })
}

func TestDenied(t *testing.T) {
	err := status.Error(codes.Unavailable, `connection error: desc = "transport: Error while dialing: dial unix /run/containerd/containerd.sock: connect: permission denied"`)
	err = (&Client{socket: "unix:///run/containerd/containerd.sock"}).explain("asked", err)
	if !Denied(err) || fault.HintOf(err) != "run as root" || Denied(nil) || Denied(errors.New("x")) {
		t.Errorf("%v", err)
	}
}

func TestRuntimeConfig(t *testing.T) {
	f := &fakeRuntime{}
	c := serveFake(t, f, nil)
	if driver, err := c.RuntimeConfig(t.Context()); err != nil || driver != "" {
		t.Errorf("a runtime that does not know the question: %q, %v", driver, err)
	}
	f.config = &runtimeapi.RuntimeConfigResponse{Linux: &runtimeapi.LinuxRuntimeConfiguration{CgroupDriver: runtimeapi.CgroupDriver_SYSTEMD}}
	if driver, err := c.RuntimeConfig(t.Context()); err != nil || driver != "systemd" {
		t.Errorf("%q, %v", driver, err)
	}
}

func TestPods(t *testing.T) {
	labels := map[string]string{labelPodNamespace: "kube-system", labelPodName: "etcd-cp1"}
	f := &fakeRuntime{gone: "c0", sandboxes: []*runtimeapi.PodSandbox{
		{Id: "s2", CreatedAt: 200, State: runtimeapi.PodSandboxState_SANDBOX_READY, Labels: labels, Metadata: &runtimeapi.PodSandboxMetadata{Uid: "u2"}},
		{Id: "s1", CreatedAt: 100, State: runtimeapi.PodSandboxState_SANDBOX_NOTREADY, Labels: labels, Metadata: &runtimeapi.PodSandboxMetadata{Uid: "u1"}},
		{Id: "s3", CreatedAt: 300, Labels: map[string]string{labelPodName: "other"}},
	}, containers: []*runtimeapi.ContainerStatus{
		{Id: "c2", CreatedAt: 220, State: runtimeapi.ContainerState_CONTAINER_RUNNING, StartedAt: 230, Metadata: &runtimeapi.ContainerMetadata{Name: "etcd", Attempt: 1}, Labels: map[string]string{"sandbox": "s2"}},
		{Id: "c1", CreatedAt: 210, State: runtimeapi.ContainerState_CONTAINER_EXITED, ExitCode: 128, Reason: "StartError", Message: "no such file", Labels: map[string]string{"sandbox": "s2"}},
		{Id: "c0", CreatedAt: 110, Labels: map[string]string{"sandbox": "s1"}},
	}}
	c := serveFake(t, f, nil)
	pods, err := c.Pods(t.Context(), "kube-system", "etcd-cp1")
	if err != nil || len(pods) != 2 || pods[0].UID != "u1" || pods[1].UID != "u2" || pods[0].Ready || !pods[1].Ready {
		t.Fatalf("the oldest first: %+v, %v", pods, err)
	}
	if len(pods[0].Containers) != 0 {
		t.Errorf("a container that is gone: %+v", pods[0].Containers)
	}
	x := pods[1].Containers
	if len(x) != 2 || x[0].ID != "c1" || x[0].State != Exited || x[0].ExitCode != 128 || x[0].Message != "no such file" || !x[0].Started.IsZero() ||
		x[1].State != Running || x[1].Attempt != 1 || x[1].Started.IsZero() {
		t.Errorf("%+v", x)
	}
	if err := c.StopContainer(t.Context(), "c2", time.Second); err != nil || !slices.Equal(f.stopped, []string{"c2"}) {
		t.Errorf("%v, %v", f.stopped, err)
	}
	f.refuse = status.Error(codes.Internal, "out of order")
	if _, err := c.Pods(t.Context(), "kube-system", "etcd-cp1"); err == nil || !strings.Contains(err.Error(), "out of order") {
		t.Errorf("%v", err)
	}
}

func TestLogs(t *testing.T) {
	f := &fakeRuntime{containers: []*runtimeapi.ContainerStatus{{Id: "c1", LogPath: "/var/log/pods/x/0.log"}, {Id: "c2"}}}
	asked := ""
	var fails error
	c := serveFake(t, f, func(path string, max int64) ([]byte, error) {
		asked = path
		return []byte("2026-01-01T00:00:00Z stdout F one\n2026-01-01T00:00:00Z stderr F two\n"), fails
	})
	lines, err := c.Logs(t.Context(), "c1", 1)
	if err != nil || !slices.Equal(lines, []string{"two"}) || asked != "/var/log/pods/x/0.log" {
		t.Errorf("%q, %v, %s", lines, err, asked)
	}
	if lines, err := c.Logs(t.Context(), "c2", 1); err != nil || len(lines) != 0 {
		t.Errorf("a container without a log: %q, %v", lines, err)
	}
	fails = errors.New("input/output error")
	if _, err := c.Logs(t.Context(), "c1", 1); !errors.Is(err, fails) {
		t.Errorf("%v", err)
	}
}

func TestLastLines(t *testing.T) {
	for name, tt := range map[string]struct {
		log  string
		n    int
		want []string
	}{
		"the last":              {"t stdout F a\nt stderr F b\nt stdout F c\n", 2, []string{"b", "c"}},
		"fewer":                 {"t stdout F a\n", 5, []string{"a"}},
		"cut at the front":      {"ut F a\nt stderr F b\n", 5, []string{"b"}},
		"without an end":        {"t stdout F a\nt stderr F b", 5, []string{"a", "b"}},
		"continued":             {"t stdout P one \nt stdout P and \nt stdout F the same\nt stdout F b\n", 5, []string{"one and the same", "b"}},
		"empty lines":           {"t stdout F a\nt stdout F \nt stdout F\nt stdout F b\n", 2, []string{"a", "b"}},
		"spaces are the text's": {"t stderr F   two  words\n", 1, []string{"  two  words"}},
		"of docker":             {`{"log":"a\n","stream":"stdout"}` + "\n" + `{"log":"b","stream":"stdout"}` + "\n" + `{"log":"c\n"}`, 5, []string{"a", "bc"}},
		"nothing":               {"", 5, nil},
		"something else":        {"hello\nworld\n", 5, nil},
		"a long line":           {"t stdout F " + strings.Repeat("x", 2*maxLine) + "\n", 1, []string{strings.Repeat("x", maxLine)}},
		"cut within a rune":     {"t stdout F " + strings.Repeat("x", maxLine-1) + "é\n", 1, []string{strings.Repeat("x", maxLine-1)}},
	} {
		if got := lastLines([]byte(tt.log), tt.n); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestPullError(t *testing.T) {
	const image = "registry.example/etcd:3.7.0-0"
	for name, tt := range map[string]struct {
		code      codes.Code
		message   string
		reason    string
		permanent bool
	}{
		"cri-o, absent": {codes.Unknown, `initializing source docker://registry.example/etcd:3.7.0-0: reading manifest 3.7.0-0 in registry.example/etcd: manifest unknown`,
			"manifest unknown", true},
		"containerd, absent": {codes.NotFound, `failed to pull and unpack image "` + image + `": failed to resolve reference "` + image + `": ` + image + `: not found`,
			image + ": not found", true},
		"an untrusted registry": {codes.Unknown, `failed to pull image: tls: failed to verify certificate: x509: certificate signed by unknown authority`, "x509", true},
		"a name server's fault": {codes.Unknown, `failed to do request: Head "https://registry.example/v2/": dial tcp: lookup registry.example: no such host`, "no such host", false},
		"a signed address": {codes.Unknown, `failed to copy: Get "https://bucket.example/blob?X-Amz-Signature=secret123&X-Amz-Date=1": 500`,
			`Get "https://bucket.example/blob": 500`, false},
		"a password": {codes.Unknown, `failed to do request: Head "https://me:secret123@registry.example/v2/": EOF`, `Head "https://registry.example/v2/": EOF`, false},
		"many lines": {codes.Unknown, "one\n\ttwo", "one two", false},
	} {
		t.Run(name, func(t *testing.T) {
			e := pullError(image, status.New(tt.code, tt.message))
			if !strings.Contains(e.Reason, tt.reason) || e.Permanent != tt.permanent || e.Hint == "" {
				t.Errorf("%+v", e)
			}
			if strings.Contains(e.Error(), "secret123") {
				t.Errorf("a secret in %q", e)
			}
			if err := Explained(e); fault.ClassOf(err) != fault.Preflight || fault.HintOf(err) != e.Hint {
				t.Errorf("%v", err)
			}
		})
	}
	for ref, want := range map[string]string{"a/b": "docker.io", "a": "docker.io", "r.io/a": "r.io", "localhost/a": "localhost", "h:5000/a": "h:5000"} {
		if got := registry(ref); got != want {
			t.Errorf("%s: %s", ref, got)
		}
	}
}
