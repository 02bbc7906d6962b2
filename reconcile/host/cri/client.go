package cri

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/kubejoin/kubejoin/fault"
)

const (
	// callTimeout bounds every question. kubeadm gives the runtime 2 s, which a
	// busy machine exceeds (behaviour catalogue §5.15).
	callTimeout = 10 * time.Second
	// reconnectDelay is the longest wait before a runtime that went away is
	// tried again: it is local, and comes back within seconds.
	reconnectDelay = time.Second
	// maxMessage is what the kubelet allows a runtime's answer to be.
	maxMessage = 16 << 20
)

// The labels by which the kubelet marks what it starts.
const (
	labelPodName      = "io.kubernetes.pod.name"
	labelPodNamespace = "io.kubernetes.pod.namespace"
)

// Tail reads the last bytes of a file of the machine; see host.Host.ReadTail.
type Tail func(path string, max int64) ([]byte, error)

// Client is a container runtime. It is safe for concurrent use.
type Client struct {
	socket string
	conn   *grpc.ClientConn
	run    runtimeapi.RuntimeServiceClient
	images runtimeapi.ImageServiceClient
	tail   Tail
}

// Open makes a client of the runtime at a socket, "unix:///…", "unix:/…" or a path. It
// does not connect: the first question does. The error is only for an endpoint
// that cannot be one.
func Open(endpoint string, tail Tail) (*Client, error) {
	path := endpoint
	if rest, isUnix := strings.CutPrefix(endpoint, "unix:"); isUnix {
		path = strings.TrimPrefix(rest, "//")
	}
	if !strings.HasPrefix(path, "/") {
		return nil, fault.New(fault.InvalidConfig, "not the path of a socket").At(endpoint).
			WithHint("give nodeRegistration.criSocket as unix:///path/to/socket")
	}
	conn, err := grpc.NewClient("unix://"+path,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // a socket of this machine: its mode is the protection
		grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{
			// Without it a connection has no longer than the first pause, which a busy machine exceeds.
			MinConnectTimeout: callTimeout,
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnectDelay},
		}))
	if err != nil {
		return nil, fault.New(fault.InvalidConfig, "not usable as a container runtime's socket: %w", err).At(endpoint)
	}
	return &Client{
		socket: "unix://" + path,
		conn:   conn,
		run:    runtimeapi.NewRuntimeServiceClient(conn),
		images: runtimeapi.NewImageServiceClient(conn),
		tail:   tail,
	}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// ask makes one call within its timeout.
func ask[Q, A any](ctx context.Context, c *Client, what string, f func(context.Context, Q, ...grpc.CallOption) (A, error), q Q) (A, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	a, err := f(ctx, q)
	if err != nil {
		var none A
		return none, c.explain(what, err)
	}
	return a, nil
}

// Version asks what runtime this is.
func (c *Client) Version(ctx context.Context) (Version, error) {
	a, err := ask(ctx, c, "asked for its version", c.run.Version, &runtimeapi.VersionRequest{})
	if err != nil {
		return Version{}, err
	}
	return Version{Name: a.GetRuntimeName(), Version: a.GetRuntimeVersion(), API: a.GetRuntimeApiVersion()}, nil
}

// RuntimeStatus gives the runtime's conditions.
func (c *Client) RuntimeStatus(ctx context.Context) ([]Condition, error) {
	a, err := ask(ctx, c, "asked for its status", c.run.Status, &runtimeapi.StatusRequest{})
	if err != nil {
		return nil, err
	}
	var out []Condition
	for _, x := range a.GetStatus().GetConditions() {
		out = append(out, Condition{Type: x.GetType(), Status: x.GetStatus(), Reason: x.GetReason(), Message: x.GetMessage()})
	}
	return out, nil
}

// RuntimeConfig gives the runtime's cgroup driver, "systemd" or "cgroupfs";
// empty if the runtime is too old to tell (containerd before 2.0).
func (c *Client) RuntimeConfig(ctx context.Context) (cgroupDriver string, err error) {
	a, err := ask(ctx, c, "asked for its configuration", c.run.RuntimeConfig, &runtimeapi.RuntimeConfigRequest{})
	switch {
	case unimplemented(err):
		return "", nil
	case err != nil:
		return "", err
	case a.GetLinux() == nil:
		return "", nil
	}
	return strings.ToLower(a.GetLinux().GetCgroupDriver().String()), nil
}

// Images are those that the runtime holds.
func (c *Client) Images(ctx context.Context) ([]Image, error) {
	a, err := ask(ctx, c, "asked for its images", c.images.ListImages, &runtimeapi.ListImagesRequest{})
	if err != nil {
		return nil, err
	}
	var out []Image
	for _, i := range a.GetImages() {
		out = append(out, Image{ID: i.GetId(), Tags: i.GetRepoTags()})
	}
	return out, nil
}

// ImagePresent tells whether the runtime holds an image. It asks no registry.
func (c *Client) ImagePresent(ctx context.Context, ref string) (bool, error) {
	a, err := ask(ctx, c, "asked for the image "+ref, c.images.ImageStatus,
		&runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: ref}})
	return a.GetImage() != nil, err
}

// Pods are the sandboxes of one pod with their containers, the oldest first.
// Those that the kubelet has not cleared away yet are among them.
func (c *Client) Pods(ctx context.Context, namespace, name string) ([]Pod, error) {
	labels := map[string]string{labelPodNamespace: namespace, labelPodName: name}
	what := "asked for the pod " + namespace + "/" + name
	sandboxes, err := ask(ctx, c, what, c.run.ListPodSandbox,
		&runtimeapi.ListPodSandboxRequest{Filter: &runtimeapi.PodSandboxFilter{LabelSelector: labels}})
	if err != nil {
		return nil, err
	}
	containers, err := ask(ctx, c, what, c.run.ListContainers,
		&runtimeapi.ListContainersRequest{Filter: &runtimeapi.ContainerFilter{LabelSelector: labels}})
	if err != nil {
		return nil, err
	}
	var pods []Pod
	for _, s := range sandboxes.GetItems() {
		p := Pod{
			ID: s.GetId(), UID: s.GetMetadata().GetUid(), Attempt: s.GetMetadata().GetAttempt(),
			Ready: s.GetState() == runtimeapi.PodSandboxState_SANDBOX_READY, Created: at(s.GetCreatedAt()),
		}
		for _, x := range containers.GetContainers() {
			if x.GetPodSandboxId() != s.GetId() {
				continue
			}
			one, err := c.container(ctx, x.GetId())
			if notFound(err) {
				continue // removed meanwhile
			}
			if err != nil {
				return nil, err
			}
			p.Containers = append(p.Containers, one)
		}
		slices.SortStableFunc(p.Containers, func(a, b Container) int {
			return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Attempt, b.Attempt))
		})
		pods = append(pods, p)
	}
	slices.SortStableFunc(pods, func(a, b Pod) int {
		return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Attempt, b.Attempt))
	})
	return pods, nil
}

// container reads what the list leaves out: exit code, reason, times.
func (c *Client) container(ctx context.Context, id string) (Container, error) {
	s, err := c.status(ctx, id)
	if err != nil {
		return Container{}, err
	}
	return Container{
		ID: s.GetId(), Name: s.GetMetadata().GetName(), Attempt: s.GetMetadata().GetAttempt(),
		State: stateOf(s.GetState()), Image: s.GetImage().GetImage(),
		Created: at(s.GetCreatedAt()), Started: at(s.GetStartedAt()), Finished: at(s.GetFinishedAt()),
		ExitCode: s.GetExitCode(), Reason: s.GetReason(), Message: s.GetMessage(),
	}, nil
}

func (c *Client) status(ctx context.Context, id string) (*runtimeapi.ContainerStatus, error) {
	a, err := ask(ctx, c, "asked for the container "+short(id), c.run.ContainerStatus,
		&runtimeapi.ContainerStatusRequest{ContainerId: id})
	return a.GetStatus(), err
}

// StopContainer ends a container, killing it after a grace period. The kubelet
// notices and starts the next one.
func (c *Client) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, grace+callTimeout)
	defer cancel()
	_, err := c.run.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: int64(grace / time.Second)})
	if err != nil && !notFound(err) {
		return c.explain("asked to stop the container "+short(id), err)
	}
	return nil
}

func stateOf(s runtimeapi.ContainerState) State {
	switch s {
	case runtimeapi.ContainerState_CONTAINER_CREATED:
		return Created
	case runtimeapi.ContainerState_CONTAINER_RUNNING:
		return Running
	case runtimeapi.ContainerState_CONTAINER_EXITED:
		return Exited
	}
	return Unknown
}

// at is a time of the runtime's, for which 0 is never.
func at(nanoseconds int64) time.Time {
	if nanoseconds <= 0 {
		return time.Time{}
	}
	return time.Unix(0, nanoseconds)
}

// short is how people see a container's ID elsewhere.
func short(id string) string { return id[:min(len(id), 12)] }
