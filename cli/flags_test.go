package cli

import (
	"io"
	"os"
	"path/filepath"
	"strings"
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
	if err := c.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	if words := c.Flags().Args(); len(words) > 0 {
		f.endpoint = words[0]
	}
	join, _, err := f.load(report.New(report.Options{Out: io.Discard, Err: io.Discard}))
	if err != nil {
		t.Fatal(args, err)
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
	key := strings.Repeat("0a", 32)
	for name, text := range map[string]string{"token": token + "\n", "key": key + "\n",
		"cp.yaml": head + bootstrap + "controlPlane: {localAPIEndpoint: {advertiseAddress: 10.0.0.7, bindPort: 7443}, certificateKey: \"" + key + "\"}\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]struct {
		args []string
		file string
	}{
		"a control plane": {[]string{"cp1:6443", "--token", token, "--control-plane"}, bootstrap + "controlPlane: {}\n"},
		"all of a control plane": {[]string{"cp1:6443", "--token", token, "--control-plane", "--apiserver-advertise-address", "10.0.0.7", "--apiserver-bind-port", "7443", "--certificate-key", key},
			bootstrap + "controlPlane: {localAPIEndpoint: {advertiseAddress: 10.0.0.7, bindPort: 7443}, certificateKey: \"" + key + "\"}\n"},
		"no port is the default": {[]string{"cp1:6443", "--token", token, "--control-plane", "--apiserver-bind-port", "0"}, bootstrap + "controlPlane: {localAPIEndpoint: {bindPort: 0}}\n"},
		"a control plane's file, overridden": {[]string{"-f", "cp.yaml", "--apiserver-bind-port", "8443"},
			bootstrap + "controlPlane: {localAPIEndpoint: {advertiseAddress: 10.0.0.7, bindPort: 8443}, certificateKey: \"" + key + "\"}\n"},
		"a control plane's file, for a worker": {[]string{"-f", "cp.yaml", "--control-plane=false"}, bootstrap},
		"a worker's addresses are no one's":    {[]string{"cp1:6443", "--token", token, "--apiserver-advertise-address", "10.0.0.7"}, bootstrap},
		"secrets in files": {[]string{"cp1:6443", "--token-file", "token", "--control-plane", "--certificate-key-file", "key"},
			bootstrap + "controlPlane: {certificateKey: \"" + key + "\"}\n"},
		"the flag comes before the file":       {[]string{"cp1:6443", "--token", token, "--token-file", "nowhere"}, bootstrap},
		"a token in a file, and a special one": {[]string{"cp1:6443", "--token-file", "token", "--tls-bootstrap-token", other}, bootstrap + "  tlsBootstrapToken: " + other + "\n"},
		"one token for both":                   {[]string{"cp1:6443", "--token", token}, bootstrap},
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

// A secret comes from the flag, its file, the environment or the configuration, in
// this order.
func TestWhereSecretsComeFrom(t *testing.T) {
	t.Chdir(t.TempDir())
	tokens := []string{"aaaaaa.0123456789abcdef", "bbbbbb.0123456789abcdef", "cccccc.0123456789abcdef", "dddddd.0123456789abcdef"}
	keys := []string{strings.Repeat("aa", 32), strings.Repeat("bb", 32), strings.Repeat("cc", 32), strings.Repeat("dd", 32)}
	for name, text := range map[string]string{
		"token": tokens[1] + "\n", "key": keys[1],
		"join.yaml": head + "discovery: {bootstrapToken: {apiServerEndpoint: 'cp1:6443', token: " + tokens[3] + "}}\ncontrolPlane: {certificateKey: " + keys[3] + "}\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i, args := range [][]string{
		{"--token", tokens[0], "--token-file", "token", "--certificate-key", keys[0], "--certificate-key-file", "key"},
		{"--token-file", "token", "--certificate-key-file", "key"},
		nil, // the environment
		nil, // the configuration
	} {
		t.Setenv(tokenVariable, tokens[2])
		t.Setenv(certificateKeyVariable, keys[2])
		if i == 3 {
			t.Setenv(tokenVariable, "")
			t.Setenv(certificateKeyVariable, "")
		}
		c := loaded(t, append([]string{"-f", "join.yaml"}, args...)...)
		if got := c.Discovery.BootstrapToken.Token; got != tokens[i] || c.Discovery.TLSBootstrapToken != got {
			t.Errorf("%v: %s and %s, want %s", args, got, c.Discovery.TLSBootstrapToken, tokens[i])
		}
		if got := c.ControlPlane.CertificateKey; got != keys[i] {
			t.Errorf("%v: %s, want %s", args, got, keys[i])
		}
	}
}

func TestEndpointOrFile(t *testing.T) {
	for arg, want := range map[string]bool{
		"cp1:6443": true, "10.0.0.1:6443": true, "[fd00::1]:6443": true, ":6443": true, "cp1:https": true,
		"cp1": false, "plan.json": false, "./a:1": false, "/x/plan:2": false, "fd00::1": false, "https://cp1:6443": false, "cp1:": false, "": false, "-": false,
	} {
		if got := isEndpoint(arg); got != want {
			t.Errorf("%q: %t", arg, got)
		}
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
