package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestDiffIsLinear: a file of 10 MB, many documents of which are equal, takes no
// second, and not minutes.
func TestDiffIsLinear(t *testing.T) {
	var other strings.Builder
	other.WriteString("---\napiVersion: v1\nkind: ConfigMap\ndata:\n")
	for i := range 150 {
		fmt.Fprintf(&other, "  label-%d: \"value of it %d\"   # a comment, for it and nothing else\n", i, i)
	}
	join := func(version, timeouts string) string {
		return "apiVersion: kubeadm.k8s.io/" + version + "\nkind: JoinConfiguration\n" + timeouts
	}
	others := strings.Repeat(other.String(), 1000)
	start := time.Now()
	got := diff("in.yaml",
		[]byte(join("v1beta3", "discovery: {}\n")+others+"---\n"+join("v1beta3", "")),
		[]byte(join("v1beta4", "discovery: {}\n")+others+"---\n"+join("v1beta4", "")))
	if spent := time.Since(start); spent > 8*time.Second {
		t.Errorf("took %v", spent)
	}
	if hunks := strings.Count(got, "\n@@ "); hunks != 2 || len(got) > 2000 {
		t.Errorf("%d hunks in %d bytes:\n%.2000s", hunks, len(got), got)
	}
}

// TestDiffHides what nobody should see.
func TestDiffHides(t *testing.T) {
	key := strings.Repeat("a1", 40)
	got := diff("in\x1b.yaml", []byte("a: b\r\nc: \x1b[1m\n"), []byte("a: b\nc: d\n"+key+"\ntoken: abcdef.0123456789abcdef"))
	want := "--- in\uFFFD.yaml\n+++ in\uFFFD.yaml\n@@ -1,2 +1,4 @@\n a: b\n-c: \uFFFD[1m\n+c: d\n+(sensitive)\n+token: abcdef.(sensitive)\n"
	if got != want {
		t.Errorf("got\n%q, want\n%q", got, want)
	}
	if same := diff("in.yaml", []byte("a"), []byte("a\n")); same != "" {
		t.Errorf("got %q", same)
	}
}
