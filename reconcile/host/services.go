package host

import (
	"context"
	"time"

	"github.com/kubejoin/kubejoin/fault"
)

// Services is the machine's service manager. It is never nil: below a root
// directory, and on a machine with neither systemd nor OpenRC, it is one whose
// states have an empty Manager and that changes nothing. No connection is made
// before a method needs it; Close ends it.
func (h *Host) Services(context.Context) Services {
	switch h.initSystem() {
	case "systemd":
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.systemd == nil {
			h.systemd = &systemd{}
		}
		return h.systemd
	case "openrc":
		return openrc{h}
	}
	if h.live {
		return noManager{why: "neither systemd nor OpenRC runs here"}
	}
	return noManager{why: h.dir + " is not the live machine"}
}

// noManager stands for a machine without a service manager.
type noManager struct{ why string }

func (n noManager) State(context.Context, string) (ServiceState, error) {
	return ServiceState{}, nil
}

func (n noManager) Enable(_ context.Context, unit string) error  { return n.refuse("enable", unit) }
func (n noManager) Restart(_ context.Context, unit string) error { return n.refuse("restart", unit) }
func (n noManager) Stop(_ context.Context, unit string) error    { return n.refuse("stop", unit) }

func (n noManager) refuse(doing, unit string) error {
	return fault.New(fault.Preflight, "cannot %s: %s", doing, n.why).At("service:"+unit).
		WithHint("%s it by hand", doing)
}

func (n noManager) Watch(ctx context.Context, unit string) (<-chan ServiceState, error) {
	return watchStates(ctx, n, unit, nil), nil
}

func (n noManager) Logs(context.Context, string, time.Time, int) ([]string, error) { return nil, nil }

// watchStates delivers the first state at once, and a state after each signal if
// it is another one, until ctx ends.
func watchStates(ctx context.Context, s Services, unit string, changed <-chan struct{}) <-chan ServiceState {
	states := make(chan ServiceState)
	go func() {
		defer close(states)
		var last *ServiceState
		for {
			// A state that cannot be read is one that did not change.
			now, err := s.State(ctx, unit)
			if err == nil && (last == nil || !now.same(*last)) {
				select {
				case states <- now:
					last = &now
				case <-ctx.Done():
					return
				}
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return states
}

// same leaves out StartedAt: it is computed with the clock of the moment, and
// another start has another pid.
func (s ServiceState) same(t ServiceState) bool {
	return s.Unknown == t.Unknown && s.Found == t.Found && s.Enabled == t.Enabled && s.Masked == t.Masked &&
		s.Active == t.Active && s.State == t.State && s.MainPID == t.MainPID && s.Restarts == t.Restarts &&
		s.LastExit == t.LastExit && s.NeedsReload == t.NeedsReload
}

// serviceFailed says what could not be done with a unit.
func serviceFailed(doing, unit string, err error) error {
	return fault.New(fault.Internal, "cannot %s: %w", doing, err).At("service:" + unit)
}
