package patch

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/kubejoin/kubejoin/fault"
)

const pod = `
apiVersion: v1
kind: Pod
spec:
  containers:
  - name: etcd
    image: etcd:1
    command: [etcd, --a=1]
    env: [{name: A, value: "1"}]
`

func TestApply(t *testing.T) {
	tests := map[string]struct {
		target Target
		files  map[string]string
		doc    string
		want   string
	}{
		"no patch": {Etcd, nil, "a: 1", "a: 1"},
		"patch of another target": {
			Etcd, map[string]string{"kube-scheduler.yaml": "a: 2"}, "a: 1", "a: 1",
		},
		"strategic: containers and env by name, commands as a whole": {
			Etcd,
			map[string]string{"etcd.yaml": "spec: {containers: [{name: etcd, command: [etcd], env: [{name: B, value: '2'}]}, {name: side}]}"},
			pod,
			`{apiVersion: v1, kind: Pod, spec: {containers: [
				{name: etcd, image: "etcd:1", command: [etcd], env: [{name: B, value: "2"}, {name: A, value: "1"}]}, {name: side}]}}`,
		},
		"strategic: delete directive": {
			Etcd, map[string]string{"etcd.yaml": "spec: {containers: [{name: etcd, $patch: delete}, {name: b}]}"}, pod,
			"{apiVersion: v1, kind: Pod, spec: {containers: [{name: b}]}}",
		},
		"strategic: lists of the kubelet's configuration are replaced, unknown fields survive": {
			KubeletConfiguration,
			map[string]string{"kubeletconfiguration.yaml": "clusterDNS: [2.2.2.2]\nfuture: {field: 12345678901234}\nmaxPods: null"},
			"clusterDNS: [1.1.1.1]\nmaxPods: 110\nresolvConf: ''",
			"clusterDNS: [2.2.2.2]\nfuture: {field: 12345678901234}\nresolvConf: ''",
		},
		"strategic: deployment": {
			CoreDNSDeployment,
			map[string]string{"corednsdeployment.yaml": "spec: {template: {spec: {containers: [{name: coredns, image: b}]}}}"},
			"spec: {template: {spec: {containers: [{name: coredns, image: a, args: [x]}]}}}",
			"spec: {template: {spec: {containers: [{name: coredns, image: b, args: [x]}]}}}",
		},
		"strategic: daemon set": {
			KubeProxyDaemonSet,
			map[string]string{"kubeproxydaemonset.yaml": "spec: {template: {spec: {containers: [{name: p, image: b}]}}}"},
			"spec: {template: {spec: {containers: [{name: p, args: [x]}]}}}",
			"spec: {template: {spec: {containers: [{name: p, image: b, args: [x]}]}}}",
		},
		"merge: lists are replaced, null deletes": {
			Etcd, map[string]string{"etcd+merge.yaml": "spec: {containers: [{name: x}]}\nkind: null"}, pod,
			"{apiVersion: v1, spec: {containers: [{name: x}]}}",
		},
		"json: each document is a list of operations": {
			KubeletConfiguration,
			map[string]string{"kubeletconfiguration+json.yaml": "[{op: test, path: /a, value: 1}, {op: add, path: /l/-, value: null}]\n---\n[{op: move, from: /a, path: /b}]"},
			"a: 1\nl: [0]", "b: 1\nl: [0, null]",
		},
		"each patch sees the result of the one before": {
			KubeletConfiguration,
			map[string]string{
				"kubeletconfiguration0.yaml":            "maxPods: 1\n---\nmaxPods: 2",
				"kubeletconfiguration1+json.json":       `[{"op":"test","path":"/maxPods","value":2},{"op":"replace","path":"/maxPods","value":3}]`,
				"kubeletconfiguration2+merge.yaml":      "podPidsLimit: 4",
				"kubeletconfiguration3+json.yaml":       "[{op: copy, from: /podPidsLimit, path: /copied}]",
				"kubeletconfiguration4-late+merge.json": `{"podPidsLimit": null}`,
			},
			"{}", "maxPods: 3\ncopied: 4",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			set, err := load(t, tt.files)
			if err != nil {
				t.Fatal(err)
			}
			got, err := set.Apply(tt.target, []byte(tt.doc))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(decode(t, strings.ReplaceAll(tt.want, "\t", " ")), decode(t, string(got))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func decode(t *testing.T, doc string) (v any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(doc), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestApplyRefuses(t *testing.T) {
	tests := map[string]struct{ file, content, want string }{
		"strategic: container without a name": {"etcd.yaml", "a: 1\n---\nspec: {containers: [{image: b}]}",
			"/patches/etcd.yaml:2: document 2, strategic patch of etcd: "},
		"strategic: wrong type": {"etcd+strategic.yaml", "spec: {containers: {name: etcd}}",
			"/patches/etcd+strategic.yaml:1: document 1, strategic patch of etcd: "},
		"merge: wrong type": {"etcd+merge.yaml", "spec: {hostNetwork: 'yes'}",
			"/patches/etcd+merge.yaml:1: document 1, merge patch of etcd: "},
		"json: failed test": {"etcd+json.yaml", "[{op: test, path: /kind, value: Node}]",
			"/patches/etcd+json.yaml:1: document 1, json patch of etcd: "},
		"json: path without a slash": {"etcd+json.yaml", "[{op: remove, path: kind}]",
			"/patches/etcd+json.yaml:1: document 1, json patch of etcd: "},
		"json: nothing there": {"etcd+json.json", `[{"op": "remove", "path": "/nothing"}]`,
			"/patches/etcd+json.json:1: document 1, json patch of etcd: "},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			set, err := load(t, map[string]string{tt.file: tt.content})
			if err != nil {
				t.Fatal(err)
			}
			_, err = set.Apply(Etcd, []byte(pod))
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) || fault.ClassOf(err) != fault.InvalidConfig {
				t.Errorf("got %v; want %q", err, tt.want)
			}
		})
	}
}

func TestSet(t *testing.T) {
	set, err := load(t, map[string]string{
		"kubeletconfiguration.yaml": "a: 1\n---\nb: 1", "kubeletconfiguration+json.yaml": "[]", "etcd.yaml": "a: 1", "kube-scheduler.yaml": "# nothing",
	})
	if err != nil {
		t.Fatal(err)
	}
	if set.Empty() {
		t.Error("a set with patches is empty")
	}
	if diff := cmp.Diff([]Target{Etcd, KubeletConfiguration}, set.Targets()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"/patches/kubeletconfiguration+json.yaml", "/patches/kubeletconfiguration.yaml"}, set.Files(KubeletConfiguration)); diff != "" {
		t.Error(diff)
	}
}

func TestNilSetHasNoPatches(t *testing.T) {
	var set *Set
	got, err := set.Apply(Etcd, []byte("a: 1"))
	if err != nil || string(got) != `{"a":1}` || !set.Empty() || len(set.Targets()) != 0 || set.Files(Etcd) != nil {
		t.Errorf("got %s, %v", got, err)
	}
}
