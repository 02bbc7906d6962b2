package cli

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/reconcile/report"
)

// loaded is the configuration that a command line gives.
func loaded(t *testing.T, args ...string) *kubeadm.JoinConfiguration {
	t.Helper()
	c := &cobra.Command{Use: "join"}
	c.SetContext(t.Context())
	f := addJoinFlags(c)
	f.addApplyFlags()
	if err := c.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	if words := c.Flags().Args(); len(words) > 0 {
		f.endpoint = words[0]
	}
	join, _, err := f.load(report.New(report.Options{Out: io.Discard, Err: io.Discard}))
	if err != nil {
		t.Fatal(err)
	}
	return join.Config
}

const head = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: JoinConfiguration\n"

// kubeadm's flags and a file say the same in two ways.
func TestFlagsAreAFile(t *testing.T) {
	t.Chdir(t.TempDir())
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	const token, other, third = "abcdef.0123456789abcdef", "bcdefa.0123456789abcdef", "cdefab.0123456789abcdef"
	pin := "sha256:b6cb3415bbacd97ed9e339cbcbcca6d34e2548abf312afda76e4aad8695f8982"
	bootstrap := "discovery:\n  bootstrapToken:\n    apiServerEndpoint: cp1:6443\n    token: " + token + "\n"
	file := "base.yaml"
	if err := os.WriteFile(file, []byte(head+bootstrap+"  tlsBootstrapToken: "+other+"\nnodeRegistration: {name: w1, ignorePreflightErrors: [Swap]}\ndryRun: true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		args []string
		file string
	}{
		"one token for both": {[]string{"cp1:6443", "--token", token}, bootstrap},
		"pins": {[]string{"cp1:6443", "--token", token, "--discovery-token-ca-cert-hash", pin, "--discovery-token-ca-cert-hash", pin},
			bootstrap + "    caCertHashes: ['" + pin + "', '" + pin + "']\n"},
		"unsafe": {[]string{"cp1:6443", "--token", token, "--discovery-token-unsafe-skip-ca-verification"}, bootstrap + "    unsafeSkipCAVerification: true\n"},
		"two tokens": {[]string{"cp1:6443", "--discovery-token", token, "--tls-bootstrap-token", other},
			bootstrap + "  tlsBootstrapToken: " + other + "\n"},
		"a general and a special token": {[]string{"cp1:6443", "--token", other, "--discovery-token", token},
			bootstrap + "  tlsBootstrapToken: " + other + "\n"},
		"discovery token only": {[]string{"cp1:6443", "--discovery-token", token}, bootstrap},
		"a discovery file": {[]string{"--discovery-file", "/etc/discovery.conf", "--tls-bootstrap-token", token},
			"discovery: {file: {kubeConfigPath: /etc/discovery.conf}, tlsBootstrapToken: " + token + "}\n"},
		"a relative discovery file": {[]string{"--discovery-file", "discovery.conf"},
			"discovery: {file: {kubeConfigPath: " + filepath.Join(wd, "discovery.conf") + "}}\n"},
		"a file URL":   {[]string{"--discovery-file", "file:///etc/discovery.conf"}, "discovery: {file: {kubeConfigPath: /etc/discovery.conf}}\n"},
		"an HTTPS URL": {[]string{"--discovery-file", "https://cp1/discovery.conf"}, "discovery: {file: {kubeConfigPath: 'https://cp1/discovery.conf'}}\n"},
		"everything else": {[]string{"cp1:6443", "--token", token, "--node-name", "W1", "--cri-socket", "/run/x.sock", "--ignore-preflight-errors", "Swap,CRI",
			"--skip-phases", "preflight", "--patches", "/etc/patches", "--dry-run"},
			bootstrap + "nodeRegistration: {name: W1, criSocket: /run/x.sock, ignorePreflightErrors: [Swap, CRI]}\nskipPhases: [preflight]\npatches: {directory: /etc/patches}\ndryRun: true\n"},
		"a file, unchanged": {[]string{"-f", file},
			bootstrap + "  tlsBootstrapToken: " + other + "\nnodeRegistration: {name: w1, ignorePreflightErrors: [Swap]}\ndryRun: true\n"},
		"a file, by kubeadm's name, overridden": {[]string{"--config", file, "cp2:6443", "--discovery-token", third, "--node-name", "w2", "--ignore-preflight-errors", "CRI", "--dry-run=false"},
			"discovery:\n  bootstrapToken: {apiServerEndpoint: 'cp2:6443', token: " + third + "}\n  tlsBootstrapToken: " + other +
				"\nnodeRegistration: {name: w2, ignorePreflightErrors: [Swap, CRI]}\n"},
		"a file, with a discovery file instead": {[]string{"-f", file, "--discovery-file", "/x"},
			"discovery: {file: {kubeConfigPath: /x}, tlsBootstrapToken: " + other + "}\nnodeRegistration: {name: w1, ignorePreflightErrors: [Swap]}\ndryRun: true\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile("want.yaml", []byte(head+tt.file), 0o600); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(loaded(t, "-f", "want.yaml"), loaded(t, tt.args...)); diff != "" {
				t.Errorf("-file +flags:\n%s", diff)
			}
		})
	}
}

// A relative path of a flag starts in the working directory, wherever the
// configuration lies and whatever the root is.
func TestPathsOfFlags(t *testing.T) {
	t.Chdir(t.TempDir())
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct{ rootfs, path, want string }{
		"absolute":              {"", "/p", "/p"},
		"absolute, in an image": {"image", "/p", "/p"},
		"relative":              {"", "p", wd + "/p"},
		"relative, in an image": {"image", "p", "../p"},
		"upwards":               {"image", "../p", "../../p"},
		"URL":                   {"", "https://x/p", "https://x/p"},
		"none":                  {"", "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := &joinFlags{rootfs: tt.rootfs}
			if got := f.flagPath(tt.path, filepath.Join(wd, "conf")); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}
