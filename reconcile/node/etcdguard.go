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

// lostFor is for how long no voter must know a leader until there is no quorum
// left to be lost: an election takes a second or two.
const lostFor = 10 * time.Second

// EtcdSpare returns when etcd can do without this machine's member for a moment, with
// what gives the turn to the next machine when that serves again; after an error it
// may take a while until it does, and the turn ends by its time. Machines take turns, so that the same
// change on all of them at once does not end all voters at once; that needs a
// lock, because each would see the others healthy.
func EtcdSpare(ctx context.Context, in EtcdInput, say func(reconcile.Progress)) (done func(error), err error) {
	if in.Client == nil {
		return nil, fault.New(fault.Unreachable, "etcd cannot be asked whether it can do without this machine's member for a moment: %s", in.NoClient)
	}
	s := &sparing{in: &in, say: say}
	budget, from := in.Timeout, "timeouts.etcdAPICall"
	for {
		err = (&membership{in: in}).wait(ctx, budget, changesMax, say, s.step)
		if !errors.Is(err, errNextTurn) {
			break
		}
		budget, from = in.Timeout+in.Turn, "timeouts.etcdAPICall, and a turn"
	}
	if err != nil {
		s.unlock(nil)
		if s.last != nil && fault.ClassOf(err) == fault.Timeout {
			return nil, fault.New(fault.Conflict, "etcd is left as it is: %w; waited %s for that (%s)", s.last, budget, from).
				WithHint("%s; then run apply again", fault.HintOf(s.last))
		}
		return nil, err
	}
	return s.unlock, nil
}

// errNextTurn begins the budget anew: another machine has its turn now, so that
// this one's will come too.
var errNextTurn = errors.New("the next machine has its turn")

type sparing struct {
	in      *EtcdInput
	say     func(reconcile.Progress)
	last    error     // why it cannot be spared
	lost    time.Time // since when no voter knows a leader
	holder  string    // who has its turn
	release func(finished bool)
}

func (s *sparing) unlock(err error) {
	if s.release != nil {
		s.release(err == nil)
		s.release = nil
	}
}

func (s *sparing) step(ctx context.Context) (string, bool, error) {
	seen, err := s.in.Client.Look(ctx)
	if err != nil {
		if st := s.in.Client.Status(ctx, s.in.ClientURL); st.Refused() {
			return "", true, nil // nothing runs that could be missed
		}
		if etcd.Temporary(err) {
			s.last = err
			return err.Error(), false, nil
		}
		return "", false, err
	}
	own, runs := s.in.voter(&seen)
	if !runs {
		return "", true, nil
	}
	if seen.NoQuorum && seen.Status[own.ID].Leader == 0 {
		return s.leaderless()
	}
	s.lost = time.Time{}
	voters := seen.Voters()
	if s.last = etcd.CanRestart(voters, own.ID); s.last != nil {
		s.unlock(nil)
		return "waits for etcd: " + s.last.Error(), false, nil
	}
	if len(voters) == 1 || s.release != nil { // the look was made with the lock
		if etcd.Interrupts(voters) {
			s.say(reconcile.Progress{Message: interrupted(own, voters)})
		}
		return "", true, nil
	}
	return s.lock(ctx)
}

func (s *sparing) leaderless() (string, bool, error) {
	const text = "no voter of etcd knows a leader"
	if s.lost.IsZero() {
		s.lost = time.Now()
	}
	if time.Since(s.lost) >= lostFor {
		s.say(reconcile.Progress{Message: text + ": there is no quorum that could be lost"})
		return "", true, nil
	}
	s.last = fault.New(fault.Unreachable, "%s", text).WithHint("see that the other members run")
	return "waits for etcd: " + text, false, nil
}

// lock takes the turn, or tells who has it. A look follows.
func (s *sparing) lock(ctx context.Context) (string, bool, error) {
	holder, release, err := s.in.Client.TryLock(ctx, s.in.NodeName)
	switch {
	case errors.Is(err, etcd.ErrNoLock):
		// It cannot be waited for what only a restart may mend, such as a full database.
		s.say(reconcile.Progress{Message: "machines cannot take turns: " + err.Error(),
			Hint: "apply this on one control plane after the other"})
		s.release = func(bool) {}
		return "", false, nil
	case err != nil && !etcd.Temporary(err):
		return "", false, err
	case err != nil:
		s.last = err
		return "waits for etcd: " + err.Error(), false, nil
	case holder == "":
		s.release, s.holder = release, ""
		return "", false, nil
	}
	before := s.holder
	s.holder = holder
	if before != holder {
		return "", false, errNextTurn
	}
	s.last = fault.New(fault.Conflict, "the member of %s is started again at the moment", holder).WithHint("wait until that is done")
	return "waits for its turn: the member of " + holder + " is started again", false, nil
}

// voter is the voter that runs on this machine.
func (in *EtcdInput) voter(c *etcd.Cluster) (etcd.Member, bool) {
	own, have := c.ByPeerURL(in.PeerURL)
	if !have {
		own, have = c.ByPeerURL(in.RecordedPeerURL)
	}
	return own, have && !own.Learner && c.Status[own.ID].Answers()
}

func interrupted(own etcd.Member, voters []etcd.Voter) string {
	if len(voters) == 1 {
		return fmt.Sprintf("etcd has no quorum while %s starts again, and the API servers do not answer: it is the only voter", own)
	}
	return fmt.Sprintf("etcd has no quorum while %s starts again, and the API servers do not answer: it has %d voters", own, len(voters))
}

// restarts tells what it means that the static pod starts again.
func (in *EtcdInput) restarts(c *etcd.Cluster) []reconcile.Finding {
	own, runs := in.voter(c)
	if !runs || c.NoQuorum {
		return nil
	}
	f := reconcile.Finding{Severity: reconcile.SeverityInfo, Name: "EtcdRestart", Address: in.Manifest, Passing: true}
	voters := c.Voters()
	if err := etcd.CanRestart(voters, own.ID); err != nil {
		f.Severity, f.Seen = reconcile.SeverityWarning, err.Error()
		f.Why = "apply waits for that as long as timeouts.etcdAPICall, and then leaves etcd as it is"
		f.Hint = fault.HintOf(err)
		return []reconcile.Finding{f}
	}
	if !etcd.Interrupts(voters) {
		return nil
	}
	f.Seen = interrupted(own, voters)
	return []reconcile.Finding{f}
}
