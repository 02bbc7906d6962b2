package host_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/kubejoin/kubejoin/reconcile/host"
)

func TestMove(t *testing.T) {
	root := t.TempDir()
	h, err := host.Open(root)
	must(t, err)
	defer h.Close()
	must(t, os.MkdirAll(filepath.Join(root, "data/member/wal"), 0o700))
	must(t, os.MkdirAll(filepath.Join(root, "taken"), 0o700))
	must(t, os.Symlink("/nowhere", filepath.Join(root, "dangling")))

	for _, to := range []string{"/taken", "/dangling"} {
		if err := h.Move("/data/member", to); !errors.Is(err, fs.ErrExist) && to == "/taken" || err == nil {
			t.Errorf("moved onto %s: %v", to, err)
		}
	}
	if err := h.Move("/data/absent", "/data/other"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("moved what is not there: %v", err)
	}
	must(t, h.Move("/data/member", "/data/member.old"))
	if _, err := os.Stat(filepath.Join(root, "data/member.old/wal")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(root, "data/member")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("it is still there under its old name")
	}
}
