package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPages(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	dir := filepath.Join(t.TempDir(), "man8")
	if err := write(dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"kubejoin.8": "kubejoin-plan(8)", "kubejoin-join.8": "KUBEJOIN_TOKEN",
		"kubejoin-plan.8": `("sha256:<hex>")`, "kubejoin-preflight.8": `("sha256:<hex>")`,
		"kubejoin-config-migrate.8": ".SH EXAMPLE", "kubejoin-show.8": "saved plan",
	} {
		page, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		text := strings.ReplaceAll(string(page), `\`, "")
		if !strings.Contains(text, want) {
			t.Errorf("%s does not mention %s:\n%s", name, want, text)
		}
	}
	if err := write(filepath.Join(dir, "kubejoin.8")); err == nil {
		t.Error("pages were written below a file")
	}
}
