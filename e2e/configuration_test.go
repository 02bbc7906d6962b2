package e2e

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/kubejoin/kubejoin/e2e/lab"
)

// Released kubeadms that still migrate v1beta3 to v1beta4: they say what it means.
var migrators = []string{"1.34.4", "1.36.3"}

// What kubejoin migrates means what kubeadm makes of it, and the kubeadm of today accepts it. kubeadm writes all defaults and
// facts of the machine into its output; so that only the meaning is compared, the kubeadm of today reads both results: that of
// the released one, and that of kubejoin. (The released ones read their own output wrong: beside a ClusterConfiguration they
// take an InitConfiguration's timeouts for zero.)
func TestMigrationMeansTheSame(t *testing.T) {
	t.Parallel()
	f := use(t)
	m := f.worker(t)
	for _, v := range migrators {
		kubeadm, err := lab.Kubeadm(t.Context(), v)
		if err != nil {
			t.Fatal(err)
		}
		binary, err := os.ReadFile(kubeadm)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.WriteFile("/usr/local/bin/kubeadm-"+v, binary, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	must(t, m.Run(t.Context(), "mkdir -p /etc/kubernetes/patches && touch /etc/kubernetes/discovery.conf"))
	inputs, err := filepath.Glob("testdata/v1beta3/*.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("%d inputs, %v", len(inputs), err)
	}
	for _, input := range inputs {
		t.Run(filepath.Base(input), func(t *testing.T) {
			old, err := os.ReadFile(input)
			if err != nil {
				t.Fatal(err)
			}
			put(t, m, "/etc/old.yaml", string(old))
			must(t, m.Run(t.Context(), "kubejoin config migrate --old-config /etc/old.yaml --new-config /etc/new.yaml"))
			migrated, err := m.ReadFile("/etc/new.yaml")
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(old)) {
				if c := strings.Index(line, "# "); c >= 0 && !strings.Contains(string(migrated), strings.TrimSpace(line[c:])) {
					t.Errorf("the comment %q is lost:\n%s", line[c:], migrated)
				}
			}
			must(t, m.Run(t.Context(), "kubeadm config validate --config /etc/new.yaml"))
			must(t, m.Run(t.Context(), "kubejoin config validate -f /etc/new.yaml"))
			again := must(t, m.Run(t.Context(), "kubejoin config migrate -f /etc/new.yaml"))
			if again.Stdout != string(migrated) {
				t.Errorf("migrated twice:\n%s", gocmp.Diff(string(migrated), again.Stdout))
			}
			got := meaning(t, m, "/etc/new.yaml")
			for _, v := range migrators {
				must(t, m.Run(t.Context(), "kubeadm-"+v+" config migrate --old-config /etc/old.yaml --new-config /etc/theirs.yaml"))
				want := meaning(t, m, "/etc/theirs.yaml")
				if diff := gocmp.Diff(want, got); diff != "" {
					t.Errorf("kubeadm %s reads another meaning (-before +after):\n%s", v, diff)
				}
			}
		})
	}
}

// meaning is what the kubeadm of today reads in a file, its documents by kind.
func meaning(t *testing.T, m *lab.Machine, path string) map[string]any {
	t.Helper()
	must(t, m.Run(t.Context(), "kubeadm config migrate --old-config "+path+" --new-config /tmp/meaning.yaml"))
	out, err := m.ReadFile("/tmp/meaning.yaml")
	if err != nil {
		t.Fatal(err)
	}
	documents := map[string]any{}
	for text := range strings.SplitSeq(string(out), "\n---\n") {
		var d map[string]any
		if err := yaml.Unmarshal([]byte(text), &d); err != nil {
			t.Fatal(err)
		}
		if kind, _ := d["kind"].(string); kind != "" {
			documents[kind] = sortedArgs(d)
		}
	}
	return documents
}

// sortedArgs sorts lists of arguments by name: kubeadm sorts them when it makes a list of a map, kubejoin keeps the file's order.
func sortedArgs(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			v[k] = sortedArgs(e)
			if list, ok := e.([]any); ok && strings.HasSuffix(strings.ToLower(k), "extraargs") {
				slices.SortFunc(list, func(a, b any) int { return cmp.Compare(text(a), text(b)) })
			}
		}
	case []any:
		for i, e := range v {
			v[i] = sortedArgs(e)
		}
	}
	return v
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// A cluster whose kubeadm-config is still of v1beta3, which kubeadm 1.37 refuses, is joined. Not beside others: it is every node's.
func TestClusterOfV1beta3(t *testing.T) {
	f := use(t)
	m := f.worker(t)
	document := func() string {
		var cm struct {
			Data struct{ ClusterConfiguration string }
		}
		if err := json.Unmarshal([]byte(f.kubectl(t, "get configmap kubeadm-config --namespace=kube-system --output=json")), &cm); err != nil {
			t.Fatal(err)
		}
		return cm.Data.ClusterConfiguration
	}
	publish := func(document string) {
		t.Helper()
		patch, err := json.Marshal(map[string]any{"data": map[string]any{"ClusterConfiguration": document}})
		if err != nil {
			t.Fatal(err)
		}
		put(t, f.cluster.ControlPlane, "/tmp/patch.json", string(patch))
		f.kubectl(t, "patch configmap kubeadm-config --namespace=kube-system --type=merge --patch-file=/tmp/patch.json")
	}
	today := document()
	var c map[string]any
	if err := yaml.Unmarshal([]byte(today), &c); err != nil {
		t.Fatal(err)
	}
	defer publish(today)
	c["apiVersion"] = "kubeadm.k8s.io/v1beta3"
	for _, later := range []string{"encryptionAlgorithm", "certificateValidityPeriod", "caCertificateValidityPeriod", "dns", "proxy"} {
		delete(c, later)
	}
	c["apiServer"] = map[string]any{"timeoutForControlPlane": "4m0s", "extraArgs": map[string]any{"v": "2"}}
	old, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	publish(string(old))

	f.configure(t, m)
	run(t, m, "root", apply, 0)
	f.ready(t, m)
	f.inSync(t, m)
}
