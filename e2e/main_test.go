package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kubejoin/kubejoin/e2e/lab"
)

// fixture is the lab and a cluster that cases share. It is made when the first case asks for it.
type fixture struct {
	*lab.Lab
	cluster *lab.Cluster

	kubejoin func() error // builds and installs it, once
	manual   sync.Once    // rights for tokens whose nodes are not approved automatically
	servers  atomic.Int32 // that were started

	etcd     sync.Mutex // of the test whose control planes come and go
	rootless bool       // the components of its control planes run as users of their own

	mu    sync.Mutex
	taken map[string]bool // names of control planes
	first int             // number of the first one
}

// bare is the lab, without a cluster, and what builds kubejoin.
var bare = sync.OnceValues(func() (*fixture, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	base, err := lab.Prepare(ctx, lab.DefaultVersion)
	if err != nil {
		return nil, err
	}
	l, err := lab.New(ctx, base)
	if err != nil {
		return nil, err
	}
	canary = l.Canary
	return &fixture{Lab: l, kubejoin: sync.OnceValue(func() error {
		return l.InstallKubejoin(context.Background(), "..")
	})}, nil
})

// cluster makes a cluster of some version. Its control planes are named from cpFIRST on, up to the next one's.
func cluster(version string, first int) (*fixture, error) {
	return clusterIn((*lab.Lab).Of, version, first)
}

// clusterIn is cluster for machines of some kind; edits change what kubeadm init is told.
func clusterIn(kind func(*lab.Lab, *lab.Base) *lab.Lab, version string, first int, edits ...func(string) string) (*fixture, error) {
	f, err := bare()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	base, err := lab.Prepare(ctx, version)
	if err != nil {
		return nil, err
	}
	l := kind(f.Lab, base)
	c, err := l.Init(ctx, fmt.Sprint("cp", first), edits...)
	return &fixture{Lab: l, cluster: c, kubejoin: f.kubejoin, taken: map[string]bool{}, first: first}, err
}

// ofOwn makes a cluster that ends with the test: each one that runs costs the others time.
func ofOwn(t *testing.T, kind func(*lab.Lab, *lab.Base) *lab.Lab, first int, edits ...func(string) string) *fixture {
	t.Helper()
	f, err := clusterIn(kind, lab.DefaultVersion, first, edits...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		m := f.cluster.ControlPlane
		if err := errors.Join(m.Remember(ctx), m.Close()); err != nil {
			t.Error(err)
		}
	})
	return f
}

// The clusters that cases share: one whose control plane stays as it is, and two whose control planes come and go.
var (
	shared    = sync.OnceValues(func() (*fixture, error) { return cluster(lab.DefaultVersion, 1) })
	shared137 = sync.OnceValues(func() (*fixture, error) { return cluster(lab.DefaultVersion, 20) })
	shared136 = sync.OnceValues(func() (*fixture, error) { return cluster(lab.PreviousVersion, 40) })
)

// workers are those that were booted, in all clusters.
var workers atomic.Int32

// canary is checked when all cases have ended.
var canary *lab.Canary

func TestMain(m *testing.M) {
	os.Exit(lab.Main(func() int {
		code := m.Run()
		if canary == nil { // no case ran
			return code
		}
		if err := canary.Check(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return code
	}))
}

// use returns the fixture of most cases.
func use(t testing.TB) *fixture {
	t.Helper()
	return of(t, shared)
}

func of(t testing.TB, shared func() (*fixture, error)) *fixture {
	t.Helper()
	f, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// alone is of for a test whose control planes come and go: the cluster is its own until it ends. Two such tests would count each
// other's members of etcd, and take each other's quorum and certificate key.
func alone(t testing.TB, shared func() (*fixture, error)) *fixture {
	t.Helper()
	f := of(t, shared)
	f.etcd.Lock()
	t.Cleanup(f.etcd.Unlock)
	return f
}

// boot returns a fresh machine that ends with the test, and its Node with it.
func (f *fixture) boot(t testing.TB, l *lab.Lab, name string, role lab.Role) *lab.Machine {
	t.Helper()
	m, err := l.Boot(t.Context(), name, role)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.remove(t, m) })
	return m
}

// remove ends a machine, and its Node, after the canary has seen what is on it. It may be gone already.
func (f *fixture) remove(t testing.TB, m *lab.Machine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := m.Remember(ctx); err != nil {
		t.Error(err)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if err := f.cluster.DeleteNode(ctx, m.Name); err != nil {
		t.Error(err)
	}
}

// controlPlane is boot for a machine, with kubejoin, that is to become a control plane. It is taken out of the cluster before
// it ends, also if the test failed: two members of etcd, one of them dead, would stop the cluster of all other cases.
func (f *fixture) controlPlane(t testing.TB) *lab.Machine {
	t.Helper()
	if err := f.kubejoin(); err != nil {
		t.Fatal(err)
	}
	name := f.take()
	t.Cleanup(func() { f.give(name) })
	m := f.boot(t, f.Lab, name, lab.ControlPlane)
	f.cluster.Audit.Add(m)
	t.Cleanup(func() { f.leave(t, m) })
	return m
}

// leave takes a control plane out of the cluster. It may be out already.
func (f *fixture) leave(t testing.TB, m *lab.Machine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := f.cluster.RemoveControlPlane(ctx, m); err != nil {
		t.Error(err)
	}
}

// take returns the first free name of a control plane.
func (f *fixture) take() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.first + 1
	for f.taken[fmt.Sprint("cp", n)] {
		n++
	}
	f.taken[fmt.Sprint("cp", n)] = true
	return fmt.Sprint("cp", n)
}

func (f *fixture) give(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.taken, name)
}

// worker returns a fresh machine with kubejoin that has never been in the cluster. It has a name of its own, so that
// nothing in the cluster's past can meet it.
func (f *fixture) worker(t testing.TB) *lab.Machine {
	t.Helper()
	return f.workerOf(t, f.Lab)
}

// workerOf is worker for machines of another kind.
func (f *fixture) workerOf(t testing.TB, l *lab.Lab) *lab.Machine {
	t.Helper()
	if err := f.kubejoin(); err != nil {
		t.Fatal(err)
	}
	return f.boot(t, l, fmt.Sprint("w", 10+workers.Add(1)), lab.Worker)
}

// must ends the test if a command failed.
func must(t testing.TB, r lab.Result) lab.Result {
	t.Helper()
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	return r
}
