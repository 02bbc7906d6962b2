package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/apis/load"
)

// printed is what a command line writes to standard output. It is no script,
// because default configurations have a token in them.
func printed(t *testing.T, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	if code := Main(args, Streams{In: os.Stdin, Out: &out, Err: &errs}); code != 0 || errs.Len() > 0 {
		t.Fatalf("%s: exit code %d: %s", strings.Join(args, " "), code, errs.String())
	}
	return out.String()
}

// testdata/defaults has what kubeadm 1.37.2 prints, with its host name replaced.
func TestDefaultsAreKubeadms(t *testing.T) {
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for file, args := range map[string][]string{
		"join":            {"join-defaults"},
		"init":            {"init-defaults"},
		"init-components": {"init-defaults", "--component-configs", "KubeletConfiguration,KubeProxyConfiguration"},
		"reset":           {"reset-defaults"},
		"upgrade":         {"upgrade-defaults"},
	} {
		want, err := os.ReadFile(filepath.Join("testdata", "defaults", file+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Replace(string(want), "HOSTNAME", strings.ToLower(hostname), 1)
		if diff := cmp.Diff(text, printed(t, append([]string{"config", "print"}, args...)...)); diff != "" {
			t.Errorf("%s (-kubeadm +kubejoin):\n%s", strings.Join(args, " "), diff)
		}
	}
}

// Components come in the order they were asked for, whatever the version.
func TestComponentDefaults(t *testing.T) {
	for args, want := range map[string][]string{
		"--component-configs=": nil,
		"--component-configs=KubeProxyConfiguration,KubeletConfiguration":                     {"KubeProxyConfiguration", "KubeletConfiguration"},
		"--component-configs=KubeletConfiguration --component-configs=KubeProxyConfiguration": {"KubeletConfiguration", "KubeProxyConfiguration"},
		"--component-configs=KubeletConfiguration --version=v1beta3":                          {"KubeletConfiguration"},
	} {
		text := printed(t, append([]string{"config", "print", "init-defaults"}, strings.Fields(args)...)...)
		var kinds []string
		for line := range strings.Lines(text) {
			if kind, ok := strings.CutPrefix(line, "kind: "); ok {
				kinds = append(kinds, strings.TrimSpace(kind))
			}
		}
		want = append([]string{"InitConfiguration", "ClusterConfiguration"}, want...)
		if diff := cmp.Diff(want, kinds); diff != "" {
			t.Errorf("%s (-want +got):\n%s", args, diff)
		}
	}
}

func TestDefaultsOfAnyVersion(t *testing.T) {
	for _, k := range load.Kinds() {
		name, ok := map[string]string{
			"JoinConfiguration": "join", "InitConfiguration": "init", "ClusterConfiguration": "init",
			"ResetConfiguration": "reset", "UpgradeConfiguration": "upgrade",
		}[k.Name]
		if !ok {
			continue // nobody writes a ClusterStatus
		}
		text := printed(t, "config", "print", name+"-defaults", "--version", k.APIVersion)
		if !strings.Contains(text, "apiVersion: "+k.APIVersion+"\n") || !strings.Contains(text, "kind: "+k.Name+"\n") {
			t.Errorf("%s-defaults of %s:\n%s", name, k.APIVersion, text)
		}
	}
}
