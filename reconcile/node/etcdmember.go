package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster/etcd"
)

// etcdMember is this machine's entry in the list of members.
type etcdMember struct{ part }

func (r *etcdMember) Change(own reconcile.Observation, view reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	o := own.(*etcdObservation)
	in := &r.m.in
	c, v, err := r.change(own, func(v verdict) *reconcile.Change {
		if !v.adds {
			return nil
		}
		return &reconcile.Change{Action: reconcile.Create, Reason: reconcile.Missing, Disruption: etcdMembership,
			Summary: "is added as a learner, which does not vote yet",
			Fields:  []reconcile.Field{{Path: "peerURL", After: in.PeerURL}, {Path: "id", After: reconcile.KnownAfterApply}}}
	})
	switch {
	case err != nil:
		return nil, nil, err
	case in.Client == nil && in.Required && missingPod(view, in.Manifest):
		return nil, []reconcile.Finding{blocked("EtcdUnreachable", r.address, fault.New(fault.Unreachable, "etcd cannot be asked, and this machine's member is not there yet: %s", in.NoClient))}, nil
	case in.Client == nil:
		return nil, []reconcile.Finding{notCompared(r.address, "etcd cannot be asked: "+in.NoClient, "")}, nil
	case o.err != nil && c == nil && fault.ClassOf(o.err) == fault.Conflict:
		return nil, []reconcile.Finding{blocked(FindingEtcdMembership, r.address, o.err)}, nil
	case o.err != nil && c == nil:
		return nil, []reconcile.Finding{blocked("EtcdUnreachable", r.address, o.err)}, nil
	}
	return c, v.findings, nil
}

// missingPod tells whether a static pod is seen to have no manifest.
func missingPod(v reconcile.View, a reconcile.Address) bool {
	o, ok := v.Observed(a).(staticPodObservation)
	return ok && !o.file.state.Denied && !o.file.state.Exists() && o.file.problem == ""
}

func (r *etcdMember) Apply(ctx context.Context, _ reconcile.Change, _ reconcile.View, say func(reconcile.Progress)) error {
	defer r.m.changed()
	in := &r.m.in
	// 0700, and an existing one is left as it is: behaviour catalogue §5.8.
	if in.DataDir != "" {
		if err := in.Data.MakeDir(in.DataDir, 0o700); err != nil {
			return err
		}
	}
	// A refusal because of another learner is written to the log of every
	// member: with the same members there will be the same answer.
	var full string
	return r.m.turn(ctx, say, func(ctx context.Context, seen *etcd.Cluster) (string, bool, error) {
		if _, ok := seen.ByPeerURL(in.PeerURL); ok {
			return "", true, nil
		}
		if err := etcd.CanAddMember(seen.Voters(), seen.Version()); err != nil {
			return "waits for etcd: " + err.Error(), false, nil
		}
		if full == describe(seen) {
			return turnText(etcd.ErrTooManyLearners, seen), false, nil
		}
		_, err := in.Client.AddLearner(ctx, in.PeerURL)
		switch {
		case errors.Is(err, etcd.ErrTooManyLearners):
			if full = describe(seen); !hasLearner(seen) {
				full = "" // it came after the look
			}
			return "", false, nil
		case err == nil:
			return "", true, nil
		case errors.Is(err, etcd.ErrExists):
			return "", false, nil // look again: it is in the list now
		case etcd.Temporary(err):
			return turnText(err, seen), false, nil
		}
		return "", false, err
	})
}

func hasLearner(c *etcd.Cluster) bool {
	return slices.ContainsFunc(c.Members, func(m etcd.Member) bool { return m.Learner })
}

// describe is what of the list of members is progress if it changes.
func describe(c *etcd.Cluster) string {
	var b strings.Builder
	for _, m := range c.Members {
		fmt.Fprintf(&b, "%s learner=%t\n", m, m.Learner)
	}
	return b.String()
}

// turnText is what etcd's refusal to change its members for now means.
func turnText(err error, seen *etcd.Cluster) string {
	switch {
	case errors.Is(err, etcd.ErrTooManyLearners):
		var whose []string
		for _, m := range seen.Members {
			if m.Learner {
				whose = append(whose, m.String())
			}
		}
		slices.Sort(whose)
		return "waits for its turn: etcd takes no more learners than it has: " + strings.Join(whose, ", ")
	case errors.Is(err, etcd.ErrUnhealthy):
		return "waits for etcd: not every voter was connected for the last five seconds"
	case errors.Is(err, etcd.ErrNotConfirmed):
		return "waits for its turn: etcd makes one change at a time"
	case errors.Is(err, etcd.ErrNotEnoughStarted):
		return "waits for etcd: a voter has not started yet"
	}
	return "waits for etcd: " + err.Error()
}

// timedOut is the error of a wait for etcd.
func (m *membership) timedOut(budget time.Duration, told string) error {
	text := fmt.Sprintf("not done after %s (timeouts.etcdAPICall)", budget)
	if told != "" {
		text += ": " + told
	}
	return fault.New(fault.Timeout, "%s", text).
		WithHint("run apply again: it goes on from here; a learner that nobody is joining with is taken out by `etcdctl member remove`")
}
