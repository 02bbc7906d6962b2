package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster/etcd"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

// etcdTurns is an etcd whose looks differ, the last one for ever.
type etcdTurns struct {
	etcdSeen
	looks  []etcd.Cluster
	locks  int
	free   int
	noLock error
}

func (e *etcdTurns) Look(context.Context) (etcd.Cluster, error) {
	c := e.looks[0]
	if len(e.looks) > 1 {
		e.looks = e.looks[1:]
	}
	return c, nil
}

func (e *etcdTurns) TryLock(context.Context, string) (string, func(bool), error) {
	e.locks++
	return "", func(bool) { e.free++ }, e.noLock
}

// ringOf is a cluster of one voter per letter, of which this machine's is the
// second: h is healthy, x does not answer, l answers and is a learner.
func ringOf(states string) etcd.Cluster {
	c := etcd.Cluster{ID: 1, Status: map[uint64]etcd.Status{}}
	for i, s := range states {
		id := uint64(i + 1)
		ip := fmt.Sprintf("https://10.0.0.%d", id)
		c.Members = append(c.Members, etcd.Member{ID: id, Name: fmt.Sprint("cp", id), PeerURLs: []string{ip + ":2380"}, ClientURLs: []string{ip + ":2379"}, Learner: s == 'l'})
		c.Status[id] = etcd.Status{MemberID: id, Leader: 1, Learner: s == 'l'}
		if s == 'x' {
			c.Status[id] = etcd.Status{Err: "connection refused"}
		}
	}
	return c
}

func TestEtcdSpare(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		looks   []string
		noLock  error
		refused string // part of the reason
		says    string // part of what it said
		locks   int
	}{
		"all of three are healthy":        {looks: []string{"hhh"}, locks: 1},
		"another of three is down":        {looks: []string{"hhx"}, refused: "2 of 2 voters would have to be healthy, and 1 are; not healthy: cp3"},
		"another was down":                {looks: []string{"hhx", "hhh"}, says: "cp3", locks: 1},
		"another goes as the turn comes":  {looks: []string{"hhh", "hhx", "hhh"}, says: "cp3", locks: 2},
		"one of five is down":             {looks: []string{"hhhhx"}, locks: 1},
		"two of five are down":            {looks: []string{"hhhxx"}, refused: "cp5"},
		"this one is down":                {looks: []string{"hxh"}},
		"this one is down, and not alone": {looks: []string{"hxx"}},
		"this one is a learner":           {looks: []string{"hl"}},
		"the second of two":               {looks: []string{"hh"}, says: "no quorum while cp2", locks: 1},
		"the second of two, one is down":  {looks: []string{"xh"}, refused: "cp1"},
		"etcd is full":                    {looks: []string{"hhh"}, noLock: fmt.Errorf("%w: full", etcd.ErrNoLock), says: "full", locks: 1},
		"nobody answers for the turn":     {looks: []string{"hhh"}, noLock: etcd.ErrNotConfirmed, refused: "not confirmed", locks: -1},
		"another error":                   {looks: []string{"hhh"}, noLock: errors.New("x"), refused: "x", locks: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := &etcdTurns{noLock: c.noLock}
			for _, l := range c.looks {
				e.looks = append(e.looks, ringOf(l))
			}
			in := EtcdInput{NodeName: "cp2", PeerURL: "https://10.0.0.2:2380", ClientURL: "https://10.0.0.2:2379", Client: e, Timeout: 3 * time.Second}
			if c.refused != "" {
				in.Timeout = 300 * time.Millisecond
			}
			var said told
			release, err := EtcdSpare(t.Context(), in, said.say)
			if (err != nil) != (c.refused != "") || err != nil && !strings.Contains(err.Error(), c.refused) {
				t.Fatal(err)
			}
			if err != nil && c.locks == 0 && (fault.ClassOf(err) != fault.Conflict || !strings.Contains(fault.HintOf(err), "run apply again")) {
				t.Errorf("%v, hint %q", err, fault.HintOf(err))
			}
			if all := fmt.Sprint(said.list()); !strings.Contains(all, c.says) {
				t.Error(all)
			}
			if err == nil {
				release(nil)
			}
			if c.locks >= 0 && e.locks != c.locks {
				t.Errorf("asked for its turn %d times", e.locks)
			}
			if c.noLock == nil && e.free != e.locks {
				t.Errorf("took its turn %d times, and gave it back %d times", e.locks, e.free)
			}
		})
	}
	if _, err := EtcdSpare(t.Context(), EtcdInput{NoClient: "there is no ca.key"}, nil); fault.ClassOf(err) != fault.Unreachable || !strings.Contains(err.Error(), "ca.key") {
		t.Errorf("nobody to ask: %v", err)
	}
}

// A plan says what a restart of this machine's member costs, or that it has to wait.
func TestEtcdRestartIsShown(t *testing.T) {
	in := EtcdInput{NodeName: "cp2", PeerURL: "https://10.0.0.2:2380", ClientURL: "https://10.0.0.2:2379", Manifest: StaticPodAddress("etcd"), NoData: "x"}
	for name, c := range map[string]struct {
		ring     string
		change   *reconcile.Change
		severity reconcile.Severity
		seen     string
	}{
		"three":             {ring: "hhh", change: &reconcile.Change{Disruption: PodRestart("etcd")}},
		"one is down":       {ring: "hhx", change: &reconcile.Change{Disruption: PodRestart("etcd")}, severity: reconcile.SeverityWarning, seen: "not healthy: cp3"},
		"two":               {ring: "hh", change: &reconcile.Change{Disruption: PodRestart("etcd")}, severity: reconcile.SeverityInfo, seen: "it has 2 voters"},
		"only its mode":     {ring: "hh", change: &reconcile.Change{Disruption: reconcile.NoDisruption}},
		"nothing":           {ring: "hhx"},
		"it is down itself": {ring: "hxh", change: &reconcile.Change{Disruption: PodRestart("etcd")}},
	} {
		t.Run(name, func(t *testing.T) {
			in.Client = etcdSeen{cluster: ringOf(c.ring)}
			r := EtcdResources(in)[3]
			o, err := r.Observe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			_, findings, err := r.Change(o, viewOf{changed: map[reconcile.Address]*reconcile.Change{in.Manifest: c.change}})
			if err != nil || (len(findings) > 0) != (c.seen != "") || len(findings) > 0 && (findings[0].Severity != c.severity || !strings.Contains(findings[0].Seen, c.seen)) {
				t.Errorf("%+v, %v", findings, err)
			}
		})
	}
}

// Nothing that runs is ended before its guard has said that it may be, and the
// guard is held until the next one serves.
func TestStaticPodGuard(t *testing.T) {
	t.Parallel()
	no := fault.New(fault.Conflict, "etcd would have no quorum")
	for name, start := range map[string]func(c *podCase){
		"another manifest": func(c *podCase) { c.started(scheduler("--leader-elect=false")) },
		"a restart":        func(c *podCase) { c.started(c.pod.Want); c.write(schedulerConf, []byte("another"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newPodCase(t)
			start(c)
			before := c.read()
			c.pod.Guard = func(context.Context, func(reconcile.Progress)) (func(error), error) { return nil, no }
			if _, err := c.apply(); !errors.Is(err, no) || c.read() != before || len(c.kubelet.stopped) > 0 {
				t.Errorf("%v, stopped %q", err, c.kubelet.stopped)
			}
			held := 0
			c.pod.Guard = func(context.Context, func(reconcile.Progress)) (func(error), error) {
				held++
				return func(err error) {
					held--
					if err != nil || c.pod.Health(t.Context()) != nil || c.read() != string(c.pod.Want) {
						t.Error("given back before it serves")
					}
				}, nil
			}
			c.applied()
			if held != 0 {
				t.Error("not given back")
			}
		})
	}
	t.Run("there was none", func(t *testing.T) {
		t.Parallel()
		c := newPodCase(t)
		c.pod.Guard = func(context.Context, func(reconcile.Progress)) (func(error), error) { return nil, no }
		c.applied()
	})
}

// What may go away by itself is waited for, and nothing else.
func TestEtcdSettle(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		looks  []string
		peer   string // of this machine
		name   string
		waits  bool
		settle bool
	}{
		"a voter comes back":                 {looks: []string{"hhx", "hhx", "hhh"}, peer: "9", waits: true, settle: true},
		"a voter stays away":                 {looks: []string{"hhx"}, peer: "9", waits: true},
		"the majority comes back":            {looks: []string{"hxx", "hhh"}, peer: "9", waits: true, settle: true},
		"nothing is in the way":              {looks: []string{"hhh"}, peer: "9", settle: true},
		"another machine's address":          {looks: []string{"hhh"}, peer: "2"},
		"another machine's name, and a dead": {looks: []string{"hhx"}, peer: "9", name: "cp1"},
		"its own disk is lost, with quorum":  {looks: []string{"hxh"}, peer: "2", settle: true},
		"its own disk is lost, of two":       {looks: []string{"hx"}, peer: "2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, err := host.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			e := &etcdTurns{}
			for _, l := range c.looks {
				e.looks = append(e.looks, ringOf(l))
			}
			in := EtcdInput{NodeName: cmp.Or(c.name, "new"), PeerURL: "https://10.0.0." + c.peer + ":2380", DataDir: "/var/lib/etcd", Data: h, Client: e, Timeout: 3 * time.Second}
			if c.waits && !c.settle {
				in.Timeout = 300 * time.Millisecond
			}
			var said []string
			settled, err := EtcdSettle(t.Context(), in, func(reason string, _ time.Duration) { said = append(said, reason) })
			if err != nil || settled != c.settle || (len(said) > 0) != c.waits {
				t.Errorf("%t, %v, waited for %q", settled, err, said)
			}
		})
	}
}
