package migrate

import (
	std "cmp"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/apis/load"
)

// TestMeaning: what could be loaded before is loaded as the same configuration
// afterwards. Fields that move to another document are beyond this test.
func TestMeaning(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*/in.*")
	if err != nil {
		t.Fatal(err)
	}
	inputs = append(inputs, "../testdata/example/join.yaml")
	options := cmp.Options{
		// A map of arguments has no order; the list has that of the file.
		cmpopts.SortSlices(func(a, b kubeadm.Arg) bool { return a.Name < b.Name }),
		cmpopts.EquateEmpty(),
		cmp.Comparer(func(a, b kubeadm.MergeMethod) bool { // "replace" is what happens without a word
			return strings.TrimPrefix(string(a), "replace") == strings.TrimPrefix(string(b), "replace")
		}),
		cmp.Comparer(func(a, b *kubeadm.Patches) bool { // a folder without a name is none
			var none kubeadm.Patches
			return *std.Or(a, &none) == *std.Or(b, &none)
		}),
		cmpopts.IgnoreFields(kubeadm.APIServer{}, "TimeoutForControlPlane"),
	}
	joins, clusters := 0, 0
	for _, input := range inputs {
		data, err := os.ReadFile(input)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range split(data) {
			for _, version := range Versions() {
				result, err := lenient(input, c.text, version)
				if err != nil || result.Documents == 0 || len(result.Losses) > 0 {
					continue // the golden files have it
				}
				if before, err := load.JoinConfiguration(input, c.text, nil); err == nil {
					joins++
					after, err := load.JoinConfiguration(input, result.Data, nil)
					if err != nil {
						t.Errorf("%s: %v\n%s", version, err, result.Data)
					} else if diff := cmp.Diff(before.Config, after.Config, options); diff != "" {
						t.Errorf("%s to %s (-before +after):\n%s", input, version, diff)
					}
				}
				if before, warnings, err := load.ClusterConfiguration(input, c.text); err == nil {
					clusters++
					after, more, err := load.ClusterConfiguration(input, result.Data)
					if err != nil {
						t.Errorf("%s: %v\n%s", version, err, result.Data)
						continue
					}
					if len(more) > len(warnings) {
						t.Errorf("%s to %s warns more than before: %v", input, version, more)
					}
					if diff := cmp.Diff(before, after, options); diff != "" {
						t.Errorf("%s to %s (-before +after):\n%s", input, version, diff)
					}
				}
			}
		}
	}
	if joins < 20 || clusters < 20 {
		t.Errorf("only %d and %d configurations were compared", joins, clusters)
	}
}
