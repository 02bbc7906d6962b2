package host

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kubejoin/kubejoin/fault"
)

// LockPath is the file that one apply at a time holds locked. It names the
// process but proves nothing by existing: the kernel's lock counts, and that
// ends with the process.
const LockPath = "/run/kubejoin.lock"

// Lock makes this process the only one that changes the machine, until release
// is called or the process ends. If another one is at work the error is of class
// fault.Busy. A plan never calls it.
func (h *Host) Lock() (release func(), err error) {
	for {
		f, name, err := h.openLock()
		if err != nil {
			return nil, failed("lock", LockPath, err)
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			defer f.Close()
			return nil, busy(f)
		}
		if err != nil {
			return nil, errors.Join(failed("lock", LockPath, err), f.Close())
		}
		// The one who held it may have removed the file since it was opened: then
		// this is a lock on nothing.
		if !h.same(f, name) {
			if err := f.Close(); err != nil {
				return nil, failed("lock", LockPath, err)
			}
			continue
		}
		err = f.Truncate(0)
		if err == nil {
			_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
		}
		if err != nil {
			return nil, errors.Join(failed("lock", LockPath, err), f.Close())
		}
		return sync.OnceFunc(func() {
			if h.same(f, name) {
				_ = h.root.Remove(name) // a file without a lock does no harm
			}
			_ = f.Close()
		}), nil
	}
}

func (h *Host) openLock() (*os.File, string, error) {
	p, err := h.resolve(LockPath)
	if err == nil {
		err = p.blocked
	}
	if err == nil && (p.link || p.info != nil && !p.info.Mode().IsRegular()) {
		err = errors.New("something that is not a file is in its place")
	}
	if err == nil && p.info == nil {
		err = h.MakeDir("/run", 0o755)
	}
	if err != nil {
		return nil, "", err
	}
	f, err := h.root.OpenFile(p.name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, "", err
	}
	if err := onlyHere(f); err != nil {
		return nil, "", errors.Join(err, f.Close())
	}
	return f, p.name, nil
}

// onlyHere refuses what is no file, and a hard link: its other name may be outside
// of the root, and its content is about to be replaced.
func onlyHere(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("something that is not a file is in its place")
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 { // 0: removed meanwhile
		return errors.New("a hard link to another file is in its place")
	}
	return nil
}

// same tells whether an open file is still the one with that name.
func (h *Host) same(f *os.File, name string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := h.root.Lstat(name)
	return err == nil && os.SameFile(mine, there)
}

func busy(f *os.File) error {
	who := "another kubejoin"
	// The pid is missing for the moment between locking and writing.
	data, _ := io.ReadAll(io.LimitReader(f, 32))
	if pid, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil {
		who = fmt.Sprintf("another kubejoin (pid %d)", pid)
	}
	return fault.New(fault.Busy, "%s is at work", who).At("file:" + LockPath).
		WithHint("wait until it is done, then run this again")
}
