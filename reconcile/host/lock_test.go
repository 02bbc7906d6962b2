package host_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

func TestLock(t *testing.T) {
	h, root := machine(t) // without /run
	release, err := h.Lock()
	must(t, err)
	info, err := os.Stat(filepath.Join(root, host.LockPath))
	if err != nil || info.Mode() != 0o600 {
		t.Error(info, err)
	}
	_, err = open(t, root).Lock()
	wantClass(t, err, fault.Busy)
	want := fmt.Sprintf("file:/run/kubejoin.lock: another kubejoin (pid %d) is at work", os.Getpid())
	if err.Error() != want || fault.HintOf(err) == "" {
		t.Error(err)
	}
	release()
	release() // once more does no harm
	if got := list(t, root); got != "/run\n" {
		t.Error(got)
	}
	release, err = h.Lock()
	must(t, err)
	release()
}

func TestLockOfAKilledProcessIsFree(t *testing.T) {
	h, root := machine(t, "run/")
	cmd := child(t, "lock", root)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
		t.Fatal(line, err)
	}
	_, err = h.Lock()
	if want := fmt.Sprintf("file:/run/kubejoin.lock: another kubejoin (pid %d) is at work", cmd.Process.Pid); err == nil || err.Error() != want {
		t.Error(err)
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait() // "signal: killed"
	release, err := h.Lock()
	must(t, err)
	release()
}

// The file is removed on release: nobody may hold a lock on a file without name.
func TestLockIsExclusive(t *testing.T) {
	_, root := machine(t, "run/")
	var wg sync.WaitGroup
	var inside, got atomic.Int32
	for range 8 {
		h := open(t, root)
		wg.Go(func() {
			for range 300 {
				release, err := h.Lock()
				if fault.ClassOf(err) == fault.Busy {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if inside.Add(1) != 1 {
					t.Error("two at a time")
				}
				got.Add(1)
				inside.Add(-1)
				release()
			}
		})
	}
	wg.Wait()
	if got.Load() == 0 {
		t.Error("nobody got the lock")
	}
}

func TestLockRefuses(t *testing.T) {
	for _, entry := range []string{"run/kubejoin.lock/", "run/kubejoin.lock -> /etc/shadow", "run"} {
		h, root := machine(t, entry)
		before := list(t, root)
		_, err := h.Lock()
		wantClass(t, err, fault.Internal)
		if after := list(t, root); after != before {
			t.Error(entry, after)
		}
	}
}

// The other name of a hard link may be outside of the root.
func TestLockRefusesAHardLink(t *testing.T) {
	h, root := machine(t, "run/")
	victim := filepath.Join(t.TempDir(), "victim")
	must(t, os.WriteFile(victim, []byte("12345"), 0o600))
	must(t, os.Link(victim, filepath.Join(root, host.LockPath)))
	_, err := h.Lock()
	wantClass(t, err, fault.Internal)
	if data, err := os.ReadFile(victim); string(data) != "12345" {
		t.Errorf("%q, %v", data, err)
	}
}
