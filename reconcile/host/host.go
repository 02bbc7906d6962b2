package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/kubejoin/kubejoin/fault"
)

// Host is a machine, or a directory that will become the root of one. It is
// safe for concurrent use, except that no two goroutines may write the same file.
type Host struct {
	root *os.Root
	dir  string // absolute, "/" for the live machine
	live bool

	mu      sync.Mutex
	systemd *systemd // nil until it is asked for
}

// Open gives access to the machine below root: "" or "/" is the live one. The
// error is of class fault.InvalidConfig if root is no directory.
func Open(root string) (*Host, error) {
	if root == "" {
		root = "/"
	}
	dir, err := filepath.Abs(root)
	if err != nil {
		return nil, badRoot(root, err)
	}
	r, err := os.OpenRoot(dir)
	if err != nil {
		return nil, badRoot(root, err)
	}
	h := &Host{root: r, dir: dir}
	mine, err := r.Stat(".")
	if err != nil {
		return nil, errors.Join(badRoot(root, err), r.Close())
	}
	// A link or a bind mount can be another name of "/".
	if slash, err := os.Stat("/"); err == nil && os.SameFile(mine, slash) {
		h.live, h.dir = true, "/"
	}
	return h, nil
}

func badRoot(root string, err error) error {
	return fault.New(fault.InvalidConfig, "not usable as the root of a machine: %w", cause(err)).
		At(root).WithHint("give an existing directory")
}

// Close ends the connections to the machine's services.
func (h *Host) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.systemd != nil {
		h.systemd.close()
		h.systemd = nil
	}
	return h.root.Close()
}

// Root is the directory below which the machine lies; "" for the live machine.
func (h *Host) Root() string {
	if h.live {
		return ""
	}
	return h.dir
}

// Live tells whether this is the running machine.
func (h *Host) Live() bool { return h.live }

// cause strips the names that package os adds: they are relative to the root,
// and the caller says the whole path.
func cause(err error) error {
	var p *fs.PathError
	var l *os.LinkError
	switch {
	case errors.As(err, &p):
		return p.Err
	case errors.As(err, &l):
		return l.Err
	}
	return err
}

// failed says what could not be done with a file. A full disk or a missing
// permission is the machine's fault, hence fault.Preflight.
func failed(doing, path string, err error) error {
	var known *fault.Error
	if errors.As(err, &known) {
		return err
	}
	e := fault.New(fault.Internal, "cannot %s: %w", doing, cause(err)).At("file:" + path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		e.Class = fault.Preflight
		return e.WithHint("run as root")
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		e.Class = fault.Preflight
		return e.WithHint("make room on the file system of %s", filepath.Dir(path))
	case errors.Is(err, syscall.EROFS):
		e.Class = fault.Preflight
		return e.WithHint("mount the file system of %s writable", filepath.Dir(path))
	}
	return e
}
