package schemas

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/schemas/internal/generate"
)

var update = flag.Bool("update", false, "rewrite the schemas")

// TestGenerated fails when the types have changed and the schemas have not.
func TestGenerated(t *testing.T) {
	want, err := generate.Schemas("..")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		for _, file := range slices.Sorted(maps.Keys(want)) {
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, want[file], 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := map[string][]byte{}
	paths, err := filepath.Glob("v*/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range paths {
		if got[filepath.ToSlash(file)], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(text(want), text(got)); diff != "" {
		t.Errorf("the schemas are not those of the types; run \"go test ./schemas -update\" (-want +got):\n%s", diff)
	}
}

func text(files map[string][]byte) map[string]string {
	out := map[string]string{}
	for name, data := range files {
		out[name] = string(data)
	}
	return out
}
