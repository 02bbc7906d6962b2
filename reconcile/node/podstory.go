package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/host"
	"github.com/kubejoin/kubejoin/reconcile/host/cri"
)

// podStory tells what happens to a static pod while it is waited for. Each
// thing is told once.
type podStory struct {
	*podWait
	say   func(reconcile.Progress)
	begin time.Time
	probe error // the last answer to the health probe

	state string   // the last remarkable thing, for the error
	lines []string // the last log lines
	hint  string

	told    string // the last message
	since   time.Time
	stage   string // "leaving", "no pod", "no container", "runs": since when is it so
	crashed string // the last container that was seen to have exited
	crashes int
	next    int   // the crash that is told next: the first, second, fourth, eighth …
	never   error // why the crashed container will never run
	pulls   chan error
	pulling bool
}

// tell looks at what the runtime says. An error is one that waiting does not mend.
func (s *podStory) tell(ctx context.Context, now seen) error {
	if now.err != nil {
		s.state = oneLine(now.err.Error())
		s.once(reconcile.Progress{Message: s.state, Hint: fault.HintOf(now.err)})
		return nil
	}
	pod := newest(now.pods)
	switch {
	case now.leaving:
		if s.lasts("leaving", quietStart) {
			s.stuck(ctx, "the previous pod still runs: the kubelet ends it first")
		}
	case pod == nil:
		if s.lasts("no pod", quietStart) {
			s.stuck(ctx, "the kubelet has not started the pod yet")
		}
	case len(pod.Containers) == 0:
		if s.lasts("no container", quietStart) {
			return s.noContainer(ctx)
		}
	default:
		c := pod.Containers[len(pod.Containers)-1]
		if c.State == cri.Exited {
			s.stage = ""
			return s.exited(ctx, c, s.outdated(pod))
		}
		if c.State == cri.Running && s.lasts("runs", quietRun) && s.probe != nil {
			msg := "it runs, and does not serve yet: " + oneLine(s.probe.Error())
			s.once(reconcile.Progress{Message: msg})
		}
	}
	return nil
}

// lasts tells whether a stage has lasted longer than it should.
func (s *podStory) lasts(stage string, quiet time.Duration) bool {
	if s.stage != stage {
		s.stage, s.since = stage, time.Now()
	}
	return time.Since(s.since) >= quiet
}

// once says a message unless it was the last one.
func (s *podStory) once(p reconcile.Progress) {
	key := p.Message + "\n" + strings.Join(p.Lines, "\n")
	if key != s.told {
		s.told = key
		s.say(p)
	}
}

// stuck says that the kubelet does not get on with the pod, and what the
// kubelet itself says of it: that is in no answer of the runtime.
func (s *podStory) stuck(ctx context.Context, what string) {
	p := reconcile.Progress{Message: what}
	if s.services != nil {
		if active, known := s.services.kubeletActive(ctx); known && !active {
			p.Message, p.Hint = "the kubelet does not run, so that nothing starts the pod", "look at `journalctl -u kubelet`"
		}
		for _, l := range s.services.kubeletLog(ctx, s.begin) {
			about := strings.Contains(l, s.pod) || strings.Contains(l, s.path)
			if about && (strings.Contains(l, "err=") || strings.Contains(l, "rror")) {
				p.Lines = []string{oneLine(l)} // the newest
			}
		}
	}
	s.state, s.lines = p.Message, p.Lines
	if len(p.Lines) > 0 {
		// Its time and thread change with every line: the message is the same.
		if s.told != p.Message {
			s.told = p.Message
			s.say(p)
		}
		return
	}
	s.once(p)
}

// noContainer finds out why a sandbox has no container: mostly because its
// image is not there. Why the kubelet cannot pull it is in no answer of the
// runtime, but the answer to pulling it oneself.
func (s *podStory) noContainer(ctx context.Context) error {
	for _, ref := range s.images {
		present, err := s.runtime.ImagePresent(ctx, ref)
		if err != nil || present {
			continue
		}
		s.state = "the image " + ref + " is not on this machine"
		if !s.pulling {
			s.pulling = true
			s.once(reconcile.Progress{Message: s.state + ", and the kubelet has not pulled it yet"})
			go func() {
				s.pulls <- pull(ctx, s.runtime, ref, s.say)
			}()
		}
		return nil
	}
	s.stuck(ctx, "the pod's sandbox is there, and its container has not been made yet")
	return nil
}

// pulled is called with the result of pulling an image.
func (s *podStory) pulled(err error) error {
	s.pulling = false
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, errComponentTimeout) {
		s.state = ""
		return nil
	}
	s.state, s.hint = oneLine(err.Error()), fault.HintOf(cri.Explained(err))
	var p *cri.PullError
	if errors.As(err, &p) && p.Permanent {
		return cri.Explained(err)
	}
	s.once(reconcile.Progress{Message: s.state, Hint: s.hint})
	return nil
}

// The words of components that have been given something they never accept.
var hopelessWords = []string{"unknown flag:", "unknown shorthand flag", "flag provided but not defined", "invalid argument \"", "error parsing commandline arguments"}

// outdated tells whether the kubelet may still run the pod of an earlier
// manifest: it takes a moment to see the last change, and a run that begins in
// that moment must not judge the wanted pod by the one before.
func (s *podStory) outdated(pod *cri.Pod) bool {
	return pod.Created.Before(s.written) && time.Since(s.written) < noticeGrace && time.Since(s.begin) < noticeGrace
}

// exited tells of a container that ended, with its last words. The end of one
// that will never run is an error, unless its pod is on its way out.
func (s *podStory) exited(ctx context.Context, c cri.Container, outdated bool) error {
	if c.ID == s.crashed {
		if outdated {
			return nil
		}
		return s.never
	}
	s.crashed, s.never = c.ID, nil
	s.crashes++
	lines, err := s.runtime.Logs(ctx, c.ID, logLines)
	if err != nil {
		lines = nil // the exit itself is still worth telling
	}
	s.state, s.lines, s.hint = describeContainer(c), lines, ""
	says := func(words ...string) bool {
		return slices.ContainsFunc(lines, func(l string) bool {
			return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(l, w) })
		})
	}
	switch {
	case says("address already in use"):
		s.state += ": a port that it needs is taken"
		s.hint = "find the process that listens on it with `ss -ltnp`, and stop it"
		if len(lines) > 0 {
			s.hint += "; its last word: " + lines[len(lines)-1]
		}
	case says(hopelessWords...):
		s.never = fmt.Errorf("%s: it does not accept its arguments", s.state)
		if !outdated {
			s.say(reconcile.Progress{Message: s.state, Lines: lines})
			return s.never
		}
	}
	if outdated {
		s.state += " (the kubelet may not have seen the manifest's last change yet)"
	}
	if s.patience > 0 && s.crashes >= s.patience && !outdated {
		return errors.New(s.state)
	}
	if s.crashes < s.next {
		return nil
	}
	s.next = 2 * s.crashes
	p := reconcile.Progress{Message: s.state, Lines: lines, Hint: s.hint}
	if c.Attempt > 2 && p.Hint == "" {
		// 10 s at first, doubled up to 5 minutes; it forgets when it restarts.
		p.Hint = "the kubelet waits longer after each exit; once the cause is mended, `systemctl restart kubelet` ends that wait"
	}
	s.once(p)
	return nil
}

func (s *podStory) kubeletRuns(ctx context.Context) bool {
	if s.services == nil {
		return false
	}
	active, known := s.services.kubeletActive(ctx)
	return known && active
}

// kubeletUnderServices asks the service manager for the kubelet.
type kubeletUnderServices struct{ host.Services }

func (k kubeletUnderServices) kubeletActive(ctx context.Context) (active, known bool) {
	st, err := k.State(ctx, kubeletUnit)
	return st.Active, err == nil && st.Found && st.Unknown == ""
}

func (k kubeletUnderServices) kubeletLog(ctx context.Context, since time.Time) []string {
	lines, err := k.Logs(ctx, kubeletUnit, since, kubeletLogLines)
	if err != nil {
		return nil // without them the message is still right
	}
	return lines
}
