package reconcile

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/fault"
)

// world is what the resources of these tests observe and change.
type world struct {
	mu    sync.Mutex
	have  map[Address]string
	order []Address
}

func (w *world) get(a Address) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.have[a]
}

func (w *world) set(a Address, v string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.have[a] = v
	w.order = append(w.order, a)
}

// value is a resource that wants a string in the world.
type value struct {
	w       *world
	address Address
	want    string
	after   []Address
	allow   string
	fields  []Field
	apply   func(context.Context) error // before the write
	stuck   bool                        // never becomes what it should be
}

func (r *value) Address() Address                             { return r.address }
func (r *value) After() []Address                             { return r.after }
func (r *value) Observe(context.Context) (Observation, error) { return r.w.get(r.address), nil }

func (r *value) Change(own Observation, _ View) (*Change, []Finding, error) {
	if own.(string) == r.want {
		return nil, nil, nil
	}
	return &Change{Address: r.address, Action: Update, Reason: Drift, Summary: "differs", Fields: r.fields, Allow: r.allow}, nil, nil
}

func (r *value) Apply(ctx context.Context, _ Change, _ View, say func(Progress)) error {
	say(Progress{Message: "working"})
	if r.apply != nil {
		if err := r.apply(ctx); err != nil {
			return err
		}
	}
	if !r.stuck {
		r.w.set(r.address, r.want)
	}
	return nil
}

func newWorld() *world { return &world{have: map[Address]string{}} }

func mustSet(t *testing.T, rs ...Resource) *Set {
	t.Helper()
	s, err := NewSet(rs...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func compute(t *testing.T, s *Set) *Computed {
	t.Helper()
	c, err := s.Compute(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func addresses(cs []Change) []Address {
	var out []Address
	for _, c := range cs {
		out = append(out, c.Address)
	}
	return out
}

func TestPlanIsOrderedByDependencyAndThenByDeclaration(t *testing.T) {
	w := newWorld()
	s := mustSet(t,
		&value{w: w, address: "d:service", want: "1", after: []Address{"a:x", "a:y"}},
		&value{w: w, address: "a:y", want: "1"},
		&value{w: w, address: "a:x", want: "1", after: []Address{"not:managed"}},
	)
	want := []Address{"a:x", "a:y", "d:service"}
	if diff := cmp.Diff(want, addresses(compute(t, s).Changes)); diff != "" {
		t.Error(diff)
	}
}

func TestDuplicatesAndCyclesAreRefused(t *testing.T) {
	w := newWorld()
	if _, err := NewSet(&value{w: w, address: "a:x"}, &value{w: w, address: "a:x"}); err == nil {
		t.Error("two resources with one address were accepted")
	}
	if _, err := NewSet(&value{w: w, address: "a:x", after: []Address{"a:y"}}, &value{w: w, address: "a:y", after: []Address{"a:x"}}); err == nil {
		t.Error("a cycle was accepted")
	}
}

func TestPlanIsEmptyExactlyWhenApplyHasNothingToDo(t *testing.T) {
	w := newWorld()
	s := mustSet(t, &value{w: w, address: "a:x", want: "1"}, &value{w: w, address: "a:y", want: "2", after: []Address{"a:x"}})
	c := compute(t, s)
	if err := s.Apply(t.Context(), c, nil, func(Event) {}); err != nil {
		t.Fatal(err)
	}
	if err := s.Converged(t.Context()); err != nil {
		t.Error(err)
	}
	w.order = nil
	c = compute(t, s)
	if len(c.Changes) != 0 {
		t.Errorf("the second plan has %v", addresses(c.Changes))
	}
	if err := s.Apply(t.Context(), c, nil, func(e Event) { t.Errorf("event %v", e) }); err != nil || len(w.order) != 0 {
		t.Errorf("applying an empty plan: err %v, writes %v", err, w.order)
	}
}

func TestIndependentChangesRunSideBySide(t *testing.T) {
	w := newWorld()
	var meet sync.WaitGroup
	meet.Add(2)
	together := func(ctx context.Context) error {
		meet.Done()
		done := make(chan struct{})
		go func() { meet.Wait(); close(done) }()
		select {
		case <-done:
			return nil
		case <-time.After(5 * time.Second):
			return errors.New("the other one did not start")
		}
	}
	s := mustSet(t,
		&value{w: w, address: "a:x", want: "1", apply: together},
		&value{w: w, address: "a:y", want: "1", apply: together},
		&value{w: w, address: "b:z", want: "1", after: []Address{"a:x", "a:y"}},
	)
	if err := s.Apply(t.Context(), compute(t, s), nil, func(Event) {}); err != nil {
		t.Fatal(err)
	}
	if last := w.order[len(w.order)-1]; last != "b:z" {
		t.Errorf("the last one was %s", last)
	}
}

func TestWaitsAlsoForAncestorsBehindAnUnchangedResource(t *testing.T) {
	w := newWorld()
	w.have["b:middle"] = "1"
	s := mustSet(t,
		&value{w: w, address: "a:first", want: "1", apply: func(context.Context) error { <-time.After(20 * time.Millisecond); return nil }},
		&value{w: w, address: "b:middle", want: "1", after: []Address{"a:first"}},
		&value{w: w, address: "c:last", want: "1", after: []Address{"b:middle"}},
	)
	if err := s.Apply(t.Context(), compute(t, s), nil, func(Event) {}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Address{"a:first", "c:last"}, w.order); diff != "" {
		t.Error(diff)
	}
}

func TestFailureStopsWhatComesAfterAndNamesItsAddress(t *testing.T) {
	w := newWorld()
	s := mustSet(t,
		&value{w: w, address: "a:x", want: "1", apply: func(context.Context) error {
			return fault.New(fault.Timeout, "no answer").WithHint("try again")
		}},
		&value{w: w, address: "b:y", want: "1", after: []Address{"a:x"}},
	)
	err := s.Apply(t.Context(), compute(t, s), nil, func(Event) {})
	if err == nil || err.Error() != "a:x: no answer" || fault.ClassOf(err) != fault.Timeout || fault.HintOf(err) != "try again" {
		t.Errorf("err %v, class %v, hint %q", err, fault.ClassOf(err), fault.HintOf(err))
	}
	if len(w.order) != 0 {
		t.Errorf("written after the failure: %v", w.order)
	}
}

func TestWhatBecameUnnecessaryIsSkipped(t *testing.T) {
	w := newWorld()
	s := mustSet(t, &value{w: w, address: "a:x", want: "1"})
	c := compute(t, s)
	w.have["a:x"] = "1" // somebody else did it
	var events []EventType
	if err := s.Apply(t.Context(), c, nil, func(e Event) { events = append(events, e.Type) }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]EventType{EventSkip}, events); diff != "" || len(w.order) != 0 {
		t.Error(diff, w.order)
	}
}

// follower changes only because of another change, as a service restarts.
type follower struct{ value }

func (r *follower) Change(_ Observation, v View) (*Change, []Finding, error) {
	if v.Changed("a:x") == nil {
		return nil, nil, nil
	}
	return &Change{Address: r.address, Action: Restart, Because: []Address{"a:x"}}, nil, nil
}

func TestWhatIsSkippedIsNoCause(t *testing.T) {
	w := newWorld()
	s := mustSet(t, &value{w: w, address: "a:x", want: "1"},
		&follower{value{w: w, address: "b:service", want: "restarted", after: []Address{"a:x"}}})
	c := compute(t, s)
	if len(c.Changes) != 2 {
		t.Fatalf("planned: %v", addresses(c.Changes))
	}
	w.have["a:x"] = "1" // somebody else did it, and restarted the service
	if err := s.Apply(t.Context(), c, nil, func(Event) {}); err != nil || len(w.order) != 0 {
		t.Errorf("err %v, written %v", err, w.order)
	}
}

func TestDestructionIsRefusedUntilItIsNamed(t *testing.T) {
	w := newWorld()
	harmless := &value{w: w, address: "a:x", want: "1"}
	s := mustSet(t, harmless, &value{w: w, address: "b:ca", want: "1", allow: "replace-ca"})
	for _, allow := range [][]string{nil, {"something-else"}} {
		err := s.Apply(t.Context(), compute(t, s), allow, func(Event) {})
		if fault.ClassOf(err) != fault.Conflict || !strings.Contains(fault.HintOf(err), "--allow=replace-ca") {
			t.Errorf("allow %v: err %v, hint %q", allow, err, fault.HintOf(err))
		}
		if len(w.order) != 0 {
			t.Errorf("allow %v: written: %v", allow, w.order)
		}
	}
	if err := s.Apply(t.Context(), compute(t, s), []string{"replace-ca"}, func(Event) {}); err != nil {
		t.Error(err)
	}
}

func TestWhatBecameDestructiveSinceThePlanIsRefused(t *testing.T) {
	w := newWorld()
	r := &value{w: w, address: "a:ca", want: "1"}
	s := mustSet(t, r)
	c := compute(t, s)
	r.allow = "replace-ca" // as if another CA had appeared
	if err := s.Apply(t.Context(), c, nil, func(Event) {}); fault.ClassOf(err) != fault.Conflict || len(w.order) != 0 {
		t.Errorf("err %v, written %v", err, w.order)
	}
}

// Who allowed what was shown did not allow what has come since.
func TestOnlyWhatWasShownIsDestroyed(t *testing.T) {
	one, two := Field{Path: "members[1]", Before: "cp1", After: "(removed)"}, Field{Path: "members[2]", Before: "cp2", After: "(removed)"}
	another := one
	another.Before = "cp9"
	for name, c := range map[string]struct {
		allow       string // as it was planned
		shown, then []Field
		refused     bool
	}{
		"the same":           {"remove", []Field{one, two}, []Field{one, two}, false},
		"less":               {"remove", []Field{one, two}, []Field{two}, false},
		"more":               {"remove", []Field{one}, []Field{one, two}, true},
		"something else":     {"remove", []Field{one}, []Field{another}, true},
		"what is made of it": {"remove", []Field{one}, []Field{{Path: one.Path, Before: one.Before, After: "x"}}, false},
		"what was not there": {"remove", []Field{one}, []Field{one, {Path: "id", After: "x"}}, false},
		"not destructive":    {"", []Field{one}, []Field{one}, true},
		"another name":       {"wipe", []Field{one}, []Field{one}, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			r := &value{w: w, address: "a:x", want: "1", allow: c.allow, fields: c.shown}
			s := mustSet(t, r)
			shown := compute(t, s)
			r.allow, r.fields = "remove", c.then
			err := s.Apply(t.Context(), shown, []string{"remove", "wipe"}, func(Event) {})
			if (err != nil) != c.refused || (len(w.order) == 0) != c.refused {
				t.Fatalf("%v, written %v", err, w.order)
			}
			if err != nil && (fault.ClassOf(err) != fault.Conflict || !strings.Contains(fault.HintOf(err), "--allow=remove")) {
				t.Errorf("%v, hint %q", err, fault.HintOf(err))
			}
		})
	}
	if err := Unshown(nil, []Change{{Address: "a:x", Allow: "remove"}}); fault.ClassOf(err) != fault.Conflict {
		t.Errorf("what was not shown at all: %v", err)
	}
}

func TestWhatDoesNotStayIsReported(t *testing.T) {
	w := newWorld()
	s := mustSet(t, &value{w: w, address: "a:x", want: "1", stuck: true})
	if err := s.Apply(t.Context(), compute(t, s), nil, func(Event) {}); err != nil {
		t.Fatal(err)
	}
	if err := s.Converged(t.Context()); err == nil || !strings.Contains(err.Error(), "a:x") {
		t.Errorf("err %v", err)
	}
}

func TestCancelledApplyStartsNothing(t *testing.T) {
	w := newWorld()
	s := mustSet(t, &value{w: w, address: "a:x", want: "1"})
	c := compute(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Apply(ctx, c, nil, func(Event) {}); !errors.Is(err, context.Canceled) || len(w.order) != 0 {
		t.Errorf("err %v, written %v", err, w.order)
	}
}

func TestMaskRevealsNothingButEquality(t *testing.T) {
	a, b := Mask([]byte("abcdef.0123456789abcdef")), Mask([]byte("abcdef.0123456789abcdeg"))
	if a == b || strings.Contains(a, "abcdef.") || !strings.HasPrefix(a, "(sensitive, sha256:") {
		t.Errorf("%s, %s", a, b)
	}
}

// waited is something that serves only from a moment on.
type waited struct{ from time.Time }

func (w *waited) Address() Address                             { return "a:w" }
func (w *waited) After() []Address                             { return nil }
func (w *waited) Observe(context.Context) (Observation, error) { return time.Now(), nil }
func (w *waited) Apply(context.Context, Change, View, func(Progress)) error {
	return errors.New("is only looked at")
}

func (w *waited) Change(own Observation, _ View) (*Change, []Finding, error) {
	if own.(time.Time).After(w.from) {
		return nil, nil, nil
	}
	return &Change{Address: w.Address(), Action: Wait, Reason: Drift}, nil, nil
}

// What does not serve for a moment, after an apply, is not left to do.
func TestConvergedWaitsForWhatComesBack(t *testing.T) {
	if err := mustSet(t, &waited{time.Now().Add(time.Second)}).Converged(t.Context()); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := mustSet(t, &waited{time.Now().Add(time.Hour)}).Converged(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}
