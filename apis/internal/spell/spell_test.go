package spell

import (
	"strings"
	"testing"
)

func TestNearest(t *testing.T) {
	known := []string{"name", "criSocket", "taints", "kubeletExtraArgs", "ignorePreflightErrors"}
	for _, tt := range []struct{ word, want string }{
		{"kubeletExtraArg", "kubeletExtraArgs"},
		{"KUBELETEXTRAARGS", "kubeletExtraArgs"},
		{"crisocket", "criSocket"},
		{"taint", "taints"},
		{"emna", ""}, // all four letters differ: too far
		{"labels", ""},
		{"ignorePreflight", "ignorePreflightErrors"},
		{"kub", ""}, // too short to guess from
		{"", ""},
		{"x", ""},
		{strings.Repeat("name", 100), ""},
	} {
		got, ok := Nearest(tt.word, known)
		if got != tt.want || ok != (tt.want != "") {
			t.Errorf("Nearest(%q) = %q, %v; want %q", tt.word, got, ok, tt.want)
		}
	}
}
