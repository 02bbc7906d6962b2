package load

import (
	"strings"
	"testing"
)

func TestMask(t *testing.T) {
	const token, hidden = "abcdef.0123456789abcdef", "abcdef.(sensitive)"
	key := strings.Repeat("ab", 32)
	for _, tt := range []struct{ name, text, want string }{
		{"no secret", "nodeRegistration", "nodeRegistration"},
		{"token", token, hidden},
		{"token of letters", "abcdef.ghijklmnopqrstuv", hidden},
		{"tokens", token + " " + token + "." + token, hidden + " " + hidden + "." + hidden},
		{"token of a token's ID", "abcdef." + token, "abcdef." + hidden},
		{"flag", "--token=" + token + " x", "--token=" + hidden + " x"},
		{"underscore", "_" + token + "_", "_" + hidden + "_"},
		{"behind an escape", `"\n` + "abcdef.ghijklmnopqrstuv" + `\n"`, `"\n` + hidden + `\n"`},
		{"with something at both ends", "X" + token + "0", "X" + hidden},
		{"in a name", "a." + token + ".b", "a." + hidden + ".b"},
		{"host", "cpnode.kubernetesclusters:x", "cpnode.kubernetesclusters:x"},
		{"host of letters before", "mycpnode.kubernetescluste", "mycpnode.kubernetescluste"},
		{"capitals", "ABCDEF.0123456789abcdef", "ABCDEF.0123456789abcdef"},
		{"too short", "abcdef.0123456789abcde", "abcdef.0123456789abcde"},
		{"certificate key", "key " + key, "key (sensitive)"},
		{"digest", "sha256:" + key, "sha256:" + key},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := mask(tt.text); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestPathOfTypo(t *testing.T) {
	for _, tt := range []struct{ name, yaml, want string }{
		{"typo as long as a token's secret", "nodeRegistration: {kubeletextraargs: []}",
			`f:3:20: nodeRegistration.kubeletextraargs: unknown field (did you mean "kubeletExtraArgs"?)`},
		{"joined to a token's form", "taints: {abcdefghijklmnop: 1}", "f:3:1: taints: unknown field"},
		{"token as a name", "abcdef.0123456789abcdef: 1", `f:3:1: ["abcdef.(sensitive)"]: unknown field`},
		{"token below a field", "nodeRegistration: {abcdef.ghijklmnopqrstuv: 1}", `f:3:20: nodeRegistration["abcdef.(sensitive)"]: unknown field`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := JoinConfiguration("f", []byte(header+tt.yaml), nil)
			if err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %v", err, tt.want)
			}
		})
	}
}
