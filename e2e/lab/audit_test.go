package lab

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A mark lies between two lines, however much of the last one is there.
func TestEndOfLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 40<<10)
	tests := []struct {
		name, log string
		end       int
	}{
		{"empty", "", 0},
		{"whole lines", "a\nb\n", 4},
		{"the last line is being written", "a\nb", 2},
		{"so is the only one", "a", 0},
		{"a long line is being written", "a\n" + long, 2},
		{"a long line", long + "\n", len(long) + 1},
		{"the only one is long", long, 0},
	}
	for _, tt := range tests {
		name := filepath.Join(t.TempDir(), "audit.log")
		if err := os.WriteFile(name, []byte(tt.log), 0o600); err != nil {
			t.Fatal(err)
		}
		if end, err := endOfLines(name); err != nil || end != int64(tt.end) {
			t.Errorf("%s: %d, %v, want %d", tt.name, end, err, tt.end)
		}
	}
	if _, err := endOfLines(filepath.Join(t.TempDir(), "none")); !os.IsNotExist(err) {
		t.Errorf("of a log that is not there: %v", err)
	}
}
