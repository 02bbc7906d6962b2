package host_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/reconcile/host"
)

// readBack gives content and mode of a file.
func readBack(t *testing.T, path string) (string, fs.FileMode) {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	info, err := os.Stat(path)
	must(t, err)
	return string(data), info.Mode().Perm()
}

func TestLocalWriteFile(t *testing.T) {
	dir := t.TempDir()
	local := host.Local{Base: dir}
	file := filepath.Join(dir, "join.yaml")

	must(t, local.WriteFile("join.yaml", []byte("new")))
	if data, mode := readBack(t, file); data != "new" || mode != 0o600 {
		t.Errorf("a new file has %q and mode %v", data, mode)
	}

	must(t, os.Chmod(file, 0o640))
	must(t, local.WriteFile(file, []byte("again")))
	if data, mode := readBack(t, file); data != "again" || mode != 0o640 {
		t.Errorf("a replaced file has %q and mode %v", data, mode)
	}

	must(t, os.Symlink("join.yaml", filepath.Join(dir, "link")))
	must(t, local.WriteFile("link", []byte("through the link")))
	if data, mode := readBack(t, file); data != "through the link" || mode != 0o640 {
		t.Errorf("behind the link is %q with mode %v", data, mode)
	}
	if diff := cmp.Diff("/join.yaml\n/link -> join.yaml\n", list(t, dir)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLocalWriteFileKeepsOwnerAndMode(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "join.yaml")
	must(t, os.WriteFile(file, []byte("old"), 0o600))
	want := [2]uint32{uint32(os.Geteuid()), uint32(os.Getegid())}
	if os.Geteuid() == 0 { // only root can give files away
		want = [2]uint32{1234, 2345}
		must(t, os.Chown(file, 1234, 2345))
	}
	mode := os.ModeSetuid | os.ModeSetgid | os.ModeSticky | 0o644
	must(t, os.Chmod(file, mode))
	must(t, host.Local{}.WriteFile(file, []byte("new")))
	info, err := os.Stat(file)
	must(t, err)
	if st := info.Sys().(*syscall.Stat_t); [2]uint32{st.Uid, st.Gid} != want {
		t.Errorf("owner is %d:%d, want %v", st.Uid, st.Gid, want)
	}
	if info.Mode() != mode {
		t.Errorf("mode is %v, want %v", info.Mode(), mode)
	}
}

// A link stays one, also if it leads to nothing yet.
func TestLocalWriteFileBehindADanglingLink(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "sub"), 0o755))
	must(t, os.Symlink("sub/second", filepath.Join(dir, "first")))
	must(t, os.Symlink(filepath.Join(dir, "file"), filepath.Join(dir, "sub", "second")))
	must(t, os.Symlink("missing/file", filepath.Join(dir, "nowhere")))
	local := host.Local{Base: dir}
	must(t, local.WriteFile("first", []byte("x")))
	if data, _ := readBack(t, filepath.Join(dir, "file")); data != "x" {
		t.Errorf("behind the links is %q", data)
	}
	if err := local.WriteFile("nowhere", []byte("x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	for _, link := range []string{"first", "nowhere"} {
		if _, err := os.Readlink(filepath.Join(dir, link)); err != nil {
			t.Error(err)
		}
	}
}

func TestLocalWriteFileFails(t *testing.T) {
	dir := t.TempDir()
	local := host.Local{Base: dir}
	must(t, os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o600))
	must(t, os.Mkdir(filepath.Join(dir, "dir"), 0o755))
	must(t, os.Symlink("loop", filepath.Join(dir, "loop")))
	before := list(t, dir)
	for path, want := range map[string]error{
		"dir":          nil,
		"missing/file": fs.ErrNotExist,
		"file/below":   syscall.ENOTDIR,
		"loop":         nil,
	} {
		err := local.WriteFile(path, []byte("y"))
		if err == nil || (want != nil && !errors.Is(err, want)) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
	if diff := cmp.Diff(before, list(t, dir)); diff != "" {
		t.Errorf("something was left (-want +got):\n%s", diff)
	}
}

// A pipe is written to, and stays one.
func TestLocalWriteFileToAPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	must(t, syscall.Mkfifo(path, 0o600))
	read := make(chan string)
	go func() {
		data, err := os.ReadFile(path)
		if err != nil {
			data = []byte(err.Error())
		}
		read <- string(data)
	}()
	must(t, host.Local{}.WriteFile(path, []byte("hello")))
	if got := <-read; got != "hello" {
		t.Errorf("got %q", got)
	}
}
