package host_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kubejoin/kubejoin/fault"
)

func TestWatch(t *testing.T) {
	write := func(t *testing.T, path string) {
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		must(t, os.WriteFile(path, []byte("x"), 0o644))
	}
	for name, test := range map[string]struct {
		entries []string
		watch   string
		steps   []func(t *testing.T, root string) // each gives an event
	}{
		"written in place": {
			entries: []string{"dir/file"}, watch: "/dir/file",
			steps: []func(*testing.T, string){
				func(t *testing.T, root string) { write(t, root+"/dir/file") },
				func(t *testing.T, root string) { must(t, os.Chmod(root+"/dir/file", 0o600)) },
				func(t *testing.T, root string) { must(t, os.Remove(root+"/dir/file")) },
				func(t *testing.T, root string) { write(t, root+"/dir/file") },
			},
		},
		"made later, with its directories": {
			watch: "/var/lib/kubelet/pki/kubelet.pem",
			steps: []func(*testing.T, string){
				func(t *testing.T, root string) { must(t, os.MkdirAll(root+"/var/lib", 0o755)) },
				func(t *testing.T, root string) { write(t, root+"/var/lib/kubelet/pki/kubelet.pem") },
				func(t *testing.T, root string) { write(t, root+"/var/lib/kubelet/pki/kubelet.pem") },
			},
		},
		"replaced by rename": {
			entries: []string{"dir/file", "dir/new"}, watch: "/dir/file",
			steps: []func(*testing.T, string){
				func(t *testing.T, root string) { must(t, os.Rename(root+"/dir/new", root+"/dir/file")) },
			},
		},
		"a link that changes its target": {
			entries: []string{"pki/current -> /pki/1", "pki/1", "elsewhere/2", "pki/next -> /elsewhere/2"}, watch: "/pki/current",
			steps: []func(*testing.T, string){
				func(t *testing.T, root string) { write(t, root+"/pki/1") },
				func(t *testing.T, root string) { must(t, os.Rename(root+"/pki/next", root+"/pki/current")) },
				func(t *testing.T, root string) { write(t, root+"/elsewhere/2") },
			},
		},
		"a directory exchanged for another": {
			entries: []string{"dir/file"}, watch: "/dir/file",
			steps: []func(*testing.T, string){
				func(t *testing.T, root string) { must(t, os.Rename(root+"/dir", root+"/old")) },
				func(t *testing.T, root string) { write(t, root+"/dir/file") },
				func(t *testing.T, root string) { write(t, root+"/dir/file") },
			},
		},
		"anything in a directory": {
			entries: []string{"link -> /manifests", "manifests/a"}, watch: "/link",
			steps: []func(*testing.T, string){
				func(t *testing.T, root string) { write(t, root+"/manifests/a") },
				func(t *testing.T, root string) { write(t, root+"/manifests/b") },
				func(t *testing.T, root string) { must(t, os.Remove(root+"/manifests/a")) },
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, root := machine(t, test.entries...)
			changed, err := h.Watch(t.Context(), test.watch, "/another")
			must(t, err)
			for i, step := range test.steps {
				step(t, root)
				select {
				case <-changed:
				case <-time.After(5 * time.Second):
					t.Fatalf("no event after step %d", i)
				}
				quiet(changed)
			}
			write(t, root+"/unrelated")
			select {
			case <-changed:
				t.Error("an event for something else")
			case <-time.After(50 * time.Millisecond):
			}
		})
	}
}

// quiet takes the rest of the events of a step.
func quiet(changed <-chan struct{}) {
	for {
		select {
		case <-changed:
		case <-time.After(50 * time.Millisecond):
			return
		}
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	h, _ := machine(t, "file")
	ctx, cancel := context.WithCancel(t.Context())
	changed, err := h.Watch(ctx, "/file")
	must(t, err)
	cancel()
	for range changed { // until it is closed
	}
	_, err = h.Watch(t.Context(), "relative")
	wantClass(t, err, fault.Internal)
}
