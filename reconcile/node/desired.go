package node

import (
	"fmt"
	"io/fs"
	"strings"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
	"github.com/kubejoin/kubejoin/reconcile/host"
	"github.com/kubejoin/kubejoin/reconcile/patch"
)

// Where the kubelet's files are. Behaviour catalogue §5.14.
const (
	InstanceConfigPath = "/var/lib/kubelet/instance-config.yaml"
	KubeletConfigPath  = "/var/lib/kubelet/config.yaml"
	KubeletFlagsPath   = "/var/lib/kubelet/kubeadm-flags.env"
)

// The names of the findings that Compute gives.
const (
	// FindingUnknownField is a field that this version does not know.
	FindingUnknownField = "KubeletConfigUnknownField"
	// FindingUnusualValue is a published value that kubeadm advises against.
	FindingUnusualValue = "KubeletConfigUnusualValue"
	// FindingOverridden is a published or patched value that has no effect.
	FindingOverridden = "KubeletConfigOverridden"
	// FindingClientCA is a kubelet that trusts another CA file than the one written.
	FindingClientCA = "KubeletClientCAFile"
	// FindingArgWords is an argument that systemd does not hand over as written.
	FindingArgWords = "KubeletArgWords"
	// FindingArgDropped is an argument that has no effect.
	FindingArgDropped = "KubeletArgDropped"
)

// Input is everything that the desired state depends on.
type Input struct {
	Config  *kubeadm.JoinConfiguration // with its dynamic defaults
	Cluster *cluster.State
	Facts   host.Facts
	Patches *patch.Set // nil means none
}

// Desired is what a node's kubelet should be.
type Desired struct {
	NodeName string // as the kubelet registers it
	// HealthzAddress is the host:port at which the kubelet tells whether it is
	// healthy; empty if its configuration turns that off.
	HealthzAddress string
	Files          []File
}

// Format says how a file's contents are compared: see Compare.
type Format string

// The formats.
const (
	FormatKubeletConfig  Format = "kubelet-config"
	FormatKubeletFlags   Format = "kubelet-flags"
	FormatCABundle       Format = "ca-bundle"
	FormatInstanceConfig Format = "instance-config"
)

// File is one file of the machine.
type File struct {
	Path     string
	Format   Format
	Content  []byte
	Mode     fs.FileMode
	DirMode  fs.FileMode // of directories that have to be made
	UID, GID int
	// RestartsKubelet says that the running kubelet does not notice a new content.
	RestartsKubelet bool
	// Sensitive contents must not be shown, not even as a difference.
	Sensitive bool
}

// Compute is the desired state of a node's kubelet. What could not be read of the
// cluster leaves out the files that depend on it and gives a finding named
// FindingNotCompared. The error has class fault.InvalidConfig for a published
// configuration, an argument or a patch that cannot be used, and
// fault.Untrusted for a cluster without a usable CA.
func Compute(in Input) (*Desired, []reconcile.Finding, error) {
	cfg := in.Config
	socket := cfg.NodeRegistration.CRISocket
	if socket == "" {
		return nil, nil, fault.New(fault.InvalidConfig, "no container runtime endpoint").At("nodeRegistration.criSocket")
	}
	d := &Desired{NodeName: kubeadm.EffectiveNodeName(cfg)}
	var findings []reconcile.Finding
	add := func(f File) {
		f.Mode, f.Sensitive = 0o644, Sensitive(f.Format, f.Content)
		d.Files = append(d.Files, f)
	}

	switch {
	case len(in.Cluster.CA) == 0:
		findings = append(findings, notCompared(FileAddress(cfg.CACertPath), "the cluster's CA is not known", ""))
	case len(caPins(in.Cluster.CA)) == 0:
		return nil, nil, fault.New(fault.Untrusted, "the cluster's CA bundle has no usable certificate")
	default:
		// The kubelet notices a new client CA without a restart.
		add(File{Path: cfg.CACertPath, Format: FormatCABundle, Content: in.Cluster.CA, DirMode: 0o755})
	}

	// Nothing but kubeadm reads it: the kubelet has the value from config.yaml.
	add(File{Path: InstanceConfigPath, Format: FormatInstanceConfig, DirMode: 0o700,
		Content: fmt.Appendf(nil, "containerRuntimeEndpoint: %q\n", socket)})

	var kubelet *kubeletConfiguration
	if in.Cluster.KubeletConfig == nil || in.Cluster.Configuration == nil {
		findings = append(findings, notCompared(FileAddress(KubeletConfigPath), whyUnseen(in.Cluster),
			"it needs a bootstrap token or the node's own valid credential"))
	} else {
		content, final, more, err := renderKubeletConfig(in)
		if err != nil {
			return nil, nil, err
		}
		kubelet, findings = final, append(findings, more...)
		add(File{Path: KubeletConfigPath, Format: FormatKubeletConfig, Content: content, DirMode: 0o700, RestartsKubelet: true})
	}

	args, more := kubeletArgs(cfg, in.Facts.Hostname)
	findings = append(findings, more...)
	add(File{Path: KubeletFlagsPath, Format: FormatKubeletFlags, Content: renderFlags(args), DirMode: 0o700, RestartsKubelet: true})

	d.HealthzAddress = healthzAddress(kubelet, args)
	return d, findings, nil
}

// whyUnseen says why the kubelet's configuration cannot be computed.
func whyUnseen(state *cluster.State) string {
	var why []string
	for _, u := range state.Unseen {
		if u.What == "kubelet-config" || u.What == "kubeadm-config" {
			why = append(why, u.What+" could not be read: "+u.Why)
		}
	}
	if len(why) == 0 {
		return "the cluster's kubelet configuration is not known"
	}
	return strings.Join(why, "; ")
}
