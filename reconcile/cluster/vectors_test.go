package cluster

import (
	"encoding/base64"
	"fmt"
	"os"
	"testing"
)

// The vectors of the behaviour catalogue §0.4, which are kubeadm's own: its dry
// run answers with a fixed cluster-info when no cluster is there. ca.crt is what
// `kubeadm join --dry-run` writes then, and the kubeconfig around it is 1655
// bytes long.
func TestVectors(t *testing.T) {
	ca, err := os.ReadFile("testdata/vectors/ca.crt")
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := fmt.Appendf(nil, `apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: %s
    server: https://192.168.0.101:6443
  name: ""
contexts: null
current-context: ""
kind: Config
users: null
`, base64.StdEncoding.EncodeToString(ca))
	if len(kubeconfig) != 1655 {
		t.Fatalf("the kubeconfig has %d bytes", len(kubeconfig))
	}
	const signature = "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9..rh3cVKiU2mdt3CqHzC81sNE-4WQLRHMtXduHWfSbrIM"
	if got := detachedJWS("abcdef", "abcdef0123456789", kubeconfig); got != signature {
		t.Errorf("signature %s, want %s", got, signature)
	}
	if !signedBy("abcdef", "abcdef0123456789", kubeconfig, signature) {
		t.Error("the right signature is refused")
	}
	if signedBy("abcdef", "abcdef0123456780", kubeconfig, signature) {
		t.Error("a wrong secret is accepted")
	}
	const pin = "sha256:3b793efefe27a19f93b0fbe6e637e9c41d0dde8a377d6ab1c0f656bf1136dd8a"
	if got := SPKIPins(ca); len(got) != 1 || got[0] != pin {
		t.Errorf("pins %v, want %s", got, pin)
	}
}
