package host

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kubejoin/kubejoin/fault"
)

// The properties are of the types that D-Bus gives. systemd itself is tested
// where it runs: on the machines of e2e.
func TestSystemdState(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	const mono = 5000 * time.Second // since boot
	micro := func(t time.Time) uint64 { return uint64(t.UnixMicro()) }
	running := func(more map[string]any) map[string]any {
		props := map[string]any{
			"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "UnitFileState": "enabled",
			"MainPID": uint32(4711), "NRestarts": uint32(3),
			"ExecMainStartTimestamp":          micro(now.Add(-time.Minute)),
			"ExecMainStartTimestampMonotonic": uint64((mono - time.Minute).Microseconds()),
		}
		for k, v := range more {
			props[k] = v
		}
		return props
	}
	active := ServiceState{
		Manager: "systemd", Found: true, Enabled: true, Active: true, State: "active/running",
		MainPID: 4711, Restarts: 3, StartedAt: now.Add(-time.Minute),
	}
	with := func(change func(*ServiceState)) ServiceState { s := active; change(&s); return s }

	for name, test := range map[string]struct {
		props map[string]any
		want  ServiceState
	}{
		"running": {running(nil), active},
		"the clock was set back by an hour after the start": {
			running(map[string]any{"ExecMainStartTimestamp": micro(now.Add(time.Hour - time.Minute))}),
			with(func(s *ServiceState) { s.StartedAt = now.Add(time.Hour - time.Minute) }),
		},
		"the clock was set forward by an hour after the start": {
			running(map[string]any{"ExecMainStartTimestamp": micro(now.Add(-time.Hour - time.Minute))}),
			active,
		},
		"command line and environment": {
			running(map[string]any{
				"ExecStart": [][]any{{"/usr/bin/kubelet", []string{"/usr/bin/kubelet", "$KUBELET_ARGS", "--v=2"},
					false, uint64(0), uint64(0), uint64(0), uint64(0), uint32(0), int32(0), int32(0)}},
				"EnvironmentFiles": [][]any{{"/var/lib/kubelet/kubeadm-flags.env", true}, {"/etc/default/kubelet", false}},
				"NeedDaemonReload": true,
			}),
			with(func(s *ServiceState) {
				s.NeedsReload = true
				s.ExecStart = "/usr/bin/kubelet $KUBELET_ARGS --v=2"
				s.EnvironmentFiles = []string{"/var/lib/kubelet/kubeadm-flags.env", "/etc/default/kubelet"}
			}),
		},
		"crash loop": {
			map[string]any{
				"LoadState": "loaded", "ActiveState": "activating", "SubState": "auto-restart", "UnitFileState": "enabled",
				"MainPID": uint32(0), "NRestarts": uint32(8), "ExecMainCode": int32(1), "ExecMainStatus": int32(1),
				"ExecMainStartTimestamp": micro(now),
			},
			ServiceState{
				Manager: "systemd", Found: true, Enabled: true, State: "activating/auto-restart",
				Restarts: 8, LastExit: "exit status 1",
			},
		},
		"being stopped": {
			running(map[string]any{"ActiveState": "deactivating", "SubState": "stop-sigterm"}),
			with(func(s *ServiceState) { s.Active, s.State = false, "deactivating/stop-sigterm" }),
		},
		"killed": {
			map[string]any{
				"LoadState": "loaded", "ActiveState": "failed", "SubState": "failed", "UnitFileState": "disabled",
				"ExecMainCode": int32(2), "ExecMainStatus": int32(9),
			},
			ServiceState{Manager: "systemd", Found: true, State: "failed/failed", LastExit: "signal: killed"},
		},
		"dumped core": {
			map[string]any{"LoadState": "loaded", "ActiveState": "failed", "SubState": "failed",
				"ExecMainCode": int32(3), "ExecMainStatus": int32(11)},
			ServiceState{Manager: "systemd", Found: true, State: "failed/failed",
				LastExit: "signal: segmentation fault (core dumped)"},
		},
		"masked": {
			map[string]any{"LoadState": "masked", "ActiveState": "inactive", "SubState": "dead", "UnitFileState": "masked"},
			ServiceState{Manager: "systemd", Found: true, Masked: true, State: "inactive/dead"},
		},
		"without [Install] it cannot be enabled, so it counts as enabled": {
			map[string]any{"LoadState": "loaded", "ActiveState": "inactive", "SubState": "dead", "UnitFileState": "static"},
			ServiceState{Manager: "systemd", Found: true, Enabled: true, State: "inactive/dead"},
		},
		"enabled until the next boot only": {
			map[string]any{"LoadState": "loaded", "ActiveState": "inactive", "SubState": "dead", "UnitFileState": "enabled-runtime"},
			ServiceState{Manager: "systemd", Found: true, State: "inactive/dead"},
		},
		"not there": {
			map[string]any{"LoadState": "not-found", "ActiveState": "inactive", "SubState": "dead", "UnitFileState": ""},
			ServiceState{Manager: "systemd", State: "inactive/dead"},
		},
		"unexpected types": {
			map[string]any{"LoadState": 7, "ExecStart": [][]any{{}, {1, 2}}, "EnvironmentFiles": [][]any{{}}},
			ServiceState{Manager: "systemd", State: "/"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, systemdState(test.props, now, mono)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUnreachableBus(t *testing.T) {
	if _, err := os.Stat("/run/systemd/private"); err == nil && os.Geteuid() == 0 {
		return // systemd answers root without a bus, and would do what is asked here
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+filepath.Join(t.TempDir(), "none"))
	s := &systemd{}
	defer s.close()
	state, err := s.State(t.Context(), "kubelet")
	if err != nil || state.Manager != "systemd" || state.Unknown == "" || state.Found {
		t.Errorf("%+v, %v", state, err)
	}
	for name, do := range map[string]func(context.Context, string) error{
		"enable": s.Enable, "restart": s.Restart, "stop": s.Stop,
	} {
		if err := do(t.Context(), "kubelet"); err == nil {
			t.Errorf("%s succeeded", name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	states, err := s.Watch(ctx, "kubelet")
	if err != nil || (<-states).Unknown == "" {
		t.Error(err)
	}
	cancel()
	for range states { // until it is closed
	}
}

// fakeOpenRC is a root directory with OpenRC's files, and its commands in PATH.
func fakeOpenRC(t *testing.T) (openrc, string) {
	t.Helper()
	bin, err := filepath.Abs("testdata/openrc")
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	t.Setenv("STATE", root)
	h, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	put(t, root, "status", "stopped")
	put(t, root, "default", "                 sshd | default\n      kubelet-helper | default\n")
	return openrc{h}, root
}

func put(t *testing.T, root, name, content string) {
	t.Helper()
	full := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// stat is a line of /proc/PID/stat of a process that started some time ago.
func stat(t *testing.T, pid int, age time.Duration) string {
	t.Helper()
	data, err := os.ReadFile("/proc/uptime")
	if err != nil {
		t.Fatal(err)
	}
	seconds, _, _ := strings.Cut(string(data), " ")
	uptime, err := time.ParseDuration(seconds + "s")
	if err != nil {
		t.Fatal(err)
	}
	ticks := int((uptime - age) / clockTick)
	return strconv.Itoa(pid) + " (kube) let) S 1 1 1 0 -1 4194560 1 1 0 0 1 1 0 0 20 0 17 0 " + strconv.Itoa(ticks) + " 1 1"
}

func TestOpenRCState(t *testing.T) {
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
	for name, test := range map[string]struct {
		status string
		files  map[string]string
		want   ServiceState
	}{
		"stopped": {status: "stopped", want: ServiceState{Found: true, State: "stopped"}},
		"enabled": {
			status: "stopped",
			files:  map[string]string{"default": "   kubelet | default\n"},
			want:   ServiceState{Found: true, State: "stopped", Enabled: true},
		},
		"crashed":  {status: "crashed", want: ServiceState{Found: true, State: "crashed"}},
		"starting": {status: "starting", want: ServiceState{Found: true, State: "starting"}},
		"supervised": {
			status: "started",
			files: map[string]string{
				"run/kubelet.pid":                      "10\n", // the supervisor
				"run/openrc/options/kubelet/child_pid": "11",
				"proc/10/stat":                         stat(t, 10, time.Hour),
				"proc/11/stat":                         stat(t, 11, 20*time.Minute),
			},
			want: ServiceState{Found: true, State: "started", Active: true, MainPID: 11, StartedAt: ago(20 * time.Minute)},
		},
		"with a pid file": {
			status: "started",
			files:  map[string]string{"run/kubelet.pid": "10\n", "proc/10/stat": stat(t, 10, time.Hour)},
			want:   ServiceState{Found: true, State: "started", Active: true, MainPID: 10, StartedAt: ago(time.Hour)},
		},
		"the pid file is stale": {
			status: "started",
			files:  map[string]string{"run/kubelet.pid": "10\n"},
			want:   ServiceState{Found: true, State: "started", Active: true},
		},
		"the pid file is nonsense": {
			status: "started",
			files:  map[string]string{"run/kubelet.pid": "-1"},
			want:   ServiceState{Found: true, State: "started", Active: true},
		},
		"not booted by OpenRC": {
			status: "?",
			want: ServiceState{Unknown: "OpenRC does not answer: rc-service kubelet status: exit status 1: " +
				"* system which openrc did not boot."},
		},
	} {
		t.Run(name, func(t *testing.T) {
			o, root := fakeOpenRC(t)
			put(t, root, "status", test.status)
			for file, content := range test.files {
				put(t, root, file, content)
				old := ago(24 * time.Hour)
				if err := os.Chtimes(filepath.Join(root, file), old, old); err != nil {
					t.Fatal(err)
				}
			}
			got, err := o.State(t.Context(), "kubelet.service")
			if err != nil {
				t.Fatal(err)
			}
			test.want.Manager = "openrc"
			if diff := cmp.Diff(test.want, got, cmpopts.EquateApproxTime(2*time.Second)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOpenRC(t *testing.T) {
	o, root := fakeOpenRC(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if s, err := o.State(ctx, "missing"); s.Found || s.Unknown != "" || err != nil {
		t.Error(s, err)
	}
	states, err := o.Watch(ctx, "kubelet")
	if err != nil {
		t.Fatal(err)
	}
	if s := <-states; s.State != "stopped" {
		t.Error(s)
	}
	for _, do := range []func(context.Context, string) error{o.Enable, o.Restart} {
		if err := do(ctx, "kubelet"); err != nil {
			t.Error(err)
		}
	}
	if s := <-states; s.State != "started" || !s.Enabled {
		t.Error(s)
	}
	if err := o.Stop(ctx, "kubelet"); err != nil {
		t.Error(err)
	}
	if s := <-states; s.State != "stopped" || !s.Enabled {
		t.Error(s)
	}
	err = o.Restart(ctx, "missing")
	want := "service:missing: cannot restart: rc-service missing restart: exit status 1: * rc-service: service `missing' does not exist"
	if err == nil || err.Error() != want {
		t.Error(err)
	}
	if err := o.Enable(ctx, "missing"); err == nil {
		t.Error("a missing service was enabled")
	}
	if lines, err := o.Logs(ctx, "kubelet", time.Time{}, 10); lines != nil || err != nil {
		t.Error(lines, err)
	}
	cancel()
	for range states { // until it is closed
	}
	if _, err := o.State(ctx, "kubelet"); err == nil {
		t.Error("no error after the context ended")
	}
	t.Setenv("PATH", root)
	if s, err := o.State(t.Context(), "kubelet"); err != nil || s.Unknown == "" {
		t.Error(s, err)
	}
}

// Below a root directory nothing of this machine is touched.
func TestNoManager(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	put(t, root, "run/systemd/system/x", "")
	put(t, root, "run/openrc/x", "")
	h, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	ctx, cancel := context.WithCancel(t.Context())
	s := h.Services(ctx)
	states, err := s.Watch(ctx, "kubelet")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ServiceState{}, <-states); diff != "" {
		t.Error(diff)
	}
	cancel()
	for range states { // until it is closed
	}
	for _, do := range []func(context.Context, string) error{s.Enable, s.Restart, s.Stop} {
		err := do(t.Context(), "kubelet")
		if err == nil || fault.ClassOf(err) != fault.Preflight || fault.HintOf(err) == "" {
			t.Error(err)
		}
	}
	if lines, err := s.Logs(t.Context(), "kubelet", time.Now(), 5); lines != nil || err != nil {
		t.Error(lines, err)
	}
	if _, err := h.Run(t.Context(), "true"); err == nil {
		t.Error("a program of this machine was run")
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	h, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	out, err := h.Run(t.Context(), "echo", "$HOME", "a  b")
	if string(out) != "$HOME a  b\n" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
	_, err = h.Run(t.Context(), "sh", "-c", "echo one >&2; echo two >&2; exit 3")
	if code, ok := exitCode(err); !ok || code != 3 || err.Error() != "sh -c echo one >&2; echo two >&2; exit 3: exit status 3: two" {
		t.Error(code, ok, err)
	}
	if _, err := h.Run(t.Context(), "kubejoin-no-such-program"); !errors.Is(err, exec.ErrNotFound) {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	// The grandchild keeps the pipe open.
	if _, err = h.Run(ctx, "sh", "-c", "sleep 3 & wait"); err == nil || time.Since(start) > 2*time.Second {
		t.Error(err, time.Since(start))
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}
