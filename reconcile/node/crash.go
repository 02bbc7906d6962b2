package node

import (
	"context"
	"sync"
	"time"

	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

// logLines is how much of the kubelet's log is shown when it crashes.
const logLines = 5

// crashes says, once per crash, that the kubelet does not stay up and what it
// said last.
type crashes struct {
	mu   sync.Mutex
	last []string
}

// reportCrashes watches the kubelet's unit until ctx ends. A manager that
// cannot be watched reports nothing.
func reportCrashes(ctx context.Context, ports Ports, begin time.Time, say func(reconcile.Progress)) *crashes {
	c := &crashes{}
	states, err := ports.Services.Watch(ctx, kubeletUnit)
	if err != nil {
		return c
	}
	go func() {
		before, first := 0, true
		next := 1 // tell the first, second, fourth, eighth … crash
		for st := range states {
			if first {
				before, first = st.Restarts, false // what happened before is not news
			}
			crashes := st.Restarts - before
			if !st.Active && st.LastExit != "" {
				crashes++ // the manager counts it when it starts the next one
			}
			if crashes >= next {
				next = 2 * crashes
				c.see(ctx, st, ports, begin, say)
			}
		}
	}()
	return c
}

func (c *crashes) see(ctx context.Context, st host.ServiceState, ports Ports, begin time.Time, say func(reconcile.Progress)) {
	lines, err := ports.Services.Logs(ctx, kubeletUnit, begin, logLines)
	if err != nil {
		lines = nil // the crash itself is still worth telling
	}
	c.mu.Lock()
	c.last = lines
	c.mu.Unlock()
	msg := "the kubelet does not stay up"
	if st.LastExit != "" {
		msg += " (" + st.LastExit + ")"
	}
	say(reconcile.Progress{Message: msg, Lines: lines})
}

// hint is what to say when a wait timed out.
func (c *crashes) hint(otherwise string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.last) == 0 {
		return otherwise
	}
	return "the kubelet crashes; its last word: " + c.last[len(c.last)-1]
}
