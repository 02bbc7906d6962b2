package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Tree is files of a machine by path, as text with everything a write changes: mode, owner, inode, size, time of
// content and of inode (nanoseconds), hash of the content or target of the link. The times of the
// inode show a write of the same content, and one whose other traces were removed.
type Tree map[string]string

// Tree returns the files below paths of the machine, without following links. A path that does not exist
// adds nothing.
func (m *Machine) Tree(paths ...string) (Tree, error) {
	tree := Tree{}
	for _, p := range paths {
		err := filepath.WalkDir(m.Path(p), func(name string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			line, err := describe(name)
			if errors.Is(err, fs.ErrNotExist) { // gone since
				return nil
			}
			tree[strings.TrimPrefix(name, m.Path("/"))] = line
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return tree, nil
}

func describe(name string) (string, error) {
	info, err := os.Lstat(name)
	if err != nil {
		return "", err
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", fmt.Errorf("%s: no inode", name)
	}
	line := fmt.Sprintf("%s %d:%d inode %d size %d mtime %d ctime %d",
		info.Mode(), s.Uid, s.Gid, s.Ino, s.Size, s.Mtim.Nano(), s.Ctim.Nano())
	switch {
	case info.Mode().IsRegular():
		data, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		line += " sha256 " + digest(data)
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(name)
		if err != nil {
			return "", err
		}
		line += " to " + target
	}
	return line, nil
}

// Diff returns what is different in another tree, one line for each path: "+ path" for a new one, "- path" for one that is gone,
// "~ path: before → after" for a changed one.
func (t Tree) Diff(after Tree) []string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if now, ok := after[name]; !ok {
			lines = append(lines, "- "+name)
		} else if now != t[name] {
			lines = append(lines, fmt.Sprintf("~ %s: %s → %s", name, t[name], now))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(after)) {
		if _, ok := t[name]; !ok {
			lines = append(lines, "+ "+name)
		}
	}
	return lines
}
