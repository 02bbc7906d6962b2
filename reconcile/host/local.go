package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// CRISockets are the endpoints of the container runtimes that detection knows,
// in kubeadm's order.
func CRISockets() []string {
	out := make([]string, len(criSockets))
	for i, path := range criSockets {
		out[i] = "unix://" + path
	}
	return out
}

// Local reads and writes the user's own files, which belong to whoever runs the program
// and not to the machine below --rootfs: the configuration, and what it names by
// a relative path.
type Local struct {
	// Base is where relative paths start; empty is the working directory.
	Base string
}

func (l Local) path(p string) string {
	if filepath.IsAbs(p) || p == "" {
		return p
	}
	return filepath.Join(l.Base, p)
}

// Dir is a directory as a read-only file system; its links may lead anywhere.
func (l Local) Dir(path string) (fs.FS, error) {
	info, err := os.Stat(l.path(path))
	switch {
	case err != nil:
		return nil, cause(err)
	case !info.IsDir():
		return nil, syscall.ENOTDIR
	}
	return os.DirFS(l.path(path)), nil
}

// ReadFile reads a file of at most max bytes. Anything else than a regular file
// or a pipe is an error.
func (l Local) ReadFile(path string, max int64) ([]byte, error) {
	f, err := os.Open(l.path(path))
	if err != nil {
		return nil, cause(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, cause(err)
	}
	if info.IsDir() {
		return nil, errors.New("is a directory")
	}
	return ReadLimited(f, max)
}

// ReadLimited reads all of r, and fails once that is more than max bytes.
func ReadLimited(r io.Reader, max int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, max+1))
	if err != nil {
		return nil, cause(err)
	}
	if int64(len(data)) > max {
		return nil, fmt.Errorf("has more than %d MiB", max>>20)
	}
	return data, nil
}

// WriteFile replaces one of the user's files, or makes it with mode 0600: it may
// hold a token. Whatever interrupts it leaves the old file or the new one. A file
// that exists keeps its mode and owner, and a link what it leads to; if this user
// cannot keep the owner, nothing is written. What is no file, a pipe for instance,
// is written to as it is.
func (l Local) WriteFile(path string, data []byte) error { return l.write(path, data, false) }

// WritePrivate is WriteFile, with mode 0600 also where the file exists.
func (l Local) WritePrivate(path string, data []byte) error { return l.write(path, data, true) }

// Same tells whether two paths lead to one file that exists.
func (l Local) Same(a, b string) bool {
	first, err := os.Stat(l.path(a))
	if err != nil {
		return false
	}
	second, err := os.Stat(l.path(b))
	return err == nil && os.SameFile(first, second)
}

func (l Local) write(path string, data []byte, private bool) error {
	name, err := filepath.EvalSymlinks(l.path(path))
	if errors.Is(err, fs.ErrNotExist) {
		name, err = target(l.path(path))
	}
	if err != nil {
		return cause(err)
	}
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		info = nil
	case err != nil:
		return cause(err)
	case info.IsDir():
		return errors.New("is a directory")
	case !info.Mode().IsRegular():
		return cause(writeTo(name, data))
	}
	return cause(l.replace(name, data, info, private))
}

// target is where a link leads that leads to nothing yet; the name itself if it is
// none.
func target(name string) (string, error) {
	for range maxLinks {
		next, err := os.Readlink(name)
		switch {
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EINVAL): // no link: readlink(2)
			return name, nil
		case err != nil:
			return "", err
		case !filepath.IsAbs(next):
			next = filepath.Join(filepath.Dir(name), next)
		}
		name = next
	}
	return "", unix.ELOOP
}

func writeTo(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// replace writes a temporary file, and gives it the name when it is complete. Mode
// and owner are those of old, unless that is nil; a private one keeps mode 0600.
func (l Local) replace(name string, data []byte, old fs.FileInfo, private bool) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".kubejoin-tmp-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the error that matters is already there
		}
	}()
	_, err = f.Write(data)
	if err == nil && old != nil {
		err = keep(f, old, private)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), name); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(name))
	if err != nil {
		return nil // a directory that may be written but not read cannot be synced
	}
	if err = d.Sync(); errors.Is(err, unix.EINVAL) { // a file system that cannot sync a directory: fsync(2)
		err = nil
	}
	return errors.Join(err, d.Close())
}

// keep gives a new file the owner of an old one, and its mode unless it is private.
// The mode comes second: a change of the owner takes setuid and setgid away
// (chown(2)).
func keep(f *os.File, old fs.FileInfo, private bool) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	mine, theirs := stateOf(info), stateOf(old)
	if mine.UID != theirs.UID || mine.GID != theirs.GID {
		if err := f.Chown(theirs.UID, theirs.GID); err != nil {
			return fmt.Errorf("its owner cannot be kept: %w", cause(err))
		}
	}
	if private {
		return nil // os.CreateTemp made it 0600
	}
	return f.Chmod(old.Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky))
}
