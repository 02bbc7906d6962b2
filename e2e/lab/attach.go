package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Run is a lab that another process keeps up.
type Run struct {
	dir        string
	supervisor int // PID
}

// Running returns the one lab that is up on this host; it is an error if there is none or several.
func Running() (*Run, error) {
	locks, err := filepath.Glob(filepath.Join(runsDir(), "*.lock"))
	if err != nil {
		return nil, err
	}
	var alive []*Run
	for _, name := range locks {
		lock, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(lock.Fd()), unix.LOCK_SH|unix.LOCK_NB)
		lock.Close()
		if !errors.Is(err, unix.EWOULDBLOCK) {
			continue // stale
		}
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		alive = append(alive, &Run{strings.TrimSuffix(name, ".lock"), pid})
	}
	if len(alive) != 1 {
		return nil, fmt.Errorf("%d labs are up, not one", len(alive))
	}
	return alive[0], nil
}

// Down tells the process that keeps the lab up to end it.
func (r *Run) Down() error { return syscall.Kill(r.supervisor, syscall.SIGTERM) }

// Exec runs a shell command on a machine with this process's standard input and outputs.
func (r *Run) Exec(name, command string) error {
	leader, err := os.ReadFile(filepath.Join(r.dir, "machines", name, "leader"))
	if err != nil {
		return err
	}
	cmd := exec.Command("nsenter", "-t", string(leader), "-a", "--wd", "--", "/bin/bash", "-lc", command)
	cmd.Env = []string{"HOME=/root", "TERM=" + os.Getenv("TERM"), "KUBECONFIG=/etc/kubernetes/admin.conf"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}
