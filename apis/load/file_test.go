package load

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
)

// explain is what a case's want.txt holds: notes, warnings and problems.
func explain(t *testing.T, f *File) string {
	t.Helper()
	var out strings.Builder
	for _, note := range f.Notes {
		fmt.Fprintln(&out, "note:", note)
	}
	for _, w := range f.Warnings() {
		fmt.Fprintln(&out, "warning:", w)
	}
	err := f.Validate()
	if err == nil {
		return out.String() + "ok\n"
	}
	checkProblems(t, err)
	fmt.Fprintln(&out, err)
	return out.String()
}

// TestFiles has a case for each version with all of its fields, and cases for
// what is wrong.
func TestFiles(t *testing.T) {
	inputs, err := filepath.Glob("testdata/files/*/file.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, input := range inputs {
		t.Run(filepath.Base(filepath.Dir(input)), func(t *testing.T) {
			data, err := os.ReadFile(input)
			if err != nil {
				t.Fatal(err)
			}
			f, err := Load("file.yaml", data)
			if err != nil && f.Validate() == nil {
				t.Errorf("Validate forgets %v", err)
			}
			got := explain(t, f)
			golden := filepath.Join(filepath.Dir(input), "want.txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	data, err := os.ReadFile("testdata/files/older-timeout/file.yaml")
	if err != nil {
		t.Fatal(err)
	}
	f, err := Load("f", append(data, "---\napiVersion: v1\nkind: Pod\n"...))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, doc := range f.Documents {
		got = append(got, fmt.Sprintf("%s %s %s %T", doc.Pos, doc.APIVersion, doc.Kind, doc.Object))
	}
	want := []string{
		"f:2:1 kubeadm.k8s.io/v1beta3 ClusterConfiguration *kubeadm.ClusterConfiguration",
		"f:6:1 kubeadm.k8s.io/v1beta3 InitConfiguration *kubeadm.InitConfiguration",
		"f:9:1 v1 Pod <nil>",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := f.Documents[1].Object.(*kubeadm.InitConfiguration).Timeouts.ControlPlaneComponentHealthCheck; got != 9*time.Minute {
		t.Errorf("the timeout is %v", got)
	}
}

func TestReferences(t *testing.T) {
	f, err := Load("f", []byte(header+`
discovery: {file: {kubeConfigPath: conf}}
patches: {directory: p}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: UpgradeConfiguration
node: {patches: {directory: /q}}
`))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range f.References() {
		f.Warn(r.Place, "warned of "+r.Path, "")
		if r.Patches {
			f.Fail(r.Place, "refused "+r.Path, "look")
		}
	}
	want := `warning: f:4:36: discovery.file.kubeConfigPath: warned of conf
warning: f:5:22: patches.directory: warned of p
warning: f:9:29: node.patches.directory: warned of /q
f:5:22: patches.directory: refused p (look)
f:9:29: node.patches.directory: refused /q (look)
`
	if diff := cmp.Diff(want, explain(t, f)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestManyProblems: the text of Validate has all of them, that of other errors a
// screen full.
func TestManyProblems(t *testing.T) {
	data := []byte(header + "discovery: {file: {kubeConfigPath: https://x/y}}\n" + strings.Repeat("x: 1\ny: 2\n", 400))
	f, err := Load("f", data)
	if lines := strings.Count(err.Error(), "\n"); lines != maxLines {
		t.Errorf("Load has %d lines", lines)
	}
	err = f.Validate()
	var problems Problems
	if !errors.As(err, &problems) || len(problems) < 800 || strings.Count(err.Error(), "\n") != len(problems)-1 {
		t.Errorf("%d problems in %d lines", len(problems), strings.Count(err.Error(), "\n")+1)
	}
}

// thousandDocuments are of this program, with very many arguments, or of another
// one.
func thousandDocuments(ours bool, lines int) []byte {
	join := header + "discovery: {file: {kubeConfigPath: https://x/y}}\nnodeRegistration:\n  kubeletExtraArgs:\n" +
		strings.Repeat("  - {name: a, value: text that is not very long}\n", lines)
	if ours {
		return []byte(join + strings.Repeat("---\n"+join, 999))
	}
	other := "apiVersion: v1\nkind: ConfigMap\ndata:\n" + strings.Repeat("  a: text that is not very long\n", lines)
	return []byte(join + strings.Repeat("---\n"+other, 999))
}

// TestThousandDocuments: a large file needs no more memory than its largest
// documents, and is read as a stream.
func TestThousandDocuments(t *testing.T) {
	const limit = 64 << 20
	for _, ours := range []bool{false, true} {
		data := thousandDocuments(ours, 20)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f, err := Load("f", data)
		if err == nil {
			err = f.Validate()
		}
		runtime.ReadMemStats(&after)
		if err != nil && !strings.Contains(err.Error(), "a second JoinConfiguration") || len(f.Documents) != 1000 {
			t.Errorf("%d documents: %v", len(f.Documents), err)
		}
		if grown := int64(after.Sys) - int64(before.Sys); grown > limit {
			t.Errorf("needs %d MiB", grown>>20)
		}
	}
}

// BenchmarkLoad is 10 MB in a thousand documents, which should take less than 2 s.
func BenchmarkLoad(b *testing.B) {
	data := thousandDocuments(false, 320)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		f, _ := Load("f", data)
		if err := f.Validate(); err != nil {
			b.Fatal(err)
		}
	}
}

// FuzzLoad: whatever the input, there is a file with valid documents or an error,
// soon.
func FuzzLoad(f *testing.F) {
	inputs, err := filepath.Glob("testdata/files/*/file.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, input := range inputs {
		data, err := os.ReadFile(input)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(mergeBomb()))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Load("f", data)
		for _, e := range []error{err, file.Validate()} {
			if e == nil {
				continue
			}
			checkProblems(t, e)
		}
		_ = file.Warnings()
		_ = file.References()
	})
}
