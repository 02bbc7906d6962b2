package load

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta4"
	"github.com/kubejoin/kubejoin/fault"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const header = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: JoinConfiguration\n"

// render is what a case's want.txt holds: the configuration and the notes, or
// the error.
func render(t *testing.T, data []byte) string {
	t.Helper()
	join, err := JoinConfiguration("join.yaml", data, nil)
	if err == nil {
		if err := kubeadm.SetDynamicDefaults(join.Config, kubeadm.Machine{Hostname: "node-1"}); err != nil {
			t.Fatal(err)
		}
		err = join.Validate()
	}
	if err != nil {
		checkProblems(t, err)
		return err.Error() + "\n"
	}
	external, lost := v1beta4.FromInternalJoinConfiguration(join.Config)
	if lost != nil {
		t.Fatal(lost)
	}
	text, err := yaml.Marshal(external)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, note := range join.Notes {
		fmt.Fprintln(&out, "# "+note)
	}
	out.Write(text)
	return out.String()
}

func checkProblems(t *testing.T, err error) {
	t.Helper()
	var problems Problems
	if !errors.As(err, &problems) || len(problems) == 0 {
		t.Errorf("%T has no Problems", err)
	}
	if class := fault.ClassOf(err); class != fault.InvalidConfig {
		t.Errorf("class is %v", class)
	}
}

func TestGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*/join.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, input := range inputs {
		t.Run(filepath.Base(filepath.Dir(input)), func(t *testing.T) {
			data, err := os.ReadFile(input)
			if err != nil {
				t.Fatal(err)
			}
			got := render(t, data)
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

// TestBytes has the inputs that a text editor would spoil.
func TestBytes(t *testing.T) {
	const minimal = header + "discovery: {file: {kubeConfigPath: /x}}\n"
	for _, tt := range []struct {
		name, data string
		want       string // a part of the error; empty if there is none
	}{
		{"byte order mark", "\ufeff" + minimal, ""},
		{"CRLF", strings.ReplaceAll(minimal, "\n", "\r\n"), ""},
		{"JSON", `{"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "JoinConfiguration"}`, ""},
		{"end of document", minimal + "...\n# and a comment\n", ""},
		{"many separators", "---\n---\n" + minimal + "---\n---\n", ""},
		{"YAML directive", "%YAML 1.1\n---\n" + minimal, ""},

		{"empty", "", "join.yaml: no JoinConfiguration found; the file is empty (a configuration starts with"},
		{"blank", " \n\n", "the file is empty"},
		{"only a comment", "# join me\n", "the file is empty"},
		{"only separators", "---\n---\n", "the file is empty"},
		{"null", "null\n", "the file is empty"},
		{"JSON with a mistake", `{"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "JoinConfiguration", "discover": {}}`,
			`join.yaml:1:71: discover: unknown field (did you mean "discovery"?)`},
		{"list", "- a\n", "join.yaml:1:1: expected a document with apiVersion and kind, got list"},
		{"word", "hello", "join.yaml:1:1: expected a document with apiVersion and kind, got string"},
		{"kind is no string", "apiVersion: v1\nkind: 5\n", "join.yaml:2:7: kind: expected string, got number"},
		{"ELF", "\x7fELF\x02\x01\x01\x00", "join.yaml:1:5: not a text file"},
		{"not UTF-8", "a: b\nc: \xff\n", "join.yaml:2:4: not a text file"},
		{"UTF-16", "\xff\xfea\x00:\x00", "join.yaml: the file is UTF-16 text (save it as UTF-8)"},
		{"UTF-16 without a mark", "\x00a\x00:", "join.yaml: the file is UTF-16 text (save it as UTF-8)"},
		{"tab", "a:\n\tb: 1\n", "join.yaml:2:1: not valid YAML: a tab cannot be used for indentation (use spaces)"},
		{"open quote", "a: 'x\nb: 1\n", "found unexpected end of stream (it starts at line 1, column 4)"},
		{"colon in a value", "a: b: c\n", "join.yaml:1:5: not valid YAML: mapping values are not allowed"},
		{"unknown anchor", "a: *b\n", "join.yaml:1:4: not valid YAML: unknown anchor 'b' referenced"},
		{"deep flow", strings.Repeat("[", 100_000), "join.yaml:1:101: not valid YAML: nested deeper than 100 levels"},
		{"deep block", strings.Repeat("- ", 100_000), "nested deeper than 100 levels"},
		{"merge bomb", mergeBomb(), "aliases expand to more than 100000 values"},
		{"long value", header + "caCertPath: " + strings.Repeat("x", 65<<10), "caCertPath: the value is longer than 64 KiB"},
		{"many documents", strings.Repeat("---\na: b\n", 20_000), "the file has more than 10000 documents"},
		{"many fields", header + strings.Repeat("x: 1\n", 1<<20), "join.yaml: the file has too many lines and values"},
		{"100 MB", header + strings.Repeat("# x\n", 25<<20), "join.yaml: the configuration is larger than 32 MiB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			_, err := JoinConfiguration("join.yaml", []byte(tt.data), nil)
			if spent := time.Since(start); spent > 5*time.Second {
				t.Errorf("took %v", spent)
			}
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil {
				t.Fatal("no error")
			}
			checkProblems(t, err)
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %s\nwant %s", err, tt.want)
			}
			if lines := strings.Count(err.Error(), "\n"); lines > maxLines {
				t.Errorf("%d lines do not fit on a screen", lines)
			}
		})
	}
}

// mergeBomb is exponential only for who follows merge keys.
func mergeBomb() string {
	bomb := header + "a: &a {x: 1}\n"
	for c := 'b'; c <= 'z'; c++ {
		bomb += fmt.Sprintf("%c: &%c {<<: [*%c, *%c, *%c]}\n", c, c, c-1, c-1, c-1)
	}
	return bomb
}

func TestNoSecretInErrors(t *testing.T) {
	const secret = "q7w8e9r0t1y2u3i4"
	const key = "e6a2eb8581237ab72a4f494f30285ec12a9694d750b9785706a83bfcbbbd2204"
	for _, body := range []string{
		"discovery: {bootstrapToken: {token: abcdef" + secret + "}}",
		"discovery: {bootstrapToken: {token: ABCDEF." + secret + "}}",
		"discovery: {bootstrapToken: {token: abcdef." + secret + "0}}",
		"discovery: {bootstrapToken: abcdef." + secret + "}",
		"discovery: {abcdef." + secret + ": {}}",
		"abcdef." + secret + ": {}",
		"nodeRegistration: {name: abcdef." + secret + "!}",
		"skipPhases: [abcdef." + secret + "]",
		"discovery: {bootstrapToken: {apiServerEndpoint: abcdef." + secret + "}}",
		"discovery: {file: {kubeConfigPath: 'http://user:" + secret + "@example/'}}",
		"discovery: {file: {kubeConfigPath: 'https://%zz" + secret + "'}}",
		"discovery: {tlsBootstrapToken: abcdef_" + secret + "}",
		"controlPlane: {certificateKey: " + key + "00}",
		"controlPlane: {certificateKey: [" + key + "]}",
		"controlPlane: {" + key + ": x}",
		"nodeRegistration: {name: " + key + "_}",
		"x: *abcdef." + secret,
	} {
		join, err := JoinConfiguration("join.yaml", []byte(header+body), nil)
		if err == nil {
			err = join.Validate()
		}
		if err == nil {
			t.Errorf("no error for %s", body)
			continue
		}
		if text := err.Error(); strings.Contains(text, secret) || strings.Contains(text, key[:20]) {
			t.Errorf("%s\ngives %s", body, text)
		}
	}
}

func TestPosition(t *testing.T) {
	const data = header + `
discovery: {file: {kubeConfigPath: /x}}
nodeRegistration:
  name: a
  taints:
  - key: k
    effect: NoSchedule
`
	join, err := JoinConfiguration("j", []byte(data), &Override{Apply: func(cfg *kubeadm.JoinConfiguration) {
		cfg.NodeRegistration.IgnorePreflightErrors = []string{"all", "Swap"}
		cfg.ControlPlane = &kubeadm.JoinControlPlane{}
	}})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"":                                       "j:1:1",
		"discovery":                              "j:4:1",
		"discovery.file.kubeConfigPath":          "j:4:36",
		"nodeRegistration.name":                  "j:6:9",
		"nodeRegistration.taints":                "j:7:3",
		"nodeRegistration.taints[0]":             "j:8:5",
		"nodeRegistration.taints[0].effect":      "j:9:13",
		"nodeRegistration.taints[0].value":       "j:8:5", // absent: what is around it
		"nodeRegistration.taints[7].value":       "j:7:3",
		"timeouts.discovery":                     "j:1:1",
		"nodeRegistration.ignorePreflightErrors": "", // set by a flag
		"controlPlane.localAPIEndpoint.bindPort": "",
	} {
		pos, ok := join.Position(path)
		if pos.String() != want || ok != (want != "") {
			t.Errorf("%s is at %v, %v; want %s", path, pos, ok, want)
		}
	}
	if err := kubeadm.SetDynamicDefaults(join.Config, kubeadm.Machine{}); err != nil {
		t.Fatal(err)
	}
	const want = `nodeRegistration.ignorePreflightErrors: invalid value: "all,Swap": "all" must be alone (set by the command line)`
	if err := join.Validate(); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestFromObject(t *testing.T) {
	cfg := &v1beta4.JoinConfiguration{ControlPlane: &v1beta4.JoinControlPlane{}}
	cfg.Discovery.BootstrapToken = &v1beta4.BootstrapTokenDiscovery{Token: "abcdef.0123456789abcdef", APIServerEndpoint: "cp.example"}
	join := FromObject(cfg, nil)
	if got := join.Config.ControlPlane.LocalAPIEndpoint.BindPort; got != kubeadm.DefaultBindPort {
		t.Errorf("port %d: no static defaults", got)
	}
	if pos, ok := join.Position("discovery"); ok {
		t.Errorf("there is a position: %v", pos)
	}
	if err := kubeadm.SetDynamicDefaults(join.Config, kubeadm.Machine{Hostname: "Node"}); err != nil {
		t.Fatal(err)
	}
	err := join.Validate()
	checkProblems(t, err)
	want := `discovery.bootstrapToken.apiServerEndpoint: invalid value: "cp.example": must be host:port, such as "10.0.0.1:6443": missing port in address
discovery.bootstrapToken.caCertHashes: invalid value: without a hash of the cluster's CA anybody who knows the token can pretend to be the cluster: set caCertHashes, or unsafeSkipCAVerification: true`
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestClusterConfiguration(t *testing.T) {
	const start = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\n"
	cfg, warnings, err := ClusterConfiguration("kubeadm-config", []byte(start+`
kubernetesVersion: v1.37.0
kubernetesVersion: v1.37.2
futureField: {a: 1}
featureGates: {Some: true}
apiServer:
  certSANs: [a]
  extraEnvs:
  - name: IP
    valueFrom: {fieldRef: {fieldPath: status.podIP}}
  - name: CPU
    valueFrom: {resourceFieldRef: {resource: limits.cpu, divisor: 1m}}
  - name: SECRET
    valueFrom: {secretKeyRef: {name: s, key: k}}
`))
	if err != nil {
		t.Fatal(err)
	}
	wantWarnings := []string{
		"kubeadm-config:5:1: kubernetesVersion: duplicate field (it is first set at line 4)",
		"kubeadm-config:6:1: futureField: unknown field",
	}
	if diff := cmp.Diff(wantWarnings, warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	if cfg.KubernetesVersion != "v1.37.2" || cfg.Etcd.Local.DataDir != "/var/lib/etcd" || !cfg.FeatureGates["Some"] {
		t.Errorf("%+v", cfg)
	}
	envs := cfg.APIServer.ExtraEnvs
	if got := envs[0].ValueFrom.FieldRef.APIVersion; got != "v1" {
		t.Errorf("fieldRef.apiVersion is %q", got)
	}
	if got := envs[1].ValueFrom.ResourceFieldRef.Divisor.String(); got != "1m" {
		t.Errorf("divisor is %q", got)
	}
	if got := envs[2].ValueFrom.SecretKeyRef.Name; got != "s" {
		t.Errorf("the inlined name is %q", got)
	}

	for _, tt := range []struct{ data, want string }{
		{"", "no ClusterConfiguration found; the file is empty"},
		{header, "no ClusterConfiguration found; the file has JoinConfiguration at line 1"},
		{strings.Replace(start, "v1beta4", "v1alpha3", 1), "v1alpha3 is too old to be read"},
		{strings.Replace(start, "v1beta4", "v2", 1), "unknown version kubeadm.k8s.io/v2 (supported: kubeadm.k8s.io/v1beta4, kubeadm.k8s.io/v1beta3, "},
		{start + "apiServer: []\n", "kubeadm-config:3:12: apiServer: expected mapping, got list"},
		{start + "featureGates: {A: 1}\n", "kubeadm-config:3:19: featureGates.A: expected boolean, got number"},
		{start + "certificateValidityPeriod: 1y\n", `certificateValidityPeriod: a duration has no unit longer than hours (did you mean "8760h"?)`},
		{start + "apiServer: {extraEnvs: [{name: A, valueFrom: {resourceFieldRef: {divisor: x}}}]}\n", "divisor: cannot be read: quantities must match"},
	} {
		_, _, err := ClusterConfiguration("kubeadm-config", []byte(tt.data))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %s", err, tt.want)
			continue
		}
		checkProblems(t, err)
	}
}

// FuzzJoinConfiguration: whatever the input, there is a configuration or an
// error that fits on a screen, soon.
func FuzzJoinConfiguration(f *testing.F) {
	inputs, err := filepath.Glob("testdata/*/join.yaml")
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
	for _, seed := range []string{"", "\ufeff" + header, "a: &a {<<: *a}", "\x00", "? [x]\n: 1", "[[{", header + "timeouts: {discovery: .inf}", mergeBomb()} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		join, err := JoinConfiguration("join.yaml", data, nil)
		if err == nil {
			// A name from the file may be blank; that is the only error here.
			if kubeadm.SetDynamicDefaults(join.Config, kubeadm.Machine{Hostname: "n"}) == nil {
				err = join.Validate()
			}
		}
		if err == nil {
			return
		}
		checkProblems(t, err)
		if text := err.Error(); len(text) > (maxLines+1)*4*maxText || strings.Count(text, "\n") > maxLines {
			t.Errorf("too much: %d bytes", len(text))
		}
	})
}

// TestTemplates: what another program should have replaced is no riddle.
func TestTemplates(t *testing.T) {
	for in, want := range map[string]string{
		"caCertPath: {{ path }}\n":                           "x.yaml:3:13: caCertPath: expected string, got mapping (this looks like a template that was not rendered)",
		"nodeRegistration: {kubeletExtraArgs: {{ args }}}\n": "got mapping (this looks like a template that was not rendered)",
		"controlPlane: {{ cp }}\n":                           "not a mapping (this looks like a template that was not rendered)",
		"caCertPath: {{ path }}.crt\n":                       "not valid YAML: while parsing a block mapping: did not find expected key (this looks like a template that was not rendered)",
		"{% if x %}\ncaCertPath: /x.crt\n":                   "cannot start any token (this looks like a template that was not rendered)",
		"caCertPath: {a: b}\n":                               "got mapping",
		"nodeRegistration: {kubeletExtraArgs: {v: '5'}}\n":   "got mapping (write a list of items with name, value)",
		"nodeRegistration: {name: [}\n":                      "did not find expected node content",
	} {
		_, err := Load("x.yaml", []byte("apiVersion: kubeadm.k8s.io/v1beta4\nkind: JoinConfiguration\n"+in))
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: got  %v\nwant %s", in, err, want)
		}
	}
}

// TestNameAsGiven: an error has the name of the node as the file or flag has it, not
// as the defaults make it.
func TestNameAsGiven(t *testing.T) {
	const file = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: JoinConfiguration\nnodeRegistration: {name: Bad_Name}\n"
	rename := &Override{Apply: func(c *kubeadm.JoinConfiguration) { c.NodeRegistration.Name = "Bad_Flag" }}
	for want, override := range map[string]*Override{`"Bad_Name"`: nil, `"Bad_Flag"`: rename} {
		join, err := JoinConfiguration("x.yaml", []byte(file), override)
		if err != nil {
			t.Fatal(err)
		}
		if err := kubeadm.SetDynamicDefaults(join.Config, kubeadm.Machine{}); err != nil {
			t.Fatal(err)
		}
		if err := join.Validate(); err == nil || !strings.Contains(err.Error(), "nodeRegistration.name: invalid value: "+want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
