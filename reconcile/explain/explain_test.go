package explain

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/apis/load"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// explained is what a file means on a machine that shows a name and a runtime.
func explained(t *testing.T, name string, data []byte, override *load.Override) *Explanation {
	t.Helper()
	join, err := load.JoinConfiguration(name, data, override)
	if err != nil {
		t.Fatal(err)
	}
	detected := map[string]string{}
	if join.Config.NodeRegistration.Name == "" {
		detected["nodeRegistration.name"] = "hostname"
	}
	if join.Config.NodeRegistration.CRISocket == "" {
		detected["nodeRegistration.criSocket"] = "the runtime that answers"
	}
	machine := kubeadm.Machine{Hostname: "Node-1", CRISockets: []string{"unix:///run/x.sock"}}
	if err := kubeadm.SetDynamicDefaults(join.Config, machine); err != nil {
		t.Fatal(err)
	}
	return Join(Input{Join: join, Detected: detected})
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
			e := explained(t, "join.yaml", data, nil)
			got, err := e.YAML()
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join(filepath.Dir(input), "want.yaml")
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, secret := range []string{"0123456789abcdef", "e6a2eb85", "secret/discovery"} {
				if strings.Contains(string(got), secret) {
					t.Errorf("%s was printed", secret)
				}
			}
		})
	}
}

// TestValuesAreTheDocument reads the YAML back as Kubernetes' parser does, which
// takes yes and on for booleans.
func TestValuesAreTheDocument(t *testing.T) {
	data, err := os.ReadFile("testdata/odd-text/join.yaml")
	if err != nil {
		t.Fatal(err)
	}
	e := explained(t, "join\n- injected: true.yaml", data, nil)
	text, err := e.YAML()
	if err != nil {
		t.Fatal(err)
	}
	var read struct {
		NodeRegistration struct {
			Name             string
			KubeletExtraArgs []struct{ Name, Value string }
			Taints           []struct{ Value, TimeAdded string }
		}
	}
	if err := yaml.Unmarshal(text, &read); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	values := map[string]any{}
	for _, v := range e.Values {
		values[v.Path] = v.Value
	}
	node := read.NodeRegistration
	for path, got := range map[string]string{
		"nodeRegistration.name":                      node.Name,
		"nodeRegistration.kubeletExtraArgs[0].value": node.KubeletExtraArgs[0].Value,
		"nodeRegistration.kubeletExtraArgs[1].value": node.KubeletExtraArgs[1].Value,
		"nodeRegistration.taints[0].value":           node.Taints[0].Value,
		"nodeRegistration.taints[0].timeAdded":       node.Taints[0].TimeAdded,
	} {
		if values[path] != got {
			t.Errorf("%s is %q in YAML and %q in Values", path, got, values[path])
		}
	}
}

func TestFlags(t *testing.T) {
	const file = `apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
discovery: {file: {kubeConfigPath: /x}}
nodeRegistration: {name: a, ignorePreflightErrors: [Swap]}
`
	e := explained(t, "join.yaml", []byte(file), &load.Override{Apply: func(c *kubeadm.JoinConfiguration) {
		c.NodeRegistration.Name = "b"
		c.NodeRegistration.IgnorePreflightErrors = append(c.NodeRegistration.IgnorePreflightErrors, "NumCPU")
		c.Discovery.TLSBootstrapToken = "abcdef.0123456789abcdef"
		c.DryRun = true
	}, Setter: func(path string) string {
		return map[string]string{
			"nodeRegistration.name":                     "--node-name",
			"nodeRegistration.ignorePreflightErrors[1]": "--ignore-preflight-errors",
			"discovery.tlsBootstrapToken":               "$KUBEJOIN_TOKEN",
			"dryRun":                                    "--dry-run",
		}[path]
	}})
	sources := map[string]string{}
	for _, v := range e.Values {
		sources[v.Path] = v.Source.String()
	}
	for path, want := range map[string]string{
		"nodeRegistration.name":                     "flag --node-name",
		"nodeRegistration.ignorePreflightErrors[0]": "join.yaml:4",
		"nodeRegistration.ignorePreflightErrors[1]": "flag --ignore-preflight-errors",
		"nodeRegistration.criSocket":                "detected: the runtime that answers",
		"discovery.file.kubeConfigPath":             "join.yaml:3",
		"discovery.tlsBootstrapToken":               "environment KUBEJOIN_TOKEN",
		"dryRun":                                    "flag --dry-run",
		"caCertPath":                                "default",
	} {
		if sources[path] != want {
			t.Errorf("%s comes from %q, want %q", path, sources[path], want)
		}
	}
}

func TestDetectedAddress(t *testing.T) {
	const path = "controlPlane.localAPIEndpoint.advertiseAddress"
	for name, test := range map[string]struct {
		written, effective string
		detected           map[string]string
		want               string // the line before bindPort
	}{
		"found":               {"", "10.0.0.7", map[string]string{path: "default route"}, "advertiseAddress: 10.0.0.7 # detected: default route"},
		"any is not own":      {"0.0.0.0", "10.0.0.7", map[string]string{path: "default route"}, "advertiseAddress: 10.0.0.7 # detected: default route"},
		"of the file":         {"10.0.0.8", "10.0.0.8", nil, "advertiseAddress: 10.0.0.8 # join.yaml:4"},
		"none":                {"", "", map[string]string{path: "no route"}, "# advertiseAddress is left out: no route"},
		"none, any was asked": {"0.0.0.0", "", map[string]string{path: "no\nroute"}, "# advertiseAddress is left out: no\uFFFDroute"},
	} {
		t.Run(name, func(t *testing.T) {
			data := "apiVersion: kubeadm.k8s.io/v1beta4\nkind: JoinConfiguration\ncontrolPlane:\n" +
				"  localAPIEndpoint: {advertiseAddress: \"" + test.written + "\"}\n"
			join, err := load.JoinConfiguration("join.yaml", []byte(data), nil)
			if err != nil {
				t.Fatal(err)
			}
			join.Config.ControlPlane.LocalAPIEndpoint.AdvertiseAddress = test.effective
			e := Join(Input{Join: join, Detected: test.detected})
			text, err := e.YAML()
			if err != nil {
				t.Fatal(err)
			}
			if want := "  localAPIEndpoint:\n    " + test.want + "\n    bindPort: 6443 # default\n"; !strings.Contains(string(text), want) {
				t.Errorf("there is no\n%s in\n%s", want, text)
			}
			shown := slices.ContainsFunc(e.Values, func(v Value) bool { return v.Path == path })
			if shown != (test.effective != "") {
				t.Errorf("among the values: %t", shown)
			}
		})
	}
}
