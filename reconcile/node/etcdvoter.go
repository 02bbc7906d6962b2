package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster/etcd"
)

// caughtUp is how many entries a learner may be behind the leader when it is
// promoted. etcd itself is content with nine tenths of all entries; these are
// what a busy cluster writes between two questions.
const caughtUp = 1000

// etcdVoter is this machine's vote.
type etcdVoter struct{ part }

func (r *etcdVoter) Change(own reconcile.Observation, view reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	c, _, err := r.change(own, func(v verdict) *reconcile.Change {
		if !v.promotes {
			return nil
		}
		return &reconcile.Change{Action: reconcile.Update, Reason: reconcile.Missing, Disruption: etcdMembership,
			Summary: "is promoted to a voter as soon as it has caught up",
			Fields:  []reconcile.Field{{Path: "learner", Before: "true", After: "false"}}}
	})
	if o := own.(*etcdObservation); err == nil && r.m.in.Client != nil && o.err == nil {
		// This resource comes after the manifest, and knows what becomes of it.
		if ch := view.Changed(r.m.in.Manifest); ch != nil && ch.Disruption == PodRestart(r.m.in.Manifest.Name()) {
			return c, r.m.in.restarts(&o.cluster), nil
		}
	}
	return c, nil, err
}

// Apply asks the learner itself how far it is, several times a second, and the
// leader for its promotion: a voter that has to hand the request on loses seconds.
func (r *etcdVoter) Apply(ctx context.Context, _ reconcile.Change, _ reconcile.View, say func(reconcile.Progress)) error {
	defer r.m.changed()
	in := &r.m.in
	if in.Serves != nil {
		serving, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		go func() {
			if err := in.Serves(serving, say); err != nil && serving.Err() == nil {
				cancel(err)
			}
		}()
		ctx = serving
	}
	id, told, started := uint64(0), time.Time{}, errors.New("it has started")
	stall := &stalled{in: in}
	step := func(ctx context.Context) (string, bool, error) {
		s := in.Client.Status(ctx, in.ClientURL)
		switch {
		case !s.Answers():
			if err := stall.end(ctx, say); err != nil {
				return "", false, err
			}
			if in.Serves != nil {
				return "", false, nil // it knows better what is the matter
			}
			return "waits for etcd to start at " + in.ClientURL + ": " + s.Err, false, nil
		case id == 0:
			seen, err := in.Client.Look(ctx)
			if err != nil {
				return waitsOr(err)
			}
			m, ok := seen.ByPeerURL(in.PeerURL)
			if !ok {
				return "", false, fault.New(fault.Conflict, "%s is no member any more: somebody removed it", in.PeerURL).
					WithHint("run plan to see what is left")
			}
			if id = m.ID; s.MemberID == id {
				return "", false, started
			}
		}
		switch {
		case s.MemberID != id:
			return "", false, fault.New(fault.Conflict, "another etcd answers at %s: member %s, and not %s", in.ClientURL, etcd.HexID(s.MemberID), etcd.HexID(id)).
				WithHint("stop it: two cannot use one address")
		case s.Leader == 0:
			return "waits for etcd to find its leader", false, nil
		case !s.Learner:
			return "", true, nil
		}
		return r.promote(ctx, s, func(text string) {
			// The numbers differ each time: once a second is enough.
			if time.Since(told) >= time.Second {
				told = time.Now()
				say(reconcile.Progress{Message: text})
			}
		})
	}
	err := r.m.wait(ctx, in.Timeout, questionsMax, say, step)
	if errors.Is(err, started) { // starting and catching up have a budget each
		err = r.m.wait(ctx, in.Timeout, questionsMax, say, step)
	}
	return err
}

// promote looks at the whole cluster before it decides: a promotion that failed
// may have been made all the same (behaviour catalogue §9.5 C11).
func (r *etcdVoter) promote(ctx context.Context, own etcd.Status, tell func(string)) (string, bool, error) {
	in := &r.m.in
	seen, err := in.Client.Look(ctx)
	if err != nil {
		return waitsOr(err)
	}
	leader, ok := seen.Leader()
	if !ok {
		return "waits for etcd to elect a leader", false, nil
	}
	if index := seen.Status[leader.ID].Index; own.Applied+caughtUp < index {
		tell(fmt.Sprintf("the learner catches up with %s: entry %d of %d", leader.Name, own.Applied, index))
		return "", false, nil
	}
	m, ok := seen.ByID(own.MemberID)
	if !ok || !m.Learner {
		return "", false, nil // its own word will say so in a moment
	}
	if err := etcd.CanAdd(seen.Voters(), etcd.Voter{Member: m, Healthy: true}); err != nil {
		return err.Error(), false, nil
	}
	err = in.Client.Promote(ctx, m.ID)
	switch {
	case err == nil, errors.Is(err, etcd.ErrNotLearner), errors.Is(err, etcd.ErrNotFound), errors.Is(err, etcd.ErrNotInSync):
		return "", false, nil
	case etcd.Temporary(err):
		return turnText(err, &seen), false, nil
	}
	return "", false, err
}

func waitsOr(err error) (string, bool, error) {
	if etcd.Temporary(err) {
		return err.Error(), false, nil
	}
	return "", false, err
}

// stalled is a member that has all data and does not serve. A new member serves
// once it sees its own entry in the list of members committed. Where the
// snapshot that the leader sends it holds that entry already, it never sees it
// being made, and tries again only after its request timeout of 7 s. Started
// again it knows.
type stalled struct {
	in    *EtcdInput
	since time.Time // the member is in the list by its name, and does not serve
	asked time.Time
	ended bool
}

const (
	// stallAsk is how often the others are asked for a member that does not serve.
	stallAsk = 400 * time.Millisecond
	// stallGrace is how long a member may take between being named and serving:
	// without the stall it is some milliseconds.
	stallGrace = 700 * time.Millisecond
)

// end starts a stalled member again, once. What cannot be found out is no stall.
func (s *stalled) end(ctx context.Context, say func(reconcile.Progress)) error {
	if s.ended || s.in.Metrics == nil || s.in.Restart == nil || time.Since(s.asked) < stallAsk {
		return nil
	}
	s.asked = time.Now()
	seen, err := s.in.Client.Look(ctx)
	if err != nil {
		return nil
	}
	leader, ok := seen.Leader()
	m, listed := seen.ByPeerURL(s.in.PeerURL)
	if !ok || !listed || !m.Started() {
		s.since = time.Time{}
		return nil
	}
	if s.since.IsZero() {
		s.since = time.Now()
	}
	if time.Since(s.since) < stallGrace {
		return nil
	}
	is, err := s.in.Metrics(ctx)
	if err != nil || !is.HasLeader || is.AppliesSnapshot || is.Applied+caughtUp < seen.Status[leader.ID].Index {
		return nil // it has something to do
	}
	s.ended = true
	say(reconcile.Progress{Message: "etcd has all data and waits for nothing: it is started again, instead of waiting 7 s with it"})
	return s.in.Restart(ctx)
}
