package host

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// maxLinks is the kernel's own limit (path_resolution(7)).
const maxLinks = 40

// place is where a path leads.
type place struct {
	// name is free of links and relative to the root; "." is the root.
	name string
	// info is what is there; nil if nothing is.
	info fs.FileInfo
	// link says that the path itself, not just a directory above, is a link.
	link bool
	// blocked is why nothing can be made there: a loop of links, or a file
	// where a directory should be. info is nil then.
	blocked error
	// trail is every name that was looked at on the way: if none of them
	// changes, the path still leads to the same place.
	trail []string
}

// resolve follows a path as a process whose root directory is the host's would:
// absolute links start again at the root, and ".." stops there. os.Root alone
// refuses absolute links, but machines have them (/var/lib/kubelet on a data
// disk, kubelet-client-current.pem).
//
// Everything goes through os.Root, and so does whatever is done with the result:
// a link that changes meanwhile can cause an error but not lead out of the root.
// The error is unexpected or fs.ErrPermission; the trail is valid even then.
func (h *Host) resolve(path string) (place, error) {
	if !filepath.IsAbs(path) {
		return place{}, failed("follow the path", path, errors.New("not absolute"))
	}
	p := place{name: "."}
	var err error
	if p.info, err = h.root.Lstat("."); err != nil {
		return p, err
	}
	rest, links := split(filepath.Clean(path)), 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		next := filepath.Join(p.name, part)
		if part == ".." {
			next = filepath.Dir(p.name) // "." stays "."
		}
		p.trail = append(p.trail, next)

		info, err := h.root.Lstat(next)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			p.info = nil
			p.name = filepath.Join(append([]string{next}, rest...)...)
			if slices.Contains(rest, "..") {
				p.blocked = syscall.ENOENT // only a dangling link can say "missing/../x"
			}
			return p, nil
		case err != nil:
			p.info = nil
			return p, err
		case info.Mode()&fs.ModeSymlink != 0:
			p.link = p.link || len(rest) == 0
			if links++; links > maxLinks {
				p.info, p.blocked = nil, syscall.ELOOP
				return p, nil
			}
			target, err := h.root.Readlink(next)
			if err != nil {
				return p, err
			}
			if filepath.IsAbs(target) {
				p.name = "."
				if p.info, err = h.root.Lstat("."); err != nil {
					return p, err
				}
			}
			rest = append(split(target), rest...)
			continue
		case len(rest) > 0 && !info.IsDir():
			p.info, p.blocked = nil, syscall.ENOTDIR
			return p, nil
		}
		p.name, p.info = next, info
	}
	return p, nil
}

// obstacle says in a clause why nothing can be made at the place.
func (p place) obstacle() string {
	switch {
	case p.blocked == nil:
		return ""
	case errors.Is(p.blocked, syscall.ELOOP):
		return "its links lead to each other, and nowhere else"
	case errors.Is(p.blocked, syscall.ENOTDIR):
		return "a file is in the place of a directory above it"
	}
	return "it is a link through a directory that does not exist"
}

// split gives the parts of a path without empty ones and ".".
func split(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(s string) bool { return s == "" || s == "." })
}
