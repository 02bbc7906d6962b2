package validation

import (
	_ "embed" // the names of the kubelet's arguments
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubejoin/kubejoin/apis/internal/spell"
	"github.com/kubejoin/kubejoin/apis/kubeadm"
)

// Warning is something that works, or is ignored, and had better be changed.
type Warning struct {
	// Field is the path in JSON notation.
	Field string
	// Message says what it is, Hint what to do.
	Message, Hint string
}

// NodeRegistrationWarnings looks at what is deprecated, before dynamic defaults.
// at is the path of the registration.
func NodeRegistrationWarnings(n *kubeadm.NodeRegistration, at string) []Warning {
	list := socketWarnings(n.CRISocket, at+".criSocket")
	known := kubeletArgs()
	for i, arg := range n.KubeletExtraArgs {
		at := fmt.Sprintf("%s.kubeletExtraArgs[%d]", at, i)
		name := strings.ReplaceAll(arg.Name, "_", "-") // to the kubelet they are the same
		switch hint, isFormer := formerKubeletArgs[name]; {
		case isFormer:
			list = append(list, Warning{at, fmt.Sprintf("kubelet 1.37 no longer has the argument %s, and does not start with it", arg.Name), hint})
		case !kubeletArgForm.MatchString(name) || slices.Contains(known, name):
		default:
			if near, ok := spell.Nearest(name, known); ok {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			list = append(list, Warning{at, fmt.Sprintf("kubelet 1.37 does not list the argument %q; a kubelet does not start with one that it does not know", arg.Name), hint})
		}
	}
	return append(list, lostArgs(n.KubeletExtraArgs, at+".kubeletExtraArgs")...)
}

// kubeletArgForm matches what rules accept as the name of an argument.
var kubeletArgForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]*$`)

//go:embed kubelet-args.txt
var kubeletArgsText string

// kubeletArgs are the names of the kubelet's arguments.
func kubeletArgs() []string {
	var names []string
	for line := range strings.Lines(kubeletArgsText) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			names = append(names, line)
		}
	}
	return names
}

// lostArgs looks for arguments with a merge method that a later one of the same
// name makes void: behaviour catalogue §1.2.
func lostArgs(args []kubeadm.Arg, at string) []Warning {
	last := map[string]int{}
	for i, arg := range args {
		last[arg.Name] = i
	}
	var list []Warning
	for i, arg := range args {
		if winner := last[arg.Name]; winner != i && arg.MergeMethod != kubeadm.MergeReplace {
			list = append(list, Warning{fmt.Sprintf("%s[%d]", at, i),
				fmt.Sprintf("has no effect: %s[%d] has the same name, and of several arguments the last one's mergeMethod counts", at, winner),
				"merge them into one"})
		}
	}
	return list
}

// InitConfigurationWarnings looks at what is deprecated or does not work with
// kubeadm, before dynamic defaults.
func InitConfigurationWarnings(cfg *kubeadm.InitConfiguration) []Warning {
	list := NodeRegistrationWarnings(&cfg.NodeRegistration, "nodeRegistration")
	for i, token := range cfg.BootstrapTokens {
		if token.Expires != nil {
			list = append(list, Warning{fmt.Sprintf("bootstrapTokens[%d].expires", i),
				"kubeadm 1.37 refuses it, as it takes the default of ttl for a second lifetime", "use ttl"})
		}
	}
	return list
}

// ResetConfigurationWarnings looks at what is deprecated.
func ResetConfigurationWarnings(cfg *kubeadm.ResetConfiguration) []Warning {
	return socketWarnings(cfg.CRISocket, "criSocket")
}

func socketWarnings(socket, at string) []Warning {
	if !path.IsAbs(socket) {
		return nil
	}
	return []Warning{{at, "an endpoint without a scheme is deprecated", fmt.Sprintf(`write "unix://%s"`, socket)}}
}

// formerKubeletArgs are not in the kubelet any more; with what to do.
var formerKubeletArgs = map[string]string{
	"network-plugin":                    "remove it: the container runtime cares for the network",
	"network-plugin-mtu":                "remove it: the container runtime cares for the network",
	"cni-bin-dir":                       "set it in the container runtime's configuration",
	"cni-conf-dir":                      "set it in the container runtime's configuration",
	"cni-cache-dir":                     "set it in the container runtime's configuration",
	"container-runtime":                 "remove it: every runtime is a remote one",
	"docker-endpoint":                   "remove it, and set criSocket",
	"dynamic-config-dir":                "remove it",
	"cadvisor-port":                     "remove it",
	"image-pull-progress-deadline":      "remove it",
	"pod-infra-container-image":         "set the sandbox image in the container runtime's configuration",
	"allow-privileged":                  "remove it",
	"register-schedulable":              "use taints",
	"experimental-bootstrap-kubeconfig": "use bootstrap-kubeconfig",
}

// ClusterConfigurationWarnings looks at what is deprecated, ignored or unusual.
func ClusterConfigurationWarnings(cfg *kubeadm.ClusterConfiguration) []Warning {
	var list []Warning
	if cfg.UseHyperKubeImage {
		list = append(list, Warning{"useHyperKubeImage", "has no effect: the image hyperkube is no longer published", "remove it"})
	}
	if cfg.DNS.Type != "" {
		list = append(list, Warning{"dns.type", "has no effect: CoreDNS is the only DNS server", "remove it"})
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.FeatureGates)) {
		if slices.Contains(formerGates, name) {
			list = append(list, Warning{field.NewPath("featureGates", name).String(), "kubeadm 1.37 no longer has this feature gate", "remove it"})
		}
	}
	list = append(list, lostArgs(cfg.APIServer.ExtraArgs, "apiServer.extraArgs")...)
	list = append(list, lostArgs(cfg.ControllerManager.ExtraArgs, "controllerManager.extraArgs")...)
	list = append(list, lostArgs(cfg.Scheduler.ExtraArgs, "scheduler.extraArgs")...)
	if etcd := cfg.Etcd.Local; etcd != nil {
		list = append(list, lostArgs(etcd.ExtraArgs, "etcd.local.extraArgs")...)
	}
	if cfg.CertificateValidityPeriod > kubeadm.DefaultCertificateValidityPeriod {
		list = append(list, Warning{"certificateValidityPeriod", "is longer than the usual year", ""})
	}
	if cfg.CACertificateValidityPeriod > kubeadm.DefaultCACertificateValidityPeriod {
		list = append(list, Warning{"caCertificateValidityPeriod", "is longer than the usual ten years", ""})
	}
	if cfg.CertificateValidityPeriod > cfg.CACertificateValidityPeriod {
		list = append(list, Warning{"certificateValidityPeriod", "is longer than caCertificateValidityPeriod: a certificate is no longer valid than its CA", ""})
	}
	return list
}
