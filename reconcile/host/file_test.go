package host_test

import (
	"bufio"
	"bytes"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

var keep = host.WriteOptions{Mode: 0o640, UID: -1, GID: -1, DirMode: 0o755}

// hostile is a root directory in which links try everything.
var hostile = []string{
	"etc/real",
	"etc/abs -> /etc/real",
	"etc/rel -> ../etc/real",
	"etc/out -> ../../../../../../etc/real",
	"etc/outabs -> /../../etc/real",
	"etc/chain1 -> chain2",
	"etc/chain2 -> /etc/chain3",
	"etc/chain3 -> ./abs",
	"etc/loop1 -> loop2",
	"etc/loop2 -> /etc/loop1",
	"etc/self -> self",
	"etc/dangling -> /data/new/file",
	"etc/nowhere -> missing/../real",
	"etc/passwd -> ../../../../../../../../etc/passwd",
	"etc/zero -> /dev/zero",
	"etc/root -> /",
	"var/run -> /run",
	"var/lib/kubelet -> /data/kubelet",
	"var/lib/looped -> /etc/self",
	"data/kubelet/config",
	"run/x",
}

func TestStatFollowsLinksInsideTheRoot(t *testing.T) {
	h, _ := machine(t, hostile...)
	for path, want := range map[string]host.Kind{
		"/etc/real":                   host.File,
		"/etc/../etc/./real":          host.File,
		"/../../etc/real":             host.File,
		"/etc/abs":                    host.File,
		"/etc/rel":                    host.File,
		"/etc/out":                    host.File,
		"/etc/outabs":                 host.File,
		"/etc/chain1":                 host.File,
		"/etc/root":                   host.Dir,
		"/etc/root/etc/root/etc/real": host.File,
		"/var/run/x":                  host.File,
		"/var/lib/kubelet":            host.Dir,
		"/var/lib/kubelet/config":     host.File,
		"/var/lib/kubelet/missing":    host.None,
		"/missing/at/all":             host.None,
		"/etc/real/below-a-file":      host.None,
		"/etc/loop1":                  host.Link,
		"/etc/self":                   host.Link,
		"/var/lib/looped/x":           host.None,
		"/etc/dangling":               host.Link,
		"/etc/nowhere":                host.Link,
		"/etc/passwd":                 host.Link, // the machine's own is not there
		"/etc/zero":                   host.Link, // nor are its devices
		"/":                           host.Dir,
	} {
		s, err := h.Stat(path)
		if err != nil || s.Kind != want || s.Denied || s.Leftover {
			t.Errorf("%s: %+v, %v, want kind %q", path, s, err, want)
		}
	}
}

func TestStatSaysWhatBlocks(t *testing.T) {
	h, _ := machine(t, append(hostile, "etc/through -> missing/../x")...)
	for path, want := range map[string]string{
		"/etc/real":              "",
		"/missing/at/all":        "",
		"/etc/dangling":          "",
		"/etc/loop1":             "its links lead to each other, and nowhere else",
		"/var/lib/looped/x":      "its links lead to each other, and nowhere else",
		"/etc/real/below-a-file": "a file is in the place of a directory above it",
		"/etc/through":           "it is a link through a directory that does not exist",
	} {
		s, err := h.Stat(path)
		if err != nil || s.Blocked != want {
			t.Errorf("%s: %q, %v, want %q", path, s.Blocked, err, want)
		}
		if err := h.WriteFile(path, nil, host.WriteOptions{Mode: 0o600, UID: -1, GID: -1}); (err == nil) != (want == "") {
			t.Errorf("%s: written: %v", path, err)
		}
	}
}

func TestStat(t *testing.T) {
	h, root := machine(t, "dir/file", "dir/.file.kubejoin-tmp")
	full := filepath.Join(root, "dir/file")
	must(t, os.Chmod(full, 0o604))
	at := time.Unix(1700000000, 0)
	must(t, os.Chtimes(full, at, at))
	got, err := h.Stat("/dir/file")
	must(t, err)
	if age := time.Since(got.ChangeTime); age < -time.Minute || age > time.Minute {
		t.Errorf("changed at %s", got.ChangeTime)
	}
	got.ChangeTime = time.Time{}
	want := host.FileState{
		Kind: host.File, Mode: 0o604, UID: os.Getuid(), GID: os.Getgid(), Size: 8, ModTime: at, Leftover: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"", "dir/file", "./dir", "/" + strings.Repeat("x", 300), "/a\x00b"} {
		_, err := h.Stat(bad)
		wantClass(t, err, fault.Internal)
	}
}

func TestReadFile(t *testing.T) {
	h, root := machine(t, append(hostile, "file", "empty/")...)
	must(t, syscall.Mkfifo(filepath.Join(root, "pipe"), 0o644))
	l, err := net.Listen("unix", filepath.Join(root, "socket"))
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })

	for path, want := range map[string]string{
		"/file":                   "file",
		"/etc/chain1":             "etc/real",
		"/etc/out":                "etc/real",
		"/var/lib/kubelet/config": "data/kubelet/config",
	} {
		data, s, err := h.ReadFile(path, 19)
		if err != nil || string(data) != want || s.Size != int64(len(want)) {
			t.Errorf("%s: %q, %+v, %v", path, data, s, err)
		}
	}
	for _, path := range []string{"/missing", "/etc/dangling", "/etc/loop1", "/etc/passwd", "/file/x"} {
		if data, _, err := h.ReadFile(path, 100); data != nil || err != nil {
			t.Errorf("%s: %q, %v", path, data, err)
		}
	}
	for path, want := range map[string]string{
		"/pipe":                   "file:/pipe: cannot read: a device, socket or pipe, not a file",
		"/socket":                 "file:/socket: cannot read: a device, socket or pipe, not a file",
		"/empty":                  "file:/empty: cannot read: a directory, not a file",
		"/etc/root":               "file:/etc/root: cannot read: a directory, not a file",
		"/var/lib/kubelet/config": "file:/var/lib/kubelet/config: cannot read: larger than 18 bytes",
	} {
		data, _, err := h.ReadFile(path, 18)
		if data != nil || err == nil || err.Error() != want {
			t.Errorf("%s: %q, %v\nwant %s", path, data, err, want)
		}
	}
}

// On the live machine too a device is neither read nor replaced.
func TestDeviceOfTheLiveMachine(t *testing.T) {
	h := open(t, "/")
	link := filepath.Join(t.TempDir(), "zero")
	must(t, os.Symlink("/dev/zero", link))
	if s, err := h.Stat(link); err != nil || s.Kind != host.Other {
		t.Errorf("%+v, %v", s, err)
	}
	if _, _, err := h.ReadFile(link, 10); err == nil {
		t.Error("a device was read")
	}
	if err := h.WriteFile(link, nil, keep); err == nil {
		t.Error("a device was replaced")
	}
}

func TestReadDir(t *testing.T) {
	h, root := machine(t, "dir/b", "dir/a", "dir/link -> b", "dir/sub/x", "link -> /dir")
	entries, s, err := h.ReadDir("/link")
	must(t, err)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name()+" "+e.Type().String())
	}
	if diff := cmp.Diff([]string{"a ----------", "b ----------", "link L---------", "sub d---------"}, got); diff != "" || s.Kind != host.Dir {
		t.Error(s, diff)
	}
	if entries, s, err := h.ReadDir("/missing"); entries != nil || s.Exists() || err != nil {
		t.Error(entries, s, err)
	}
	if _, _, err := h.ReadDir("/dir/a"); err == nil || strings.Contains(err.Error(), root) {
		t.Error(err)
	}
}

func TestWriteFile(t *testing.T) {
	old := syscall.Umask(0o077) // must not matter
	defer syscall.Umask(old)
	for name, test := range map[string]struct {
		entries []string
		path    string
		want    string // all names afterwards
		real    string // where the content is
	}{
		"new": {path: "/file", want: "/file\n", real: "file"},
		"new with directories": {
			path: "/a/b/file", want: "/a\n/a/b\n/a/b/file\n", real: "a/b/file"},
		"replaced": {
			entries: []string{"file"}, path: "/file", want: "/file\n", real: "file"},
		"after a crash": {
			entries: []string{"file", ".file.kubejoin-tmp"}, path: "/file", want: "/file\n", real: "file"},
		"after a crash that left a link": {
			entries: []string{"file", "other", ".file.kubejoin-tmp -> other"}, path: "/file", want: "/file\n/other\n", real: "file"},
		"the link stays": {
			entries: []string{"link -> /dir/real", "dir/real"}, path: "/link",
			want: "/dir\n/dir/real\n/link -> /dir/real\n", real: "dir/real"},
		"a link out of the root stays inside": {
			entries: []string{"link -> ../../../../out/real"}, path: "/link",
			want: "/link -> ../../../../out/real\n/out\n/out/real\n", real: "out/real"},
		"below a dangling link": {
			entries: []string{"var/lib/kubelet -> /data/kubelet"}, path: "/var/lib/kubelet/file",
			want: "/data\n/data/kubelet\n/data/kubelet/file\n/var\n/var/lib\n/var/lib/kubelet -> /data/kubelet\n", real: "data/kubelet/file"},
	} {
		t.Run(name, func(t *testing.T) {
			h, root := machine(t, test.entries...)
			must(t, h.WriteFile(test.path, []byte("new"), host.WriteOptions{
				Mode: 0o666, UID: os.Getuid(), GID: os.Getgid(), DirMode: 0o757,
			}))
			if diff := cmp.Diff(test.want, list(t, root)); diff != "" {
				t.Error(diff)
			}
			data, s, err := h.ReadFile(test.path, 10)
			if err != nil || string(data) != "new" || s.Mode != 0o666 || s.Leftover {
				t.Errorf("%q, %+v, %v", data, s, err)
			}
			if info, err := os.Lstat(filepath.Join(root, test.real)); err != nil || !info.Mode().IsRegular() {
				t.Error(info, err)
			}
			if len(test.entries) == 0 {
				if s, err := h.Stat(filepath.Dir(test.path)); err != nil || test.path != "/file" && s.Mode != 0o757 {
					t.Error(s, err)
				}
			}
		})
	}
}

func TestWriteFileRefuses(t *testing.T) {
	h, root := machine(t, append(hostile, "dir/x", "busy/.file.kubejoin-tmp/full")...)
	must(t, syscall.Mkfifo(filepath.Join(root, "pipe"), 0o644))
	before := list(t, root)
	for path, want := range map[string]string{
		"/dir":              "file:/dir: cannot write: a directory is in its place",
		"/":                 "file:/: cannot write: a directory is in its place",
		"/pipe":             "file:/pipe: cannot write: a device, socket or pipe is in its place",
		"/dir/x/y":          "file:/dir/x/y: cannot write: not a directory",
		"/dir/x/y/z":        "file:/dir/x/y/z: cannot write: not a directory",
		"/etc/self":         "file:/etc/self: cannot write: too many levels of symbolic links",
		"/var/lib/looped/x": "file:/var/lib/looped/x: cannot write: too many levels of symbolic links",
		"/etc/nowhere":      "file:/etc/nowhere: cannot write: no such file or directory",
		"/busy/file":        "file:/busy/file: cannot write: directory not empty",
		"relative":          "file:relative: cannot follow the path: not absolute",
	} {
		err := h.WriteFile(path, []byte("secret"), keep)
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v\nwant %s", path, err, want)
		}
	}
	if diff := cmp.Diff(before, list(t, root)); diff != "" {
		t.Error(diff)
	}
}

// What the owner should be only root can make so; below a root directory that is
// no error for others.
func TestWriteFileOwner(t *testing.T) {
	h, _ := machine(t)
	must(t, h.WriteFile("/file", nil, host.WriteOptions{Mode: 0o600, UID: 1234, GID: 4321}))
	want := []int{1234, 4321}
	if os.Geteuid() != 0 {
		want = []int{os.Getuid(), os.Getgid()}
	}
	if s, err := h.Stat("/file"); err != nil || s.UID != want[0] || s.GID != want[1] || s.Mode != 0o600 {
		t.Error(s, err)
	}
}

// Law 4: whenever the process is killed, the file is the old or the new one.
func TestKilledInTheMiddleOfAWrite(t *testing.T) {
	t.Parallel()
	h, root := machine(t)
	for range 10 {
		cmd := child(t, "write", root)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "writing\n" {
			t.Fatal(line, err)
		}
		wait := time.NewTimer(time.Duration(rand.IntN(20_000)) * time.Microsecond)
		<-wait.C
		must(t, cmd.Process.Kill())
		_ = cmd.Wait() // "signal: killed"

		data, s, err := h.ReadFile("/dir/file", 2<<20)
		must(t, err)
		i := int(data[0] - 'a')
		if !bytes.Equal(data, content(i)) || s.Mode != modes[i] {
			t.Errorf("%d bytes of a mixture, mode %v", len(data), s.Mode)
		}
		names := "/dir\n/dir/file\n"
		if s.Leftover {
			names = "/dir\n/dir/.file.kubejoin-tmp\n/dir/file\n"
		}
		if diff := cmp.Diff(names, list(t, root)); diff != "" {
			t.Error(diff)
		}
	}
	must(t, h.WriteFile("/dir/file", nil, keep))
	if diff := cmp.Diff("/dir\n/dir/file\n", list(t, root)); diff != "" {
		t.Error(diff)
	}
}

// Law 8: a link that is exchanged during the operation does not lead out.
func TestLinkExchangedDuringTheOperation(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "file"), []byte("outside"), 0o644))
	h, root := machine(t, "dir/file")
	dir, aside := filepath.Join(root, "dir"), filepath.Join(root, "aside")

	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			target := outside
			if i%2 == 0 {
				target = "../" + strings.Repeat("../", 20) + outside
			}
			_ = os.Rename(dir, aside)
			_ = os.Symlink(target, dir)
			_ = os.RemoveAll(dir)
			_ = os.Rename(aside, dir)
		}
	})
	end := time.Now().Add(500 * time.Millisecond)
	for time.Now().Before(end) {
		_ = h.WriteFile("/dir/file", []byte("inside"), keep)
		if data, _, _ := h.ReadFile("/dir/file", 100); string(data) == "outside" {
			t.Fatal("read a file outside of the root")
		}
		_ = h.SetOwnership("/dir/file", 0o777, -1, -1)
		_ = h.Remove("/dir/file")
	}
	close(done)
	wg.Wait()
	if diff := cmp.Diff("/file\n", list(t, outside)); diff != "" {
		t.Error(diff)
	}
	info, err := os.Stat(filepath.Join(outside, "file"))
	if err != nil || info.Mode() != 0o644 || info.Size() != 7 {
		t.Error(info, err)
	}
}

func TestSetOwnership(t *testing.T) {
	h, root := machine(t, "dir/file", "link -> /dir/file", "gone -> /nothing")
	for path, mode := range map[string]fs.FileMode{"/dir": 0o700, "/link": 0o604} {
		must(t, h.SetOwnership(path, mode, os.Getuid(), -1))
		if s, err := h.Stat(path); err != nil || s.Mode != mode {
			t.Error(path, s, err)
		}
	}
	must(t, syscall.Mkfifo(filepath.Join(root, "pipe"), 0o644))
	for path, want := range map[string]string{
		"/missing": "file:/missing: cannot set mode and owner: file does not exist",
		"/gone":    "file:/gone: cannot set mode and owner: file does not exist",
		"/pipe":    "file:/pipe: cannot set mode and owner: neither a file nor a directory",
	} {
		if err := h.SetOwnership(path, 0o600, -1, -1); err == nil || err.Error() != want {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestMakeDir(t *testing.T) {
	h, _ := machine(t, "file", "there/")
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	must(t, h.MakeDir("/a/b", 0o705))
	must(t, h.MakeDir("/there", 0o700))
	for path, mode := range map[string]fs.FileMode{"/a": 0o705, "/a/b": 0o705, "/there": 0o755} {
		if s, err := h.Stat(path); err != nil || s.Kind != host.Dir || s.Mode != mode {
			t.Error(path, s, err)
		}
	}
	for _, bad := range []string{"/file", "/file/x", "x"} {
		if err := h.MakeDir(bad, 0o755); err == nil {
			t.Error(bad)
		}
	}
}

func TestRemove(t *testing.T) {
	h, root := machine(t,
		"file", ".file.kubejoin-tmp",
		".gone.kubejoin-tmp",
		"link -> dir/target", "dir/target", "dir/.target.kubejoin-tmp",
		"dangling -> nowhere", "empty/", "full/x")
	for _, path := range []string{"/file", "/gone", "/link", "/dangling", "/empty", "/never/there", "/full/x/y"} {
		for range 2 { // absent is fine
			if err := h.Remove(path); err != nil {
				t.Error(err)
			}
		}
	}
	if err := h.Remove("/full"); err == nil {
		t.Error("a directory with something in it was removed")
	}
	if diff := cmp.Diff("/dir\n/dir/target\n/full\n/full/x\n", list(t, root)); diff != "" {
		t.Error(diff)
	}
}

func TestRemoveLeftover(t *testing.T) {
	h, root := machine(t, "etc/f", "etc/.f.kubejoin-tmp", "etc/link -> ../data/g", "data/g", "data/.g.kubejoin-tmp", "etc/other/.kubejoin-tmp")
	for _, path := range []string{"/etc/f", "/etc/f", "/etc/link", "/etc/missing", "/missing/f", "/etc/f/below"} {
		must(t, h.RemoveLeftover(path))
	}
	for path, want := range map[string]bool{
		"etc/f": true, "etc/.f.kubejoin-tmp": false, "etc/link": true, "data/g": true, "data/.g.kubejoin-tmp": false, "etc/other/.kubejoin-tmp": true,
	} {
		if _, err := os.Lstat(filepath.Join(root, path)); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", path, err == nil, want)
		}
	}
}

// A file from the future is not newer than whatever starts now: it would be for hours.
func TestTimeInTheFuture(t *testing.T) {
	root := t.TempDir()
	h, err := host.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	name := filepath.Join(root, "f")
	if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for offset, zero := range map[time.Duration]bool{-time.Minute: false, time.Hour: true} {
		at := time.Now().Add(offset)
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
		st, err := h.Stat("/f")
		if err != nil || st.ModTime.IsZero() != zero {
			t.Errorf("%s: %v, %v", offset, st.ModTime, err)
		}
	}
}
