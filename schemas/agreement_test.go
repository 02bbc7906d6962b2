package schemas

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v5"
	"sigs.k8s.io/yaml"

	"github.com/kubejoin/kubejoin/apis/load"
)

func compile(t *testing.T, n Name) *jsonschema.Schema {
	t.Helper()
	data, ok := Get(n)
	if !ok {
		t.Fatalf("no schema for %v", n)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat = true
	if err := c.AddResource("schema.json", bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatalf("%v: %v", n, err)
	}
	return s
}

// TestCompile also checks the schemas against the meta-schema of draft-07.
func TestCompile(t *testing.T) {
	if len(List()) == 0 {
		t.Fatal("no schemas")
	}
	for _, n := range List() {
		if s := compile(t, n); s.Draft != jsonschema.Draft7 {
			t.Errorf("%v is not of draft-07", n)
		}
	}
}

func TestGet(t *testing.T) {
	for _, n := range []Name{{}, {"v1beta4", "KubeletConfiguration"}, {"v1beta9", "JoinConfiguration"}, {"..", "doc"}} {
		if _, ok := Get(n); ok {
			t.Errorf("there is a schema for %v", n)
		}
	}
}

// refused gives where a document breaks its schema: "nodeRegistration.taints[0]".
func refused(t *testing.T, s *jsonschema.Schema, document string) []string {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(document)) // as kubeadm reads it
	if err != nil {
		t.Fatal(err)
	}
	var v any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(&v); err != nil {
		t.Fatal(err)
	}
	var broken *jsonschema.ValidationError
	if err := s.Validate(v); err == nil {
		return nil
	} else if !errors.As(err, &broken) {
		t.Fatal(err)
	}
	var paths []string
	for _, unit := range broken.BasicOutput().Errors {
		path := ""
		for step := range strings.SplitSeq(strings.TrimPrefix(unit.InstanceLocation, "/"), "/") {
			switch {
			case step != "" && step[0] >= '0' && step[0] <= '9':
				path += "[" + step + "]"
			case path == "":
				path = step
			default:
				path += "." + step
			}
		}
		paths = append(paths, path)
	}
	return paths
}

// loaded says what the program itself finds wrong.
func loaded(t *testing.T, document string) load.Problems {
	t.Helper()
	file, _ := load.Load("join.yaml", []byte(document))
	err := file.Validate() // also tells what Load has
	var problems load.Problems
	if err != nil && !errors.As(err, &problems) {
		t.Fatal(err)
	}
	return problems
}

// TestDefaults holds what "config print" prints against the schemas, for each
// kind in each version; and a field that no kind has.
func TestDefaults(t *testing.T) {
	content := map[string]string{
		"JoinConfiguration": "discovery: {bootstrapToken: {token: abcdef.0123456789abcdef, apiServerEndpoint: 'a:1', unsafeSkipCAVerification: true}}\n",
		"InitConfiguration": "bootstrapTokens: [{token: abcdef.0123456789abcdef}]\n",
		"ClusterStatus":     "apiEndpoints: {cp1: {advertiseAddress: 10.0.0.1, bindPort: 6443}}\n",
	}
	for _, k := range load.Kinds() {
		version := strings.TrimPrefix(k.APIVersion, "kubeadm.k8s.io/")
		sample, err := load.Sample(version, k.Name, content[k.Name])
		if err != nil {
			t.Fatal(err)
		}
		schema := compile(t, Name{version, k.Name})
		if paths := refused(t, schema, string(sample)); paths != nil {
			t.Errorf("%s %s is refused at %q:\n%s", version, k.Name, paths, sample)
		}
		if refused(t, schema, string(sample)+"colour: green\n") == nil {
			t.Errorf("%s %s: an unknown field is accepted", version, k.Name)
		}
		if refused(t, schema, strings.Replace(string(sample), k.APIVersion, "v1", 1)) == nil {
			t.Errorf("%s %s: another version is accepted", version, k.Name)
		}
	}
}

// TestVersions has what makes the difference between versions.
func TestVersions(t *testing.T) {
	compiled := map[Name]*jsonschema.Schema{}
	for _, n := range List() {
		compiled[n] = compile(t, n)
	}
	const join, init, cluster = "JoinConfiguration", "InitConfiguration", "ClusterConfiguration"
	for _, tt := range []struct {
		kind, field string
		in          []string // the versions that have it
	}{
		{join, `nodeRegistration: {kubeletExtraArgs: {v: "5"}}`, []string{"v1beta1", "v1beta2", "v1beta3"}},
		{join, `nodeRegistration: {kubeletExtraArgs: [{name: v, value: "5"}]}`, []string{"v1beta4", "v1"}},
		{join, `nodeRegistration: {kubeletExtraArgs: [{name: v, value: "5", mergeMethod: append}]}`, []string{"v1"}},
		{join, `nodeRegistration: {kubeletExtraArgs: {--v: "5"}}`, nil},
		{join, `nodeRegistration: {ignorePreflightErrors: [Swap]}`, []string{"v1beta2", "v1beta3", "v1beta4", "v1"}},
		{join, `nodeRegistration: {imagePullPolicy: Never}`, []string{"v1beta3", "v1beta4", "v1"}},
		{join, `controlPlane: {certificateKey: ""}`, []string{"v1beta2", "v1beta3", "v1beta4", "v1"}},
		{join, `timeouts: {}`, []string{"v1beta4", "v1"}},
		{init, `bootstrapTokens: [{token: abcdef.0123456789abcdef, ttl: 0s, groups: ["system:bootstrappers:x"]}]`, []string{"v1beta1", "v1beta2", "v1beta3", "v1beta4", "v1"}},
		{init, `bootstrapTokens: [{token: abcdef}]`, nil},
		{init, `bootstrapTokens: [{usages: [sign]}]`, nil},
		{init, `bootstrapTokens: [{groups: ["system:masters"]}]`, nil},
		{cluster, `apiServer: {timeoutForControlPlane: 5m}`, []string{"v1beta1", "v1beta2", "v1beta3"}},
		{cluster, `apiServer: {extraEnvs: [{name: A, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}]}`, []string{"v1beta4", "v1"}},
		{cluster, `encryptionAlgorithm: ECDSA-P384`, []string{"v1beta4", "v1"}},
		{cluster, `encryptionAlgorithm: RSA-1024`, nil},
		{init, `skipPhases: [addon/kube-proxy]`, []string{"v1beta3", "v1beta4", "v1"}},
		{init, `skipPhases: [check-etcd]`, nil},
		{"UpgradeConfiguration", `node: {skipPhases: [post-upgrade]}`, []string{"v1beta4", "v1"}},
		{cluster, `useHyperKubeImage: false`, []string{"v1beta1", "v1beta2"}},
		{cluster, `etcd: {external: {endpoints: ["https://10.0.0.1:2379"], caFile: "", certFile: "", keyFile: ""}}`, []string{"v1beta1", "v1beta2", "v1beta3", "v1beta4", "v1"}},
		{cluster, `etcd: {local: {dataDir: /x}, external: {endpoints: ["https://10.0.0.1:2379"]}}`, nil},
		{cluster, `networking: {podSubnet: "10.244.0.0/16,fd00::/56", serviceSubnet: 10.96.0.0}`, nil},
		{"ResetConfiguration", `unmountFlags: [MNT_FORCE]`, []string{"v1beta4", "v1"}},
		{"ResetConfiguration", `unmountFlags: [MNT_NOW]`, nil},
		{"UpgradeConfiguration", `apply: {imagePullPolicy: Sometimes}`, nil},
	} {
		for _, n := range List() {
			if n.Kind != tt.kind {
				continue
			}
			document := "apiVersion: kubeadm.k8s.io/" + n.Version + "\nkind: " + n.Kind + "\n" + tt.field + "\n"
			switch n.Kind {
			case cluster:
				document += "kubernetesVersion: v1.37.2\n"
			case join:
				document += "discovery: {file: {kubeConfigPath: /x}}\n"
			}
			want := slices.Contains(tt.in, n.Version)
			if paths := refused(t, compiled[n], document); (paths == nil) != want {
				t.Errorf("schema, %s in %s: %q", tt.field, n.Version, paths)
			}
			if problems := loaded(t, document); (problems == nil) != want {
				t.Errorf("program, %s in %s: %v", tt.field, n.Version, problems)
			}
		}
	}
}

// inexpressible are the problems that are none of a schema: of text that is not
// even JSON, or that compare one item with another.
var inexpressible = []string{"duplicate", "expected a mapping to merge", "must be a word"}

// TestFixtures holds the schemas against the fixtures of package load: what is
// accepted there is accepted here, and each problem is found at its place.
func TestFixtures(t *testing.T) {
	inputs, err := filepath.Glob("../apis/load/testdata/*/*.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	// What does not survive the way to JSON.
	clean := strings.NewReplacer("  name: second\n", "", "  <<: 5\n", "", "? [a, b]\n: 1\n", "")
	checked := 0
	for _, input := range inputs {
		data, err := os.ReadFile(input)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(filepath.Base(filepath.Dir(input)), func(t *testing.T) {
			for document := range strings.SplitSeq("\n"+string(data), "\n---") {
				document = clean.Replace(document)
				var id struct{ APIVersion, Kind string }
				if yaml.Unmarshal([]byte(document), &id) != nil {
					continue
				}
				n := Name{strings.TrimPrefix(id.APIVersion, "kubeadm.k8s.io/"), id.Kind}
				if _, ok := Get(n); !ok {
					continue
				}
				checked++
				problems := loaded(t, document)
				paths := refused(t, compile(t, n), document)
				if len(problems) == 0 && len(paths) > 0 {
					t.Errorf("the schema refuses a good file at %q", paths)
				}
				for _, p := range problems {
					if p.Path == "" || slices.ContainsFunc(inexpressible, func(s string) bool { return strings.Contains(p.Message, s) }) {
						continue
					}
					// An unknown or missing field is found in the object around it.
					found := func(path string) bool {
						return path == p.Path || path == parent(p.Path) || p.Message == "unknown field" && strings.HasPrefix(p.Path, path+".")
					}
					if !slices.ContainsFunc(paths, found) {
						t.Errorf("the schema does not see %s (only %q)", p, paths)
					}
				}
			}
		})
	}
	if checked == 0 {
		t.Error("no fixture was checked")
	}
}

func parent(path string) string { return path[:max(0, strings.LastIndexAny(path, ".["))] }

const header = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: JoinConfiguration\n"

const good = header + `
discovery:
  bootstrapToken:
    token: abcdef.0123456789abcdef
    apiServerEndpoint: 10.0.0.1:6443
    unsafeSkipCAVerification: true
`

// TestAgreement tries what one field may hold, on the schema and on the program.
func TestAgreement(t *testing.T) {
	schema := compile(t, Name{"v1beta4", "JoinConfiguration"})
	for _, tt := range []struct {
		field     string
		good, bad []string
	}{
		{"caCertPath: %s", []string{"/x.crt", `""`, "null"}, []string{"x.crt", "/x.pem", "5", "[]"}},
		{"controlPlane: %s", []string{"null", "{}"}, []string{"true", `""`}},
		{"controlPlane: {certificateKey: %s}", []string{`""`, strings.Repeat("aB", 32)}, []string{"ab", strings.Repeat("xy", 32)}},
		{"controlPlane: {localAPIEndpoint: {advertiseAddress: %s}}",
			[]string{`""`, "10.0.0.1", "010.0.0.1", `"fd00::1"`, `"::"`, `"::ffff:1.2.3.4"`}, []string{"cp1", "10.0.0.1:6443", "10.0.0"}},
		{"controlPlane: {localAPIEndpoint: {bindPort: %s}}", []string{"1", "0", "65535", "0x1a0b", "null"}, []string{"-1", "65536", "1.5", `"6443"`}},
		{"dryRun: %s", []string{"true", "no"}, []string{`"true"`, "1"}},
		{"nodeRegistration: {name: %s}", []string{`""`, `" CP.Example "`, "n1"}, []string{"a_b", "-a", "a..b", "5"}},
		{"nodeRegistration: {criSocket: %s}", []string{`""`, "/run/x.sock", "unix:///run/x.sock", "unix:/run/x.sock"}, []string{"http://x", "unix://", "unix:/", "unix://run/x.sock", "unix:run/x.sock", "unix:///", "x.sock", "/"}},
		{"nodeRegistration: {taints: %s}",
			[]string{"null", "[]", "[{key: a.b/c, effect: NoExecute}]", `[{key: a, value: "", effect: NoSchedule, timeAdded: "2026-01-02T03:04:05Z"}]`, "[{key: a, effect: NoSchedule, timeAdded: null}]"},
			[]string{"{}", "[a]", "[{effect: NoSchedule}]", "[{key: a}]", "[{key: a, effect: Never}]", "[{key: a b, effect: NoSchedule}]",
				"[{key: a, value: b c, effect: NoSchedule}]", "[{key: a, effect: NoSchedule, timeAdded: soon}]", "[{key: a, effect: NoSchedule, x: y}]"}},
		{"nodeRegistration: {kubeletExtraArgs: %s}", []string{"[]", `[{name: v, value: "5"}]`, "[{name: v}]"},
			[]string{`{v: "5"}`, "[{value: x}]", "[{name: --v, value: x}]", "[{name: v=5, value: x}]", "[{name: v, value: 5}]", `[{name: ""}]`, "[{name: v, value: x, mergeMethod: append}]"}},
		{"nodeRegistration: {ignorePreflightErrors: %s}", []string{"[]", "[All]", "[Swap, NumCPU]"}, []string{"[Swap, ALL]", "Swap"}},
		{"nodeRegistration: {imagePullPolicy: %s}", []string{"Always", "IfNotPresent", "Never"}, []string{"always", "true"}},
		{"skipPhases: %s", []string{"null", "[]", "[preflight, control-plane-join/all]"}, []string{"[prefligth]", "preflight"}},
		{"patches: %s", []string{"null", "{}", "{directory: x}"}, []string{"x", "{dir: x}"}},
		{"timeouts: {discovery: %s}", []string{"5m", "1h2m3.5s", `"0"`, "0s", "+1ms", ".5s", "1µs", "null"},
			[]string{"5", "-1s", "5 minutes", "1d", `"5"`, "m", "[]"}},
		{"timeouts: {tlsBootstrap: %s}", []string{"5m", "0h0.5s", "+10ms0s", "1.s"}, []string{"0s", `"0"`, "0.0s0h", "-1s"}},
		{"%s: x", nil, []string{"Discovery", "clusterName", `"a.b"`}},
	} {
		for _, value := range tt.good {
			document := good + fmt.Sprintf(tt.field, value) + "\n"
			if paths := refused(t, schema, document); paths != nil {
				t.Errorf("%s is refused by the schema at %q", fmt.Sprintf(tt.field, value), paths)
			}
			if problems := loaded(t, document); problems != nil {
				t.Errorf("%s is refused by the program: %v", fmt.Sprintf(tt.field, value), problems)
			}
		}
		for _, value := range tt.bad {
			document := good + fmt.Sprintf(tt.field, value) + "\n"
			if refused(t, schema, document) == nil {
				t.Errorf("%s is accepted by the schema", fmt.Sprintf(tt.field, value))
			}
			if loaded(t, document) == nil {
				t.Errorf("%s is accepted by the program", fmt.Sprintf(tt.field, value))
			}
		}
	}
}

func TestDiscovery(t *testing.T) {
	schema := compile(t, Name{"v1beta4", "JoinConfiguration"})
	const rest = "token: abcdef.0123456789abcdef, apiServerEndpoint: 'a:1'"
	pin := "sha256:" + strings.Repeat("0f", 32)
	for _, tt := range []struct {
		discovery string
		good      bool
	}{
		{"{file: {kubeConfigPath: /x}}", true},
		{"{file: {kubeConfigPath: https://x/y}, tlsBootstrapToken: abcdef.0123456789abcdef}", true},
		{"{bootstrapToken: {" + rest + ", unsafeSkipCAVerification: true}}", true},
		{"{bootstrapToken: {" + rest + ", caCertHashes: [" + pin + "]}}", true},
		{"{bootstrapToken: {" + rest + ", caCertHashes: [" + pin + "], unsafeSkipCAVerification: false}, tlsBootstrapToken: ''}", true},
		{"{bootstrapToken: {token: abcdef.0123456789abcdef, apiServerEndpoint: '[fd00::1]:6443', caCertHashes: [" + pin + "]}}", true},

		{"null", false},
		{"{}", false},
		{"{file: {}}", false},
		{"{file: {kubeConfigPath: ''}}", false},
		{"{file: {kubeConfigPath: /x}, tlsBootstrapToken: x}", false},
		{"{file: {kubeConfigPath: /x}, timeout: 5m}", false},
		{"{bootstrapToken: {" + rest + "}}", false},
		{"{bootstrapToken: {" + rest + ", caCertHashes: []}}", false},
		{"{bootstrapToken: {" + rest + ", caCertHashes: [sha256:0f]}}", false},
		{"{bootstrapToken: {" + rest + ", unsafeSkipCAVerification: true}, file: {kubeConfigPath: /x}}", false},
		{"{bootstrapToken: {token: abcdef.0123456789abcdef, unsafeSkipCAVerification: true}}", false},
		{"{bootstrapToken: {apiServerEndpoint: 'a:1', unsafeSkipCAVerification: true}}", false},
		{"{bootstrapToken: {token: abcdef.0123456789abcdef, apiServerEndpoint: 'https://a:1', unsafeSkipCAVerification: true}}", false},
		{"{bootstrapToken: {token: abcdef.0123456789abcdef, apiServerEndpoint: a, unsafeSkipCAVerification: true}}", false},
	} {
		document := header + "discovery: " + tt.discovery + "\n"
		if paths := refused(t, schema, document); (paths == nil) != tt.good {
			t.Errorf("schema, %s: %q", tt.discovery, paths)
		}
		if problems := loaded(t, document); (problems == nil) != tt.good {
			t.Errorf("program, %s: %v", tt.discovery, problems)
		}
	}
}
