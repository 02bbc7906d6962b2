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
	for _, kind := range []string{"join", "init", "reset", "upgrade"} {
		want, err := os.ReadFile(filepath.Join("testdata", "defaults", kind+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Replace(string(want), "HOSTNAME", strings.ToLower(hostname), 1)
		if diff := cmp.Diff(text, printed(t, "config", "print", kind+"-defaults")); diff != "" {
			t.Errorf("%s-defaults (-kubeadm +kubejoin):\n%s", kind, diff)
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
