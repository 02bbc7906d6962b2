package host

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"path"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// openrcPoll is how often a service is looked at: OpenRC has no events.
const openrcPoll = time.Second

// clockTick is the unit of times in /proc: USER_HZ, which is 100 on every
// architecture that Kubernetes runs on (proc(5), sysconf(3)).
const clockTick = time.Second / 100

// openrc uses OpenRC's commands: it has no other interface.
type openrc struct{ h *Host }

// The exit codes of `rc-service NAME status` (openrc-run's status function).
// The words that it prints go to different streams, so they are not read.
var openrcStates = map[int]string{
	0: "started", 3: "stopped", 4: "stopping", 8: "starting", 16: "inactive", 32: "crashed",
}

func serviceName(unit string) string { return strings.TrimSuffix(unit, ".service") }

func (o openrc) State(ctx context.Context, unit string) (ServiceState, error) {
	s := ServiceState{Manager: "openrc"}
	name := serviceName(unit)
	_, err := run(ctx, "rc-service", "--exists", name)
	if code, ok := exitCode(err); !ok {
		return o.unknown(ctx, unit, err)
	} else if code != 0 {
		return s, nil
	}
	s.Found = true

	_, err = run(ctx, "rc-service", name, "status")
	code, ok := exitCode(err)
	s.State = openrcStates[code]
	if !ok || s.State == "" { // 1 is any other failure
		return o.unknown(ctx, unit, err)
	}
	runlevel, err := run(ctx, "rc-update", "show", "default")
	if err != nil {
		return o.unknown(ctx, unit, err)
	}
	s.Enabled = listed(runlevel, name)
	if s.State == "started" {
		s.Active = true
		s.MainPID, s.StartedAt, err = o.process(name)
	}
	if err != nil {
		return s, serviceFailed("look at the service", unit, err)
	}
	return s, nil
}

// unknown is a manager that could not be asked.
func (o openrc) unknown(ctx context.Context, unit string, err error) (ServiceState, error) {
	if ctx.Err() != nil {
		return ServiceState{Manager: "openrc"}, serviceFailed("look at the service", unit, err)
	}
	return ServiceState{Manager: "openrc", Unknown: "OpenRC does not answer: " + err.Error()}, nil
}

// exitCode is a finished command's; false if it did not run to its end.
func exitCode(err error) (int, bool) {
	var e *exec.ExitError
	switch {
	case err == nil:
		return 0, true
	case errors.As(err, &e):
		return e.ExitCode(), e.Exited()
	}
	return -1, false
}

// listed looks for a service in lines such as "   kubelet | default".
func listed(runlevel []byte, name string) bool {
	for line := range bytes.Lines(runlevel) {
		service, _, _ := bytes.Cut(line, []byte("|"))
		if string(bytes.TrimSpace(service)) == name {
			return true
		}
	}
	return false
}

// process finds the main process. supervise-daemon notes its child's pid among
// the service's options, and its own in the pid file; start-stop-daemon knows
// only the pid file. All is zero if there is no such file or no such process.
func (o openrc) process(name string) (pid int, started time.Time, err error) {
	for _, file := range []string{"/run/openrc/options/" + name + "/child_pid", "/run/" + name + ".pid"} {
		data, state, err := o.h.ReadFile(file, smallFile)
		if err != nil {
			return 0, time.Time{}, err
		}
		pid, err := strconv.Atoi(string(bytes.TrimSpace(data)))
		if err != nil || pid <= 0 {
			continue
		}
		stat, _, err := o.h.ReadFile(path.Join("/proc", strconv.Itoa(pid), "stat"), smallFile)
		if err != nil {
			return 0, time.Time{}, err
		}
		since, ok := startTime(stat)
		if !ok {
			continue
		}
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
			return 0, time.Time{}, err
		}
		// The pid file's time is the wall clock's at the start.
		return pid, later(state.ModTime, time.Now().Round(0).Add(since-time.Duration(now.Nano()))), nil
	}
	return 0, time.Time{}, nil
}

// startTime is when a process started, since boot: the 22nd field of
// /proc/PID/stat. The 2nd is in parentheses and may hold anything.
func startTime(stat []byte) (time.Duration, bool) {
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 20 {
		return 0, false
	}
	ticks, err := strconv.ParseInt(fields[19], 10, 64)
	return time.Duration(ticks) * clockTick, err == nil
}

func (o openrc) Enable(ctx context.Context, unit string) error {
	return o.do(ctx, "enable", unit, "rc-update", "add", serviceName(unit), "default")
}

func (o openrc) Restart(ctx context.Context, unit string) error {
	return o.do(ctx, "restart", unit, "rc-service", serviceName(unit), "restart")
}

func (o openrc) Stop(ctx context.Context, unit string) error {
	return o.do(ctx, "stop", unit, "rc-service", serviceName(unit), "stop")
}

func (o openrc) do(ctx context.Context, doing, unit, command string, args ...string) error {
	if _, err := run(ctx, command, args...); err != nil {
		return serviceFailed(doing, unit, err)
	}
	return nil
}

func (o openrc) Watch(ctx context.Context, unit string) (<-chan ServiceState, error) {
	changed := make(chan struct{}, 1)
	go func() {
		t := time.NewTicker(openrcPoll)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				notify(changed)
			case <-ctx.Done():
				return
			}
		}
	}()
	return watchStates(ctx, o, unit, changed), nil
}

// Logs is nil: OpenRC keeps none, and where a service writes is its own affair.
func (o openrc) Logs(context.Context, string, time.Time, int) ([]string, error) { return nil, nil }
