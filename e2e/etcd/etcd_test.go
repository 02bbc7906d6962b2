package etcd

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster/etcd"
	"github.com/kubejoin/kubejoin/reconcile/node"
)

// versions are what kubeadm deploys with Kubernetes 1.37 and 1.36.
var versions = []string{"3.7.0", "3.6.8"}

func each(t *testing.T, fn func(t *testing.T, version string)) {
	for _, v := range versions {
		t.Run(v, func(t *testing.T) { fn(t, v) })
	}
}

func TestOneBecomesThree(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, version string) {
		r := newRing(t, version, 1)
		for _, name := range []string{"cp2", "cp3"} {
			m := r.machine(name)
			begin := time.Now()
			run := m.run()
			run.must(run.apply(""))
			t.Logf("%s joined in %s", name, time.Since(begin).Round(time.Millisecond))
			if info, err := os.Stat(m.data()); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("the data directory: %v, %v", info, err)
			}
		}
		r.is("cp1", "cp2", "cp3")
		for _, m := range r.members {
			run := m.run()
			if c := run.plan(); len(c.Changes) > 0 || len(c.Findings) > 0 {
				t.Errorf("%s is a member, and its plan is not empty: %+v %+v", m.name, c.Changes, c.Findings)
			}
			if got := run.client.Requests(); got > 4 { // the status of each, and the list
				t.Errorf("a plan took %d requests", got)
			}
		}
	})
}

func TestPromotionFollowsStart(t *testing.T) {
	t.Parallel()
	r := newRing(t, "3.7.0", 1)
	run := r.machine("cp2").run()
	set := run.set()
	begin := map[reconcile.Address]time.Time{}
	var took time.Duration
	c, err := set.Compute(t.Context())
	run.must(err)
	run.must(set.Apply(t.Context(), c, nil, func(e reconcile.Event) {
		switch e.Type {
		case reconcile.EventStart:
			begin[e.Address] = time.Now()
		case reconcile.EventDone:
			if e.Address == node.EtcdVoterAddress("cp2") {
				took = time.Since(begin[e.Address])
			}
		}
	}))
	t.Logf("a voter %s after its manifest", took.Round(time.Millisecond))
	if took > 10*time.Second { // kubeadm needs 7 seconds more than the member
		t.Errorf("a voter only %s after its manifest", took)
	}
}

func TestTwoJoinAtOnce(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, version string) {
		r := newRing(t, version, 1)
		runs := []*run{r.machine("cp2").run(), r.machine("cp3").run(), r.machine("cp4").run()}
		var wg sync.WaitGroup
		errs := make([]error, len(runs))
		for i, run := range runs {
			wg.Go(func() { errs[i] = run.apply("") })
		}
		wg.Wait()
		for i, err := range errs {
			if err != nil {
				t.Errorf("%s: %v", runs[i].m.name, err)
			}
		}
		r.is("cp1", "cp2", "cp3", "cp4")
	})
}

// Kill it anywhere, run it again, and it converges (law 3).
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	for _, after := range []reconcile.Address{node.EtcdMemberAddress("cp2"), manifest, node.EtcdVoterAddress("cp2")} {
		t.Run(string(after), func(t *testing.T) {
			r := newRing(t, "3.7.0", 1)
			m := r.machine("cp2")
			if err := m.run().apply(after); err == nil {
				t.Fatal("it was not killed")
			}
			run := m.run()
			if c := run.plan(); len(c.Changes) > 0 && c.Changes[0].Address == node.EtcdMemberAddress("cp2") {
				t.Errorf("added once more: %+v", c.Changes)
			}
			run.must(run.apply(""))
			r.is("cp1", "cp2")
		})
	}
	t.Run("power loss as a learner", func(t *testing.T) {
		r := newRing(t, "3.7.0", 1)
		m := r.machine("cp2")
		_ = m.run().apply(manifest)
		r.eventually("it has begun its log", func() bool {
			logs, _ := filepath.Glob(filepath.Join(m.data(), "member/wal/*.wal"))
			return len(logs) > 0
		})
		m.kill()
		run := m.run()
		run.must(run.apply(""))
		r.is("cp1", "cp2")
	})
}

// Somebody else's learner means waiting, and saying whose it is.
func TestAnotherLearner(t *testing.T) {
	t.Parallel()
	r := newRing(t, "3.7.0", 1)
	client := r.asker()
	_, err := client.Look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	other, err := client.AddLearner(t.Context(), "https://127.0.0.9:2380")
	if err != nil {
		t.Fatal(err)
	}
	run := r.machine("cp2").run()
	run.in.Timeout = 2 * time.Second
	if c := run.plan(); len(c.Changes) != 3 || len(c.Findings) != 1 || c.Findings[0].Name != "EtcdLearner" || !strings.Contains(c.Findings[0].Hint, other.HexID()) {
		t.Errorf("%+v %+v", c.Changes, c.Findings)
	}
	err = run.apply("")
	if fault.ClassOf(err) != fault.Timeout || !strings.Contains(err.Error(), other.String()) {
		t.Errorf("the wait ended with: %v", err)
	}
	run = r.members[1].run()
	time.AfterFunc(time.Second, func() { _ = client.Remove(context.Background(), other.ID) })
	run.must(run.apply(""))
	r.is("cp1", "cp2")
}

// silent is an endpoint that takes connections and says nothing, as a machine that hangs.
func silent(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return "https://" + l.Addr().String()
}

func TestDeadEndpoints(t *testing.T) {
	t.Parallel()
	for _, voters := range []int{3, 7} {
		t.Run(fmt.Sprint(voters), func(t *testing.T) {
			r := newRing(t, "3.7.0", voters)
			hung := r.members[voters-1]
			hung.kill()
			if voters == 7 {
				r.members[voters-2].kill() // refuses connections
			}
			u, err := net.ResolveTCPAddr("tcp", strings.TrimPrefix(hung.client, "https://"))
			if err != nil {
				t.Fatal(err)
			}
			l, err := net.ListenTCP("tcp", u) // takes connections, and says nothing
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			r.eventually("a leader among the rest", func() bool {
				c, err := r.look()
				return err == nil && healthy(c) == voters-voters/3 && !c.NoQuorum
			})
			run := r.members[0].run()
			begin := time.Now()
			c := run.plan()
			first := time.Since(begin)
			t.Logf("a plan took %s and %d requests", first.Round(time.Millisecond), run.client.Requests())
			if first > 5*time.Second {
				t.Errorf("a plan took %s", first)
			}
			if got, limit := run.client.Requests(), int64(voters+2); got > limit {
				t.Errorf("a plan took %d requests, more than %d", got, limit)
			}
			if len(c.Changes) > 0 || len(c.Findings) != voters/3 {
				t.Errorf("%+v %+v", c.Changes, c.Findings)
			}
			for _, f := range c.Findings {
				if f.Name != "EtcdMemberUnhealthy" {
					t.Errorf("%+v", f)
				}
			}
			begin = time.Now()
			if _, err := run.client.Look(t.Context()); err != nil {
				t.Error(err)
			}
			if again := time.Since(begin); again >= 2*time.Second {
				t.Errorf("the endpoint that hangs cost its time once more: %s", again)
			}
			join := r.machine("cp8").run()
			if voters == 3 { // etcd adds nobody who could cost it the majority
				c := join.plan()
				if len(c.Findings) != 1 || c.Findings[0].Name != "EtcdMembership" || !strings.Contains(c.Findings[0].Seen, "not healthy: "+hung.name) {
					t.Errorf("%+v", c.Findings)
				}
				return
			}
			join.must(join.apply(""))
		})
	}
}

// membership is a plan without the change that the test itself stands for.
func membership(c *reconcile.Computed) []reconcile.Change {
	return slices.DeleteFunc(slices.Clone(c.Changes), func(c reconcile.Change) bool { return c.Address == manifest })
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	r := newRing(t, "3.7.0", 1)
	m := r.machine("cp2")
	r.members[0].kill()
	run := m.run()
	c := run.plan()
	if len(membership(c)) > 0 || len(c.Findings) != 1 || c.Findings[0].Name != "EtcdUnreachable" ||
		!strings.Contains(c.Findings[0].Seen, r.members[0].client+": connection refused") {
		t.Errorf("%+v %+v", c.Changes, c.Findings)
	}
	if _, err := os.Stat(m.data()); err == nil {
		t.Error("there is a data directory")
	}
	hung := r.asker(silent(t))
	if _, err := hung.Look(t.Context()); fault.ClassOf(err) != fault.Unreachable || !strings.Contains(err.Error(), "no answer in time") {
		t.Error(err)
	}

	other := newRing(t, "3.7.0", 1)
	cert, key := other.ca.issue(t, "kube-etcd-healthcheck-client")
	stranger, err := etcd.New([]string{other.members[0].client}, r.ca.pem, cert, key)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if _, err := stranger.Look(t.Context()); fault.ClassOf(err) != fault.Untrusted {
		t.Errorf("members with another CA: %v", err)
	}
}

// Endpoints of two clusters with one CA, as after a snapshot was restored on one machine only.
func TestTwoClusters(t *testing.T) {
	t.Parallel()
	r := newRing(t, "3.7.0", 1)
	other := newRingOf(t, r.ca, "3.7.0", 1)
	id := func(r *ring) string {
		c, err := r.look()
		if err != nil {
			t.Fatal(err)
		}
		return etcd.HexID(c.ID)
	}
	want := []string{r.members[0].client + " is of " + id(r), other.members[0].client + " is of " + id(other)}
	_, err := r.asker(other.members[0].client).Look(t.Context())
	for _, w := range want {
		if fault.ClassOf(err) != fault.Conflict || !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %v", w, err)
		}
	}
	run := r.machine("cp2").run()
	run.client = r.asker(other.members[0].client)
	run.in.Client = run.client
	if c := run.plan(); len(membership(c)) > 0 || len(c.Findings) != 1 || c.Findings[0].Name != "EtcdMembership" || !strings.Contains(c.Findings[0].Seen, want[0]) {
		t.Errorf("%+v %+v", c.Changes, c.Findings)
	}
	other.members[0].kill()
	run.must(run.apply(""))
	r.is("cp1", "cp2")
}

// Without a majority nothing is changed, and the members that are missing are named.
func TestQuorumIsLost(t *testing.T) {
	t.Parallel()
	r := newRing(t, "3.7.0", 2)
	dead := r.members[1]
	dead.kill()
	r.eventually("the majority is lost", func() bool {
		c, err := r.look()
		return err == nil && c.NoQuorum
	})
	for _, m := range []*member{r.machine("cp3"), dead} {
		if m == dead { // with its disk lost it would have to be removed, which nobody can agree to
			if err := os.RemoveAll(m.data()); err != nil {
				t.Fatal(err)
			}
		}
		run := m.run()
		c := run.plan()
		if len(c.Findings) != 1 || c.Findings[0].Name != "EtcdMembership" || !strings.Contains(c.Findings[0].Seen, "not healthy: ") ||
			!strings.Contains(c.Findings[0].Seen, dead.peer) {
			t.Errorf("%s: %+v %+v", m.name, c.Changes, c.Findings)
		}
		if changes := membership(c); len(changes) > 0 {
			t.Errorf("%s: %+v", m.name, changes)
		}
	}
	c, err := r.look()
	if err != nil || len(c.Members) != 2 {
		t.Errorf("%+v, %v", c, err)
	}
}

// A voter that is down when an apply begins is waited for.
func TestSettles(t *testing.T) {
	t.Parallel()
	r := newRing(t, "3.7.0", 3)
	down := r.members[2]
	down.kill()
	run := r.machine("cp4").run()
	r.eventually("it is missed", func() bool {
		c, err := r.look()
		return err == nil && healthy(c) == 2 && !c.NoQuorum
	})
	if err := run.apply(""); err == nil || !strings.Contains(err.Error(), "EtcdMembership") {
		t.Fatalf("nothing to wait for: %v", err)
	}
	time.AfterFunc(2*time.Second, func() { down.start(nil, "existing") })
	var said []string
	settled, err := node.EtcdSettle(t.Context(), run.in, func(reason string, _ time.Duration) { said = append(said, reason) })
	if err != nil || !settled || len(said) == 0 || !strings.Contains(said[0], "not healthy: cp3") {
		t.Fatalf("%t, %v, %q", settled, err, said)
	}
	run.must(run.apply(""))
	r.is("cp1", "cp2", "cp3", "cp4")
	for _, m := range r.members {
		m.kill()
	}
	begin := time.Now()
	if settled, err := node.EtcdSettle(t.Context(), run.in, func(string, time.Duration) {}); settled || err != nil || time.Since(begin) > 10*time.Second {
		t.Errorf("where nobody answers: %t, %v after %s", settled, err, time.Since(begin))
	}
}

func TestDataOfAnotherMembership(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, version string) {
		other := newRing(t, version, 1)
		other.members[0].kill()
		r := newRing(t, version, 1)
		m := r.machine("cp2")
		if err := os.CopyFS(m.data(), os.DirFS(other.members[0].data())); err != nil {
			t.Fatal(err)
		}
		err := m.run().apply("")
		if fault.ClassOf(err) != fault.Conflict || !strings.Contains(fault.HintOf(err), "--allow=wipe-etcd-data") ||
			!strings.Contains(err.Error(), "another etcd cluster") {
			t.Fatalf("without --allow: %v", err)
		}
		r.is("cp1")
		run := m.run()
		run.must(run.apply("", "wipe-etcd-data"))
		r.is("cp1", "cp2")
		if kept, _ := filepath.Glob(filepath.Join(m.data(), "member.*/snap/db")); len(kept) != 1 {
			t.Errorf("the data was not kept: %v", kept)
		}

		// Removed from the cluster, and back with its old data.
		run = m.run()
		c, err := run.client.Look(t.Context())
		run.must(err)
		own, _ := c.ByPeerURL(m.peer)
		r.eventually("etcd lets it go", func() bool { return run.client.Remove(t.Context(), own.ID) == nil })
		r.eventually("it has ended", func() bool { return !m.runs() })
		if err := m.run().apply(""); fault.ClassOf(err) != fault.Conflict || !strings.Contains(err.Error(), "which the cluster has removed") {
			t.Fatalf("without --allow: %v", err)
		}
		run = m.run()
		run.must(run.apply("", "wipe-etcd-data"))
		r.is("cp1", "cp2")
	})
}

// A log with a directory of its own is found, and moved aside with the data.
func TestLogOfItsOwn(t *testing.T) {
	t.Parallel()
	r := newRing(t, "3.7.0", 1)
	m := r.machine("cp2")
	m.wal = dataDir + "/wal"
	run := m.run()
	run.must(run.apply(""))
	run = m.run()
	if c := run.plan(); len(c.Changes) > 0 || len(c.Findings) > 0 {
		t.Errorf("it is a member, and its plan is not empty: %+v %+v", c.Changes, c.Findings)
	}
	c, err := run.client.Look(t.Context())
	run.must(err)
	own, _ := c.ByPeerURL(m.peer)
	r.eventually("etcd lets it go", func() bool { return run.client.Remove(t.Context(), own.ID) == nil })
	r.eventually("it has ended", func() bool { return !m.runs() })
	run = m.run()
	run.must(run.apply("", "wipe-etcd-data"))
	r.is("cp1", "cp2")
	for _, kept := range []string{"member.*-*/snap/db", "wal.*-*/*.wal"} {
		if found, _ := filepath.Glob(filepath.Join(m.data(), kept)); len(found) == 0 {
			t.Errorf("%s was not kept", kept)
		}
	}
}

func TestDiskLost(t *testing.T) {
	t.Parallel()
	r := newRing(t, "3.7.0", 3)
	m := r.members[2]
	m.kill()
	if err := os.RemoveAll(m.data()); err != nil {
		t.Fatal(err)
	}
	r.eventually("the rest has a leader", func() bool {
		c, err := r.look()
		return err == nil && healthy(c) == 2
	})
	err := m.run().apply("")
	if fault.ClassOf(err) != fault.Conflict || !strings.Contains(fault.HintOf(err), "--allow=remove-etcd-member") {
		t.Fatalf("without --allow: %v", err)
	}
	if err := m.run().apply("etcd-stale:cp3", "remove-etcd-member"); err == nil {
		t.Fatal("it was not killed")
	}
	run := m.run() // nothing is left to be allowed
	run.must(run.apply(""))
	r.is("cp1", "cp2", "cp3")
}

// A member that runs on another disk than this machine's is not this machine's to remove.
func TestMemberRunsElsewhere(t *testing.T) {
	t.Parallel()
	r := newRing(t, "3.7.0", 1)
	m := r.machine("cp2")
	run := m.run()
	run.must(run.apply(""))
	copied := r.machine("cp2")
	copied.peer, copied.client = m.peer, m.client
	if c := copied.run().plan(); len(c.Findings) != 1 || !strings.Contains(c.Findings[0].Seen, "its data is not in "+dataDir) {
		t.Errorf("the same address on another machine: %+v", c.Findings)
	}
	namesake := r.machine("cp2")
	if c := namesake.run().plan(); len(c.Findings) != 1 || !strings.Contains(c.Findings[0].Seen, "belongs to another machine") {
		t.Errorf("the same name on another machine: %+v", c.Findings)
	}
	r.is("cp1", "cp2")
}

// The machine has another address than when it was a member.
func TestAddressChanged(t *testing.T) {
	t.Parallel()
	r := newRing(t, "3.7.0", 3)
	old := r.members[2]
	old.kill()
	r.eventually("the rest has a leader", func() bool {
		c, err := r.look()
		return err == nil && healthy(c) == 2
	})
	m := r.machineAt("cp3", "127.0.0.2")
	if err := os.CopyFS(m.data(), os.DirFS(old.data())); err != nil { // the same disk
		t.Fatal(err)
	}
	err := m.run().apply("", "wipe-etcd-data")
	if fault.ClassOf(err) != fault.Conflict || !strings.Contains(fault.HintOf(err), "--allow=remove-etcd-member") {
		t.Fatalf("without --allow: %v", err)
	}
	run := m.run()
	run.must(run.apply("", "wipe-etcd-data", "remove-etcd-member"))
	r.is("cp1", "cp2", "cp3")
}

// An earlier run added a learner at another address of this machine and was killed.
func TestOwnOrphan(t *testing.T) {
	t.Parallel()
	r := newRing(t, "3.7.0", 1)
	before := r.machineAt("cp2", "127.0.0.2")
	_ = before.run().apply(node.EtcdMemberAddress("cp2"))
	m := r.machine("cp2")
	run := m.run()
	run.in.Addresses = []netip.Addr{netip.MustParseAddr("127.0.0.2")}
	err := run.apply("")
	if fault.ClassOf(err) != fault.Conflict || !strings.Contains(fault.HintOf(err), "--allow=remove-etcd-member") {
		t.Fatalf("without --allow: %v", err)
	}
	run.must(run.apply("", "remove-etcd-member"))
	r.is("cp1", "cp2")
}

// The same change on all machines at once must not end all voters at once, and
// none while another is down.
func TestRestartsTakeTurns(t *testing.T) {
	t.Parallel()
	r := newRing(t, "3.7.0", 3)
	quiet := func(reconcile.Progress) {}
	var wg sync.WaitGroup
	var down atomic.Int32
	errs := make([]error, len(r.members))
	for i, m := range r.members {
		run := m.run()
		wg.Go(func() {
			var release func(error)
			if release, errs[i] = node.EtcdSpare(t.Context(), run.in, func(p reconcile.Progress) { t.Logf("%s: %s", m.name, p.Message) }); errs[i] != nil {
				return
			}
			defer release(nil)
			if n := down.Add(1); n > 1 {
				t.Errorf("%d voters are started again at once", n)
			}
			m.kill()
			m.start(nil, "existing")
			for s := run.client.Status(t.Context(), m.client); !s.Healthy() && t.Context().Err() == nil; s = run.client.Status(t.Context(), m.client) {
				time.Sleep(20 * time.Millisecond)
			}
			down.Add(-1)
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Errorf("%s: %v", r.members[i].name, err)
		}
	}
	r.is("cp1", "cp2", "cp3")

	// A lock that is held is held for the others, and not for a run after one that was killed.
	client := r.asker()
	holder, release, err := client.TryLock(t.Context(), "cp1")
	if err != nil || holder != "" {
		t.Fatal(holder, err)
	}
	if holder, _, err := client.TryLock(t.Context(), "cp2"); err != nil || holder != "cp1" {
		t.Error(holder, err)
	}
	run := r.members[1].run()
	run.in.Timeout = 2 * time.Second
	if _, err := node.EtcdSpare(t.Context(), run.in, quiet); fault.ClassOf(err) != fault.Conflict || !strings.Contains(err.Error(), "the member of cp1") {
		t.Error(err)
	}
	_, again, err := client.TryLock(t.Context(), "cp1")
	if err != nil || again == nil {
		t.Fatal(err)
	}
	release(true)
	if holder, _, err := client.TryLock(t.Context(), "cp2"); err != nil || holder != "cp1" {
		t.Errorf("the end of the run before gave the turn away: %q, %v", holder, err)
	}
	again(true)
	holder, release, err = client.TryLock(t.Context(), "cp2")
	if err != nil || holder != "" {
		t.Fatal(holder, err)
	}
	release(false) // its member may not serve yet
	if holder, _, err := client.TryLock(t.Context(), "cp3"); err != nil || holder != "cp2" {
		t.Error(holder, err)
	}
	if _, release, err = client.TryLock(t.Context(), "cp2"); err != nil {
		t.Fatal(err)
	}
	release(true)

	r.members[2].kill()
	r.eventually("it is missed", func() bool {
		c, err := r.look()
		return err == nil && healthy(c) == 2 && !c.NoQuorum
	})
	if _, err := node.EtcdSpare(t.Context(), run.in, quiet); fault.ClassOf(err) != fault.Conflict || !strings.Contains(err.Error(), "not healthy: cp3") {
		t.Errorf("a voter can be spared while another is down: %v", err)
	}
	dead := r.members[2].run()
	dead.in.Timeout = 2 * time.Second
	if _, err := node.EtcdSpare(t.Context(), dead.in, quiet); err != nil {
		t.Errorf("the one that is down cannot be mended: %v", err)
	}
	r.members[1].kill() // and with it the quorum
	alone := r.members[0].run()
	begin := time.Now()
	if _, err := node.EtcdSpare(t.Context(), alone.in, quiet); err != nil || time.Since(begin) < 5*time.Second {
		t.Errorf("%v after %s: without a quorum there is none to lose, which takes a while to be sure of", err, time.Since(begin))
	}
}

func TestVersionSkew(t *testing.T) {
	t.Parallel()
	r := newRing(t, "3.6.8", 1)
	m := r.machine("cp2")
	m.version = "3.7.0"
	c := m.run().plan()
	if len(c.Findings) != 1 || c.Findings[0].Name != "EtcdVersionSkew" || c.Findings[0].Severity != reconcile.SeverityWarning ||
		!strings.Contains(c.Findings[0].Seen, "3.7.0") || !strings.Contains(c.Findings[0].Seen, "3.6.8") {
		t.Errorf("%+v", c.Findings)
	}
	run := m.run()
	run.must(run.apply(""))
	r.is("cp1", "cp2")
}
