package patch

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/fault"
)

func TestParseName(t *testing.T) {
	tests := []struct {
		name   string
		target Target
		typ    Type
	}{
		{"etcd.yaml", Etcd, Strategic},
		{"etcd.json", Etcd, Strategic},
		{"kube-apiserver0.yaml", KubeAPIServer, Strategic},
		{"kube-apiserver0+merge.yaml", KubeAPIServer, Merge},
		{"kube-controller-manager-zz+json.json", KubeControllerManager, JSON},
		{"kube-scheduler+strategic.json", KubeScheduler, Strategic},
		{"kubeletconfiguration_1+json.yaml", KubeletConfiguration, JSON},
		{"kubeletconfiguration.v2.yaml", KubeletConfiguration, Strategic}, // as kubeadm reads it
		{"corednsdeployment.yaml", CoreDNSDeployment, Strategic},
		{"kubeproxydaemonset.yaml", KubeProxyDaemonSet, Strategic},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			target, typ, _, err := parseName(tt.name)
			if err != nil || target != tt.target || typ != tt.typ {
				t.Errorf("got %q, %q, %v; want %q, %q", target, typ, err, tt.target, tt.typ)
			}
		})
	}
}

func TestNameIsNoPatch(t *testing.T) {
	tests := []struct{ name, err, hint string }{
		{"README.md", "does not begin with a patch target", "etcd, kube-apiserver"},
		{"kubelet.yaml", "does not begin with a patch target", "kubeletconfiguration"},
		{".yaml", "does not begin with a patch target", ""},
		{"kubeletconfiguration", `extension ""`, "rename it to kubeletconfiguration.yaml"},
		{"kubeletconfiguration.yml", `extension ".yml"`, "rename it to kubeletconfiguration.yaml"},
		{"kubeletconfiguration0.YAML", `extension ".YAML"`, "rename it to kubeletconfiguration0.yaml"},
		{"etcd+json.JSON", `extension ".JSON"`, "rename it to etcd+json.json"},
		{"kubeletconfiguration.yaml~", `extension ".yaml~"`, "move it out"},
		{"kubeletconfiguration+foo.yaml", `patch type "foo"`, "rename it to kubeletconfiguration+strategic.yaml"},
		{"kubeletconfiguration+.yaml", `patch type ""`, "rename it to kubeletconfiguration+strategic.yaml"},
		{"kube-scheduler+mergeJUNK.yaml", `patch type "mergeJUNK"`, "rename it to kube-scheduler+merge.yaml"},
		{"kube-scheduler+JSON.yaml", `patch type "JSON"`, "rename it to kube-scheduler+json.yaml"},
		{"kube-apiserver+merge+json.yaml", `patch type "merge+json"`, "rename it to kube-apiserver+merge.yaml"},
		{"kube-apiserver+merge.1.yaml", `patch type "merge.1"`, "rename it to kube-apiserver+merge.yaml"},
		{"kube-apiserver.x+json.yaml", "a dot before the patch type", "rename it to kube-apiserver-x+json.yaml"},
		{"Etcd.yaml", "lower case", "rename it to etcd.yaml"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, hint, err := parseName(tt.name)
			if err == nil || !strings.Contains(err.Error(), tt.err) || !strings.Contains(hint, tt.hint) {
				t.Errorf("got %v (hint %q); want %q (hint %q)", err, hint, tt.err, tt.hint)
			}
		})
	}
}

// load gives each file's content under its name.
func load(t *testing.T, files map[string]string) (*Set, error) {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, content := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return Load(fsys, "/patches")
}

func TestLoad(t *testing.T) {
	const licence = "# Copyright\n"
	tests := map[string]struct {
		files map[string]string
		want  []string
	}{
		"nothing": {nil, nil},
		"documents of one file": {
			map[string]string{"etcd.yaml": licence + "---\n---\na: 1\n--- # second\r\nb: 2\r\n---\n\n"},
			[]string{"/patches/etcd.yaml:3 document 1, strategic patch of etcd {\"a\":1}", "/patches/etcd.yaml:5 document 2, strategic patch of etcd {\"b\":2}"},
		},
		"document end marker": {
			map[string]string{"etcd.yaml": "a: 1\n...\nb: 2\n"},
			[]string{"/patches/etcd.yaml:1 document 1, strategic patch of etcd {\"a\":1}", "/patches/etcd.yaml:2 document 2, strategic patch of etcd {\"b\":2}"},
		},
		"lexical order of files": {
			map[string]string{"etcd2.yaml": "a: 2", "etcd10+merge.json": `{"a": 10}`, "etcd.yaml": "a: 0"},
			[]string{"/patches/etcd.yaml:1 document 1, strategic patch of etcd {\"a\":0}",
				"/patches/etcd10+merge.json:1 document 1, merge patch of etcd {\"a\":10}",
				"/patches/etcd2.yaml:1 document 1, strategic patch of etcd {\"a\":2}"},
		},
		"empty files and hidden ones": {
			map[string]string{"etcd.yaml": "", "etcd1.yaml": "\n# nothing\n", ".hidden": "{", ".git/config": "x"},
			nil,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			set, err := load(t, tt.files)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range set.docs {
				got = append(got, fmt.Sprintf("%s:%d %s %s", d.file, d.line, d, d.json))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLoadRefuses(t *testing.T) {
	tests := map[string]struct {
		files map[string]string
		want  string
	}{
		"another file":           {map[string]string{"README.md": "hi"}, "/patches/README.md: name does not begin"},
		"a sub-directory":        {map[string]string{"more/etcd.yaml": "a: 1"}, "/patches/more: is a directory"},
		"a broken document":      {map[string]string{"etcd.yaml": "a: 1\n---\nb: 1\nc: [\n"}, "/patches/etcd.yaml:4: document 2, strategic patch of etcd: "},
		"a tab":                  {map[string]string{"etcd.yaml": "a:\n\tb: 1\n"}, "/patches/etcd.yaml:2: document 1, strategic patch of etcd: "},
		"a key twice":            {map[string]string{"etcd.yaml": "b: 1\n---\na: 1\na: 2\n"}, "/patches/etcd.yaml:4: document 2, "},
		"a scalar":               {map[string]string{"etcd.yaml": "hello"}, "/patches/etcd.yaml:1: document 1, strategic patch of etcd: a strategic patch is a mapping"},
		"a list as merge patch":  {map[string]string{"etcd+merge.yaml": "[]"}, "a merge patch is a mapping"},
		"a mapping as json":      {map[string]string{"etcd+json.yaml": "a: 1"}, "a json patch is a list of operations"},
		"json: not operations":   {map[string]string{"etcd+json.yaml": "[1]"}, "/patches/etcd+json.yaml:1: document 1, json patch of etcd: "},
		"json: unknown op":       {map[string]string{"etcd+json.yaml": "[{op: add, path: /a, value: null}, {op: set, path: /a}]"}, `{"op":"set","path":"/a"}: unsupported operation`},
		"json: no path":          {map[string]string{"etcd+json.yaml": "[{op: add, value: 1}]"}, "missing path"},
		"json: no value":         {map[string]string{"etcd+json.yaml": "[{op: replace, path: /a}]"}, "missing value"},
		"json: no from":          {map[string]string{"etcd+json.yaml": "---\n[{op: move, path: /a}]"}, `/patches/etcd+json.yaml:1: document 1, json patch of etcd: invalid operation`},
		"binary":                 {map[string]string{"etcd.yaml": "\x00\x01"}, "/patches/etcd.yaml:1: document 1"},
		"a file of a megabyte":   {map[string]string{"etcd.yaml": strings.Repeat("#", maxFileSize+1)}, "/patches/etcd.yaml: read patch: larger than 1024 KiB"},
		"broken, of no interest": {map[string]string{"corednsdeployment.yaml": "{"}, "/patches/corednsdeployment.yaml:1: "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, tt.files)
			if err == nil || !strings.Contains(err.Error(), tt.want) || fault.ClassOf(err) != fault.InvalidConfig {
				t.Errorf("got %v; want %q", err, tt.want)
			}
		})
	}
}

// TestCheck: what is wrong with one file does not hide the next one.
func TestCheck(t *testing.T) {
	errs := Check(fstest.MapFS{
		"README.md":         {Data: []byte("hi")},
		"etcd.yaml":         {Data: []byte("a: [")},
		"etcd1.yaml":        {Data: []byte("a: b")},
		"kube-apiserver.js": {Data: []byte("{}")},
	}, "p")
	var got []string
	for _, err := range errs {
		if fault.ClassOf(err) != fault.InvalidConfig {
			t.Errorf("class of %v", err)
		}
		file, _, _ := strings.Cut(err.Error(), ": ")
		got = append(got, file)
	}
	if diff := cmp.Diff([]string{"p/README.md", "p/etcd.yaml:1", "p/kube-apiserver.js"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLoadRefusesManyFiles(t *testing.T) {
	files := map[string]string{}
	for i := range maxFiles + 1 {
		files[fmt.Sprintf("etcd%d.yaml", i)] = ""
	}
	if _, err := load(t, files); err == nil || !strings.Contains(err.Error(), "/patches: more than 256 files") {
		t.Error(err)
	}
}

func TestLoadRefusesMissingDirectory(t *testing.T) {
	_, err := Load(os.DirFS(filepath.Join(t.TempDir(), "none")), "/patches")
	if err == nil || err.Error() != "/patches: read patch directory: no such file or directory" || fault.ClassOf(err) != fault.InvalidConfig {
		t.Error(err)
	}
}

// A directory as the kubelet mounts a ConfigMap: each patch counts once, where
// kubeadm applies it twice (behaviour catalogue §7).
func TestLoadKubernetesVolume(t *testing.T) {
	dir := t.TempDir()
	for _, err := range []error{
		os.Mkdir(filepath.Join(dir, "..2024_01_02"), 0o755),
		os.WriteFile(filepath.Join(dir, "..2024_01_02", "etcd.yaml"), []byte("a: 1"), 0o644),
		os.Symlink("..2024_01_02", filepath.Join(dir, "..data")),
		os.Symlink("..data/etcd.yaml", filepath.Join(dir, "etcd.yaml")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	set, err := Load(os.DirFS(dir), dir)
	if err != nil || len(set.docs) != 1 {
		t.Errorf("got %v, %v; want one document", set, err)
	}
}

func TestLoadRefusesDanglingLink(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("nowhere", filepath.Join(dir, "etcd.yaml")); err != nil {
		t.Fatal(err)
	}
	_, err := Load(os.DirFS(dir), "/patches")
	if err == nil || err.Error() != "/patches/etcd.yaml: read patch: no such file or directory" {
		t.Error(err)
	}
}
