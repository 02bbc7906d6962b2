package host

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
)

// Dir is a directory of the machine as a read-only file system. Its links are
// followed as everywhere on the machine: out of the directory, but not out of the
// root. The error is of class fault.Internal or fault.Preflight.
func (h *Host) Dir(path string) (fs.FS, error) {
	f, err := machineDir{h, path}.Open(".")
	if err != nil {
		return nil, failed("read", path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && !info.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, failed("read", path, err)
	}
	return machineDir{h, path}, nil
}

// machineDir is an fs.FS and fs.StatFS. The root's own FS would refuse each link
// with an absolute target.
type machineDir struct {
	h   *Host
	dir string
}

func (d machineDir) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	f, s, err := d.h.look(filepath.Join(d.dir, name))
	switch {
	case err != nil:
	case s.Denied:
		err = fs.ErrPermission
	case s.Kind == None:
		err = fs.ErrNotExist
	case s.Kind == Link:
		err = fmt.Errorf("a link that leads to nothing on the machine: %w", fs.ErrNotExist)
	case s.Kind == Other:
		err = fmt.Errorf("a %s", s.Kind.noun())
	default:
		return f, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: cause(err)}
}

// Stat is what patches and other readers look at before they open anything: a
// device is not opened for it.
func (d machineDir) Stat(name string) (fs.FileInfo, error) {
	p, err := d.h.resolve(filepath.Join(d.dir, name))
	if err == nil && p.info != nil {
		return p.info, nil
	}
	f, err := d.Open(name) // says why
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Stat()
}
