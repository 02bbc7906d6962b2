package lab

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// RunMeasured is RunSecret, and says how much memory the program of a name had resident at most, by itself: what a
// process counts for its children is the largest of them.
func (m *Machine) RunMeasured(ctx context.Context, program, command string) (res Result, bytes int64) {
	p, err := m.Start(ctx, "root", command)
	if err != nil {
		return Result{Command: command, Code: -1, machine: m.Name, failure: err}, 0
	}
	p.secret = true
	done, peak := make(chan struct{}), make(chan int64)
	go func() { peak <- peakOf(p.cmd.Process.Pid, program, done) }()
	res = p.Wait()
	close(done)
	return res, <-peak
}

// peakEvery is how often the high-water mark of a process is read: it is gone as soon as the process has ended.
const peakEvery = 5 * time.Millisecond

// peakOf is the last high-water mark of the program that a process or one of its children became, until done. 0 if it was
// never seen.
func peakOf(root int, program string, done <-chan struct{}) (bytes int64) {
	tick := time.NewTicker(peakEvery)
	defer tick.Stop()
	pid := 0
	for {
		if pid == 0 {
			pid = find(root, program)
		}
		if pid != 0 {
			bytes = max(bytes, highWater(pid))
		}
		select {
		case <-tick.C:
		case <-done:
			return bytes
		}
	}
}

// find is the process of a name among one and those that it started; 0 if there is none.
func find(pid int, program string) int {
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return 0
	}
	if strings.TrimSpace(string(comm)) == program {
		return pid
	}
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid)) // gone: none
	for _, field := range strings.Fields(string(children)) {
		child, err := strconv.Atoi(field)
		if err != nil {
			continue
		}
		if found := find(child, program); found != 0 {
			return found
		}
	}
	return 0
}

// highWater is VmHWM of a process (proc_pid_status(5)); 0 once it has ended.
func highWater(pid int) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(status))
	i := slices.Index(fields, "VmHWM:")
	if i < 0 || i+1 >= len(fields) {
		return 0
	}
	kib, err := strconv.ParseInt(fields[i+1], 10, 64)
	if err != nil {
		return 0
	}
	return kib << 10
}
