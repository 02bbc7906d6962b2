package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kubejoin/kubejoin/migrate"
)

// TestDiffIsLinear: a file of 10 MB, many documents of which are equal, takes a
// second, and not minutes.
func TestDiffIsLinear(t *testing.T) {
	var other strings.Builder
	other.WriteString("---\napiVersion: v1\nkind: ConfigMap\ndata:\n")
	for i := range 150 {
		fmt.Fprintf(&other, "  label-%d: \"value of it %d\"   # a comment, for it and nothing else\n", i, i)
	}
	join := "---\napiVersion: kubeadm.k8s.io/v1beta3\nkind: JoinConfiguration\nnodeRegistration:\n  kubeletExtraArgs:\n    v: '5'\n"
	cluster := "apiVersion: kubeadm.k8s.io/v1beta3\nkind: ClusterConfiguration\napiServer:\n  timeoutForControlPlane: 4m\n"
	start := time.Now()
	result, err := migrate.Migrate("in.yaml", []byte(cluster+strings.Repeat(other.String(), 1000)+join), "v1beta4")
	if err != nil {
		t.Fatal(err)
	}
	got := diff("in.yaml", result.Parts)
	if spent := time.Since(start); spent > 8*time.Second {
		t.Errorf("took %v", spent)
	}
	if hunks := strings.Count(got, "\n@@ "); hunks != 2 || len(got) > 1500 {
		t.Errorf("%d hunks in %d bytes:\n%.1500s", hunks, len(got), got)
	}
}

// TestDiffHides what nobody should see.
func TestDiffHides(t *testing.T) {
	key := strings.Repeat("a1", 40)
	got := diff("in\x1b.yaml", []migrate.Part{{
		Before: []byte("a: b\r\nc: \u202e1m\n"), After: []byte("a: b\nc: d\n" + key + ": x\nd: abcdef.0123456789abcdef\n"), Ours: true,
	}})
	want := "--- in\uFFFD.yaml\n+++ in\uFFFD.yaml\n@@ -1,2 +1,4 @@\n a: b\n-c: \uFFFD1m\n+c: d\n+(sensitive): x\n+d: abcdef.(sensitive)\n"
	if got != want {
		t.Errorf("got\n%q, want\n%q", got, want)
	}
	if same := diff("in.yaml", []migrate.Part{{Before: []byte("a\n"), After: []byte("a\n")}}); same != "" {
		t.Errorf("got %q", same)
	}
}
