package etcd

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster/etcd"
	"github.com/kubejoin/kubejoin/reconcile/host/cri"
	"github.com/kubejoin/kubejoin/reconcile/node"
	"github.com/kubejoin/kubejoin/reconcile/staticpod"
)

// A slow kubelet leaves room for another member between the manifest and the
// first start: etcd was told of too few then, and does not start.
func TestLearnersAtOnce(t *testing.T) {
	t.Parallel()
	r := newRing(t, "3.7.0", 1, "--max-learners=2")
	var pods []*pod
	errs := make([]error, 2)
	var wg sync.WaitGroup
	for i, name := range []string{"cp2", "cp3"} {
		p := newPod(r.machine(name))
		pods = append(pods, p)
		run := p.m.run()
		set := p.set(run)
		wg.Go(func() { errs[i] = run.applySet(set, "") })
		if i == 0 { // the second comes between the first's manifest and its start
			r.eventually("there is a manifest", func() bool {
				_, err := os.Stat(filepath.Join(p.m.root, staticpod.Path(staticpod.Etcd)))
				return err == nil
			})
		}
	}
	wg.Wait()
	starts := 0
	for i, err := range errs {
		if err != nil {
			t.Errorf("%s: %v\n%s", pods[i].m.name, err, pods[i].m.log)
		}
		pods[i].mu.Lock()
		starts += pods[i].starts
		pods[i].mu.Unlock()
	}
	t.Logf("etcd was started %d times", starts) // 3, unless the machine is slow
	r.is("cp1", "cp2", "cp3")
}

// Somebody takes another member out between the manifest and the first start.
func TestMemberRemovedMeanwhile(t *testing.T) {
	t.Parallel()
	r := newRing(t, "3.7.0", 1, "--max-learners=2")
	client := r.asker()
	if _, err := client.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	other, err := client.AddLearner(t.Context(), "https://127.0.0.9:2380")
	if err != nil {
		t.Fatal(err)
	}
	p := newPod(r.machine("cp2"))
	run := p.m.run()
	if c := run.plan(); len(c.Findings) != 1 || c.Findings[0].Name != "EtcdLearner" || !strings.Contains(c.Findings[0].Seen, "where etcd takes one at a time") {
		t.Errorf("%+v", c.Findings)
	}
	p.written = func() { _ = client.Remove(t.Context(), other.ID) }
	run.must(run.applySet(p.set(run), ""))
	r.is("cp1", "cp2")
}

// pod is etcd as a static pod of a machine, with as much of a kubelet and a
// container runtime as that needs. Those of the lab are real.
type pod struct {
	m       *member
	written func() // called once, before the first start
	starts  int

	mu       sync.Mutex
	manifest []byte
	changed  time.Time
}

// notice is how long this kubelet takes to see a manifest, and between two starts.
const notice = 700 * time.Millisecond

func newPod(m *member) *pod { return &pod{m: m} }

func (p *pod) set(run *run) *reconcile.Set {
	t := p.m.r.t
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); p.kubelet(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	render := func(ctx context.Context) ([]byte, error) {
		peers, err := node.EtcdPeers(ctx, run.in)
		if err != nil {
			return nil, err
		}
		var entries []string
		for _, m := range peers {
			entries = append(entries, m.Name+"="+m.URL)
		}
		return fmt.Appendf(nil, "apiVersion: v1\nkind: Pod\nmetadata: {name: etcd, namespace: kube-system}\nspec:\n  containers:\n"+
			"  - name: etcd\n    image: etcd\n    command: [etcd, %q, --initial-cluster-state=existing]\n", "--initial-cluster="+strings.Join(entries, ",")), nil
	}
	static := node.StaticPodResource(node.StaticPod{
		Name: staticpod.Etcd, NodeName: p.m.name, Path: staticpod.Path(staticpod.Etcd), Want: []byte("{}"), Render: render, Runtime: p,
		Compare: func([]byte) (bool, []reconcile.Field, error) { return true, nil, nil },
		Outdated: func(ctx context.Context, manifest []byte) bool {
			r, err := staticpod.Recorded(staticpod.Etcd, manifest, nil)
			return err == nil && node.EtcdOutdated(ctx, run.in, r.InitialCluster)
		},
		Health: func(ctx context.Context) error {
			if s := run.client.Status(ctx, p.m.client); !s.Healthy() {
				return fmt.Errorf("does not serve: %s", s.Err)
			}
			return nil
		},
		After:   []reconcile.Address{node.EtcdMemberAddress(p.m.name)},
		Timeout: 30 * time.Second, AnyOwner: true, Files: p.m.host,
	})
	set, err := reconcile.NewSet(append(node.EtcdResources(run.in), static)...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// kubelet runs what the manifest says, and starts again what ends.
func (p *pod) kubelet(ctx context.Context) {
	for ; ctx.Err() == nil; time.Sleep(50 * time.Millisecond) {
		now, err := os.ReadFile(filepath.Join(p.m.root, staticpod.Path(staticpod.Etcd)))
		if err != nil {
			continue
		}
		p.mu.Lock()
		if string(now) != string(p.manifest) {
			p.m.kill()
			p.manifest, p.changed = now, time.Now()
		}
		if p.m.runs() || time.Since(p.changed) < notice {
			p.mu.Unlock()
			continue
		}
		p.changed = time.Now()
		p.starts++
		if p.written != nil {
			p.written()
			p.written = nil
		}
		r, err := staticpod.Recorded(staticpod.Etcd, now, nil)
		if err == nil {
			var peers []etcd.Peer
			for _, m := range r.InitialCluster {
				peers = append(peers, etcd.Peer{Name: m.Name, URL: m.PeerURL})
			}
			p.m.start(peers, r.InitialClusterState)
		}
		p.mu.Unlock()
	}
}

func (p *pod) Pods(context.Context, string, string) ([]cri.Pod, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.starts == 0 {
		return nil, nil
	}
	c := cri.Container{ID: fmt.Sprint(p.starts), Name: "etcd", State: cri.Exited, Started: p.changed}
	if p.m.runs() {
		c.State = cri.Running
	}
	return []cri.Pod{{ID: "s", UID: string(p.manifest), Ready: true, Created: p.changed, Containers: []cri.Container{c}}}, nil
}

func (p *pod) ImagePresent(context.Context, string) (bool, error)         { return true, nil }
func (p *pod) Pull(context.Context, string) error                         { return nil }
func (p *pod) Logs(context.Context, string, int) ([]string, error)        { return nil, nil }
func (p *pod) StopContainer(context.Context, string, time.Duration) error { return nil }
