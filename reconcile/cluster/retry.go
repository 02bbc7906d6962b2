package cluster

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/kubejoin/kubejoin/fault"
)

// limits of the reads. They are not configurable: the budgets are, by the
// timeouts of the configuration.
type limits struct {
	// request is the deadline of one attempt, including the body.
	request time.Duration
	// base and longest bound the pause: a random part of min(longest, base·2ⁿ).
	// The full jitter keeps a hundred machines that boot at once apart.
	base, longest time.Duration
	// signer is how long a missing token signature may be the bootstrap
	// signer's delay for a token that was created seconds ago. The signer
	// reacts to a watch, so a longer absence means that there is no such token.
	signer time.Duration
	// body is the most bytes of an answer or event, after decompression: a
	// hostile server must not exhaust the memory.
	body int
}

var defaultLimits = limits{
	request: 10 * time.Second, // as every request of kubeadm: behaviour catalogue §5.15
	base:    100 * time.Millisecond,
	longest: 5 * time.Second,
	signer:  10 * time.Second,
	body:    10 << 20,
}

// again marks an error that may go away by itself, whatever it wraps.
type again struct{ error }

func (a again) Unwrap() error { return a.error }

// transient tells whether trying again can help, and how long the server asked
// to be left alone. An error that a reader has already classified is permanent.
func transient(err error) (after time.Duration, ok bool) {
	var a again
	if errors.As(err, &a) {
		return 0, true
	}
	var f *fault.Error
	if errors.As(err, &f) {
		return 0, false
	}
	var s *statusError
	if errors.As(err, &s) {
		switch s.code {
		case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
			http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return s.after, true
		}
		return 0, false
	}
	var provider *providerError
	if errors.As(err, &provider) {
		return 0, provider.again
	}
	if plugin := pluginFailure(err); plugin != "" {
		// It may ask a service that starts with this machine.
		return 0, strings.Contains(plugin, "failed with exit code")
	}
	return 0, !distrusted(err)
}

// retry calls try until it succeeds, fails for good, or the budget is used up,
// and returns try's last error. The first attempt always happens; with a budget
// of 0 or less it is the only one.
func (r *run) retry(ctx context.Context, what, address string, budget time.Duration, try func(context.Context) error) error {
	if r.o.ReadTimeout > 0 {
		budget = min(budget, r.o.ReadTimeout)
	}
	end := time.Now().Add(budget)
	// A pause leaves some of the budget for an attempt after it.
	reserve := min(time.Second, budget/10)
	var last error
	for attempt := 1; ; attempt++ {
		limit := r.limits.request
		if budget > 0 {
			limit = min(limit, time.Until(end))
		}
		err := func() error {
			ctx, cancel := context.WithTimeout(ctx, limit)
			defer cancel()
			return try(ctx)
		}()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return r.ended(ctx, what, address, err, last)
		}
		if last != nil && limit < r.limits.request && errors.Is(err, context.DeadlineExceeded) {
			err = last // the budget cut this attempt short, which says less
		}
		after, ok := transient(err)
		left := time.Until(end)
		if !ok || left <= reserve {
			return err
		}
		r.waiting(Waiting{What: what, Err: r.explain(address, err).Err.Error(), Attempt: attempt, Left: left})
		if !pause(ctx, min(r.pause(attempt, after), left-reserve)) {
			return r.ended(ctx, what, address, err)
		}
		last = err
	}
}

// pause is how long to wait after a number of failed attempts.
func (r *run) pause(attempt int, after time.Duration) time.Duration {
	limit := min(r.limits.longest, r.limits.base<<min(attempt-1, 16))
	return max(after, rand.N(limit+1))
}

// pause waits, and tells whether the context was still alive at the end.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// ended is the error of a wait that the caller's context ended. Of the last
// errors, newest first, it tells the one that says more than that.
func (r *run) ended(ctx context.Context, what, address string, last ...error) error {
	class := fault.Interrupted
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		class = fault.Timeout
	}
	for _, err := range last {
		if err != nil && !errors.Is(err, ctx.Err()) {
			f := r.explain(address, err)
			return fault.New(class, "waiting for %s: %w (%s)", what, ctx.Err(), f.Err).At(address).WithHint("%s", f.Hint)
		}
	}
	return fault.New(class, "waiting for %s: %w", what, ctx.Err()).At(address)
}
