package host_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/kubejoin/kubejoin/reconcile/host"
)

func TestReadTail(t *testing.T) {
	root := t.TempDir()
	h, err := host.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := os.WriteFile(filepath.Join(root, "log"), []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	// A container's log is a link, in a directory that is one as well.
	if err := os.Symlink("/log", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(root, "out")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/log": "789", "/link": "789", "/absent": "", "/out": ""} {
		got, err := h.ReadTail(path, 3)
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	if got, err := h.ReadTail("/log", 100); err != nil || string(got) != "0123456789" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := h.ReadTail("/", 3); err == nil {
		t.Error("a directory has no last bytes")
	}
}
