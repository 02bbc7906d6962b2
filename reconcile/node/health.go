package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/host/cri"
)

// Runtime is the container runtime of this machine. *cri.Client is one.
type Runtime interface {
	ImagePresent(ctx context.Context, ref string) (bool, error)
	// Pull gives a *cri.PullError when the image cannot be had.
	Pull(ctx context.Context, ref string) error
	// Pods are the sandboxes of one pod, the oldest first.
	Pods(ctx context.Context, namespace, name string) ([]cri.Pod, error)
	// Logs are the last lines that a container wrote.
	Logs(ctx context.Context, containerID string, lines int) ([]string, error)
	// StopContainer ends a container; the kubelet starts the next one.
	StopContainer(ctx context.Context, containerID string, grace time.Duration) error
}

const staticPodNamespace = "kube-system"

const (
	// componentEvery is how often a component is asked whether it serves.
	componentEvery = 100 * time.Millisecond
	// runtimeEvery is how often the runtime is asked what became of a pod.
	runtimeEvery = 300 * time.Millisecond
	// quietStart is how long a pod may take to appear, or its container to be
	// made, before that is worth a word.
	quietStart = 3 * time.Second
	// quietRun is the same for a container that runs and does not serve: the
	// API server needs some seconds for its first answer.
	quietRun = 10 * time.Second
	// noticeGrace is after what time a kubelet that runs must have seen a new
	// manifest (it looks every 20 s when it gets no event) and have ended the
	// pod before (30 s): a pod that still serves then is the one it wants.
	noticeGrace = time.Minute
	// kubeletLogLines is how much of the kubelet's log is searched for a pod.
	kubeletLogLines = 200
)

// podWait waits until a static pod serves, and tells meanwhile why it does not.
type podWait struct {
	name     string // "kube-apiserver"
	pod      string // the pod's name on this node
	path     string // of its manifest
	images   []string
	health   func(context.Context) error
	runtime  Runtime // may be nil
	services servicesOf
	timeout  time.Duration
	limit    string // where the timeout comes from
	// patience is how many exits of a container are enough to give up; 0: none.
	patience int
	// written is when the manifest last changed; zero if that is not known.
	written time.Time
	// fresh picks the sandboxes, and their containers, that count: after a
	// change those before it do not. Nil: all do.
	fresh func([]cri.Pod) []cri.Pod
}

// servicesOf is what is needed of the service manager; nil if there is none.
type servicesOf interface {
	kubeletActive(ctx context.Context) (active, known bool)
	kubeletLog(ctx context.Context, since time.Time) []string
}

// probed is the answer to one question whether a component serves.
type probed struct {
	asked time.Time
	err   error
}

// seen is what the runtime said of a pod.
type seen struct {
	at   time.Time
	pods []cri.Pod
	// leaving says that the pod from before the change still runs.
	leaving bool
	err     error
}

// run waits. The error is the context's, or of class fault.Unhealthy.
func (w *podWait) run(ctx context.Context, say func(reconcile.Progress)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, w.timeout, errComponentTimeout)
	var asking sync.WaitGroup
	defer asking.Wait() // a probe may write the manifest
	defer cancel()
	probes, pods := make(chan probed), make(chan seen)
	asking.Go(func() { w.probe(ctx, probes) })
	if w.runtime != nil {
		asking.Go(func() { w.look(ctx, pods) })
	}
	story := &podStory{podWait: w, say: say, begin: time.Now(), pulls: make(chan error, 1)}
	var counts time.Time // since when what serves is what should serve
	if w.fresh == nil {
		counts = story.begin
	}
	var last error
	for {
		select {
		case p := <-probes:
			if p.err == nil && !counts.IsZero() && !p.asked.Before(counts) {
				return nil
			}
			if p.err == nil && counts.IsZero() && time.Since(story.begin) > noticeGrace && story.kubeletRuns(ctx) {
				return nil // the kubelet sees no other pod in the new manifest
			}
			last = p.err
			story.probe = p.err
		case s := <-pods:
			if w.fresh != nil && s.err == nil {
				all := s.pods
				s.pods = w.fresh(all)
				pod := newest(s.pods)
				s.leaving = running(all) != nil && (pod == nil || len(pod.Containers) == 0)
				if running(s.pods) == nil {
					counts = time.Time{}
				} else if counts.IsZero() {
					counts = s.at
				}
			}
			if err := story.tell(ctx, s); err != nil {
				return w.unhealthy(err, story)
			}
		case err := <-story.pulls:
			if err := story.pulled(err); err != nil {
				return w.unhealthy(err, story)
			}
		case <-ctx.Done():
			if !errors.Is(context.Cause(ctx), errComponentTimeout) {
				return ctx.Err() // another's failure, or the user: whoever it was tells of it
			}
			if last == nil {
				last = errors.New("the kubelet has not replaced the pod")
			}
			return w.unhealthy(fmt.Errorf("does not serve after %s (%s): %w", w.timeout, w.limit, last), story)
		}
	}
}

var errComponentTimeout = errors.New("the component's time is over")

func (w *podWait) unhealthy(err error, s *podStory) error {
	if s.state != "" && !strings.Contains(err.Error(), s.state) {
		err = fmt.Errorf("%w; %s", err, s.state)
	}
	hint := fault.HintOf(err)
	switch {
	case hint != "":
	case s.hint != "":
		hint = s.hint
	case len(s.lines) > 0:
		hint = "its last word: " + s.lines[len(s.lines)-1]
	default:
		hint = "look at `crictl ps -a --name " + w.name + "` and `journalctl -u kubelet`"
	}
	return fault.New(fault.Unhealthy, "%w", err).WithHint("%s", hint)
}

func (w *podWait) probe(ctx context.Context, out chan<- probed) {
	every(ctx, componentEvery, func() {
		p := probed{asked: time.Now()}
		p.err = w.health(ctx)
		select {
		case out <- p:
		case <-ctx.Done():
		}
	})
}

func (w *podWait) look(ctx context.Context, out chan<- seen) {
	every(ctx, runtimeEvery, func() {
		s := seen{}
		s.pods, s.err = w.runtime.Pods(ctx, staticPodNamespace, w.pod)
		s.at = time.Now()
		select {
		case out <- s:
		case <-ctx.Done():
		}
	})
}

// every does something at once, and again after each pause, until ctx ends.
func every(ctx context.Context, pause time.Duration, f func()) {
	t := time.NewTicker(pause)
	defer t.Stop()
	for ctx.Err() == nil {
		f()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
}

// running is the newest running container of the newest sandbox that is ready;
// nil if there is none.
func running(pods []cri.Pod) *cri.Container {
	p := newest(pods)
	if p == nil || !p.Ready {
		return nil
	}
	for i := len(p.Containers) - 1; i >= 0; i-- {
		if p.Containers[i].State == cri.Running {
			return &p.Containers[i]
		}
	}
	return nil
}

func newest(pods []cri.Pod) *cri.Pod {
	if len(pods) == 0 {
		return nil
	}
	return &pods[len(pods)-1]
}

// describePod says in one clause what has become of a pod; empty if there is
// nothing remarkable.
func describePod(pods []cri.Pod) string {
	p := newest(pods)
	switch {
	case p == nil:
		return "the kubelet has not started its pod"
	case len(p.Containers) == 0:
		return "its container has not been made"
	}
	return describeContainer(p.Containers[len(p.Containers)-1])
}

func describeContainer(c cri.Container) string {
	if c.State != cri.Exited {
		return ""
	}
	s := fmt.Sprintf("its container exited with code %d", c.ExitCode)
	if c.Reason != "" && c.Reason != "Error" && c.Reason != "Completed" {
		s += " (" + c.Reason + ")"
	}
	if c.Message != "" {
		s += ": " + oneLine(c.Message)
	}
	if c.Attempt > 0 {
		s += fmt.Sprintf(", for the %s time", ordinal(int(c.Attempt)+1))
	}
	return s
}

// maxMessage is how much of a runtime's message is shown.
const maxMessage = 400

func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	return strings.ToValidUTF8(s[:min(len(s), maxMessage)], "")
}

func ordinal(n int) string {
	suffix := "th"
	if n%100 < 11 || n%100 > 13 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return fmt.Sprintf("%d%s", n, suffix)
}
