package host_test

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

// read gives the visible files of a directory with their content, or the reason
// why there is none.
func read(t *testing.T, fsys fs.FS) map[string]string {
	t.Helper()
	got := map[string]string{}
	entries, err := fs.ReadDir(fsys, ".")
	must(t, err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		info, err := fs.Stat(fsys, e.Name())
		var data []byte
		if err == nil && info.Mode().IsRegular() {
			data, err = fs.ReadFile(fsys, e.Name())
		}
		switch {
		case err != nil:
			got[e.Name()] = "error: " + err.Error()
		case info.Mode().IsRegular():
			got[e.Name()] = string(data)
		default:
			got[e.Name()] = info.Mode().Type().String()
		}
	}
	return got
}

// Links lead out of a directory, but never out of the machine.
func TestDir(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(outside, []byte("do not read me"), 0o600))
	h, root := machine(t,
		"etc/patches/own",
		"etc/patches/up -> ../../shared/p",
		"etc/patches/absolute -> /shared/p",
		"etc/patches/chain -> up",
		"etc/patches/out -> "+outside,
		"etc/patches/far -> ../../../../../../../../../../.."+outside,
		"etc/patches/dangling -> nothing",
		"etc/patches/loop -> loop",
		"etc/patches/sub/file",
		"etc/linked -> /etc/patches",
		"shared/p",
	)
	must(t, syscall.Mkfifo(filepath.Join(root, "etc/patches/pipe"), 0o600))
	nothing := func(name string) string {
		return "error: open " + name + ": a link that leads to nothing on the machine: file does not exist"
	}
	want := map[string]string{
		"own": "etc/patches/own", "up": "shared/p", "absolute": "shared/p", "chain": "shared/p",
		"out": nothing("out"), "far": nothing("far"), "dangling": nothing("dangling"), "loop": nothing("loop"),
		"sub": "d---------", "pipe": "p---------",
	}
	for _, dir := range []string{"/etc/patches", "/etc/linked", "/etc/../etc/patches/"} {
		fsys, err := h.Dir(dir)
		must(t, err)
		if diff := cmp.Diff(want, read(t, fsys)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", dir, diff)
		}
		for _, name := range []string{"..", "../../shared/p", "/shared/p", "own/below", "missing", "pipe"} {
			if f, err := fsys.Open(name); err == nil {
				t.Errorf("%s: %s can be opened: %v", dir, name, f.Close())
			}
		}
	}
}

// A directory that Kubernetes mounts gives each file once, and is a good fs.FS.
func TestDirOfAVolume(t *testing.T) {
	h, root := machine(t,
		"patches/..2026/a.yaml",
		"patches/..2026/b.yaml",
		"patches/..data -> ..2026",
		"patches/a.yaml -> ..data/a.yaml",
		"patches/b.yaml -> ..data/b.yaml",
	)
	want := map[string]string{"a.yaml": "patches/..2026/a.yaml", "b.yaml": "patches/..2026/b.yaml"}
	fsys, err := h.Dir("/patches")
	must(t, err)
	local, err := host.Local{Base: root}.Dir("patches")
	must(t, err)
	for name, f := range map[string]fs.FS{"machine": fsys, "local": local} {
		if diff := cmp.Diff(want, read(t, f)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	plain, err := h.Dir("/patches/..data")
	must(t, err)
	must(t, fstest.TestFS(plain, slices.Collect(maps.Keys(want))...))
}

func TestDirFails(t *testing.T) {
	h, root := machine(t, "file", "dangling -> nothing", "out -> "+t.TempDir())
	for path, want := range map[string]error{
		"/missing": fs.ErrNotExist, "/file": syscall.ENOTDIR, "/file/x": fs.ErrNotExist, "/dangling": fs.ErrNotExist, "/out": fs.ErrNotExist,
	} {
		_, err := h.Dir(path)
		wantClass(t, err, fault.Internal)
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
	if _, err := h.Dir("relative"); err == nil {
		t.Error("a relative path has no place on the machine")
	}
	local := host.Local{Base: root}
	for path, want := range map[string]error{"missing": fs.ErrNotExist, "file": syscall.ENOTDIR, "dangling": fs.ErrNotExist, "": fs.ErrNotExist} {
		if _, err := local.Dir(path); !errors.Is(err, want) {
			t.Errorf("local %q: %v, want %v", path, err, want)
		}
	}
}

// The user's own links are the user's business.
func TestLocalDirFollowsLinks(t *testing.T) {
	_, root := machine(t, "conf/patches/up -> ../../shared/p", "shared/p")
	must(t, os.Symlink(filepath.Join(root, "shared/p"), filepath.Join(root, "conf/patches/absolute")))
	fsys, err := host.Local{Base: filepath.Join(root, "conf")}.Dir("patches")
	must(t, err)
	if diff := cmp.Diff(map[string]string{"up": "shared/p", "absolute": "shared/p"}, read(t, fsys)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
