package host_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

// childVar names what this program does instead of testing, for the tests that
// need another process: one that is killed, or one without privileges.
const childVar = "KUBEJOIN_HOST_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childVar) {
	case "":
		os.Exit(m.Run())
	case "write":
		writeForever(os.Args[1])
	case "lock":
		lockForever(os.Args[1])
	case "look":
		lookAround(os.Args[1])
	}
}

func child(t *testing.T, role string, args ...string) *exec.Cmd {
	t.Helper()
	// The directory of the test binary is closed to other users, this link is not.
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), childVar+"="+role)
	cmd.Stderr = os.Stderr
	return cmd
}

// machine makes a root directory from "path" or "path -> target" or "path/"
// lines; files hold their own path.
func machine(t *testing.T, entries ...string) (*host.Host, string) {
	t.Helper()
	root := t.TempDir()
	if err := os.Chmod(filepath.Dir(root), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		path, target, link := strings.Cut(e, " -> ")
		full := filepath.Join(root, path)
		must(t, os.MkdirAll(filepath.Dir(full), 0o755))
		switch {
		case link:
			must(t, os.Symlink(target, full))
		case strings.HasSuffix(path, "/"):
			must(t, os.MkdirAll(full, 0o755))
		default:
			must(t, os.WriteFile(full, []byte(path), 0o644))
		}
	}
	return open(t, root), root
}

func open(t *testing.T, root string) *host.Host {
	t.Helper()
	h, err := host.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantClass(t *testing.T, err error, want fault.Class) {
	t.Helper()
	if err == nil || fault.ClassOf(err) != want {
		t.Errorf("error %v of class %v, want %v", err, fault.ClassOf(err), want)
	}
}

// list gives all names below a directory, links with their targets.
func list(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		fmt.Fprint(&out, path[len(dir):])
		if target, err := os.Readlink(path); err == nil {
			fmt.Fprint(&out, " -> ", target)
		}
		fmt.Fprintln(&out)
		return nil
	}))
	return out.String()
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	slash := filepath.Join(dir, "slash")
	must(t, os.Symlink("/", slash))

	for _, live := range []string{"", "/", "/./", slash} {
		if h := open(t, live); !h.Live() || h.Root() != "" {
			t.Errorf("%q: live %v, root %q", live, h.Live(), h.Root())
		}
	}
	if h := open(t, dir); h.Live() || h.Root() != dir {
		t.Errorf("live %v, root %q", h.Live(), h.Root())
	}
	for _, bad := range []string{file, filepath.Join(dir, "missing"), file + "/x"} {
		_, err := host.Open(bad)
		wantClass(t, err, fault.InvalidConfig)
	}
}

// A plan without root gets a finding, not an error (law 1).
func TestDenied(t *testing.T) {
	t.Parallel()
	_, root := machine(t, "closed-file", "closed/file", "open/file")
	must(t, os.Chmod(filepath.Join(root, "closed-file"), 0))
	must(t, os.Chmod(filepath.Join(root, "closed"), 0))
	t.Cleanup(func() { must(t, os.Chmod(filepath.Join(root, "closed"), 0o755)) }) // to be removed

	cmd := child(t, "look", root)
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.Output()
	must(t, err)
	want := `/closed-file: file denied, 0 bytes
/closed: directory denied, 0 bytes
/closed/file:  denied, 0 bytes
/closed/nothing:  denied, 0 bytes
/open/file: file, 9 bytes
write: preflight-failed: file:/closed/file: cannot write: permission denied (run as root)
mode: preflight-failed: file:/closed-file: cannot set mode and owner: permission denied (run as root)
facts: true
`
	if string(out) != want {
		t.Errorf("got:\n%swant:\n%s", out, want)
	}
}

func lookAround(root string) {
	h, err := host.Open(root)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, path := range []string{"/closed-file", "/closed", "/closed/file", "/closed/nothing", "/open/file"} {
		s, err := h.Stat(path)
		if err != nil {
			fmt.Println(err)
		}
		var data []byte
		if s.Kind != host.Dir {
			if data, _, err = h.ReadFile(path, 100); err != nil {
				fmt.Println(err)
			}
		}
		denied := ""
		if s.Denied {
			denied = " denied"
		}
		fmt.Printf("%s: %s%s, %d bytes\n", path, s.Kind, denied, len(data))
	}
	show := func(what string, err error) {
		fmt.Printf("%s: %v: %v (%s)\n", what, fault.ClassOf(err), err, fault.HintOf(err))
	}
	show("write", h.WriteFile("/closed/file", nil, host.WriteOptions{Mode: 0o600, UID: -1, GID: -1}))
	show("mode", h.SetOwnership("/closed-file", 0o644, -1, -1))

	live, err := host.Open("")
	if err != nil {
		fmt.Println(err)
		return
	}
	f, err := live.Facts(context.Background())
	fmt.Println("facts:", f.Hostname != "" && err == nil)
}

func writeForever(root string) {
	h, err := host.Open(root)
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := 0; ; i++ {
		o := host.WriteOptions{Mode: modes[i%2], UID: -1, GID: -1, DirMode: 0o750}
		if err := h.WriteFile("/dir/file", content(i), o); err != nil {
			fmt.Println(err)
			return
		}
		if i == 0 {
			fmt.Println("writing")
		}
	}
}

var modes = [2]fs.FileMode{0o600, 0o644}

// content is large enough that a write can be interrupted in the middle.
func content(i int) []byte { return bytes.Repeat([]byte{'a' + byte(i%2)}, 1<<20) }

func lockForever(root string) {
	h, err := host.Open(root)
	if err == nil {
		_, err = h.Lock()
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("locked")
	select {}
}
