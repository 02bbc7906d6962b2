package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/host"
	"github.com/kubejoin/kubejoin/reconcile/host/cri"
)

// fakeImages is the image half of a container runtime; the real one is in the
// tests of package cri.
type fakeImages struct {
	Runtime
	mu      sync.Mutex
	present map[string]bool
	fails   map[string][]error // per attempt; after the last, it works
	pulls   []string
	now     int // pulls under way
	most    int // at the same time
	err     error
}

func (f *fakeImages) ImagePresent(_ context.Context, ref string) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.present[ref], f.err
}

func (f *fakeImages) Pull(_ context.Context, ref string) error {
	f.mu.Lock()
	f.pulls = append(f.pulls, ref)
	f.now++
	f.most = max(f.most, f.now)
	var err error
	if fails := f.fails[ref]; len(fails) > 0 {
		err, f.fails[ref] = fails[0], fails[1:]
	} else {
		f.present[ref] = true
	}
	f.mu.Unlock()
	time.Sleep(50 * time.Millisecond)
	f.mu.Lock()
	f.now--
	f.mu.Unlock()
	return err
}

// etcdPod stands for a static pod, of which the images see these things only.
type etcdPod struct{ staticPodObservation }

func (etcdPod) Address() reconcile.Address { return "static-pod:etcd" }
func (etcdPod) After() []reconcile.Address { return nil }
func (p etcdPod) Observe(context.Context) (reconcile.Observation, error) {
	return p.staticPodObservation, nil
}
func (etcdPod) Change(reconcile.Observation, reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	return nil, nil, nil
}
func (etcdPod) Apply(context.Context, reconcile.Change, reconcile.View, func(reconcile.Progress)) error {
	return nil
}

// etcdOf is an etcd that runs with an image, and should run with c:1.
func etcdOf(image string, health error) staticPodObservation {
	return staticPodObservation{wants: []string{"c:1"}, health: health, file: fileObservation{state: host.FileState{Kind: host.File},
		content: []byte("kind: Pod\nspec: {containers: [{name: etcd, image: \"" + image + "\"}]}\n")}}
}

func imageSetOf(t *testing.T, in ImagesInput, others ...reconcile.Resource) *reconcile.Set {
	t.Helper()
	set, err := reconcile.NewSet(append(others, ImageResources(in)...)...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestImages(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		policy   corev1.PullPolicy
		pod      staticPodObservation
		present  []string
		err      error
		changes  []reconcile.Address
		findings []string
	}{
		"missing":           {present: []string{"a:1"}, changes: []reconcile.Address{"image:b:1", "image:c:1"}},
		"present":           {policy: corev1.PullIfNotPresent, present: []string{"a:1", "b:1", "c:1"}},
		"never":             {policy: corev1.PullNever, present: []string{"a:1", "b:1"}, findings: []string{"ImagePull"}},
		"always, joining":   {policy: corev1.PullAlways, present: []string{"a:1", "b:1", "c:1"}, changes: []reconcile.Address{"image:a:1", "image:b:1", "image:c:1"}},
		"always, joined":    {policy: corev1.PullAlways, pod: etcdOf("c:1", nil), present: []string{"a:1", "b:1", "c:1"}},
		"garbage collected": {pod: etcdOf("c:1", nil), present: []string{"c:1"}},
		"another version":   {pod: etcdOf("c:0", nil), present: []string{"a:1"}, changes: []reconcile.Address{"image:c:1"}},
		"does not start":    {pod: etcdOf("c:1", errors.New("sick")), present: []string{"a:1"}, changes: []reconcile.Address{"image:c:1"}},
		"never, and joined": {policy: corev1.PullNever, pod: etcdOf("c:1", nil)},
		"not permitted":     {err: fault.New(fault.Preflight, "permission denied"), findings: []string{FindingNotCompared}},
		"no runtime":        {err: fault.New(fault.Preflight, "does not answer"), findings: []string{"CRI"}},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeImages{present: map[string]bool{}, err: tt.err}
			for _, p := range tt.present {
				f.present[p] = true
			}
			in := ImagesInput{Refs: []string{"c:1", "a:1", "b:1", "a:1"}, Policy: tt.policy, For: []reconcile.Address{"static-pod:etcd"}, Runtime: f}
			p, err := imageSetOf(t, in, etcdPod{tt.pod}).Compute(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var changes []reconcile.Address
			for _, c := range p.Changes {
				changes = append(changes, c.Address)
				if c.Disruption != reconcile.NoDisruption || !strings.Contains(c.Summary, "pull") {
					t.Errorf("%+v", c)
				}
			}
			var findings []string
			for _, x := range p.Findings {
				findings = append(findings, x.Name)
			}
			if !slices.Equal(changes, tt.changes) || !slices.Equal(findings, tt.findings) {
				t.Errorf("%q, %q", changes, findings)
			}
			if len(f.pulls) > 0 {
				t.Error("a plan pulled")
			}
		})
	}
}

func TestImagesPulled(t *testing.T) {
	t.Parallel()
	for _, serial := range []bool{true, false} {
		t.Run(fmt.Sprintf("serial %t", serial), func(t *testing.T) {
			f := &fakeImages{present: map[string]bool{"b:1": true}}
			set := imageSetOf(t, ImagesInput{Refs: []string{"a:1", "b:1", "c:1", "d:1"}, Serial: serial, Runtime: f})
			p, err := set.Compute(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var said told
			if err := set.Apply(t.Context(), p, nil, func(e reconcile.Event) {
				if e.Say != nil {
					said.say(*e.Say)
				}
			}); err != nil {
				t.Fatal(err)
			}
			if err := set.Converged(t.Context()); err != nil {
				t.Error(err)
			}
			var messages []string
			for _, s := range said.list() {
				messages = append(messages, s.Message)
			}
			if slices.Sort(messages); !slices.Equal(messages, []string{"pulled, 1 of 3", "pulled, 2 of 3", "pulled, 3 of 3"}) {
				t.Errorf("%q", messages)
			}
			if len(f.pulls) != 3 || serial && f.most != 1 || !serial && f.most != 3 {
				t.Errorf("%q, %d at once", f.pulls, f.most)
			}
		})
	}
}

func TestPull(t *testing.T) {
	t.Parallel()
	absent := &cri.PullError{Image: "a:1", Reason: "not found", Permanent: true, Hint: "check imageTag"}
	sick := &cri.PullError{Image: "a:1", Reason: "503 Service Unavailable"}
	for name, tt := range map[string]struct {
		fails []error
		pulls int
		want  error
	}{
		"at once":       {nil, 1, nil},
		"at the third":  {[]error{sick, errors.New("closed"), nil}, 3, nil},
		"never":         {[]error{sick, sick, sick, sick, sick, sick}, 5, sick},
		"not there":     {[]error{absent}, 1, absent},
		"gone meantime": {[]error{sick, absent}, 2, absent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fakeImages{present: map[string]bool{}, fails: map[string][]error{"a:1": tt.fails}}
			var said told
			err := pull(t.Context(), f, "a:1", said.say)
			if !errors.Is(err, tt.want) || len(f.pulls) != tt.pulls || (err == nil) != (tt.want == nil) {
				t.Errorf("%v after %d", err, len(f.pulls))
			}
			if n := len(said.list()); n != min(tt.pulls-1, pullAttempts-1) {
				t.Errorf("%+v", said.list())
			}
		})
	}
	// The error says which image, why, and what to do.
	f := &fakeImages{present: map[string]bool{}, fails: map[string][]error{"a:1": {absent}}}
	set := imageSetOf(t, ImagesInput{Refs: []string{"a:1"}, Runtime: f})
	p, err := set.Compute(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	err = set.Apply(t.Context(), p, nil, func(reconcile.Event) {})
	if fault.ClassOf(err) != fault.Preflight || err.Error() != "image:a:1: cannot pull a:1: not found" || fault.HintOf(err) != "check imageTag" {
		t.Errorf("%v (%s)", err, fault.HintOf(err))
	}
	ctx, cancel := context.WithCancel(t.Context())
	f.fails["a:1"] = []error{sick, sick, sick, sick, sick}
	if err := pull(ctx, f, "a:1", func(reconcile.Progress) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
