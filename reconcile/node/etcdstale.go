package node

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster/etcd"
)

// etcdStale takes members out that are this machine as it was.
type etcdStale struct{ part }

func (r *etcdStale) Change(own reconcile.Observation, _ reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	c, _, err := r.change(own, func(v verdict) *reconcile.Change {
		if len(v.removes) == 0 {
			return nil
		}
		c := &reconcile.Change{Action: reconcile.Delete, Reason: reconcile.Drift, Disruption: reconcile.Destructive, Allow: allowMember}
		var why []string
		for _, m := range v.removes {
			why = append(why, "member "+m.String()+" is removed: "+m.why)
			c.Fields = append(c.Fields, reconcile.Field{Path: "members[" + m.HexID() + "]", Before: m.String(), After: "(removed)"})
		}
		c.Summary = strings.Join(why, "; ")
		return c
	})
	return c, nil, err
}

func (r *etcdStale) Apply(ctx context.Context, c reconcile.Change, _ reconcile.View, say func(reconcile.Progress)) error {
	defer r.m.changed()
	in := &r.m.in
	return r.m.turn(ctx, say, func(ctx context.Context, seen *etcd.Cluster) (string, bool, error) {
		o := in.observeData()
		o.cluster = *seen
		v := in.judge(o)
		switch {
		case v.refused != nil:
			return "", false, v.refused
		case v.quorum != nil:
			return v.quorum.Error(), false, nil
		}
		i := slices.IndexFunc(v.removes, func(m removal) bool {
			// Only what was shown, also if more comes up while it waits: who allowed
			// that did not allow more.
			return slices.ContainsFunc(c.Fields, func(f reconcile.Field) bool { return f.Path == "members["+m.HexID()+"]" })
		})
		if i < 0 {
			return "", true, nil
		}
		err := in.Client.Remove(ctx, v.removes[i].ID)
		switch {
		case err == nil, errors.Is(err, etcd.ErrNotFound):
			return "", false, nil // and look again
		case etcd.Temporary(err):
			return turnText(err, seen), false, nil
		}
		return "", false, err
	})
}
