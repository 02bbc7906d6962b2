package migrate

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/apis/load"
)

// lenient migrates whatever can be edited, so that tests of the edits may be of
// any form.
func lenient(name string, data []byte, to string) (*Result, error) {
	return rewrite(name, data, to, nil)
}

// TestUnreadable has what the version of a document cannot read: all of it is
// told at once, and nothing is migrated.
func TestUnreadable(t *testing.T) {
	const join, cluster = v3 + "JoinConfiguration\n", v3 + "ClusterConfiguration\n"
	const foreign = "apiVersion: v1\nkind: ConfigMap\nkind: Twice\ndata: {a: b}\n"
	for _, tt := range []struct {
		name, in string
		want     []string
	}{
		{"unknown field", join + "nodeRegistration:\n  nam: x\n", []string{`in.yaml:4:3: nodeRegistration.nam: unknown field (did you mean "name"?)`}},
		{"wrong type", join + "nodeRegistration: []\n", []string{"in.yaml:3:19: nodeRegistration: expected mapping, got list"}},
		{"number for an argument", join + "nodeRegistration:\n  kubeletExtraArgs:\n    v: 5\n",
			[]string{"in.yaml:5:8: nodeRegistration.kubeletExtraArgs.v: expected string, got number (put it in quotes)"}},
		{"duplicate field", join + "caCertPath: /a\ncaCertPath: /b\n", []string{"in.yaml:4:1: caCertPath: duplicate field (it is first set at line 3)"}},
		{"duplicate argument", join + "nodeRegistration: {kubeletExtraArgs: {v: '1', v: '2'}}\n",
			[]string{"in.yaml:3:47: nodeRegistration.kubeletExtraArgs.v: duplicate field (it is first set at line 3)"}},
		{"missing separator", foreign + "---\n" + join + cluster,
			[]string{"in.yaml:8:1: apiVersion: duplicate field (it is first set at line 6; is a line --- missing between them?)"}},
		{"missing separator after another program's", "apiVersion: v1\nkind: ConfigMap\n" + join,
			[]string{"in.yaml:3:1: apiVersion: duplicate field (it is first set at line 1; is a line --- missing between them?)"}},
		{"two of a kind", join + "---\n" + foreign + "---\n" + join, []string{"in.yaml:9:1: a second JoinConfiguration (the first one is at in.yaml:1:1)"}},
		{"field of a newer version", join + "timeouts: {}\n", []string{"in.yaml:3:1: timeouts: unknown field"}},
		{"what is up to date already", v4 + "JoinConfiguration\ncaCertPth: x\n", []string{"in.yaml:3:1: caCertPth: unknown field"}},
		{"all at once", "\ufeff" + join + "x: 1\n---\n" + foreign + "...\n" + cluster + "networking: 1\n---\napiVersion: kubeadm.k8s.io/v1alpha3\nkind: JoinConfiguration\n", []string{
			"in.yaml:3:1: x: unknown field",
			"in.yaml:12:13: networking: expected mapping, got number",
			"in.yaml:14:13: apiVersion: unknown version kubeadm.k8s.io/v1alpha3",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, eol := range []string{"\n", "\r\n"} {
				_, err := Migrate("in.yaml", []byte(strings.ReplaceAll(tt.in, "\n", eol)), Default)
				if err == nil {
					t.Fatal("no error")
				}
				checkError(t, err)
				var problems load.Problems
				errors.As(err, &problems)
				if len(problems) != len(tt.want) {
					t.Errorf("got  %v\nwant %v", problems, tt.want)
					continue
				}
				for i, p := range problems {
					if !strings.HasPrefix(p.String(), tt.want[i]) {
						t.Errorf("got  %v\nwant %s", p, tt.want[i])
					}
				}
			}
		})
	}
}

// TestReadable: what is none of its business is let through.
func TestReadable(t *testing.T) {
	const foreign = "kind: ConfigMap\nkind: Twice\nx: 'not closed\n"
	const misfit = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nmaxPod: many\n"
	for name, in := range map[string]string{
		"values that are wrong": v3 + "JoinConfiguration\ndiscovery: {bootstrapToken: {token: x}}\n",
		"other programs":        misfit + "---\n" + foreign + "---\n" + v3 + "JoinConfiguration\n---\n" + misfit + "---\n" + misfit,
		"nothing of kubeadm":    misfit + "---\n" + foreign,
		"many documents":        v3 + "JoinConfiguration\n" + strings.Repeat("---\na: b\n", 20_000),
		"many lines":            strings.Repeat("#\n", 300_000) + "a:\n---\n" + v3 + "JoinConfiguration\n---\n" + strings.Repeat("- x\n", 300_000),
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			if _, err := Migrate("in.yaml", []byte(in), Default); err != nil {
				t.Error(err)
			}
			if spent := time.Since(start); spent > 8*time.Second {
				t.Errorf("took %v", spent)
			}
		})
	}
}

// TestReadableCases: what the golden files show is what happens to files that can
// be read, and what comes out can be read, too.
func TestReadableCases(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*/in.*")
	if err != nil {
		t.Fatal(err)
	}
	refused := map[string]bool{"cluster-status-alone": true, "flow": true, "v1-to-v1beta2-refused": true, "worker": true}
	for _, input := range inputs {
		name := filepath.Base(filepath.Dir(input))
		data, err := os.ReadFile(input)
		if err != nil {
			t.Fatal(err)
		}
		for _, to := range Versions() {
			want, err := lenient("in.yaml", data, to)
			if err != nil {
				continue
			}
			got, err := Migrate("in.yaml", data, to)
			if refused[name] != (err != nil) {
				t.Errorf("%s to %s: %v", name, to, err)
			}
			if err != nil {
				continue
			}
			if diff := cmp.Diff(fmt.Sprint(want), fmt.Sprint(got)); diff != "" {
				t.Errorf("%s to %s (-want +got):\n%s", name, to, diff)
			}
			if _, err := Migrate("in.yaml", got.Data, to); err != nil {
				t.Errorf("%s to %s: the result: %v", name, to, err)
			}
		}
	}
}
