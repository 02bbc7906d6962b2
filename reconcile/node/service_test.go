package node

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

func TestServiceCauses(t *testing.T) {
	node, bootstrap := nodeAddress("w1"), FileAddress(BootstrapKubeconfigPath)
	service := func(a reconcile.Action, r reconcile.Reason, d reconcile.Disruption, because ...reconcile.Address) change {
		return change{Address: KubeletService, Action: a, Reason: r, Disruption: d, Because: because}
	}
	create := func(a reconcile.Address, d reconcile.Disruption) change {
		return change{Address: a, Action: reconcile.Create, Reason: reconcile.Missing, Disruption: d}
	}
	tests := map[string]struct {
		edit  func(*machine)
		want  []change
		calls string // of apply
	}{
		"disabled": {func(m *machine) { m.services.state.Enabled = false },
			[]change{service(reconcile.Update, reconcile.Drift, reconcile.NoDisruption)}, "enable"},
		"stopped": {func(m *machine) { m.services.state.Active, m.services.state.State = false, "inactive/dead" },
			[]change{service(reconcile.Start, reconcile.Drift, reconcile.NoDisruption)}, "restart"},
		"crashing and disabled": {func(m *machine) {
			m.services.state.Active, m.services.state.Enabled, m.services.state.State = false, false, "activating/auto-restart"
		}, []change{service(reconcile.Start, reconcile.Drift, reconcile.NoDisruption)}, "enable restart"},
		"killed between file and restart": {func(m *machine) { m.services.state.StartedAt = time.Now().Add(-time.Hour) },
			[]change{service(reconcile.Restart, reconcile.Drift, reconcile.KubeletRestart)}, "restart"},
		"a file that is read at the start": {func(m *machine) { m.must(os.Remove(m.path(KubeletFlagsPath))) },
			[]change{create(FileAddress(KubeletFlagsPath), reconcile.KubeletRestart), restartFor(FileAddress(KubeletFlagsPath), reconcile.Missing)}, "restart"},
		"a file that it watches": {func(m *machine) { m.must(os.Remove(m.path(caPath))) },
			[]change{create(FileAddress(caPath), reconcile.NoDisruption)}, ""},
		"a file that only we read": {func(m *machine) { m.must(os.Remove(m.path(InstanceConfigPath))) },
			[]change{create(FileAddress(InstanceConfigPath), reconcile.NoDisruption)}, ""},
		"the Node is gone": {func(m *machine) {
			m.in.Cluster.Node = nil
			m.services.state.StartedAt = m.filesWritten(-2 * registrationGrace)
		}, []change{service(reconcile.Restart, reconcile.Drift, reconcile.KubeletRestart, node), create(node, reconcile.NoDisruption)}, "restart"},
		"the Node is not there yet": {func(m *machine) {
			m.in.Cluster.Node = nil
			m.services.state.StartedAt = m.filesWritten(-registrationGrace / 2)
		}, []change{create(node, reconcile.NoDisruption)}, ""},
		"the Node could not be read": {func(m *machine) {
			m.in.Cluster.Node, m.in.Cluster.NodeSeen = nil, false
			m.services.state.StartedAt = m.filesWritten(-2 * registrationGrace)
		}, nil, ""},
		"no credential yet": {func(m *machine) {
			m.in.Cluster.Bootstrap = []byte("b")
			m.setCredential(cluster.Credential{State: cluster.CredentialAbsent})
		}, []change{
			create(bootstrap, reconcile.KubeletRestart), restartFor(bootstrap, reconcile.Missing), create(KubeletCredential, reconcile.KubeletRestart),
		}, "restart"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := joined(t)
			m.api.nodes = make(chan *cluster.NodeInfo, 1)
			m.api.nodes <- m.nodeInfo()
			tt.edit(m)
			set := m.set()
			c, err := set.Compute(t.Context())
			m.must(err)
			if diff := cmp.Diff(tt.want, changesOf(c)); diff != "" {
				t.Fatal(diff)
			}
			// What follows the service waits for a kubelet that is not here.
			ctx, cancel := context.WithCancel(t.Context())
			err = set.Apply(ctx, c, nil, func(e reconcile.Event) {
				if e.Type == reconcile.EventStart && e.Address == KubeletCredential {
					cancel()
				}
			})
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			if got := strings.Join(m.services.calls, " "); got != tt.calls {
				t.Errorf("calls %q, want %q", got, tt.calls)
			}
		})
	}
}

// filesWritten is a time some while before now, with the files older still.
func (m *machine) filesWritten(started time.Duration) time.Time {
	old := time.Now().Add(-24 * time.Hour)
	for _, p := range []string{KubeletConfigPath, KubeletFlagsPath} {
		m.must(os.Chtimes(m.path(p), old, old))
	}
	return time.Now().Add(started)
}

// A run was killed after it wrote the bootstrap credential: the kubelet that
// runs since before would never look at it.
func TestBootstrapFileNewerThanTheKubelet(t *testing.T) {
	m := joined(t)
	m.in.Cluster.Bootstrap = []byte("b")
	m.services.state.StartedAt = m.filesWritten(-time.Hour)
	m.write(BootstrapKubeconfigPath, "b")
	m.must(os.Chmod(m.path(BootstrapKubeconfigPath), 0o600))
	m.setCredential(cluster.Credential{State: cluster.CredentialAbsent})
	c := m.plan()
	want := []change{
		{Address: KubeletService, Action: reconcile.Restart, Reason: reconcile.Drift, Disruption: reconcile.KubeletRestart},
		{Address: KubeletCredential, Action: reconcile.Create, Reason: reconcile.Missing, Disruption: reconcile.KubeletRestart},
	}
	if diff := cmp.Diff(want, changesOf(c)); diff != "" {
		t.Error(diff)
	}
}

func TestServiceFindings(t *testing.T) {
	tests := map[string]struct {
		state host.ServiceState
		want  reconcile.Finding
	}{
		"no manager":     {host.ServiceState{}, reconcile.Finding{Severity: reconcile.SeverityWarning, Name: "NoInitSystem"}},
		"not answering":  {host.ServiceState{Manager: "systemd", Unknown: "no bus"}, reconcile.Finding{Severity: reconcile.SeverityWarning, Name: FindingNotCompared, Seen: "no bus"}},
		"not installed":  {host.ServiceState{Manager: "systemd"}, reconcile.Finding{Severity: reconcile.SeverityError, Name: "Service-kubelet", Seen: "there is no kubelet service"}},
		"masked":         {host.ServiceState{Manager: "systemd", Found: true, Masked: true}, reconcile.Finding{Severity: reconcile.SeverityError, Name: "Service-kubelet", Seen: "the kubelet service is masked"}},
		"openrc, absent": {host.ServiceState{Manager: "openrc"}, reconcile.Finding{Severity: reconcile.SeverityError, Name: "Service-kubelet"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := joined(t)
			m.services.state = tt.state
			c := m.plan()
			if len(c.Changes) > 0 || len(c.Findings) != 1 {
				t.Fatalf("%+v", c)
			}
			got := c.Findings[0]
			if got.Name != tt.want.Name || got.Severity != tt.want.Severity || got.Address != KubeletService || got.Hint == "" || !strings.Contains(got.Seen, tt.want.Seen) {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestHealthIsWaitedFor(t *testing.T) {
	refused := errors.New("connection refused")
	tests := map[string]struct {
		healthy  time.Duration // after the restart
		crash    bool
		want     fault.Class // 0 is success
		contains string
		hint     string
	}{
		"soon":       {healthy: time.Second},
		"too late":   {healthy: time.Hour, want: fault.Timeout, contains: "not healthy after 40s (timeouts.kubeletHealthCheck): connection refused", hint: "journalctl -u kubelet"},
		"it crashes": {healthy: time.Hour, crash: true, want: fault.Timeout, contains: "connection refused", hint: "last word: failed to parse flag"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				services := &fakeServices{watch: make(chan host.ServiceState), logs: []string{"starting", "failed to parse flag"}}
				begin := time.Now()
				r := &serviceResource{nodeName: "w1", healthz: "127.0.0.1:10248", timeout: 40 * time.Second, ports: Ports{
					Services: services, Now: time.Now,
					Healthz: func(ctx context.Context, _ string) error {
						if err := ctx.Err(); err != nil {
							return err
						}
						if time.Since(begin) >= tt.healthy {
							return nil
						}
						return refused
					},
				}}
				if tt.crash {
					go func() {
						defer close(services.watch)
						services.watch <- host.ServiceState{Active: true}
						services.watch <- host.ServiceState{Restarts: 1, LastExit: "exit status 1"}
					}()
				}
				var said told
				err := r.Apply(t.Context(), reconcile.Change{Action: reconcile.Restart}, viewOf{}, said.say)
				if !tt.crash {
					close(services.watch)
				}
				synctest.Wait()
				if tt.want == 0 {
					if err != nil || time.Since(begin) > tt.healthy+healthzEvery {
						t.Errorf("%v after %s", err, time.Since(begin))
					}
					return
				}
				if fault.ClassOf(err) != tt.want || !strings.Contains(err.Error(), tt.contains) || !strings.Contains(fault.HintOf(err), tt.hint) {
					t.Errorf("%v, hint %q", err, fault.HintOf(err))
				}
				if tt.crash {
					want := []reconcile.Progress{{Message: "the kubelet does not stay up (exit status 1)", Lines: services.logs}}
					if diff := cmp.Diff(want, said.list()); diff != "" {
						t.Error(diff)
					}
				}
			})
		})
	}
}

// The certificate and the Node prove more than a health endpoint.
func TestHealthIsNotWaitedForWhereMoreFollows(t *testing.T) {
	for name, v := range map[string]viewOf{
		"credential": {changed: map[reconcile.Address]*reconcile.Change{KubeletCredential: {}}},
		"node":       {changed: map[reconcile.Address]*reconcile.Change{nodeAddress("w1"): {}}},
	} {
		t.Run(name, func(t *testing.T) {
			r := &serviceResource{nodeName: "w1", healthz: "127.0.0.1:10248", ports: Ports{Services: &fakeServices{}, Now: time.Now}}
			if err := r.Apply(t.Context(), reconcile.Change{Action: reconcile.Restart}, v, nil); err != nil {
				t.Error(err)
			}
		})
	}
}
