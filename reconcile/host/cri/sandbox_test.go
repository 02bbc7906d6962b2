package cri

import "testing"

func TestSandboxImage(t *testing.T) {
	tests := map[string]struct{ config, want string }{
		"nothing":      {"", ""},
		"no JSON":      {"{", ""},
		"containerd 1": {`{"sandboxImage":"registry.k8s.io/pause:3.8","x":{}}`, "registry.k8s.io/pause:3.8"},
		"containerd 2": {`{"pinnedImages":{"sandbox":"registry.k8s.io/pause:3.10"}}`, "registry.k8s.io/pause:3.10"},
		"another":      {`{"cni":{}}`, ""},
	}
	for name, tt := range tests {
		if got := sandboxImage(tt.config); got != tt.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
