package node

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/reconcile"
)

// flagsVariable is what the kubelet's unit reads from the environment file.
const flagsVariable = "KUBELET_KUBEADM_ARGS"

// kubeletArgs are the kubelet's arguments in order: built-in ones sorted by
// name, then kubeletExtraArgs as given. Behaviour catalogue §5.7 item 9.
func kubeletArgs(cfg *kubeadm.JoinConfiguration, hostname string) ([]kubeadm.Arg, []reconcile.Finding) {
	var base []kubeadm.Arg
	if name := kubeadm.EffectiveNodeName(cfg); name != strings.ToLower(strings.TrimSpace(hostname)) {
		base = append(base, kubeadm.Arg{Name: "hostname-override", Value: name})
	}
	// A control plane is marked once it is registered: see node-marks.
	if taints := cfg.NodeRegistration.Taints; len(taints) > 0 && cfg.ControlPlane == nil {
		var list []string
		for _, t := range taints {
			list = append(list, t.ToString())
		}
		base = append(base, kubeadm.Arg{Name: "register-with-taints", Value: strings.Join(list, ",")})
	}

	extra := cfg.NodeRegistration.KubeletExtraArgs
	args, dropped := kubeadm.MergeArgs(base, extra)
	var findings []reconcile.Finding
	for _, name := range dropped {
		findings = append(findings, reconcile.Finding{Severity: reconcile.SeverityWarning, Name: FindingArgDropped, Address: FileAddress(KubeletFlagsPath),
			Seen: fmt.Sprintf("kubeletExtraArgs %q has a mergeMethod, but there is no built-in argument to merge it with", name),
			Hint: "remove its mergeMethod to set the argument"})
	}
	for _, a := range extra {
		if strings.ContainsFunc(a.Name+a.Value, breaksWords) {
			findings = append(findings, reconcile.Finding{Severity: reconcile.SeverityWarning, Name: FindingArgWords, Address: FileAddress(KubeletFlagsPath),
				Seen: fmt.Sprintf("kubeletExtraArgs %q holds white space, a quote, a backslash or a control character: systemd splits and unquotes the arguments, the kubelet does not get it as written", a.Name),
				Hint: "set the matching field by a patch of kubeletconfiguration instead"})
		}
	}
	return args, findings
}

// breaksWords tells characters that do not survive the way through the
// environment file and systemd's word splitting (systemd.service(5), "Command lines").
func breaksWords(r rune) bool {
	return unicode.IsSpace(r) || !unicode.IsPrint(r) || strings.ContainsRune(`"'\`, r)
}

// renderFlags is kubeadm-flags.env. Inner quotes are escaped and spaces are
// not protected, as in kubeadm (behaviour catalogue §11 #36).
func renderFlags(args []kubeadm.Arg) []byte {
	var words []string
	for _, a := range args {
		words = append(words, "--"+a.Name+"="+a.Value)
	}
	return []byte(flagsVariable + "=" + strconv.Quote(strings.Join(words, " ")) + "\n")
}
