package cri

import (
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestSandboxImage(t *testing.T) {
	tests := map[string]struct{ config, want string }{
		"nothing":      {"", ""},
		"no JSON":      {"{", ""},
		"containerd 1": {`{"sandboxImage":"registry.k8s.io/pause:3.8","x":{}}`, "registry.k8s.io/pause:3.8"},
		"another":      {`{"cni":{}}`, ""},
	}
	for name, tt := range tests {
		if got := sandboxImage(tt.config); got != tt.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestPinned(t *testing.T) {
	image := func(pinned bool, tags ...string) *runtimeapi.Image {
		return &runtimeapi.Image{Pinned: pinned, RepoTags: tags}
	}
	tests := map[string]struct {
		images []*runtimeapi.Image
		want   string
	}{
		"nothing": {nil, ""},
		"one":     {[]*runtimeapi.Image{image(false, "etcd:1"), image(true, "pause:3.10")}, "pause:3.10"},
		"two":     {[]*runtimeapi.Image{image(true, "pause:3.10"), image(true, "mine:1")}, ""},
		"no name": {[]*runtimeapi.Image{image(true)}, ""},
	}
	for name, tt := range tests {
		if got := pinned(tt.images); got != tt.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
