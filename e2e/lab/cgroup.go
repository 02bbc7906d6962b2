package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// hierarchies returns the mount points of all cgroup hierarchies of the host: one on a v2 host,
// one per controller and systemd's own on a v1 or hybrid host.
func hierarchies() ([]string, error) {
	mounts, err := readMounts()
	if err != nil {
		return nil, err
	}
	var points []string
	for _, m := range mounts {
		if m.fstype == "cgroup" || m.fstype == "cgroup2" {
			points = append(points, m.point)
		}
	}
	if len(points) == 0 {
		return nil, errors.New("no cgroup file system is mounted")
	}
	return points, nil
}

type mountpoint struct{ point, fstype string }

func readMounts() ([]mountpoint, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var mounts []mountpoint
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20) // an overlay's line lists all its layers
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(before)
		if !ok || len(fields) < 5 {
			return nil, fmt.Errorf("mountinfo: %q", lines.Text())
		}
		mounts = append(mounts, mountpoint{fields[4], strings.Fields(after)[0]})
	}
	return mounts, lines.Err()
}

// enterCgroup moves this process into a new group of every hierarchy. Without one of its own in
// every hierarchy, a machine on a v1 host would share systemd's with the other machines and would wait
// for their processes when it stops a unit.
func enterCgroup(name string) error {
	points, err := hierarchies()
	if err != nil {
		return err
	}
	for _, point := range points {
		dir := filepath.Join(point, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		// v1: a new cpuset is empty, and refuses processes.
		for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
			if data, err := os.ReadFile(filepath.Join(point, f)); err == nil && len(data) > 0 {
				if err := os.WriteFile(filepath.Join(dir, f), data, 0); err != nil {
					return err
				}
			}
		}
		// v2: controllers are handed down one by one; those in use by v1 hierarchies are not listed.
		if data, err := os.ReadFile(filepath.Join(point, "cgroup.controllers")); err == nil {
			for _, c := range strings.Fields(string(data)) {
				_ = os.WriteFile(filepath.Join(point, "cgroup.subtree_control"), []byte("+"+c), 0)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0); err != nil {
			return fmt.Errorf("join %s: %w", dir, err)
		}
	}
	return nil
}

// cgroupDirs returns the groups of that name and all groups below them, children first.
func cgroupDirs(name string) ([]string, error) {
	points, err := hierarchies()
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, point := range points {
		err := filepath.WalkDir(filepath.Join(point, name), func(p string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil && d.IsDir() {
				dirs = append(dirs, p)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Reverse(dirs)
	return dirs, nil
}

// cgroupPIDs returns the processes in the groups of that name.
func cgroupPIDs(name string) ([]int, error) {
	dirs, err := cgroupDirs(name)
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, dir := range dirs {
		data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			continue // gone since, or threaded
		}
		for _, field := range strings.Fields(string(data)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 1 && pid != os.Getpid() {
				pids = append(pids, pid)
			}
		}
	}
	slices.Sort(pids)
	return slices.Compact(pids), nil
}

// killCgroup ends all processes in the groups of that name and removes the groups. Processes inside
// a machine go first, so that systemd-nspawn sees its machine end and tidies up itself.
func killCgroup(name string) error {
	begin := time.Now()
	for {
		pids, err := cgroupPIDs(name)
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			break
		}
		if time.Since(begin) > 20*time.Second {
			return fmt.Errorf("processes %v of %s do not end", pids, name)
		}
		for _, pid := range pids {
			if inside(pid) || time.Since(begin) > 5*time.Second {
				// The group names this run, so the process is ours; it cannot have been replaced
				// by another between two lines except by a child of its own.
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	dirs, err := cgroupDirs(name)
	if err != nil {
		return err
	}
	var errs []error
	for _, dir := range dirs {
		err := os.Remove(dir)
		for try := 0; errors.Is(err, syscall.EBUSY) && try < 100; try++ { // the last process is not quite gone
			time.Sleep(20 * time.Millisecond)
			err = os.Remove(dir)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// inside says whether a process is in a PID namespace below ours.
func inside(pid int) bool { return len(nsPIDs(pid)) > 1 }

// nsPIDs returns the IDs of a process, from our PID namespace to its own.
func nsPIDs(pid int) []string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(data)) {
		if ids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			return strings.Fields(ids)
		}
	}
	return nil
}
