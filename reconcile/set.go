package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kubejoin/kubejoin/fault"
)

// Set is the resources of one run, in an order in which they can be applied.
type Set struct {
	resources []Resource      // topological; declaration order among equals
	index     map[Address]int // position in resources
}

// NewSet orders resources so that each comes after those it names in After.
// Addresses in After that are not in the set are ignored: what is not managed
// needs no waiting for. It fails on duplicates and cycles.
func NewSet(resources ...Resource) (*Set, error) {
	byAddress := make(map[Address]Resource, len(resources))
	for _, r := range resources {
		if _, dup := byAddress[r.Address()]; dup {
			return nil, fault.New(fault.Internal, "two resources have this address").At(string(r.Address()))
		}
		byAddress[r.Address()] = r
	}
	s := &Set{index: make(map[Address]int, len(resources))}
	const visiting, done = 1, 2
	mark := make(map[Address]int, len(resources))
	var visit func(Resource) error
	visit = func(r Resource) error {
		switch mark[r.Address()] {
		case done:
			return nil
		case visiting:
			return fault.New(fault.Internal, "comes after itself").At(string(r.Address()))
		}
		mark[r.Address()] = visiting
		for _, a := range r.After() {
			if dep, ok := byAddress[a]; ok {
				if err := visit(dep); err != nil {
					return err
				}
			}
		}
		mark[r.Address()] = done
		s.index[r.Address()] = len(s.resources)
		s.resources = append(s.resources, r)
		return nil
	}
	for _, r := range resources {
		if err := visit(r); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// view is the set's state during one run: what was observed and what is planned.
type view struct {
	mu       sync.RWMutex
	observed map[Address]Observation
	planned  map[Address]*Change
}

func (v *view) Observed(a Address) Observation {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.observed[a]
}

func (v *view) Changed(a Address) *Change {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.planned[a]
}

func (v *view) forget(a Address) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.planned, a)
}

func (v *view) observe(a Address, o Observation) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.observed[a] = o
}

// Computed is a plan's changes and findings together with what they were
// computed from, ready to be applied.
type Computed struct {
	Changes  []Change
	Findings []Finding
	view     *view
}

// Compute observes all resources at once and says what has to change, in the
// order in which it would be done. It only reads (law 1).
func (s *Set) Compute(ctx context.Context) (*Computed, error) {
	v := &view{observed: make(map[Address]Observation, len(s.resources)), planned: make(map[Address]*Change)}
	errs := make([]error, len(s.resources))
	var wg sync.WaitGroup
	for i, r := range s.resources {
		wg.Go(func() {
			o, err := r.Observe(ctx)
			errs[i] = located(r.Address(), err)
			v.observe(r.Address(), o)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	c := &Computed{view: v}
	for _, r := range s.resources {
		change, findings, err := r.Change(v.observed[r.Address()], v)
		if err != nil {
			return nil, located(r.Address(), err)
		}
		c.Findings = append(c.Findings, findings...)
		if change != nil {
			v.planned[r.Address()] = change
			c.Changes = append(c.Changes, *change)
		}
	}
	return c, nil
}

// Event is what happens to one change while it is applied.
type Event struct {
	Type    EventType
	Address Address
	Change  *Change       // EventStart, EventDone, EventSkip
	Say     *Progress     // EventProgress
	Err     error         // EventFail
	Elapsed time.Duration // EventDone, EventFail
}

// EventType says which fields of an Event are set.
type EventType string

// The event types.
const (
	EventStart    EventType = "start"
	EventProgress EventType = "progress"
	EventDone     EventType = "done"
	EventSkip     EventType = "skip" // somebody else did it meanwhile
	EventFail     EventType = "fail"
)

// Refused tells which changes destroy something that was not allowed to be
// destroyed (law 7), as an error of class conflict; nil if there is none.
func Refused(changes []Change, allow []string) error {
	// Several changes may be parts of one: the last says what it is about.
	last := make(map[string]int)
	for i, c := range changes {
		last[c.Allow] = i
	}
	var errs []error
	for i, c := range changes {
		if c.Allow != "" && last[c.Allow] == i && !slices.Contains(allow, c.Allow) {
			errs = append(errs, fault.New(fault.Conflict, "%s", c.Summary).At(string(c.Address)).
				WithHint("nothing was changed; --allow=%s does it nevertheless", c.Allow))
		}
	}
	return errors.Join(errs...)
}

// Unshown is the error of destructive changes which are not among those that
// were shown when they were allowed: a name stands for what was shown under it,
// and for nothing that has come since. It is nil if there is none.
func Unshown(shown, now []Change) error {
	var errs []error
	for _, c := range now {
		if c.Allow == "" || slices.ContainsFunc(shown, func(s Change) bool { return s.Address == c.Address && s.covers(&c) }) {
			continue
		}
		errs = append(errs, fault.New(fault.Conflict, "would destroy something else than the plan showed: %s", c.Summary).At(string(c.Address)).
			WithHint("it was left as it is; run plan to see what is there now, and apply again with --allow=%s", c.Allow))
	}
	return errors.Join(errs...)
}

// covers tells whether all that another change destroys is what this one does.
// What a field becomes is not compared: it may depend on what was done before.
func (c *Change) covers(other *Change) bool {
	if c.Allow != other.Allow {
		return false
	}
	if len(other.Fields) == 0 {
		return c.Summary == other.Summary
	}
	for _, f := range other.Fields {
		if f.Before != "" && !slices.ContainsFunc(c.Fields, func(s Field) bool { return s.Path == f.Path && s.Before == f.Before }) {
			return false
		}
	}
	return true
}

// Apply makes the planned changes. A change starts when those it comes after
// are done, beside others that do not wait for it. Each is observed again right
// before: what has become unnecessary is skipped, and what would destroy
// something else than what was planned is refused. After a failure no
// further change starts, and those under way are waited for.
func (s *Set) Apply(ctx context.Context, c *Computed, allow []string, tell func(Event)) error {
	if err := Refused(c.Changes, allow); err != nil {
		return err
	}
	var mu sync.Mutex // one event at a time
	emit := func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		tell(e)
	}
	finished := make(map[Address]chan struct{}, len(c.Changes))
	for _, change := range c.Changes {
		finished[change.Address] = make(chan struct{})
	}
	run, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	errs := make([]error, len(c.Changes))
	var wg sync.WaitGroup
	for i, change := range c.Changes {
		wg.Go(func() {
			defer close(finished[change.Address])
			for _, dep := range s.ancestors(change.Address) {
				if done, ok := finished[dep]; ok {
					select {
					case <-done:
					case <-run.Done():
						return
					}
				}
			}
			if run.Err() != nil {
				return
			}
			if err := s.applyOne(run, change, c.view, allow, emit); err != nil {
				errs[i] = err
				cancel(stopped{change.Address, ctx})
			}
		})
	}
	wg.Wait()
	if err := errors.Join(firstCause(errs)...); err != nil {
		return err
	}
	return ctx.Err()
}

// stopped is why a change that is under way ends: another one failed.
type stopped struct {
	failed Address
	outer  context.Context // of the Apply
}

func (s stopped) Error() string { return "stopped, because " + string(s.failed) + " failed" }

// Is makes it a cancellation: whoever failed has told why.
func (s stopped) Is(target error) bool { return target == context.Canceled }

// Stopped tells whether the context that a resource's Apply was given ended
// because another change failed, and not because whoever called for it gave up.
// What cannot be left as it is goes on with the context that it returns.
func Stopped(ctx context.Context) (outer context.Context, yes bool) {
	var s stopped
	yes = errors.As(context.Cause(ctx), &s)
	return s.outer, yes
}

func (s *Set) applyOne(ctx context.Context, planned Change, v *view, allow []string, emit func(Event)) error {
	r := s.resources[s.index[planned.Address]]
	begin := time.Now()
	fail := func(err error) error {
		err = located(planned.Address, err)
		emit(Event{Type: EventFail, Address: planned.Address, Err: err, Elapsed: time.Since(begin)})
		return err
	}
	o, err := r.Observe(ctx)
	if err != nil {
		return fail(err)
	}
	v.observe(planned.Address, o)
	fresh, _, err := r.Change(o, v)
	if err != nil {
		return fail(err)
	}
	if fresh == nil {
		v.forget(planned.Address) // it is no cause for others any more
		emit(Event{Type: EventSkip, Address: planned.Address, Change: &planned})
		return nil
	}
	if err := Refused([]Change{*fresh}, allow); err != nil {
		return fail(err)
	}
	if err := Unshown([]Change{planned}, []Change{*fresh}); err != nil {
		return fail(err)
	}
	emit(Event{Type: EventStart, Address: planned.Address, Change: fresh})
	say := func(p Progress) { emit(Event{Type: EventProgress, Address: planned.Address, Say: &p}) }
	if err := r.Apply(ctx, *fresh, v, say); err != nil {
		return fail(err)
	}
	emit(Event{Type: EventDone, Address: planned.Address, Change: fresh, Elapsed: time.Since(begin)})
	return nil
}

// ancestors are all resources that the one at an address comes after, directly
// or through others.
func (s *Set) ancestors(a Address) []Address {
	var out []Address
	seen := map[Address]bool{a: true}
	var walk func(Address)
	walk = func(a Address) {
		i, ok := s.index[a]
		if !ok {
			return
		}
		for _, dep := range s.resources[i].After() {
			if !seen[dep] {
				seen[dep] = true
				out = append(out, dep)
				walk(dep)
			}
		}
	}
	walk(a)
	return out
}

// settleTime is how long Converged waits for what only has to serve: it may have
// stopped for a moment, as the API servers do while another machine's etcd starts
// again.
const (
	settleTime  = 15 * time.Second
	settleEvery = 500 * time.Millisecond
)

// Converged computes again and fails when something is left to do (law 2). What
// is only to be waited for has a moment.
func (s *Set) Converged(ctx context.Context) error {
	c, err := s.Compute(ctx)
	t := time.NewTicker(settleEvery)
	defer t.Stop()
	for end := time.Now().Add(settleTime); err == nil && len(c.Changes) > 0 && onlyWaits(c.Changes) && time.Now().Before(end); {
		select {
		case <-t.C:
			c, err = s.Compute(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err != nil {
		return err
	}
	if len(c.Changes) == 0 {
		return nil
	}
	var left []string
	for _, ch := range c.Changes {
		left = append(left, fmt.Sprintf("%s (%s)", ch.Address, ch.Summary))
	}
	return fault.New(fault.Internal, "applied, but still to do: %s", strings.Join(left, "; ")).
		WithHint("something changed the machine meanwhile, or a resource does not stay as it was made; run plan to see what")
}

func onlyWaits(changes []Change) bool {
	return !slices.ContainsFunc(changes, func(c Change) bool { return c.Action != Wait })
}

// located adds the resource's address to an error that has none.
func located(a Address, err error) error {
	if err == nil {
		return nil
	}
	var e *fault.Error
	if errors.As(err, &e) && e.Address != "" {
		return err
	}
	return fault.New(fault.ClassOf(err), "%w", err).At(string(a)).WithHint("%s", fault.HintOf(err))
}

// firstCause drops the cancellations that follow from another error.
func firstCause(errs []error) []error {
	var out []error
	for _, err := range errs {
		if err != nil && !errors.Is(err, context.Canceled) {
			out = append(out, err)
		}
	}
	if len(out) == 0 {
		return errs
	}
	return out
}
