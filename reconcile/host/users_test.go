package host_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

func TestLockAccounts(t *testing.T) {
	h, root := machine(t, "etc/")
	release, err := h.LockAccounts(t.Context(), time.Minute)
	must(t, err)
	// Those who use lckpwdf(3) are kept out.
	f, err := os.OpenFile(filepath.Join(root, host.AccountsLockPath), os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	lock := &unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, lock); err == nil {
		t.Fatal("it can be locked twice")
	}
	release()
	must(t, unix.FcntlFlock(f.Fd(), unix.F_SETLK, lock))
	// And they keep others out.
	if _, err := h.LockAccounts(t.Context(), 10*time.Millisecond); fault.ClassOf(err) != fault.Busy {
		t.Errorf("got %v", err)
	}
	time.AfterFunc(50*time.Millisecond, func() { _ = f.Close() })
	release, err = h.LockAccounts(t.Context(), time.Minute)
	must(t, err)
	release()
}

func TestTree(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives files away")
	}
	h, root := machine(t, "var/lib/etcd/member/wal/0.wal", "outside", "var/lib/etcd/link -> /outside")
	s, err := h.Tree("/var/lib/etcd", 0, 0)
	must(t, err)
	if s.Kind != host.Dir || s.Stranger != "" || s.Denied {
		t.Fatalf("%+v", s)
	}
	must(t, h.OwnTree("/var/lib/etcd", 123, 124))
	if s, err = h.Tree("/var/lib/etcd", 123, 124); err != nil || s.Stranger != "" || s.UID != 123 {
		t.Fatalf("%+v %v", s, err)
	}
	info, err := os.Stat(filepath.Join(root, "outside"))
	must(t, err)
	if st := info.Sys().(*syscall.Stat_t); st.Uid != 0 {
		t.Error("a link was followed")
	}
	must(t, os.Chown(filepath.Join(root, "var/lib/etcd/member/wal/0.wal"), 5, 6))
	if s, err = h.Tree("/var/lib/etcd", 123, 124); err != nil || s.Stranger != "/var/lib/etcd/member/wal/0.wal" || s.Owner != "5:6" {
		t.Errorf("%+v %v", s, err)
	}
	if s, err = h.Tree("/nowhere", 1, 1); err != nil || s.Exists() || s.Stranger != "" {
		t.Errorf("%+v %v", s, err)
	}
}
