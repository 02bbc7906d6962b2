package host

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// Move gives a file or directory another name in the same file system, in one
// step. It never replaces anything.
func (h *Host) Move(from, to string) error {
	src, err := h.resolve(from)
	if err == nil && src.info == nil {
		err = fs.ErrNotExist
	}
	if err != nil {
		return failed("move", from, err)
	}
	dst, err := h.resolve(to)
	switch {
	case err != nil:
	case dst.info != nil || dst.link:
		err = fmt.Errorf("%s is there already: %w", to, fs.ErrExist)
	default:
		err = dst.blocked
	}
	if err == nil {
		err = h.root.Rename(src.name, dst.name)
	}
	if err == nil {
		err = errors.Join(h.syncDir(filepath.Dir(dst.name)), h.syncDir(filepath.Dir(src.name)))
	}
	if err != nil {
		return failed("move", from, err)
	}
	return nil
}
