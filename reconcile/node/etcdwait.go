package node

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster/etcd"
)

// The pauses between two questions to etcd are random, so that machines that
// join at the same moment do not stay in step. A question costs milliseconds,
// and there is no event to replace it; but each refusal to change the members
// is a line in etcd's log.
const (
	pauseMin     = 50 * time.Millisecond
	questionsMax = 200 * time.Millisecond // while a member starts and catches up
	changesMax   = 600 * time.Millisecond // while others have their turn
)

// wait repeats a step until it is done, within a budget. The step says what it
// waits for; that is told when it changes.
func (m *membership) wait(ctx context.Context, budget, pause time.Duration, say func(reconcile.Progress), step func(context.Context) (waitsFor string, done bool, err error)) error {
	limited, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	told := ""
	for {
		text, done, err := step(limited)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case limited.Err() != nil && !done:
			return m.timedOut(budget, told)
		case err != nil || done:
			return err
		}
		if text != "" && text != told {
			told = text
			say(reconcile.Progress{Message: text})
		}
		t := time.NewTimer(pauseMin + rand.N(pause-pauseMin))
		select {
		case <-t.C:
		case <-limited.Done():
			t.Stop()
		}
	}
}

// turn repeats a step that changes the members until it is done, with a fresh
// look before each attempt. The budget (timeouts.etcdAPICall) begins anew
// whenever the list of members changes: others that join at the same moment are
// then making progress, and everybody has a turn. It does not begin anew for a
// learner that only catches up: one that nobody promotes does that for ever.
func (m *membership) turn(ctx context.Context, say func(reconcile.Progress), step func(context.Context, *etcd.Cluster) (waitsFor string, done bool, err error)) error {
	var list string
	changed := errors.New("the list of members has changed")
	for {
		err := m.wait(ctx, m.in.Timeout, changesMax, say, func(ctx context.Context) (string, bool, error) {
			seen, err := m.in.Client.Look(ctx)
			if err != nil {
				return waitsOr(err)
			}
			before := list
			if list = describe(&seen); before != "" && before != list {
				return "", false, changed
			}
			return step(ctx, &seen)
		})
		if !errors.Is(err, changed) {
			return err
		}
	}
}
