package node

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster/etcd"
	"github.com/kubejoin/kubejoin/reconcile/staticpod"
)

// EtcdClient is what resources ask of etcd. *etcd.Client is one.
type EtcdClient interface {
	// Look reads the members and the status of each.
	Look(ctx context.Context) (etcd.Cluster, error)
	// Status asks one member, at a client URL; learners answer too.
	Status(ctx context.Context, clientURL string) etcd.Status
	AddLearner(ctx context.Context, peerURL string) (etcd.Member, error)
	Promote(ctx context.Context, id uint64) error
	Remove(ctx context.Context, id uint64) error
	// TryLock takes the turn to start a member again, or names who has it.
	TryLock(ctx context.Context, name string) (holder string, release func(finished bool), err error)
}

// EtcdInput is what this machine's membership in etcd follows from.
type EtcdInput struct {
	NodeName  string
	PeerURL   string // the member's identity: "https://10.0.0.2:2380"
	ClientURL string
	// DataDir and WALDir are where etcd keeps its data and its log on the machine.
	// No WALDir is the one below DataDir.
	DataDir, WALDir string
	// NoData is why nobody can tell where on the machine they are; empty if it is
	// known.
	NoData string
	// RecordedWALDir is the one that the manifest on the machine names, if any.
	RecordedWALDir string
	// Version is that of the etcd which the manifest will run ("3.7.0"); empty: not compared.
	Version string
	// Client is nil if there is nothing to ask etcd with; NoClient says why.
	Client   EtcdClient
	NoClient string
	// Required says that it is no lack of rights on this machine if there is no
	// client: then a member that is not here yet cannot be made.
	Required bool
	// Addresses are this machine's: a member at one of them is this machine.
	Addresses []netip.Addr
	// RecordedPeerURL is the one in the manifest that is on the machine, if any.
	RecordedPeerURL string
	// RecordedMember says that etcd has a member there, or that nobody knows.
	RecordedMember bool
	Data           EtcdData
	Timeout        time.Duration // timeouts.etcdAPICall
	// Turn is how long another machine's turn to start its member again may take.
	Turn time.Duration
	// Serves waits until the member on this machine serves, and tells meanwhile
	// why it does not. May be nil.
	Serves func(ctx context.Context, say func(reconcile.Progress)) error
	// Metrics are the metrics of the member on this machine, which it shows before
	// it serves anything else. May be nil.
	Metrics func(ctx context.Context) (etcd.Metrics, error)
	// Withdraw takes the member's manifest away and ends its container. May be nil.
	Withdraw func(ctx context.Context, say func(reconcile.Progress)) error
	// Restart ends the container of the member on this machine; the kubelet
	// starts the next one at once. May be nil.
	Restart func(ctx context.Context) error
	// BeginAnyway plans to become a member although etcd takes none at the moment:
	// applying it waits until it does. Nothing is removed or moved aside so.
	BeginAnyway bool
	// After is what must be so before the membership changes: etcd's
	// certificates and image, and a kubelet that can start it.
	After []reconcile.Address
	// Manifest is the static pod that lies between being added and promoted.
	Manifest reconcile.Address
}

// The addresses of the resources of EtcdResources.
func etcdStaleAddress(node string) reconcile.Address { return reconcile.Address("etcd-stale:" + node) }
func etcdDataAddress(node string) reconcile.Address  { return reconcile.Address("etcd-data:" + node) }

// EtcdMemberAddress is the address of a node's entry in the list of members.
func EtcdMemberAddress(node string) reconcile.Address {
	return reconcile.Address("etcd-member:" + node)
}

// EtcdVoterAddress is the address of a node's vote.
func EtcdVoterAddress(node string) reconcile.Address { return reconcile.Address("etcd-voter:" + node) }

// FindingEtcdMembership says why this machine's membership cannot be as it should.
const FindingEtcdMembership = "EtcdMembership"

const (
	allowMember   = "remove-etcd-member"
	allowEtcdData = "wipe-etcd-data"

	// etcdMembership is what a change costs that etcd has to agree on.
	etcdMembership reconcile.Disruption = "etcd-membership"
)

// EtcdResources are the membership as resources, in this order: what must go,
// data that is in the way, the entry in the list of members, and, after the
// manifest, the vote. All of them judge one observation, each by itself, so that
// a run that was killed anywhere is taken up where it stopped.
func EtcdResources(in EtcdInput) []reconcile.Resource {
	m := &membership{in: in}
	stale, data := etcdStaleAddress(in.NodeName), etcdDataAddress(in.NodeName)
	member, voter := EtcdMemberAddress(in.NodeName), EtcdVoterAddress(in.NodeName)
	after := func(more ...reconcile.Address) []reconcile.Address { return slices.Concat(in.After, more) }
	return []reconcile.Resource{
		&etcdStale{part{m: m, address: stale, after: after()}},
		&etcdDataDir{part{m: m, address: data, after: after(stale)}},
		&etcdMember{part{m: m, address: member, after: after(stale, data)}},
		&etcdVoter{part{m: m, address: voter, after: after(member, in.Manifest)}},
	}
}

// EtcdPeers are the entries of initial-cluster, asked for right before the
// manifest is written: another machine may have joined meanwhile.
func EtcdPeers(ctx context.Context, in EtcdInput) ([]etcd.Peer, error) {
	if in.Client == nil {
		return nil, fault.New(fault.Unreachable, "etcd cannot be asked for its members: %s", in.NoClient)
	}
	c, err := in.Client.Look(ctx)
	if err != nil {
		return nil, err
	}
	if _, ok := c.ByPeerURL(in.PeerURL); !ok {
		return nil, fault.New(fault.Conflict, "%s is not a member of etcd", in.PeerURL).
			WithHint("somebody removed it a moment ago; run apply again")
	}
	return c.Peers(in.PeerURL, in.NodeName), nil
}

// EtcdOutdated tells whether a member that is told of these members cannot start,
// because there are others by now: somebody joined or was removed between the
// manifest and its first start. One that has begun its log does not compare them
// any more, and names do not matter to it (behaviour catalogue, appendix B 2).
func EtcdOutdated(ctx context.Context, in EtcdInput, told []staticpod.Member) bool {
	if d := in.observeData().data; in.Client == nil || d.begun || d.denied || in.Client.Status(ctx, in.ClientURL).Answers() {
		return false
	}
	peers, err := EtcdPeers(ctx, in)
	if err != nil {
		return false // the next time
	}
	var have, want []string
	for _, m := range told {
		have = append(have, m.PeerURL)
	}
	for _, p := range peers {
		want = append(want, p.URL)
	}
	slices.Sort(have)
	slices.Sort(want)
	return !slices.Equal(have, want)
}

// EtcdStartPeers are the entries of initial-cluster with which the member of
// this machine will have to start, as far as that is known before; nil if it
// has data of its own, and will never look at them (behaviour catalogue,
// appendix B 2). etcd makes its directory before it compares them: that there is
// one says nothing.
func EtcdStartPeers(ctx context.Context, in EtcdInput) []etcd.Peer {
	o := in.observeData()
	if in.Client == nil || o.data.denied {
		return nil
	}
	var err error
	if o.cluster, err = in.Client.Look(ctx); err != nil {
		return nil // the resources say so
	}
	v := in.judge(o)
	if v.refused != nil || v.quorum != nil || o.data.begun && v.moves == "" && !v.adds {
		return nil
	}
	gone := v.removed()
	after := etcd.Cluster{}
	for _, m := range o.cluster.Members {
		if !slices.Contains(gone, m.ID) {
			after.Members = append(after.Members, m)
		}
	}
	if v.adds {
		after.Members = append(after.Members, etcd.Member{PeerURLs: []string{in.PeerURL}})
	}
	return after.Peers(in.PeerURL, in.NodeName)
}

// membership is what the four resources share.
type membership struct {
	in EtcdInput

	mu   sync.Mutex
	last *etcdObservation
	seen []reconcile.Address // who was given last
}

type etcdObservation struct {
	data etcdData
	// recorded is the data that the manifest on the machine names, where that is
	// another place and there is none at the right one.
	recorded etcdData
	cluster  etcd.Cluster
	err      error // etcd could not be asked
}

// observe looks at the machine and at etcd. Resources that are observed at the
// same moment share one look; one that asks again gets a new one, and so does
// everybody after a change.
func (m *membership) observe(ctx context.Context, who reconcile.Address) *etcdObservation {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last == nil || slices.Contains(m.seen, who) {
		o := m.in.observeData()
		if m.in.Client != nil {
			o.cluster, o.err = m.in.Client.Look(ctx)
		}
		m.last, m.seen = o, nil
	}
	m.seen = append(m.seen, who)
	return m.last
}

// changed makes the next observation a new one.
func (m *membership) changed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = nil
}

// part is what is the same in the four resources.
type part struct {
	m       *membership
	address reconcile.Address
	after   []reconcile.Address

	mu      sync.Mutex
	planned *reconcile.Change
}

func (p *part) Address() reconcile.Address { return p.address }
func (p *part) After() []reconcile.Address { return p.after }

func (p *part) Observe(ctx context.Context) (reconcile.Observation, error) {
	return p.m.observe(ctx, p.address), ctx.Err()
}

// change is what a judgement means for one resource. What was planned must not
// be taken for done only because etcd does not answer for a moment: applying it
// looks again. And what has become impossible since is an error.
func (p *part) change(own reconcile.Observation, of func(verdict) *reconcile.Change) (*reconcile.Change, verdict, error) {
	o := own.(*etcdObservation)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.m.in.Client == nil {
		return nil, verdict{}, nil
	}
	if o.err != nil {
		return p.planned, verdict{}, nil
	}
	v := p.m.in.judge(o)
	switch {
	case v.refused != nil && p.planned != nil:
		return nil, v, v.refused
	case v.refused != nil:
		return nil, v, nil
	case v.quorum != nil && !p.m.in.beginsAnyway(v):
		return p.planned, v, nil
	}
	c := of(v)
	if c != nil {
		c.Address = p.address
		p.planned = c
	}
	return c, v, nil
}

func (in *EtcdInput) beginsAnyway(v verdict) bool {
	return in.BeginAnyway && v.refused == nil && len(v.removes) == 0 && v.moves == ""
}

// blocked is an error as a finding.
func blocked(name string, a reconcile.Address, err error) reconcile.Finding {
	return reconcile.Finding{Severity: reconcile.SeverityError, Name: name, Address: a, Seen: err.Error(), Hint: fault.HintOf(err)}
}
