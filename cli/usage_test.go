package cli

import (
	"strings"
	"testing"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile/node"
)

func TestMisusedHidesTokens(t *testing.T) {
	for in, want := range map[string]string{
		"abcdef.0123456789abcdef":                         "abcdef.(sensitive)",
		"ABCDEF.0123456789ABCDEF":                         "ABCDEF.(sensitive)",
		"abcdef.0123456789abc":                            "abcdef.(sensitive)",
		`"--tokn=abcdef.0123456789abcdef0", "x"`:          `"--tokn=abcdef.(sensitive)", "x"`,
		"abcdef.0123456789abcdef abcdef.fedcba9876543210": "abcdef.(sensitive) abcdef.(sensitive)",
		"aply":           "aply",
		"1.2.3.4:6443":   "1.2.3.4:6443",
		"worker.example": "worker.example",
	} {
		if got := misused("%s", in).Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestCheckAllow(t *testing.T) {
	all := "use " + strings.Join(node.AllowNames(), ", ")
	for name, hint := range map[string]string{
		"replace-ca": "", "replace-identity": "", "replace-node": "",
		"replace-CA":        `did you mean "replace-ca"?`,
		"replace_ca":        `did you mean "replace-ca"?`,
		"replaceidentity":   `did you mean "replace-identity"?`,
		"replace-nodes":     `did you mean "replace-node"?`,
		"typo":              all,
		"all":               all,
		"":                  all,
		"node:worker-1":     all,
		"--allow=everybody": all,
	} {
		err := checkAllow([]string{"replace-ca", name})
		if got := fault.HintOf(err); got != hint || (err == nil) != (hint == "") {
			t.Errorf("%q: %v, hint %q, want %q", name, err, got, hint)
		}
	}
}

func TestHiding(t *testing.T) {
	const token, key = "abcdef.0123456789abcdef", "0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef"
	for _, tt := range []struct{ arg, text, want string }{
		{token, "open " + token + ": no", "open abcdef.(sensitive): no"},
		{"--token-file=./" + token, "open ./" + token, "open ./abcdef.(sensitive)"},
		{"-f" + key, key + " " + strings.ToLower(key), "(sensitive) (sensitive)"},
		{"Swap," + token, token, "abcdef.(sensitive)"},
		{"sha256:" + key, "sha256:" + key, "sha256:" + key},
		{"worker.example", "worker.example", "worker.example"},
		{"cp.example.com:6443", "cp.example.com:6443", "cp.example.com:6443"},
	} {
		if got := hiding([]string{"join", tt.arg})(tt.text); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.arg, got, tt.want)
		}
	}
}
