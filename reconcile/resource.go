package reconcile

import "context"

// Observation is what a resource found of itself. Only the resource that made
// it knows its type.
type Observation any

// View lets a resource see the others: a service restarts because a file
// changes. Both are nil for an address that is not in the set.
type View interface {
	// Observed is what the resource at an address found.
	Observed(Address) Observation
	// Changed is the change planned for the resource at an address. It is only
	// known for resources that this one comes after.
	Changed(Address) *Change
}

// Resource is one thing that must be so.
type Resource interface {
	// Address is stable and unique within a run.
	Address() Address
	// After lists the resources whose changes are applied before this one's.
	After() []Address
	// Observe reads what is there now. It has no side effect. What may not be
	// read (no permission, no network) belongs into the observation, not into
	// the error: the error ends the run.
	Observe(context.Context) (Observation, error)
	// Change says what has to be done, nil if nothing, from what was observed.
	// It is pure: no reading, no clock.
	Change(Observation, View) (*Change, []Finding, error)
	// Apply makes the change, and returns when it is so. It reports what it
	// waits for by say.
	Apply(ctx context.Context, c Change, v View, say func(Progress)) error
}

// Progress is what a resource tells while it works.
type Progress struct {
	// Message is one clause: lower case, no period, no secret.
	Message string `json:"message"`
	// Lines are further lines to show below it, such as the end of a log.
	Lines []string `json:"lines,omitempty"`
	// Hint says what the user can do meanwhile.
	Hint string `json:"hint,omitempty"`
}
