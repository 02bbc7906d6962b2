package kubeadm

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubejoin/kubejoin/fault"
)

// DefaultCRISocket is the endpoint that is assumed if no container runtime
// answers (behaviour catalogue §2.2).
const DefaultCRISocket = "unix:///var/run/containerd/containerd.sock"

// ControlPlaneTaint is the key of the taint that keeps ordinary pods off control
// planes.
const ControlPlaneTaint = "node-role.kubernetes.io/control-plane"

// Machine is what the dynamic defaults need to know about the machine. Whoever
// observes the machine fills it in.
type Machine struct {
	// Hostname is what the kernel calls the machine.
	Hostname string
	// CRISockets are the endpoints ("unix:///path") on which a container runtime
	// answers.
	CRISockets []string
}

// SetDynamicDefaults fills what depends on the machine: the Node's name, the
// container runtime's endpoint and a control plane's taint (behaviour catalogue
// §2.2). The name is trimmed and lower-cased wherever it comes from. It changes
// nothing the second time. Its errors are of class InvalidConfig.
func SetDynamicDefaults(cfg *JoinConfiguration, m Machine) error {
	node := &cfg.NodeRegistration

	name := node.Name
	if name == "" {
		name = m.Hostname
	}
	node.Name = strings.ToLower(strings.TrimSpace(name))
	if node.Name == "" {
		return fault.New(fault.InvalidConfig, "the node has no name: neither the configuration nor the machine gives one").
			At("nodeRegistration.name").WithHint("set nodeRegistration.name, or the machine's host name")
	}

	switch {
	case strings.HasPrefix(node.CRISocket, "/"):
		node.CRISocket = "unix://" + node.CRISocket
	case node.CRISocket != "":
		// Whatever scheme it has, validation judges it. kubeadm turns http://foo
		// into unix://http://foo and accepts that.
	case len(m.CRISockets) == 0:
		node.CRISocket = DefaultCRISocket
	case len(m.CRISockets) == 1:
		node.CRISocket = m.CRISockets[0]
	default:
		return Undecided(m.CRISockets)
	}

	if cfg.ControlPlane != nil && node.Taints == nil {
		node.Taints = []corev1.Taint{{Key: ControlPlaneTaint, Effect: corev1.TaintEffectNoSchedule}}
	}
	return nil
}

// Undecided is the error of a machine with several container runtimes, of which
// nobody has chosen one.
func Undecided(sockets []string) *fault.Error {
	return fault.New(fault.InvalidConfig, "%d container runtimes answer on this machine: %s", len(sockets), strings.Join(sockets, ", ")).
		At("nodeRegistration.criSocket").WithHint("set nodeRegistration.criSocket to the one that the kubelet is to use")
}

// SocketURL is a container runtime's endpoint as "unix:///path", however it is
// written: kubeadm and the kubelet take "unix:/path", too, and it stays in their
// files as it is. What is no path of a socket comes back as it is.
func SocketURL(endpoint string) string {
	socket := endpoint
	if rest, isUnix := strings.CutPrefix(endpoint, "unix:"); isUnix {
		socket = strings.TrimPrefix(rest, "//")
	}
	if !strings.HasPrefix(socket, "/") {
		return endpoint
	}
	return "unix://" + socket
}

// EffectiveNodeName is the name that the kubelet registers: its last
// hostname-override argument, or else nodeRegistration.name. Like the kubelet it
// trims and lower-cases the override, and takes an empty one for none.
func EffectiveNodeName(cfg *JoinConfiguration) string {
	override := ""
	for _, arg := range cfg.NodeRegistration.KubeletExtraArgs {
		if arg.Name == "hostname-override" {
			override = strings.ToLower(strings.TrimSpace(arg.Value))
		}
	}
	if override == "" {
		return cfg.NodeRegistration.Name
	}
	return override
}
