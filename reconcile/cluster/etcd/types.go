package etcd

import (
	"fmt"
	"slices"
	"strings"
)

// Member is one entry of the member list.
type Member struct {
	ID         uint64
	Name       string // empty until it has started for the first time
	PeerURLs   []string
	ClientURLs []string // empty until it has started for the first time
	Learner    bool
}

// HexID is the member's ID as etcd and its tools write it.
func (m Member) HexID() string { return HexID(m.ID) }

// HexID is an ID of a member or cluster as etcd and its tools write it.
func HexID(id uint64) string { return fmt.Sprintf("%x", id) }

// Started tells whether the member has ever run: it publishes its name then.
func (m Member) Started() bool { return m.Name != "" }

// Has tells whether a URL is one of the member's peer URLs.
func (m Member) Has(peerURL string) bool { return slices.Contains(m.PeerURLs, peerURL) }

// String names the member for a reader.
func (m Member) String() string {
	name := m.Name
	if name == "" {
		name = "unnamed"
	}
	return fmt.Sprintf("%s (%s, %s)", name, m.HexID(), strings.Join(m.PeerURLs, ", "))
}

// Status is what one member says of itself.
type Status struct {
	MemberID  uint64
	ClusterID uint64
	Version   string // "3.7.0"
	Leader    uint64 // 0: it knows none
	Term      uint64
	Index     uint64 // committed, as far as it knows
	Applied   uint64
	Learner   bool
	DBSize    int64
	Alarms    []string
	// Err is why there is no answer; empty if there is one.
	Err string
}

// Answers tells whether the member answered.
func (s Status) Answers() bool { return s.Err == "" }

// Refused tells whether nothing listens where the member should.
func (s Status) Refused() bool { return s.Err == refused }

// Healthy tells whether the member takes part: it answers and knows a leader.
func (s Status) Healthy() bool { return s.Err == "" && s.Leader != 0 }

// Cluster is what was seen of an etcd cluster: plain data.
type Cluster struct {
	ID      uint64
	Members []Member // in etcd's order, which initial-cluster follows
	// Status has an entry for every member.
	Status map[uint64]Status
	// NoQuorum says that the list is what one member remembers, because no
	// majority could confirm it.
	NoQuorum bool
}

// ByPeerURL finds a member. The address is its identity: names are cosmetic
// (behaviour catalogue §11 69).
func (c *Cluster) ByPeerURL(url string) (Member, bool) {
	return c.find(func(m Member) bool { return m.Has(url) })
}

// ByID finds a member.
func (c *Cluster) ByID(id uint64) (Member, bool) {
	return c.find(func(m Member) bool { return m.ID == id })
}

func (c *Cluster) find(is func(Member) bool) (Member, bool) {
	if i := slices.IndexFunc(c.Members, is); i >= 0 {
		return c.Members[i], true
	}
	return Member{}, false
}

// Voters are the members that count for quorum.
func (c *Cluster) Voters() []Voter {
	var out []Voter
	for _, m := range c.Members {
		if !m.Learner {
			out = append(out, Voter{Member: m, Healthy: c.Status[m.ID].Healthy()})
		}
	}
	return out
}

// Leader is the leader that most members name; false if there is none.
func (c *Cluster) Leader() (Member, bool) {
	votes := map[uint64]int{}
	for _, s := range c.Status {
		votes[s.Leader]++
	}
	var best Member
	for _, m := range c.Members {
		if votes[m.ID] > 0 && (best.ID == 0 || votes[m.ID] > votes[best.ID]) {
			best = m
		}
	}
	return best, best.ID != 0
}

// Version is that of the leader, which decides about changes; empty without one.
func (c *Cluster) Version() string {
	m, _ := c.Leader()
	return c.Status[m.ID].Version
}

// Unreachable are the members that did not answer, each with the reason.
func (c *Cluster) Unreachable() []string {
	var out []string
	for _, m := range c.Members {
		if s := c.Status[m.ID]; !s.Answers() && (m.Started() || !m.Learner) {
			out = append(out, fmt.Sprintf("%s: %s", m, s.Err))
		}
	}
	return out
}

// Peer is an entry of etcd's initial-cluster.
type Peer struct{ Name, URL string }

// Peers are the entries of initial-cluster for a member that is about to start:
// its own carries the name that it will have, and members that have not started
// are named by their ID (behaviour catalogue §5.8).
func (c *Cluster) Peers(peerURL, name string) []Peer {
	var out []Peer
	for _, m := range c.Members {
		n := m.Name
		switch {
		case m.Has(peerURL):
			n = name
		case n == "":
			n = m.HexID()
		}
		for _, u := range m.PeerURLs {
			out = append(out, Peer{Name: n, URL: u})
		}
	}
	return out
}
