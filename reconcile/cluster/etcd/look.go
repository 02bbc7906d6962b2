package etcd

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/kubejoin/kubejoin/fault"
)

// Look asks for the members and for the status of each. All endpoints are asked
// at the same moment, and the first voter that answers and knows a leader also
// gives the list, confirmed by a majority. If no majority confirms anything, the
// list is what a voter remembers. It is an error if nobody answers, or members of
// several clusters do.
func (c *Client) Look(ctx context.Context) (Cluster, error) {
	l := look{client: c, status: map[string]Status{}}
	c.mu.Lock()
	known := slices.Clone(c.known)
	c.mu.Unlock()
	l.askAll(ctx, known)
	l.wg.Wait()
	if err := ctx.Err(); err != nil {
		return Cluster{}, err
	}
	if !l.listed {
		if err := l.leaderless(ctx); err != nil {
			return Cluster{}, err
		}
	}
	if err := l.oneCluster(); err != nil {
		return Cluster{}, err
	}
	return l.cluster(), nil
}

// oneCluster refuses endpoints of more than one cluster: which of them is the
// one to be joined, only the user knows.
func (l *look) oneCluster() error {
	ids := map[uint64]bool{}
	var whose []string
	for u, s := range l.status {
		if s.Answers() {
			ids[s.ClusterID] = true
			whose = append(whose, u+" is of "+HexID(s.ClusterID))
		}
	}
	if len(ids) < 2 {
		return nil
	}
	slices.Sort(whose)
	return fault.New(fault.Conflict, "the members that answer are of different etcd clusters: %s", strings.Join(whose, ", ")).
		WithHint("stop the etcd that does not belong to the others: one may have been restored from a snapshot, or have begun a cluster of its own")
}

// look is one look at the cluster.
type look struct {
	client *Client
	wg     sync.WaitGroup

	listing sync.Mutex // one list at a time; it guards the three below
	listed  bool
	id      uint64
	members []Member

	mu       sync.Mutex
	status   map[string]Status // by client URL; an entry without answer while it is asked
	noQuorum bool
}

// askAll asks endpoints that were not asked before.
func (l *look) askAll(ctx context.Context, urls []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, u := range urls {
		if _, asked := l.status[u]; asked {
			continue
		}
		l.status[u] = Status{Err: "not asked"}
		l.wg.Go(func() {
			s := l.client.Status(ctx, u)
			l.mu.Lock()
			l.status[u] = s
			l.mu.Unlock()
			if s.Healthy() && !s.Learner {
				l.list(ctx, u, true)
			}
		})
	}
}

// list asks one voter for the members, unless another one has given them.
func (l *look) list(ctx context.Context, u string, linearizable bool) {
	l.listing.Lock()
	defer l.listing.Unlock()
	if l.listed {
		return
	}
	id, members, err := l.client.members(ctx, u, linearizable)
	if err != nil {
		return // its status says enough, and the next voter is asked
	}
	l.listed, l.id, l.members = true, id, members
	for _, m := range members {
		l.askAll(ctx, m.ClientURLs)
	}
}

// leaderless is what to do when nobody knows a leader: an election takes a
// second or two, and a lost majority may take for ever.
func (l *look) leaderless(ctx context.Context) error {
	var voters []string
	silence := reasons{}
	for u, s := range l.status {
		switch {
		case s.Answers() && !s.Learner:
			voters = append(voters, u)
		case s.Answers():
			silence.add(u, "is a learner, which cannot be asked for the members")
		default:
			silence.add(u, s.Err)
		}
	}
	slices.Sort(voters)
	if len(voters) == 0 {
		return silence.unreachable()
	}
	// One voter is enough: if there is a leader to come, it hears of it.
	l.list(ctx, voters[0], true)
	elected := l.listed
	for _, u := range voters {
		l.list(ctx, u, false)
	}
	if !l.listed {
		for _, u := range voters {
			silence.add(u, "answers, and gives no list of members")
		}
		return silence.unreachable()
	}
	l.noQuorum = !elected
	if elected { // what was said before the election is outdated
		for _, u := range voters {
			delete(l.status, u)
		}
		l.askAll(ctx, voters)
	}
	l.wg.Wait()
	return ctx.Err()
}

// cluster puts together what was seen, and lets the client know its endpoints.
func (l *look) cluster() Cluster {
	out := Cluster{ID: l.id, Members: l.members, Status: map[uint64]Status{}, NoQuorum: l.noQuorum}
	var known, leader, others []string
	for _, m := range l.members {
		s := Status{Err: "has not started yet"}
		for _, u := range m.ClientURLs {
			if s = l.status[u]; s.Answers() && s.MemberID != m.ID {
				s = Status{Err: "another etcd answers at " + u}
			}
			if s.Answers() {
				break
			}
		}
		out.Status[m.ID] = s
		known = append(known, m.ClientURLs...)
	}
	first, _ := out.Leader()
	for _, m := range l.members {
		switch {
		case m.Learner || !out.Status[m.ID].Answers():
		case m.ID == first.ID:
			leader = append(leader, m.ClientURLs...)
		default:
			others = append(others, m.ClientURLs...)
		}
	}
	l.client.mu.Lock()
	defer l.client.mu.Unlock()
	l.client.known, l.client.best = known, slices.Concat(leader, others)
	return out
}
