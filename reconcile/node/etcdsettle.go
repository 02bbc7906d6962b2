package node

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster/etcd"
)

// EtcdSettle waits, within timeouts.etcdAPICall, for an etcd that allows what
// this machine needs, if all that is in the way are voters which may come back.
// It tells whether they did: false at once if something else is in the way, such
// as a decision or an etcd of which nobody answers.
func EtcdSettle(ctx context.Context, in EtcdInput, tell func(reason string, left time.Duration)) (bool, error) {
	if in.Client == nil {
		return false, nil
	}
	begin, settled, first := time.Now(), false, true
	err := (&membership{in: in}).wait(ctx, in.Timeout, changesMax, func(p reconcile.Progress) { tell(p.Message, in.Timeout-time.Since(begin)) },
		func(ctx context.Context) (string, bool, error) {
			o := in.observeData()
			var err error
			if o.cluster, err = in.Client.Look(ctx); err != nil {
				if first || !etcd.Temporary(err) {
					return "", true, nil
				}
				return err.Error(), false, nil
			}
			v := in.judge(o)
			first = false
			switch {
			case v.refused != nil:
				return "", true, nil
			case v.quorum == nil:
				settled = true
				return "", true, nil
			}
			return v.quorum.Error(), !hopeful(&o.cluster, &v), nil
		})
	if fault.ClassOf(err) == fault.Timeout && ctx.Err() == nil {
		return false, nil
	}
	return settled, err
}

// hopeful tells whether nothing would be in the way if all voters that stay were
// healthy.
func hopeful(c *etcd.Cluster, v *verdict) bool {
	well := etcd.Cluster{ID: c.ID, Members: c.Members, Status: maps.Clone(c.Status)}
	gone := v.removed()
	for _, m := range c.Members {
		if !m.Learner && !slices.Contains(gone, m.ID) {
			well.Status[m.ID] = etcd.Status{MemberID: m.ID, Leader: m.ID, Version: c.Version()}
		}
	}
	return quorum(&well, v) == nil
}
