package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubejoin/kubejoin/fault"
)

// Stat looks at a path and follows links inside the root. The error is only for
// the unexpected: absent is Kind None (also below a file), not permitted is Denied.
func (h *Host) Stat(path string) (FileState, error) {
	f, s, err := h.look(path)
	if f != nil {
		err = errors.Join(err, f.Close())
	}
	return s, err
}

// ReadFile reads a regular file of at most max bytes; a larger one is an error,
// and so is anything that is no file. The data is nil if nothing is there or if
// it may not be read: the state tells which. Data and state are of the same file.
func (h *Host) ReadFile(path string, max int64) ([]byte, FileState, error) {
	f, s, err := h.look(path)
	if f != nil {
		defer f.Close()
	}
	switch {
	case err != nil || s.Kind == None || s.Kind == Link:
		return nil, s, err
	case s.Kind != File:
		return nil, s, failed("read", path, fmt.Errorf("a %s, not a file", s.Kind.noun()))
	case f == nil:
		return nil, s, nil
	}
	data, err := io.ReadAll(io.LimitReader(f, max+1))
	if err != nil {
		return nil, s, failed("read", path, err)
	}
	if int64(len(data)) > max {
		return nil, s, fault.New(fault.Preflight, "cannot read: larger than %d bytes", max).At("file:" + path)
	}
	return data, s, nil
}

// ReadDir lists a directory by name. The list is nil if nothing is there or if
// it may not be read; anything that is no directory is an error.
func (h *Host) ReadDir(path string) ([]fs.DirEntry, FileState, error) {
	f, s, err := h.look(path)
	if f != nil {
		defer f.Close()
	}
	switch {
	case err != nil || s.Kind == None || s.Kind == Link:
		return nil, s, err
	case s.Kind != Dir:
		return nil, s, failed("list", path, fmt.Errorf("a %s, not a directory", s.Kind.noun()))
	case f == nil:
		return nil, s, nil
	}
	list, err := f.ReadDir(-1)
	if err != nil {
		return nil, s, failed("list", path, err)
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return list, s, nil
}

// look says what is at a path. The file is open if it is a regular file or a
// directory that may be read: opening is the only reliable test of that. It is
// never open if it is something else, because opening a device can do things.
func (h *Host) look(path string) (*os.File, FileState, error) {
	p, err := h.resolve(path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, FileState{Denied: true}, nil
	}
	if err != nil {
		return nil, FileState{}, failed("look at the file", path, err)
	}
	_, err = h.root.Lstat(temporary(p.name))
	leftover := err == nil
	if p.info == nil {
		s := FileState{Leftover: leftover}
		if p.link {
			s.Kind = Link
		}
		s.Blocked = p.obstacle()
		return nil, s, nil
	}
	s := stateOf(p.info)
	s.Leftover = leftover
	if s.Kind == Other {
		return nil, s, nil
	}
	f, err := h.open(p.name)
	switch {
	case errors.Is(err, fs.ErrPermission):
		s.Denied = true
		return nil, s, nil
	case errors.Is(err, fs.ErrNotExist): // removed meanwhile
		return nil, FileState{Leftover: leftover}, nil
	case err != nil:
		return nil, s, failed("open", path, err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, s, errors.Join(failed("look at the file", path, err), f.Close())
	}
	s = stateOf(info)
	s.Leftover = leftover
	if s.Kind == Other { // exchanged meanwhile
		return nil, s, f.Close()
	}
	return f, s, nil
}

// open opens for reading. It does not wait for the other end of a pipe.
func (h *Host) open(name string) (*os.File, error) {
	return h.root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
}

func stateOf(info fs.FileInfo) FileState {
	s := FileState{Kind: Other, Mode: info.Mode().Perm(), Size: info.Size(), ModTime: notLater(info.ModTime(), time.Now()), UID: -1, GID: -1}
	switch {
	case info.Mode().IsRegular():
		s.Kind = File
	case info.IsDir():
		s.Kind = Dir
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.UID, s.GID = int(st.Uid), int(st.Gid)
		s.ChangeTime = time.Unix(st.Ctim.Unix())
	}
	return s
}

// notLater is a time, or zero if it is in the future.
func notLater(t, now time.Time) time.Time {
	if t.After(now) {
		return time.Time{}
	}
	return t
}

// noun is the kind in an error.
func (k Kind) noun() string {
	if k == Other {
		return "device, socket or pipe"
	}
	return string(k)
}

// temporary is the name under which a file is written before it gets its own.
// It is the same in every run, so that the next one finds what a crash left. It
// starts with a dot because the kubelet runs every other file of its manifest
// directory.
func temporary(name string) string {
	return filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+".kubejoin-tmp")
}

// WriteFile replaces a file, or makes it and the directories above it. Whatever
// interrupts it leaves the old file or the new one, and at most a temporary
// file that the next WriteFile or Remove clears. If the path is a link, what it
// leads to is replaced. A directory or a device is never replaced.
//
// Below a root directory, a process that is not root cannot give files away:
// the owner is left as it is then.
func (h *Host) WriteFile(path string, data []byte, o WriteOptions) error {
	p, err := h.resolve(path)
	if err == nil {
		err = p.blocked
	}
	if err == nil && p.info != nil && !p.info.Mode().IsRegular() {
		err = fmt.Errorf("a %s is in its place", stateOf(p.info).Kind.noun())
	}
	if err == nil && p.info == nil {
		err = h.makeDirs(filepath.Dir(p.name), o.DirMode)
	}
	if err == nil {
		err = h.replace(p.name, data, o)
	}
	if err != nil {
		return failed("write", path, err)
	}
	return nil
}

func (h *Host) replace(name string, data []byte, o WriteOptions) (err error) {
	tmp := temporary(name)
	if err := h.root.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// Nobody else can open it before it has its owner and mode.
	f, err := h.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = h.root.Remove(tmp) // the error that matters is already there
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = h.own(f, o.Mode, o.UID, o.GID)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = h.root.Rename(tmp, name); err != nil {
		return err
	}
	return h.syncDir(filepath.Dir(name))
}

// own sets owner and mode where they differ; the mode last, because a change of
// owner clears bits of it.
func (h *Host) own(f *os.File, mode fs.FileMode, uid, gid int) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	s := stateOf(info)
	if (uid >= 0 && uid != s.UID) || (gid >= 0 && gid != s.GID) {
		err := f.Chown(uid, gid)
		if err != nil && (h.live || os.Geteuid() == 0 || !errors.Is(err, fs.ErrPermission)) {
			return err
		}
	}
	return f.Chmod(mode.Perm())
}

// SetOwnership gives an existing file or directory its mode and owner; -1 leaves
// an owner as it is.
func (h *Host) SetOwnership(path string, mode fs.FileMode, uid, gid int) error {
	f, s, err := h.look(path)
	switch {
	case err != nil:
		return err
	case s.Denied:
		err = fs.ErrPermission
	case f == nil && s.Kind == Other:
		err = errors.New("neither a file nor a directory")
	case f == nil:
		err = fs.ErrNotExist
	default:
		err = h.own(f, mode, uid, gid)
		if err == nil {
			err = f.Sync()
		}
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return failed("set mode and owner", path, err)
	}
	return nil
}

// MakeDir makes a directory, and those above it, with exactly this mode if they
// are missing. One that exists is left as it is: see SetOwnership.
func (h *Host) MakeDir(path string, mode fs.FileMode) error {
	p, err := h.resolve(path)
	if err == nil {
		err = p.blocked
	}
	if err == nil {
		err = h.makeDirs(p.name, mode)
	}
	if err != nil {
		return failed("make the directory", path, err)
	}
	return nil
}

// makeDirs makes a directory with a link-free name.
func (h *Host) makeDirs(name string, mode fs.FileMode) error {
	if mode == 0 {
		mode = 0o755
	}
	info, err := h.root.Lstat(name)
	switch {
	case err == nil && !info.IsDir():
		return syscall.ENOTDIR
	case err == nil || !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := h.makeDirs(filepath.Dir(name), mode); err != nil {
		return err
	}
	err = h.root.Mkdir(name, mode.Perm())
	if errors.Is(err, fs.ErrExist) { // somebody else was faster
		return nil
	}
	if err != nil {
		return err
	}
	f, err := h.open(name)
	if err != nil {
		return err
	}
	err = f.Chmod(mode.Perm()) // the umask may have taken bits away
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return h.syncDir(filepath.Dir(name))
}

// Remove removes a file, a link (not what it leads to) or an empty directory,
// and what an interrupted write left of it. It is fine if nothing is there.
func (h *Host) Remove(path string) error {
	path = filepath.Clean(path)
	dir, err := h.resolve(filepath.Dir(path))
	if err != nil {
		return failed("remove", path, err)
	}
	if dir.info == nil {
		return nil
	}
	name := filepath.Join(dir.name, filepath.Base(path))
	names := []string{temporary(name), name}
	// The leftover of a link's target lies beside the target.
	if p, err := h.resolve(path); err == nil && p.name != name {
		names = append([]string{temporary(p.name)}, names...)
	}
	for _, n := range names {
		err := h.root.Remove(n)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err == nil {
			err = h.syncDir(filepath.Dir(n))
		}
		if err != nil {
			return failed("remove", path, err)
		}
	}
	return nil
}

// RemoveLeftover removes what an interrupted write left beside a file, and leaves
// the file itself alone. It is fine if nothing is there.
func (h *Host) RemoveLeftover(path string) error {
	p, err := h.resolve(path)
	if err == nil {
		err = h.root.Remove(temporary(p.name))
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return nil
	case err == nil:
		err = h.syncDir(filepath.Dir(p.name))
	}
	if err != nil {
		return failed("remove the leftover of", path, err)
	}
	return nil
}

// syncDir makes the names in a directory durable.
func (h *Host) syncDir(name string) error {
	d, err := h.root.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, unix.EINVAL) { // a file system that cannot sync a directory: fsync(2)
		err = nil
	}
	return errors.Join(err, d.Close())
}
