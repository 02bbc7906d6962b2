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

	"github.com/kubejoin/kubejoin/apis/kubeadm"
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

// The time of a file can be set back, what the process got cannot.
func TestKubeletRunsWithOtherArguments(t *testing.T) {
	const unit = "/usr/bin/kubelet --kubeconfig=/k --config=/c $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS"
	const extra = "/etc/default/kubelet"
	restart := []change{{Address: KubeletService, Action: reconcile.Restart, Reason: reconcile.Drift, Disruption: reconcile.KubeletRestart}}
	tests := map[string]struct {
		edit func(*machine)
		args string // of the process
		want []change
		says []reconcile.Field
	}{
		"the same":            {nil, "--v=2 --hostname-override=w1", nil, nil},
		"other white space":   {nil, " --v=2  --hostname-override=w1 ", nil, nil},
		"a legacy one":        {nil, "--v=2 --pod-infra-container-image=pause --hostname-override=w1", nil, nil},
		"another value":       {nil, "--v=9 --hostname-override=w1", restart, []reconcile.Field{{Path: "--v", Before: "--v=9", After: "--v=2"}}},
		"one more":            {nil, "--v=2 --hostname-override=w1 --x=y", restart, []reconcile.Field{{Path: "--x", Before: "--x=y"}}},
		"none":                {nil, "", restart, []reconcile.Field{{Path: "--hostname-override", After: "--hostname-override=w1"}, {Path: "--v", After: "--v=2"}}},
		"a secret":            {nil, "--v=2 --hostname-override=w1 --manifest-url-header=a:" + secretToken, restart, []reconcile.Field{{Path: "--manifest-url-header", Before: reconcile.Mask([]byte("--manifest-url-header=a:" + secretToken))}}},
		"another init system": {func(m *machine) { m.services.state.Manager = "openrc" }, "--v=9", nil, nil},
		"a wrapper": {func(m *machine) {
			m.services.state.ExecStart = "/bin/start-it $KUBELET_KUBEADM_ARGS --kubeconfig=/k --config=/c "
		}, "--v=9", nil, nil},
		"not used":            {func(m *machine) { m.services.state.ExecStart = "/usr/bin/kubelet --kubeconfig=/k --config=/c --v=9" }, "--v=9", nil, nil},
		"set by another file": {func(m *machine) { m.write(extra, "KUBELET_KUBEADM_ARGS=--v=9\n") }, "--v=9", nil, nil},
		"another file":        {func(m *machine) { m.write(extra, "KUBELET_EXTRA_ARGS=--v=9\n") }, "--v=9", restart, []reconcile.Field{{Path: "--hostname-override", After: "--hostname-override=w1"}, {Path: "--v", Before: "--v=9", After: "--v=2"}}},
		"files by a pattern":  {func(m *machine) { m.services.state.EnvironmentFiles = []string{KubeletFlagsPath, "/etc/kubelet.d/*"} }, "--v=9", nil, nil},
		"may not be read":     {func(m *machine) { m.files.denied = map[string]bool{"/proc/42/environ": true} }, "--v=9", nil, nil},
		"the process is gone": {func(m *machine) { m.services.state.MainPID = 43 }, "--v=9", nil, nil},
		"white space within":  {func(m *machine) { m.in.Config.NodeRegistration.KubeletExtraArgs[0].Value = `a b` }, "--v=a b --hostname-override=w1", nil, nil},
		"quotes":              {func(m *machine) { m.in.Config.NodeRegistration.KubeletExtraArgs[0].Value = `"` }, "--v=", nil, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := fresh(t)
			m.in.Config.NodeRegistration.Name = "w1"
			m.in.Facts.Hostname = "machine"
			m.in.Config.NodeRegistration.KubeletExtraArgs = []kubeadm.Arg{{Name: "v", Value: "2"}, {Name: "hostname-override", Value: "w1"}}
			m.services.state.ExecStart, m.services.state.EnvironmentFiles = unit, []string{KubeletFlagsPath, extra}
			m.services.state.MainPID = 42
			if tt.edit != nil {
				tt.edit(m)
			}
			state := m.services.state
			m.apply()
			state.Active, state.State, state.StartedAt = true, "active/running", time.Now().Add(time.Hour)
			m.services.state = state
			m.setCredential(m.own())
			m.in.Cluster.Bootstrap, m.in.Cluster.TokenID, m.in.Cluster.Node, m.options.FilesOnly = nil, "", m.nodeInfo(), false
			m.write("/proc/42/environ", "PATH=/bin\x00KUBELET_KUBEADM_ARGS="+tt.args+"\x00LANG=C\x00")
			c := m.plan()
			if diff := cmp.Diff(tt.want, changesOf(c)); diff != "" {
				t.Fatalf("%s\n%+v", diff, c.Changes)
			}
			if len(c.Changes) > 0 {
				if diff := cmp.Diff(tt.says, c.Changes[0].Fields); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// What nobody can tell is said, and is no reason to restart.
func TestConfigPutBack(t *testing.T) {
	m := joined(t)
	m.services.state.StartedAt = m.filesWritten(-time.Minute)
	c := m.plan()
	if len(c.Changes) > 0 || len(c.Findings) != 1 || c.Findings[0].Severity != reconcile.SeverityInfo || c.Findings[0].Address != FileAddress(KubeletConfigPath) {
		t.Errorf("%+v", c)
	}
}
