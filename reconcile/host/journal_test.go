package host

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What a process said just before it ended is in the journal when it is read. The
// journalctl is a fake that takes it only when it is told to; the lab has a real one.
func TestLogsWaitForTheJournal(t *testing.T) {
	dir := t.TempDir()
	const script = `#!/bin/sh
case "$*" in
--sync) : >"$(dirname "$0")/taken" ;;
*_SYSTEMD_UNIT=kubelet.service*) if test -e "$(dirname "$0")/taken"; then printf 'unknown flag\nstarted\n'; fi ;;
*) echo "Main process exited" ;;
esac
`
	if err := os.WriteFile(filepath.Join(dir, "journalctl"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	lines, err := (&systemd{}).Logs(t.Context(), "kubelet", time.Now(), 5)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"started", "unknown flag"}, lines); diff != "" {
		t.Error(diff)
	}
}
