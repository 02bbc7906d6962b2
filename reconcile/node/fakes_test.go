package node

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

// secretToken is the secret half of the bootstrap token of these tests. It must
// not appear in any plan, event or error.
const secretToken = "0123456789abcdef"

// machine is a worker below a directory: its files are real and written through
// the real host. A service manager and an API server cannot run in a unit test,
// so these two are fakes; the lab has the real ones.
type machine struct {
	t        *testing.T
	root     string
	files    *testFiles
	services *fakeServices
	api      *fakeAPI
	in       Input
	options  Options

	mu         sync.Mutex
	credential cluster.Credential
	stray      *cluster.Certificate
}

// joined is a worker that is what its configuration wants.
func joined(t *testing.T) *machine {
	t.Helper()
	m := fresh(t)
	m.apply() // the files
	m.services.state = host.ServiceState{Manager: "systemd", Found: true, Enabled: true, Active: true,
		State: "active/running", StartedAt: time.Now().Add(time.Hour)}
	m.setCredential(m.own())
	m.in.Cluster.Bootstrap, m.in.Cluster.TokenID = nil, ""
	m.in.Cluster.Node, m.in.Cluster.NodeSeen = m.nodeInfo(), true
	m.options.FilesOnly = false
	return m
}

// fresh is a machine with nothing on it but the kubelet, and a token to join with.
func fresh(t *testing.T) *machine {
	t.Helper()
	root := t.TempDir()
	h, err := host.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	m := &machine{t: t, root: root, files: &testFiles{Host: h}, in: base(t),
		services:   &fakeServices{state: host.ServiceState{Manager: "systemd", Found: true, Enabled: true, State: "inactive/dead"}},
		api:        &fakeAPI{},
		options:    Options{FilesOnly: true, AnyOwner: os.Geteuid() != 0},
		credential: cluster.Credential{State: cluster.CredentialAbsent},
	}
	m.in.Facts.MachineID = "m1"
	m.in.Cluster.NodeSeen = true
	m.in.Cluster.Bootstrap = []byte("token: abcdef." + secretToken + "\n")
	m.in.Cluster.TokenID = "abcdef"
	return m
}

func (m *machine) own() cluster.Credential {
	return cluster.Credential{State: cluster.CredentialValid, CommonName: "system:node:w1", CA: m.in.Cluster.CA, Serial: "1",
		Paths: []string{KubeletKubeconfigPath, KubeletCertificatePath}}
}

func (m *machine) nodeInfo() *cluster.NodeInfo {
	return &cluster.NodeInfo{Name: "w1", UID: "u1", MachineID: "m1", Ready: true, ReadyKnown: true}
}

func (m *machine) setCredential(c cluster.Credential) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.credential = c
}

func (m *machine) ports() Ports {
	return Ports{
		Files:     m.files,
		Services:  m.services,
		Bootstrap: m.api,
		As:        func(cluster.Credential) (API, error) { return m.api, nil },
		ReadCredential: func() cluster.Credential {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.credential
		},
		ReadCertificate: func() *cluster.Certificate { return m.stray },
		Healthz:         func(context.Context, string) error { return nil },
		Now:             time.Now,
	}
}

func (m *machine) set() *reconcile.Set {
	m.t.Helper()
	d, _ := compute(m.t, m.in)
	resources, _, err := Resources(d, nil, m.in.Config, m.in.Cluster, m.in.Facts, m.options, m.ports())
	if err != nil {
		m.t.Fatal(err)
	}
	set, err := reconcile.NewSet(resources...)
	if err != nil {
		m.t.Fatal(err)
	}
	return set
}

func (m *machine) plan() *reconcile.Computed {
	m.t.Helper()
	c, err := m.set().Compute(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	for _, ch := range c.Changes {
		noSecret(m.t, ch)
	}
	return c
}

// apply makes what is missing and proves that nothing is left.
func (m *machine) apply() {
	m.t.Helper()
	set := m.set()
	c, err := set.Compute(m.t.Context())
	if err == nil {
		err = set.Apply(m.t.Context(), c, nil, func(reconcile.Event) {})
	}
	if err == nil {
		err = set.Converged(m.t.Context())
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

// path is where a file of the machine really is.
func (m *machine) path(p string) string { return filepath.Join(m.root, p) }

func (m *machine) write(path, content string) {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Dir(m.path(path)), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(m.path(path), []byte(content), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) exists(path string) bool {
	_, err := os.Lstat(m.path(path))
	return err == nil
}

func noSecret(t *testing.T, c reconcile.Change) {
	t.Helper()
	texts := []string{c.Summary, c.Diff}
	for _, f := range c.Fields {
		texts = append(texts, f.Path, f.Before, f.After)
	}
	for _, s := range texts {
		if strings.Contains(s, secretToken) || strings.Contains(s, "PRIVATE KEY") {
			t.Errorf("a secret shows in the plan: %+v", c)
		}
	}
}

// testFiles is the real host with doors for what a test cannot do otherwise.
type testFiles struct {
	*host.Host
	uid     map[string]int // pretended owners
	denied  map[string]bool
	changed chan struct{} // what Watch gives; nil is the real one

	mu    sync.Mutex // changes are applied side by side
	owned []string   // SetOwnership
}

func (f *testFiles) ReadFile(path string, max int64) ([]byte, host.FileState, error) {
	data, st, err := f.Host.ReadFile(path, max)
	f.mu.Lock()
	defer f.mu.Unlock()
	if uid, ok := f.uid[path]; ok {
		st.UID = uid
	}
	if f.denied[path] {
		data, st.Denied = nil, true
	}
	return data, st, err
}

func (f *testFiles) Stat(path string) (host.FileState, error) {
	st, err := f.Host.Stat(path)
	f.mu.Lock()
	defer f.mu.Unlock()
	if uid, ok := f.uid[path]; ok {
		st.UID = uid
	}
	return st, err
}

func (f *testFiles) SetOwnership(path string, mode fs.FileMode, uid, gid int) error {
	f.mu.Lock()
	f.owned = append(f.owned, path)
	delete(f.uid, path)
	f.mu.Unlock()
	return f.Host.SetOwnership(path, mode, uid, gid)
}

func (f *testFiles) Watch(ctx context.Context, paths ...string) (<-chan struct{}, error) {
	if f.changed != nil {
		return f.changed, nil
	}
	return f.Host.Watch(ctx, paths...)
}

type fakeServices struct {
	mu    sync.Mutex
	state host.ServiceState
	calls []string
	watch chan host.ServiceState
	logs  []string
}

func (s *fakeServices) State(context.Context, string) (host.ServiceState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state, nil
}

func (s *fakeServices) called(what string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, what)
	switch what {
	case "enable":
		s.state.Enabled = true
	case "restart":
		s.state.Active, s.state.State, s.state.StartedAt = true, "active/running", time.Now().Add(time.Hour)
	}
	return nil
}

func (s *fakeServices) made() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

func (s *fakeServices) Enable(context.Context, string) error  { return s.called("enable") }
func (s *fakeServices) Restart(context.Context, string) error { return s.called("restart") }
func (s *fakeServices) Stop(context.Context, string) error    { return s.called("stop") }

func (s *fakeServices) Watch(context.Context, string) (<-chan host.ServiceState, error) {
	if s.watch == nil {
		return nil, fault.New(fault.Internal, "no watch")
	}
	return s.watch, nil
}

func (s *fakeServices) Logs(context.Context, string, time.Time, int) ([]string, error) {
	return slices.Clone(s.logs), nil
}

// fakeAPI gives the events that a test sends.
type fakeAPI struct {
	refuses error
	nodes   chan *cluster.NodeInfo
	csrs    chan cluster.CSRInfo
}

func (a *fakeAPI) Node(context.Context, string) (*cluster.NodeInfo, error) { return nil, a.refuses }

func (a *fakeAPI) WatchNode(ctx context.Context, _ string, fn func(*cluster.NodeInfo) bool) error {
	return deliver(ctx, a.nodes, fn)
}

func (a *fakeAPI) WatchCSRs(ctx context.Context, _ string, fn func(cluster.CSRInfo) bool) error {
	return deliver(ctx, a.csrs, fn)
}

func deliver[T any](ctx context.Context, events <-chan T, fn func(T) bool) error {
	for {
		select {
		case e := <-events:
			if fn(e) {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// told collects what a resource says.
type told struct {
	mu  sync.Mutex
	all []reconcile.Progress
}

func (s *told) say(p reconcile.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, p)
}

func (s *told) list() []reconcile.Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.all)
}

// viewOf is a view with exactly these contents.
type viewOf struct {
	observed map[reconcile.Address]reconcile.Observation
	changed  map[reconcile.Address]*reconcile.Change
}

func (v viewOf) Observed(a reconcile.Address) reconcile.Observation { return v.observed[a] }
func (v viewOf) Changed(a reconcile.Address) *reconcile.Change      { return v.changed[a] }
