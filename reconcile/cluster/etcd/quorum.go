package etcd

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubejoin/kubejoin/fault"
)

// Voter is a member that counts for quorum.
type Voter struct {
	Member
	Healthy bool
}

// Majority is how many of a number of voters have to agree.
func Majority(voters int) int { return voters/2 + 1 }

// CanChange refuses any change of the membership while no majority of the
// voters is healthy: it could not be committed, and would be applied at a moment
// that nobody chose.
func CanChange(voters []Voter) error { return enough(voters, "the cluster has no quorum", restore) }

// CanAddMember refuses to add a member, even one without a vote, where etcd
// itself would: it wants a majority of what the voters will be if the new one
// does not come up, and before version 3.7 every voter.
func CanAddMember(voters []Voter, version string) error {
	if err := CanChange(voters); err != nil {
		return err
	}
	need := Majority(len(voters) + 1)
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err == nil && major == 3 && minor < 7 {
		need = len(voters)
	}
	if len(voters) == 1 {
		need = 1
	}
	return atLeast(need, voters, "etcd adds no member now", takeOut)
}

// CanAdd refuses to add a voter, such as a promoted learner, if the cluster
// would not have a majority with it.
func CanAdd(voters []Voter, added Voter) error {
	if err := CanChange(voters); err != nil {
		return err
	}
	return enough(append(voters[:len(voters):len(voters)], added), "with "+added.String()+" as a voter the cluster would lose its quorum", takeOut)
}

// CanRemove refuses to remove members if the cluster would lose its majority by
// it, at the end or on the way there: they are removed one after the other.
func CanRemove(voters []Voter, ids ...uint64) error {
	left := voters
	for _, id := range ids {
		i := index(left, id)
		if i < 0 {
			continue // a learner does not count
		}
		if err := CanChange(left); err != nil {
			return err
		}
		gone := left[i]
		left = append(left[:i:i], left[i+1:]...)
		if len(left) == 0 {
			return fault.New(fault.Conflict, "%s is the only voter: without it there is no cluster", gone)
		}
		if err := enough(left, "without "+gone.String()+" the cluster would lose its quorum", takeOut); err != nil {
			return err
		}
	}
	return nil
}

// CanRestart refuses to start a voter again while the others would not have a
// majority without it. Of one or two voters none can be spared: there it refuses
// only while not all are healthy, and Interrupts tells what it costs.
func CanRestart(voters []Voter, id uint64) error {
	i := index(voters, id)
	if i < 0 {
		return nil // a learner does not count
	}
	if Interrupts(voters) {
		return atLeast(len(voters), voters, "etcd is interrupted while "+voters[i].String()+" starts again, and would not come back for certain", bringBack)
	}
	others := slices.Concat(voters[:i], voters[i+1:])
	return atLeast(Majority(len(voters)), others, "while "+voters[i].String()+" starts again etcd would have no quorum", bringBack)
}

// Interrupts tells whether etcd has no quorum while one of these voters starts again.
func Interrupts(voters []Voter) bool { return len(voters) <= 2 }

func index(voters []Voter, id uint64) int {
	for i, v := range voters {
		if v.ID == id {
			return i
		}
	}
	return -1
}

func enough(voters []Voter, otherwise, hint string) error {
	return atLeast(Majority(len(voters)), voters, otherwise, hint)
}

// What to do about voters that are not healthy.
const (
	bringBack = "bring these members back first: `crictl ps -a --name etcd` on their machines says what they do"
	// takeOut is only for a cluster that has its quorum: without that it agrees on
	// nothing.
	takeOut = bringBack + "; or take out those that do not come back: `etcdctl member remove`"
	restore = bringBack + "; as long as no majority runs nothing can be changed, and if none comes back, only restoring etcd from a snapshot is left"
)

func atLeast(need int, voters []Voter, otherwise, hint string) error {
	var bad []string
	for _, v := range voters {
		if !v.Healthy {
			bad = append(bad, v.String())
		}
	}
	if healthy := len(voters) - len(bad); healthy < need {
		text := fmt.Sprintf("%s: %d of %d voters would have to be healthy, and %d are", otherwise, need, len(voters), healthy)
		if len(bad) > 0 {
			text += "; not healthy: " + strings.Join(bad, ", ")
		}
		return fault.New(fault.Conflict, "%s", text).
			WithHint("%s", hint)
	}
	return nil
}
