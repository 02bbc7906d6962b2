package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/kubejoin/kubejoin/reconcile/node"
)

// page are the example commands of kubeadm join's reference page. These of them
// are no part of joining a machine, and kubejoin has none of them: kubeadm init
// (--upload-certs), kubeadm init phase, kubeadm token create
// --print-join-command, kubeadm kubeconfig user, kubeadm reset: they make a
// cluster, its tokens and its users, or undo a join.
var page = []string{
	"kubeadm join --discovery-token abcdef.1234567890abcdef 1.2.3.4:6443",
	"kubeadm join --discovery-file path/to/file.conf",
	"kubeadm join --discovery-file https://url/file.conf",
	"kubeadm join --help",
	"kubeadm join phase",
	"kubeadm join phase kubelet-start --help",
	"kubeadm join --skip-phases=preflight --config=config.yaml",
	"kubeadm join --discovery-token abcdef.1234567890abcdef --discovery-token-ca-cert-hash sha256:1234..cdef 1.2.3.4:6443",
	"kubeadm join --discovery-token abcdef.1234567890abcdef --discovery-token-ca-cert-hash sha256:1234..cdef --control-plane 1.2.3.4:6443",
	"kubeadm join --discovery-token abcdef.1234567890abcdef --discovery-token-ca-cert-hash sha256:1234..cdef --control-plane --certificate-key 00 1.2.3.4:6443",
	"kubeadm join --token abcdef.1234567890abcdef --discovery-token-unsafe-skip-ca-verification 1.2.3.4:6443",
	"kubeadm join --tls-bootstrap-token abcdef.1234567890abcdef --discovery-file path/to/file.conf",
	"kubeadm join --discovery-file cluster-info.yaml",
	"kubeadm join --ignore-preflight-errors=FileAvailable--etc-kubernetes-kubelet.conf",
	"kubeadm config print",
	"kubeadm config migrate",
}

func TestPageIsTaken(t *testing.T) {
	lines := slices.Clone(page)
	// The phases by kubeadm's own spelling of its sub-commands.
	for _, p := range node.Phases() {
		lines = append(lines, "kubeadm join phase "+p.Name+" 1.2.3.4:6443", "kubeadm join phase "+strings.ReplaceAll(p.Name, "/", " ")+" --config x",
			"kubeadm join --skip-phases="+p.Name+" --config x", "kubeadm join --phases="+p.Name+" --config x")
	}
	lines = append(lines, "kubeadm join phase control-plane-prepare all 1.2.3.4:6443", "kubeadm join phase control-plane-join all --control-plane")
	for _, line := range lines {
		words := strings.Fields(line)
		root := Command()
		at, args, err := root.Find(words[1:])
		if err == nil {
			args = without(args, "--help")
			err = at.ParseFlags(args)
		}
		if err == nil {
			err = at.Args(at, at.Flags().Args())
		}
		if err != nil || at == root || at.RunE == nil || at.Name() == "phase" && len(words) > 3 {
			t.Errorf("%s: %s: %v", line, at.CommandPath(), err)
		}
	}
}

func without(words []string, word string) []string {
	var out []string
	for _, w := range words {
		if w != word {
			out = append(out, w)
		}
	}
	return out
}
