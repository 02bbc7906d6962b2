package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/host/cri"
)

// ImageAddress is the address of a container image on this machine.
func ImageAddress(ref string) reconcile.Address { return reconcile.Address("image:" + ref) }

const (
	// pullAttempts is how often an image is asked for, as kubeadm does it
	// (behaviour catalogue §8.5), which does not wait in between.
	pullAttempts = 5
	// pullTimeout bounds one attempt. The runtime gives up much earlier when
	// nothing arrives.
	pullTimeout = 15 * time.Minute
	// pullTold is how often a pull that takes long is mentioned.
	pullTold = 10 * time.Second
	// pullBackoff is the wait before the second attempt; it doubles.
	pullBackoff = 500 * time.Millisecond
)

// ImagesInput says which images a machine should hold.
type ImagesInput struct {
	Refs []string
	// Policy is nodeRegistration.imagePullPolicy. Empty is IfNotPresent.
	Policy corev1.PullPolicy
	// Serial is nodeRegistration.imagePullSerial: one after the other.
	Serial bool
	// For are the static pods that decide whether an image is needed: all are
	// while one of these pods is not there yet, which is what kubeadm pulls before
	// a join; later, only the image that a pod does not run with yet. What else is
	// missing on a control plane that runs, the kubelet's garbage collection
	// removed, and is no drift. Always means again before a join: a machine that
	// is what it should be asks no registry. Without For, all are needed.
	For []reconcile.Address
	// Runtime is nil where there is none to ask, and the images are left alone.
	Runtime Runtime
	After   []reconcile.Address
}

// ImageResources keep the images of the control plane on the machine, so that
// its pods start at once, and what cannot be pulled is known before anything
// depends on it.
func ImageResources(in ImagesInput) []reconcile.Resource {
	refs := slices.Clone(in.Refs)
	slices.Sort(refs)
	refs = slices.Compact(refs)
	all := &imageSet{in: in}
	var out []reconcile.Resource
	for i, ref := range refs {
		all.addresses = append(all.addresses, ImageAddress(ref))
		r := &imageResource{ref: ref, set: all, first: i == 0, after: in.After}
		if in.Serial && i > 0 {
			r.after = append(slices.Clone(in.After), all.addresses[i-1])
		}
		out = append(out, r)
	}
	return out
}

// imageSet is what the images of one run have in common.
type imageSet struct {
	in        ImagesInput
	addresses []reconcile.Address
	done      atomic.Int32 // how many this run has pulled
}

// planned is how many images this run pulls.
func (s *imageSet) planned(v reconcile.View) int {
	n := 0
	for _, a := range s.addresses {
		if v.Changed(a) != nil {
			n++
		}
	}
	return n
}

// imageObservation is whether the runtime holds the image, or why that is not known.
type imageObservation struct {
	present bool
	err     error
}

type imageResource struct {
	ref   string
	set   *imageSet
	first bool
	after []reconcile.Address
}

func (r *imageResource) Address() reconcile.Address { return ImageAddress(r.ref) }
func (r *imageResource) After() []reconcile.Address { return r.after }

func (r *imageResource) Observe(ctx context.Context) (reconcile.Observation, error) {
	if r.set.in.Runtime == nil {
		return imageObservation{present: true}, nil
	}
	present, err := r.set.in.Runtime.ImagePresent(ctx, r.ref)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return imageObservation{present: present, err: err}, nil
}

func (r *imageResource) Change(own reconcile.Observation, v reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	o := own.(imageObservation)
	c := &reconcile.Change{Address: r.Address(), Action: reconcile.Create, Reason: reconcile.Missing,
		Summary: "pull: the container runtime does not hold it", Disruption: reconcile.NoDisruption}
	switch {
	case o.err != nil && !r.first:
		return nil, nil, nil // the first of them says it for all
	case cri.Denied(o.err):
		return nil, []reconcile.Finding{notCompared("", "this user may not ask the container runtime, so that images and containers are unknown",
			"run as root to compare them")}, nil
	case o.err != nil:
		return nil, []reconcile.Finding{{Severity: reconcile.SeverityError, Name: "CRI",
			Seen: o.err.Error(), Hint: fault.HintOf(o.err)}}, nil
	case !r.needed(v):
		return nil, nil, nil
	case !o.present && r.set.in.Policy == corev1.PullNever:
		return nil, []reconcile.Finding{{Severity: reconcile.SeverityError, Name: "ImagePull", Address: r.Address(),
			Seen: "the container runtime does not hold it, and imagePullPolicy Never forbids to pull it",
			Hint: "load the image into the container runtime, or set nodeRegistration.imagePullPolicy to IfNotPresent"}}, nil
	case !o.present:
		return c, nil, nil
	case r.set.in.Policy == corev1.PullAlways && r.joining(v):
		c.Action, c.Reason, c.Summary = reconcile.Update, reconcile.Intent, "pull again: imagePullPolicy is Always, and its pods are not here yet"
		return c, nil, nil
	}
	return nil, nil, nil
}

// joining tells whether one of the pods that the images are for is still missing.
func (r *imageResource) joining(v reconcile.View) bool {
	return slices.ContainsFunc(r.set.in.For, func(a reconcile.Address) bool {
		o, ok := v.Observed(a).(staticPodObservation)
		return ok && !o.file.state.Denied && !o.file.state.Exists()
	})
}

// needed tells whether something on this machine is about to want the image.
func (r *imageResource) needed(v reconcile.View) bool {
	return len(r.set.in.For) == 0 || r.joining(v) || slices.ContainsFunc(r.set.in.For, func(a reconcile.Address) bool {
		o, ok := v.Observed(a).(staticPodObservation)
		return ok && slices.Contains(o.wants, r.ref) && (o.health != nil || !slices.Contains(podImages(o.file.content), r.ref))
	})
}

func (r *imageResource) Apply(ctx context.Context, _ reconcile.Change, v reconcile.View, say func(reconcile.Progress)) error {
	err := pull(ctx, r.set.in.Runtime, r.ref, say)
	if err != nil {
		return cri.Explained(err)
	}
	total := r.set.planned(v)
	done := int(r.set.done.Add(1))
	say(reconcile.Progress{Message: fmt.Sprintf("pulled, %d of %d", done, max(done, total))})
	return nil
}

// pull fetches an image, trying again where that can help, and tells what it
// waits for.
func pull(ctx context.Context, runtime Runtime, ref string, say func(reconcile.Progress)) error {
	begin := time.Now()
	tick := time.NewTicker(pullTold)
	defer tick.Stop()
	var last error
	for attempt := range pullAttempts {
		if attempt > 0 {
			// Full jitter: machines that join together do not ask together.
			wait := time.NewTimer(rand.N(pullBackoff << (attempt - 1)))
			select {
			case <-wait.C:
			case <-ctx.Done():
				wait.Stop()
				return ctx.Err()
			}
		}
		one, cancel := context.WithTimeoutCause(ctx, pullTimeout, &cri.PullError{Image: ref, Reason: "no end after " + pullTimeout.String()})
		result := make(chan error, 1)
		go func() { result <- runtime.Pull(one, ref) }()
		waiting := true
		for waiting {
			select {
			case last = <-result:
				waiting = false
			case <-tick.C:
				say(reconcile.Progress{Message: fmt.Sprintf("pulling %s since %s", ref, time.Since(begin).Round(time.Second))})
			}
		}
		cancel()
		var p *cri.PullError
		switch {
		case last == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		}
		reason := last.Error()
		if errors.As(last, &p) {
			if p.Permanent {
				return last
			}
			reason = p.Reason
		}
		if attempt+1 < pullAttempts {
			say(reconcile.Progress{Message: fmt.Sprintf("attempt %d of %d failed: %s", attempt+1, pullAttempts, reason)})
		}
	}
	return fmt.Errorf("%w (after %d attempts)", last, pullAttempts)
}
