package node

import (
	"cmp"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster/etcd"
)

// verdict is what has to be done about the membership.
type verdict struct {
	own      etcd.Member // the member that stays; without ID if there is none
	removes  []removal
	moves    string // why the data is moved aside; empty if it stays
	adds     bool
	promotes bool
	// refused and quorum are why nothing is done although something should be:
	// the first needs a decision, the second may go away by itself.
	refused  error
	quorum   error
	findings []reconcile.Finding
}

type removal struct {
	etcd.Member
	why string
}

// judge is pure: the same observation always means the same.
func (in *EtcdInput) judge(o *etcdObservation) verdict {
	var v verdict
	c, d := &o.cluster, o.data
	own, have := c.ByPeerURL(in.PeerURL)
	switch {
	case !have:
	case d.unknown() || d.of(c, own) || !own.Started():
		// An entry that never ran can be started with an empty directory, and
		// only with that.
		v.own = own
	case o.recorded.of(c, own):
		v.refused = fault.New(fault.Conflict, "the data of member %s is in %s, where the manifest on this machine has it, and the cluster's configuration and patches name %s", own, in.RecordedWALDir, in.wal()).
			WithHint("stop etcd and move its data there, or have the configuration name the place where it is")
	case c.Status[own.ID].Answers():
		v.refused = fault.New(fault.Conflict, "member %s runs, and its data is not in %s of this machine", own, in.place()).
			WithHint("another machine has this address, or etcd's data directory here is not the one that the cluster's configuration and patches name")
	default:
		// Its votes are in the log that is gone: it must never vote again under the same ID.
		v.removes = append(v.removes, removal{own, "its data is lost, and without it it cannot run again"})
	}
	for _, m := range c.Members {
		if have && m.ID == own.ID {
			continue
		}
		local := in.local(m)
		switch {
		case d.of(c, m):
			v.other(c, m, local, "its data is on this machine, whose address is now another one")
		case m.Has(in.RecordedPeerURL):
			v.other(c, m, local, "it is this machine under the address that its etcd manifest still names")
		case local:
			// Machines may have an address in common that leads nowhere, such as that
			// of a bridge: one that runs has its data where it runs.
			v.other(c, m, !m.Started() || d.unknown(), "it is this machine under another of its addresses")
		case m.Name == in.NodeName:
			v.other(c, m, false, "it has this node's name and another address, and does not answer")
		}
	}
	v.adds = v.own.ID == 0
	v.promotes = v.adds || v.own.Learner
	v.moves = d.strange(c, v.own)
	v.quorum = quorum(c, &v)
	v.findings = in.notes(c, &v)
	return v
}

// other judges a member that is this machine, or was, or says so.
func (v *verdict) other(c *etcd.Cluster, m etcd.Member, here bool, why string) {
	if !here && c.Status[m.ID].Answers() {
		v.refused = fault.New(fault.Conflict, "member %s belongs to another machine, and runs there", m).
			WithHint("choose another nodeRegistration.name; if this machine's disk is a copy of that one's, remove etcd's data directory from the copy")
		return
	}
	v.removes = append(v.removes, removal{m, why})
}

func quorum(c *etcd.Cluster, v *verdict) error {
	voters := c.Voters()
	if v.adds || v.promotes || len(v.removes) > 0 {
		if err := etcd.CanChange(voters); err != nil {
			return err
		}
		if c.NoQuorum {
			return fault.New(fault.Unreachable, "etcd has no leader at the moment").WithHint("run it again in a few seconds")
		}
	}
	gone := v.removed()
	if err := etcd.CanRemove(voters, gone...); err != nil || !v.adds {
		return err
	}
	voters = slices.DeleteFunc(voters, func(m etcd.Voter) bool { return slices.Contains(gone, m.ID) })
	return etcd.CanAddMember(voters, c.Version())
}

func (v *verdict) removed() []uint64 {
	var ids []uint64
	for _, r := range v.removes {
		ids = append(ids, r.ID)
	}
	return ids
}

// notes are what a reader should know beside the changes.
func (in *EtcdInput) notes(c *etcd.Cluster, v *verdict) []reconcile.Finding {
	var out []reconcile.Finding
	a := EtcdMemberAddress(in.NodeName)
	if err := cmp.Or(v.refused, v.quorum); err != nil {
		f := blocked(FindingEtcdMembership, a, err)
		if in.beginsAnyway(*v) {
			f.Severity = reconcile.SeverityWarning
			f.Seen += "; check-etcd is skipped, so that apply begins, and waits for that before it joins"
		}
		return []reconcile.Finding{f}
	}
	if bad := c.Unreachable(); len(bad) > 0 {
		bad = slices.DeleteFunc(bad, func(s string) bool { return v.own.ID != 0 && strings.HasPrefix(s, v.own.String()+": ") })
		for _, s := range bad {
			out = append(out, reconcile.Finding{Severity: reconcile.SeverityWarning, Name: "EtcdMemberUnhealthy", Passing: true, Address: a, Seen: s,
				Hint: "`crictl ps -a --name etcd` on its machine says what it does"})
		}
	}
	for _, m := range c.Members {
		if v.adds && m.Learner && !slices.Contains(v.removed(), m.ID) {
			out = append(out, reconcile.Finding{Severity: reconcile.SeverityInfo, Name: "EtcdLearner", Address: a,
				Seen: m.String() + " is a learner: where etcd takes one at a time, as it does by default, this waits until that is a voter",
				Hint: "if nobody is joining there, `etcdctl member remove " + m.HexID() + "` takes it out"})
		}
		if alarms := c.Status[m.ID].Alarms; len(alarms) > 0 && c.Status[m.ID].Answers() {
			out = append(out, reconcile.Finding{Severity: reconcile.SeverityWarning, Name: "EtcdAlarm", Address: a, Seen: m.String() + ": " + strings.Join(alarms, "; ")})
		}
	}
	return append(out, in.skew(c, v)...)
}

// skew compares the etcd that this machine will run with those that run: etcd
// supports one minor of difference, the new one being older only while a
// cluster is downgraded.
func (in *EtcdInput) skew(c *etcd.Cluster, v *verdict) []reconcile.Finding {
	want, err := version.ParseGeneric(in.Version)
	if err != nil {
		return nil
	}
	var oldest, newest *version.Version
	for _, m := range c.Members {
		have, err := version.ParseGeneric(c.Status[m.ID].Version)
		if err != nil || m.ID == v.own.ID {
			continue
		}
		if oldest == nil || have.LessThan(oldest) {
			oldest = have
		}
		if newest == nil || newest.LessThan(have) {
			newest = have
		}
	}
	a := EtcdMemberAddress(in.NodeName)
	minor := func(v *version.Version) uint { return v.Major()<<16 | v.Minor() }
	switch {
	case oldest == nil:
	case minor(want) > minor(oldest):
		severity := reconcile.SeverityInfo // it is as it is
		if v.adds {
			severity = reconcile.SeverityWarning
		}
		return []reconcile.Finding{{Severity: severity, Name: "EtcdVersionSkew", Address: a,
			Seen: fmt.Sprintf("etcd %s joins members that run %s", want, oldest),
			Hint: "set etcd.local.imageTag of the ClusterConfiguration to the version that runs, or upgrade the other members"}}
	case minor(want) < minor(oldest) && v.adds:
		return []reconcile.Finding{{Severity: reconcile.SeverityError, Name: "EtcdVersionSkew", Address: a,
			Seen: fmt.Sprintf("etcd %s cannot join members that all run %s or newer", want, oldest),
			Hint: "set etcd.local.imageTag of the ClusterConfiguration to the version that runs"}}
	}
	return nil
}

// local tells whether a member's address is this machine's.
func (in *EtcdInput) local(m etcd.Member) bool {
	return slices.ContainsFunc(m.PeerURLs, func(peer string) bool {
		u, err := url.Parse(peer)
		if err != nil {
			return false
		}
		ip, err := netip.ParseAddr(u.Hostname())
		return err == nil && slices.Contains(in.Addresses, ip)
	})
}
