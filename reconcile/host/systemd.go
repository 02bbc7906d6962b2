package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/kubejoin/kubejoin/fault"
)

// systemd talks to the manager over D-Bus.
type systemd struct {
	mu   sync.Mutex
	conn *dbus.Conn
}

// dial connects to the system bus; root also has systemd's private socket, for
// a machine without one. Only dialling ends with ctx, the connection does not.
func dial(ctx context.Context) (*dbus.Conn, error) {
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	conn, err := dbus.NewWithContext(life)
	if err != nil {
		cancel()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	if !stop() {
		conn.Close()
		return nil, context.Cause(ctx)
	}
	return conn, nil
}

func (s *systemd) connect(ctx context.Context) (*dbus.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil && s.conn.Connected() {
		return s.conn, nil
	}
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
	conn, err := dial(ctx)
	s.conn = conn
	return conn, err
}

func (s *systemd) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

func unitName(unit string) string {
	if strings.Contains(unit, ".") {
		return unit
	}
	return unit + ".service"
}

func (s *systemd) State(ctx context.Context, unit string) (ServiceState, error) {
	state := ServiceState{Manager: "systemd"}
	conn, err := s.connect(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return state, serviceFailed("look at the service", unit, err)
		}
		state.Unknown = "the system bus does not answer: " + err.Error()
		return state, nil
	}
	// All properties are one round trip and of one moment; each by itself would
	// be a dozen of both.
	props, err := conn.GetAllPropertiesContext(ctx, unitName(unit))
	switch {
	case refused(err):
		state.Unknown = "systemd refuses to answer: " + err.Error()
		return state, nil
	case err != nil:
		return state, serviceFailed("look at the service", unit, err)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return state, serviceFailed("read the clock", unit, err)
	}
	return systemdState(props, time.Now().Round(0), time.Duration(now.Nano())), nil
}

// The values of UnitFileState for which `systemctl is-enabled` succeeds
// (systemctl(1)), except enabled-runtime: that one is forgotten at the next
// boot. Enabling cannot change the others: they have no [Install] of their own.
var enabledStates = []string{"enabled", "static", "alias", "indirect", "generated", "transient"}

// systemdState reads a unit's properties as org.freedesktop.systemd1(5)
// describes them; mono is the monotonic clock at the moment of now, which is a
// reading of the wall clock only.
func systemdState(props map[string]any, now time.Time, mono time.Duration) ServiceState {
	load, active := prop[string](props, "LoadState"), prop[string](props, "ActiveState")
	s := ServiceState{
		Manager:     "systemd",
		Found:       load != "" && load != "not-found",
		Masked:      load == "masked",
		Enabled:     slices.Contains(enabledStates, prop[string](props, "UnitFileState")),
		State:       active + "/" + prop[string](props, "SubState"),
		MainPID:     int(prop[uint32](props, "MainPID")),
		Restarts:    int(prop[uint32](props, "NRestarts")),
		NeedsReload: prop[bool](props, "NeedDaemonReload"),
		LastExit:    lastExit(prop[int32](props, "ExecMainCode"), prop[int32](props, "ExecMainStatus")),
	}
	// A process that is being stopped runs, but not for long enough to count.
	s.Active = s.MainPID != 0 && active != "deactivating"
	if s.MainPID != 0 {
		started := prop[uint64](props, "ExecMainStartTimestamp") // µs since 1970
		since := prop[uint64](props, "ExecMainStartTimestampMonotonic")
		s.StartedAt = later(
			time.UnixMicro(int64(started)),
			now.Add(time.Duration(since)*time.Microsecond-mono))
	}
	for _, e := range prop[[][]any](props, "ExecStart") { // a(sasbttttuii)
		if len(e) < 2 {
			continue
		}
		path, _ := e[0].(string)
		argv, _ := e[1].([]string)
		s.ExecStart = expand(strings.Join(append([]string{path}, argv[min(1, len(argv)):]...), " "), prop[[]string](props, "Environment"))
	}
	for _, e := range prop[[][]any](props, "EnvironmentFiles") { // a(sb)
		if len(e) > 0 {
			path, _ := e[0].(string)
			s.EnvironmentFiles = append(s.EnvironmentFiles, path)
		}
	}
	return s
}

// expand puts the unit's own variables into its command line. Those of
// environment files stay as they are: nobody knows them before the unit starts.
func expand(command string, environment []string) string {
	return os.Expand(command, func(name string) string {
		for _, e := range environment {
			if value, ok := strings.CutPrefix(e, name+"="); ok {
				return value
			}
		}
		return "$" + name
	})
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// prop is a property's value, or the zero value if it is missing or of another
// type: old versions of systemd do not have all of them.
func prop[T any](props map[string]any, name string) T {
	v, _ := props[name].(T)
	return v
}

// lastExit takes si_code and si_status as waitid(2) gives them.
func lastExit(code, status int32) string {
	const exited, killed, dumped = 1, 2, 3
	switch code {
	case exited:
		return "exit status " + strconv.Itoa(int(status))
	case killed:
		return "signal: " + syscall.Signal(status).String()
	case dumped:
		return "signal: " + syscall.Signal(status).String() + " (core dumped)"
	}
	return ""
}

func (s *systemd) Enable(ctx context.Context, unit string) error {
	conn, err := s.connect(ctx)
	if err == nil {
		_, _, err = conn.EnableUnitFilesContext(ctx, []string{unitName(unit)}, false, false)
	}
	if err == nil {
		err = conn.ReloadContext(ctx)
	}
	return explain("enable", unit, err)
}

func (s *systemd) Restart(ctx context.Context, unit string) error {
	conn, err := s.connect(ctx)
	if err == nil {
		// Always: NeedDaemonReload does not tell of a drop-in in a directory that
		// is new as well (seen with systemd 252).
		err = conn.ReloadContext(ctx)
	}
	if err == nil {
		// A unit that failed too often in a row refuses to start before this. It
		// is an error if the unit did not fail or is not there; starting tells.
		_ = conn.ResetFailedUnitContext(ctx, unitName(unit))
		err = job(ctx, unit, conn.RestartUnitContext)
	}
	return explain("restart", unit, err)
}

func (s *systemd) Stop(ctx context.Context, unit string) error {
	conn, err := s.connect(ctx)
	if err == nil {
		err = job(ctx, unit, conn.StopUnitContext)
	}
	return explain("stop", unit, err)
}

// job queues a job and waits for what becomes of it.
func job(ctx context.Context, unit string, queue func(context.Context, string, string, chan<- string) (int, error)) error {
	done := make(chan string, 1) // never blocks the connection if nobody waits any more
	if _, err := queue(ctx, unitName(unit), "replace", done); err != nil {
		return err
	}
	select {
	case result := <-done:
		if result != "done" {
			return &jobError{result}
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// jobError is a job that ended with "canceled", "timeout", "failed",
// "dependency" or "skipped".
type jobError struct{ result string }

func (e *jobError) Error() string { return fmt.Sprintf("systemd's job ended with %q", e.result) }

func explain(doing, unit string, err error) error {
	if err == nil {
		return nil
	}
	var failed *jobError
	switch {
	case refused(err):
		return fault.New(fault.Preflight, "cannot %s: %w", doing, err).At("service:" + unit).WithHint("run as root")
	case isBusError(err, "org.freedesktop.systemd1.NoSuchUnit", "org.freedesktop.systemd1.UnitMasked"):
		return fault.New(fault.Preflight, "cannot %s: %w", doing, err).At("service:" + unit)
	case errors.As(err, &failed):
		return fault.New(fault.Internal, "cannot %s: %w", doing, err).At("service:"+unit).
			WithHint("see journalctl -u %s", unit)
	}
	return serviceFailed(doing, unit, err)
}

// refused tells whether this user may not do that. Depending on the version the
// refusal comes from the bus or from polkit.
func refused(err error) bool {
	return isBusError(err, "org.freedesktop.DBus.Error.AccessDenied",
		"org.freedesktop.DBus.Error.InteractiveAuthorizationRequired") || errors.Is(err, fs.ErrPermission)
}

func isBusError(err error, names ...string) bool {
	var e godbus.Error
	return errors.As(err, &e) && slices.Contains(names, e.Name)
}

func (s *systemd) Watch(ctx context.Context, unit string) (<-chan ServiceState, error) {
	changed := make(chan struct{}, 1)
	// A connection has only one subscriber, hence one of its own.
	conn, err := dial(ctx)
	if err != nil {
		// Nothing can change then that anybody would hear of; State says why.
		return watchStates(ctx, s, unit, nil), nil
	}
	updates, lost := make(chan *dbus.PropertiesUpdate, 256), make(chan error, 16)
	conn.SetPropertiesSubscriber(updates, lost)
	if err := conn.Subscribe(); err != nil {
		conn.Close()
		return nil, explain("watch", unit, err)
	}
	go func() {
		defer conn.Close()
		for {
			select {
			case u := <-updates:
				if u.UnitName == unitName(unit) {
					notify(changed)
				}
			case <-lost: //nolint:errcheck // a lost signal: the state itself says more
				notify(changed)
			case <-ctx.Done():
				return
			}
		}
	}()
	return watchStates(ctx, s, unit, changed), nil
}

// syncJournal is how long a log is waited for that the journal has not taken yet.
const syncJournal = 2 * time.Second

func (s *systemd) Logs(ctx context.Context, unit string, since time.Time, lines int) ([]string, error) {
	// What a process wrote just before it ended may still be on its way into the
	// journal. Only root may ask for it; others read what is there.
	sync, cancel := context.WithTimeout(ctx, syncJournal)
	_, _ = run(sync, "journalctl", "--sync")
	cancel()
	// In reverse, because "-n" counts from the start where "--since" is given
	// (systemd 252).
	args := []string{"--reverse", "-n", strconv.Itoa(lines), "-o", "cat", "--no-pager", "--quiet"}
	if !since.IsZero() {
		args = append(args, "--since=@"+strconv.FormatInt(since.Unix(), 10))
	}
	// What the unit's own processes said; what systemd says of the unit only if
	// there is nothing else, such as a binary that cannot be executed.
	for _, match := range []string{"_SYSTEMD_UNIT=" + unitName(unit), "--unit=" + unitName(unit)} {
		out, err := run(ctx, "journalctl", append(slices.Clone(args), match)...)
		if errors.Is(err, exec.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, serviceFailed("read the log", unit, err)
		}
		if found := splitLines(out); len(found) > 0 {
			slices.Reverse(found)
			return found, nil
		}
	}
	return nil, nil
}

func splitLines(out []byte) []string {
	text := strings.TrimRight(string(out), "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}
