package lab

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// What this program does is decided by its environment: the first process supervises, the
// second, with a run, does the work, and more of them become the machines.
const (
	envRun     = "KUBEJOIN_LAB_RUN"
	envMachine = "KUBEJOIN_LAB_MACHINE"
)

// Main runs body in a process of its own, and sweeps away everything it made when it
// has ended, however it ended: by returning, by a panic, by a signal, by a time limit. It returns body's
// exit code, or 1 if something could not be swept. Runs that were killed earlier, supervisor and all,
// are swept first. Call it first in TestMain or main: os.Exit(lab.Main(m.Run)).
func Main(body func() int) int {
	if group := os.Getenv(envMachine); group != "" {
		fmt.Fprintln(os.Stderr, "lab:", becomeMachine(group, os.Args[1:]))
		return 1
	}
	if os.Getenv(envRun) != "" {
		return body()
	}
	code, err := supervise()
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return cmp.Or(code, 1)
	}
	return code
}

func supervise() (int, error) {
	if os.Getuid() != 0 {
		return 1, errors.New("the lab makes namespaces and mounts: run it as root")
	}
	run, lock, err := newRun()
	if err != nil {
		return 1, err
	}
	defer lock.Close()

	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	// The death signal below comes when the thread that started the child ends.
	runtime.LockOSThread()
	child := exec.Command("/proc/self/exe", os.Args[1:]...)
	child.Args[0] = os.Args[0]
	child.Env = append(os.Environ(), envRun+"="+run)
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := child.Start(); err != nil {
		return 1, errors.Join(err, sweep(run))
	}
	go func() {
		for s := range signals {
			_ = child.Process.Signal(s)
		}
	}()
	_ = child.Wait()
	code := child.ProcessState.ExitCode()
	if code < 0 { // ended by a signal
		code = 1
	}
	return code, step("sweep run "+filepath.Base(run), func() error { return sweep(run) })
}

// newRun sweeps stale runs and makes the directory and the lock of a new one.
func newRun() (string, *os.File, error) {
	// One process at a time: a run is stale to another between the making and the locking of its lock.
	all, err := waitLock(runsDir() + ".lock")
	if err != nil {
		return "", nil, err
	}
	defer all.Close()
	if err := sweepStale(); err != nil {
		return "", nil, fmt.Errorf("sweep earlier runs: %w", err)
	}
	random := make([]byte, 2)
	if _, err := rand.Read(random); err != nil {
		return "", nil, err
	}
	run := filepath.Join(runsDir(), hex.EncodeToString(random))
	// An empty cache has no directory of runs yet; the random name is this run's alone.
	if err := os.MkdirAll(run, 0o755); err != nil {
		return "", nil, err
	}
	lock, err := lockRun(run)
	return run, lock, err
}

// runsDir is in the cache because machines hard-link files of it.
func runsDir() string { return filepath.Join(CacheDir(), "runs") }

// lockRun locks a run for as long as its supervisor lives. The kernel lets go of the
// lock however the supervisor ends, so a run whose lock is free is stale.
func lockRun(run string) (*os.File, error) {
	lock, err := os.OpenFile(run+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	if err := lock.Truncate(0); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	_, err = fmt.Fprintln(lock, os.Getpid())
	return lock, err
}

func sweepStale() error {
	runs, err := filepath.Glob(filepath.Join(runsDir(), "*.lock"))
	if err != nil {
		return err
	}
	for _, name := range runs {
		run := strings.TrimSuffix(name, ".lock")
		lock, err := lockRun(run)
		if errors.Is(err, unix.EWOULDBLOCK) {
			continue // alive
		}
		if err == nil {
			err = step("sweep stale run "+filepath.Base(run), func() error { return sweep(run) })
			lock.Close()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// prefix begins the names of everything a run has outside its directory.
func prefix(run string) string { return "kjlab-" + filepath.Base(run) }

// sweep ends and deletes everything that belongs to a run, and fails if something stays.
func sweep(run string) error {
	machines, err := filepath.Glob(filepath.Join(run, "machines", "*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range machines {
		errs = append(errs, sweepMachine(run, filepath.Base(dir)))
	}
	// A command that was entering a machine may be in no group: what is in the run's network
	// namespace and was not started by it cannot exist.
	if _, err := os.Stat("/run/netns/" + prefix(run)); err == nil {
		_, err := host(context.Background(), "ip", "netns", "delete", prefix(run))
		errs = append(errs, err)
	}
	errs = append(errs, unmountBelow(run))
	if err := errors.Join(errs...); err != nil {
		return err // never delete below a mount that is still there
	}
	if err := os.RemoveAll(run); err != nil {
		return err
	}
	if err := remains(run); err != nil {
		return err
	}
	if err := os.Remove(run + ".lock"); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// sweepMachine ends and deletes one machine of a run.
func sweepMachine(run, name string) error {
	if err := killCgroup(prefix(run) + "-" + name); err != nil {
		return err
	}
	dir := filepath.Join(run, "machines", name)
	if err := unmountBelow(dir); err != nil {
		return err
	}
	// Only there if systemd-nspawn was killed.
	if err := os.RemoveAll("/run/systemd/nspawn/propagate/" + machineName(run, name)); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// unmountBelow unmounts everything below a directory, the last mounted first.
func unmountBelow(dir string) error {
	mounts, err := readMounts()
	if err != nil {
		return err
	}
	for _, m := range slices.Backward(mounts) {
		if strings.HasPrefix(m.point, dir+"/") {
			if err := unix.Unmount(m.point, unix.MNT_DETACH); err != nil {
				return fmt.Errorf("unmount %s: %w", m.point, err)
			}
		}
	}
	return nil
}

// remains fails if anything of a run is left on the host.
func remains(run string) error {
	var left []string
	mounts, err := readMounts()
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if strings.HasPrefix(m.point, run+"/") {
			left = append(left, "mount "+m.point)
		}
	}
	points, err := hierarchies()
	if err != nil {
		return err
	}
	patterns := []string{"/run/netns/" + prefix(run), run, "/run/systemd/nspawn/propagate/*-" + filepath.Base(run)}
	for _, point := range points {
		patterns = append(patterns, filepath.Join(point, prefix(run)+"*"))
	}
	for _, pattern := range patterns {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		left = append(left, found...)
	}
	processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	for _, name := range processes {
		// The supervisor does not have the directory in its command line; systemd-nspawn does.
		data, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue
		}
		if strings.Contains(string(data), run+"/") {
			left = append(left, strings.ReplaceAll(string(data), "\x00", " "))
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("left of run %s: %s", filepath.Base(run), strings.Join(left, "; "))
	}
	return nil
}

// becomeMachine replaces this process, in cgroups of its own, by another program.
func becomeMachine(group string, argv []string) error {
	if err := enterCgroup(group); err != nil {
		return err
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	return syscall.Exec(path, argv, []string{
		"PATH=" + os.Getenv("PATH"),
		"SYSTEMD_NSPAWN_API_VFS_WRITABLE=yes", // the kubelet sets sysctls
		"SYSTEMD_NSPAWN_USE_CGNS=1",           // v1: paths in /proc/self/cgroup are the machine's own
	})
}
