package host

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestAccepts(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	listen := func(name string) *net.UnixListener {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: at(name), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	defer listen("listening").Close()
	stale := listen("stale")
	stale.SetUnlinkOnClose(false)
	if err := stale.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at("file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"listening": true, "stale": false, "file": false, "missing": false} {
		if got := accepts(t.Context(), at(name)); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
