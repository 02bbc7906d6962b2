package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubejoin/kubejoin/fault"
)

// AccountsLockPath is the file that whoever changes users or groups holds
// locked: shadow-utils, systemd-sysusers (lckpwdf(3)). It stays there.
const AccountsLockPath = "/etc/.pwd.lock"

// accountsPoll is how often the lock is tried: behaviour catalogue §5.15.
const accountsPoll = 200 * time.Millisecond

// LockAccounts makes this process the only one that changes users and groups,
// until release is called or the process ends. After waiting for it in vain the
// error is of class fault.Busy. A plan never calls it.
func (h *Host) LockAccounts(ctx context.Context, wait time.Duration) (release func(), err error) {
	p, err := h.resolve(AccountsLockPath)
	if err == nil {
		err = p.blocked
	}
	if err == nil && (p.link || p.info != nil && !p.info.Mode().IsRegular()) {
		err = errors.New("something that is not a file is in its place")
	}
	if err != nil {
		return nil, failed("lock", AccountsLockPath, err)
	}
	f, err := h.root.OpenFile(p.name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, failed("lock", AccountsLockPath, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, wait, errHeld)
	defer cancel()
	tick := time.NewTicker(accountsPoll)
	defer tick.Stop()
	for {
		// It conflicts with the lock of lckpwdf(3), but belongs to this file
		// handle and not to the whole process: fcntl_locking(2).
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
			return nil, errors.Join(failed("lock", AccountsLockPath, err), f.Close())
		}
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
		}
		_ = f.Close() // nothing was written
		if !errors.Is(context.Cause(ctx), errHeld) {
			return nil, ctx.Err()
		}
		return nil, fault.New(fault.Busy, "another program has been changing users or groups for %s", wait).At("file:"+AccountsLockPath).
			WithHint("wait until it is done, then run this again; `fuser -v %s` shows it", AccountsLockPath)
	}
}

var errHeld = errors.New("the lock is held")

// TreeState is what was seen at a directory and of who owns what is in it.
type TreeState struct {
	FileState
	// Stranger is the first path whose owner is another one, empty if there is
	// none; Owner is that owner, "0:0".
	Stranger, Owner string
}

// Tree looks for something in a directory, itself included, that does not belong
// to an owner. Links are not followed. What a process removes meanwhile is fine.
func (h *Host) Tree(path string, uid, gid int) (TreeState, error) {
	s, err := h.Stat(path)
	out := TreeState{FileState: s}
	if err != nil || s.Kind != Dir {
		return out, err
	}
	p, err := h.resolve(path)
	if err != nil {
		return out, failed("look at the owners", path, err)
	}
	err = h.walk(p.name, func(name string, s FileState) error {
		if s.UID == uid && s.GID == gid {
			return nil
		}
		rel, err := filepath.Rel(p.name, name)
		out.Stranger, out.Owner = filepath.Join(path, rel), fmt.Sprintf("%d:%d", s.UID, s.GID)
		return errors.Join(err, fs.SkipAll)
	})
	switch {
	case errors.Is(err, fs.SkipAll):
	case errors.Is(err, fs.ErrPermission):
		out.Denied = true
	case err != nil:
		return out, failed("look at the owners", path, err)
	}
	return out, nil
}

// OwnTree gives a directory and all that is in it to an owner. Links are not followed.
func (h *Host) OwnTree(path string, uid, gid int) error {
	p, err := h.resolve(path)
	if err == nil && p.info == nil {
		err = fs.ErrNotExist
	}
	if err == nil {
		err = h.walk(p.name, func(name string, s FileState) error {
			if s.UID == uid && s.GID == gid {
				return nil
			}
			return h.root.Lchown(name, uid, gid)
		})
	}
	if err != nil {
		return failed("set the owners", path, err)
	}
	return nil
}

// walk calls fn for a path without links and all that is below it.
func (h *Host) walk(name string, fn func(string, FileState) error) error {
	info, err := h.root.Lstat(name)
	if err == nil {
		err = fn(name, stateOf(info))
	}
	if err == nil && info.IsDir() {
		var f *os.File
		if f, err = h.open(name); err == nil {
			var list []fs.DirEntry
			list, err = f.ReadDir(-1)
			err = errors.Join(err, f.Close())
			for _, e := range list {
				if err != nil {
					break
				}
				err = h.walk(filepath.Join(name, e.Name()), fn)
			}
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
