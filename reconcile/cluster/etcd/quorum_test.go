package etcd

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kubejoin/kubejoin/fault"
)

// voters makes one per letter: h is healthy, x is not. Their IDs count from 1.
func voters(states string) []Voter {
	var out []Voter
	for i, s := range states {
		id := uint64(i + 1)
		out = append(out, Voter{Member: Member{ID: id, Name: fmt.Sprint("cp", id), PeerURLs: []string{fmt.Sprintf("https://10.0.0.%d:2380", id)}}, Healthy: s == 'h'})
	}
	return out
}

func TestQuorum(t *testing.T) {
	learner := func(healthy bool) Voter {
		return Voter{Member: Member{ID: 9, Name: "new", PeerURLs: []string{"https://10.0.0.9:2380"}}, Healthy: healthy}
	}
	add := func(healthy bool) func([]Voter) error {
		return func(v []Voter) error { return CanAdd(v, learner(healthy)) }
	}
	member := func(version string) func([]Voter) error {
		return func(v []Voter) error { return CanAddMember(v, version) }
	}
	remove := func(ids ...uint64) func([]Voter) error {
		return func(v []Voter) error { return CanRemove(v, ids...) }
	}
	restart := func(id uint64) func([]Voter) error {
		return func(v []Voter) error { return CanRestart(v, id) }
	}
	for _, c := range []struct {
		name, voters string
		op           func([]Voter) error
		refused      string // what the refusal names; empty if it is allowed
	}{
		{"any change of a healthy cluster", "h", CanChange, ""},
		{"any change with one of three down", "hxh", CanChange, ""},
		{"any change with two of three down", "hxx", CanChange, "cp2"},
		{"any change with one of two down", "hx", CanChange, "cp2"},
		{"any change with two of five down", "hxxhh", CanChange, ""},
		{"any change with three of seven down", "hxxxhhh", CanChange, ""},
		{"any change with four of seven down", "hxxxxhh", CanChange, "4 of 7"},
		{"the second voter", "h", add(true), ""},
		{"a second voter that does not serve", "h", add(false), "new"},
		{"the third voter", "hh", add(true), ""},
		{"a third voter that does not serve", "hh", add(false), ""},
		{"the fourth voter while one is down", "hhx", add(true), ""},
		{"a fourth voter that does not serve while one is down", "hhx", add(false), "cp3"},
		{"a voter without quorum", "hx", add(true), "cp2"},
		{"a learner beside the only voter", "h", member("3.6.8"), ""},
		{"a learner beside two", "hh", member("3.7.0"), ""},
		{"a learner while one of three is down", "hhx", member("3.7.0"), "cp3"},
		{"a learner while one of five is down", "hhhhx", member("3.7.0"), ""},
		{"a learner while one of five of 3.6 is down", "hhhhx", member("3.6.8"), "cp5"},
		{"a learner while two of seven are down", "hhhhhxx", member("3.7.3"), ""},
		{"a learner without quorum", "hx", member("3.7.0"), "cp2"},
		{"the only voter", "h", remove(1), "only voter"},
		{"one of two", "hh", remove(2), ""},
		{"the dead one of two", "hx", remove(2), "cp2"},
		{"the dead one of three", "hhx", remove(3), ""},
		{"a healthy one of three while one is down", "hhx", remove(1), "cp3"},
		{"two dead ones of five", "hhhxx", remove(4, 5), ""},
		{"a healthy one of five while two are down", "hhhxx", remove(1), "cp4"},
		{"both of two", "hh", remove(1, 2), "only voter"},
		{"a learner", "h", remove(9), ""},
		{"the only voter starts again", "h", restart(1), ""},
		{"one of two starts again", "hh", restart(2), ""},
		{"one of two starts again while the other is down", "hx", restart(1), "cp2"},
		{"one of three starts again", "hhh", restart(2), ""},
		{"one of three starts again while another is down", "hhx", restart(1), "cp3"},
		{"one of five starts again while two are down", "hhhxx", restart(1), "cp4"},
		{"one of five starts again while one is down", "hhhxh", restart(1), ""},
		{"the one that is down starts again", "hhx", restart(3), ""},
		{"a learner starts again", "hhx", restart(9), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := voters(c.voters)
			err := c.op(before)
			if c.refused == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.refused) || fault.ClassOf(err) != fault.Conflict {
				t.Fatalf("not refused because of %s: %v", c.refused, err)
			}
			// Without a majority no member is taken out either.
			lost := CanChange(before) != nil
			if hint := fault.HintOf(err); !strings.Contains(c.refused, "only voter") && !strings.Contains(c.name, "starts again") && (lost == strings.Contains(hint, "etcdctl member remove") || lost != strings.Contains(hint, "snapshot")) {
				t.Errorf("the majority is lost: %t, and the hint is %q", lost, hint)
			}
			if fmt.Sprint(before) != fmt.Sprint(voters(c.voters)) {
				t.Error("the list that was given has changed")
			}
		})
	}
}

func TestPeers(t *testing.T) {
	c := Cluster{Members: []Member{
		{ID: 1, Name: "cp1", PeerURLs: []string{"https://10.0.0.1:2380"}},
		{ID: 0xab, PeerURLs: []string{"https://10.0.0.2:2380"}, Learner: true},
		{ID: 3, PeerURLs: []string{"https://10.0.0.3:2380"}, Learner: true},
	}}
	want := "[{cp1 https://10.0.0.1:2380} {ab https://10.0.0.2:2380} {cp3 https://10.0.0.3:2380}]"
	if got := fmt.Sprint(c.Peers("https://10.0.0.3:2380", "cp3")); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestLeader(t *testing.T) {
	c := Cluster{Members: []Member{{ID: 1}, {ID: 2}, {ID: 3}}, Status: map[uint64]Status{
		1: {Leader: 1}, 2: {Leader: 3}, 3: {Leader: 3},
	}}
	if m, ok := c.Leader(); !ok || m.ID != 3 {
		t.Errorf("got %v, %v", m, ok)
	}
	c.Status = map[uint64]Status{1: {}, 2: {Err: "connection refused"}}
	if m, ok := c.Leader(); ok {
		t.Errorf("got %v of a cluster without leader", m)
	}
}
