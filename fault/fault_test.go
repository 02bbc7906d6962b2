package fault

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

func TestErrors(t *testing.T) {
	plain := errors.New("odd")
	denied := New(Denied, "no").At("cp1:6443").WithHint("a %s token", "new")
	tests := map[string]struct {
		err   error
		text  string
		class Class
		hint  string
	}{
		"without a class":           {plain, "odd", Internal, ""},
		"cancelled":                 {context.Canceled, "context canceled", Internal, ""},
		"with everything":           {denied, "cp1:6443: no", Denied, "a new token"},
		"the outermost class wins":  {New(Conflict, "join: %w", denied), "join: cp1:6443: no", Conflict, "a new token"},
		"the outermost hint wins":   {New(Conflict, "join: %w", denied).WithHint("outer"), "join: cp1:6443: no", Conflict, "outer"},
		"below others":              {fmt.Errorf("a: %w", fmt.Errorf("b: %w", denied)), "a: b: cp1:6443: no", Denied, "a new token"},
		"joined: the first counts":  {errors.Join(plain, denied, New(Busy, "later").WithHint("wait")), "odd\ncp1:6443: no\nlater", Denied, "a new token"},
		"joined: hint of the other": {errors.Join(New(Busy, "first"), denied), "first\ncp1:6443: no", Busy, "a new token"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.err.Error() != tt.text || ClassOf(tt.err) != tt.class || HintOf(tt.err) != tt.hint {
				t.Errorf("%q, %s, %q", tt.err, ClassOf(tt.err), HintOf(tt.err))
			}
		})
	}
	if HintOf(nil) != "" || !errors.Is(New(Busy, "x: %w", plain), plain) {
		t.Error("nil has a hint, or the cause is lost")
	}
}

// Names and numbers are a published interface: docs/exit-codes.md.
func TestClasses(t *testing.T) {
	want := map[Class]string{
		1: "internal", 3: "invalid-configuration", 4: "preflight-failed", 5: "cluster-untrusted", 6: "cluster-unreachable",
		7: "conflict", 8: "busy", 9: "credential-refused", 10: "timeout", 130: "interrupted", 77: "class-77",
	}
	for c, name := range want {
		if c.String() != name || c.ExitCode() != int(c) {
			t.Errorf("%d: %s, exit code %d", int(c), c, c.ExitCode())
		}
	}
}
