package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
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

// Dir is a directory of the machine as a read-only file system. Links inside it
// work as long as they stay inside; the directory itself may be a link.
func (h *Host) Dir(path string) (fs.FS, error) {
	p, err := h.resolve(path)
	if err != nil {
		return nil, failed("read", path, err)
	}
	if p.info == nil {
		return nil, failed("read", path, fs.ErrNotExist)
	}
	root, err := h.root.OpenRoot(p.name)
	if err != nil {
		return nil, failed("read", path, err)
	}
	return root.FS(), nil // the handle is closed when the file system is dropped
}

// Local reads the user's own files, which belong to whoever runs the program
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

// Dir is a directory as a read-only file system.
func (l Local) Dir(path string) (fs.FS, error) {
	root, err := os.OpenRoot(l.path(path))
	if err != nil {
		return nil, cause(err)
	}
	return root.FS(), nil
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
