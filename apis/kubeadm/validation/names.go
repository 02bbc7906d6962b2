package validation

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubejoin/kubejoin/apis/internal/spell"
)

// Phases are the names that skipPhases may hold, by the external type that has
// the field.
func Phases() map[string][]string {
	return map[string][]string{
		"JoinConfiguration":         slices.Clone(joinPhases),
		"InitConfiguration":         slices.Clone(initPhases),
		"ResetConfiguration":        slices.Clone(resetPhases),
		"UpgradeApplyConfiguration": slices.Clone(upgradeApplyPhases),
		"UpgradeNodeConfiguration":  slices.Clone(upgradeNodePhases),
	}
}

// EncryptionAlgorithms are the names of key types that encryptionAlgorithm may be.
func EncryptionAlgorithms() []string { return slices.Clone(encryptionAlgorithms) }

// What may be skipped: behaviour catalogue §5, and "kubeadm init --help" and the
// like of 1.37.
var (
	joinPhases = []string{
		"preflight",
		"control-plane-prepare",
		"control-plane-prepare/all",
		"control-plane-prepare/download-certs",
		"control-plane-prepare/certs",
		"control-plane-prepare/kubeconfig",
		"control-plane-prepare/control-plane",
		"check-etcd",
		"kubelet-start",
		"etcd-join",
		"kubelet-wait-bootstrap",
		"control-plane-join",
		"control-plane-join/all",
		"control-plane-join/mark-control-plane",
		"wait-control-plane",
	}
	initPhases = []string{
		"preflight",
		"certs", "certs/all", "certs/ca", "certs/apiserver", "certs/apiserver-kubelet-client", "certs/front-proxy-ca",
		"certs/front-proxy-client", "certs/etcd-ca", "certs/etcd-server", "certs/etcd-peer",
		"certs/etcd-healthcheck-client", "certs/apiserver-etcd-client", "certs/sa",
		"kubeconfig", "kubeconfig/all", "kubeconfig/admin", "kubeconfig/super-admin", "kubeconfig/kubelet",
		"kubeconfig/controller-manager", "kubeconfig/scheduler",
		"etcd", "etcd/local",
		"control-plane", "control-plane/all", "control-plane/apiserver", "control-plane/controller-manager", "control-plane/scheduler",
		"kubelet-start",
		"wait-control-plane",
		"upload-config", "upload-config/all", "upload-config/kubeadm", "upload-config/kubelet",
		"upload-certs",
		"mark-control-plane",
		"bootstrap-token",
		"kubelet-finalize", "kubelet-finalize/all", "kubelet-finalize/enable-client-cert-rotation",
		"addon", "addon/all", "addon/coredns", "addon/kube-proxy",
		"show-join-command",
	}
	resetPhases        = []string{"preflight", "remove-etcd-member", "cleanup-node"}
	upgradeApplyPhases = []string{
		"preflight", "control-plane", "upload-config", "upload-config/all", "upload-config/kubeadm", "upload-config/kubelet",
		"kubelet-config", "bootstrap-token", "addon", "addon/all", "addon/coredns", "addon/kube-proxy", "post-upgrade",
	}
	upgradeNodePhases = []string{
		"preflight", "control-plane", "kubelet-config", "addon", "addon/all", "addon/coredns", "addon/kube-proxy", "post-upgrade",
	}
)

// renamedPhases are those that a supported or recent version knew by another name.
var renamedPhases = map[string]string{
	"control-plane-join/etcd":                     "etcd-join", // since 1.35: behaviour catalogue §0.6
	"kubelet-finalize/experimental-cert-rotation": "kubelet-finalize/enable-client-cert-rotation",
}

func skipPhases(names, known []string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, name := range names {
		if slices.Contains(known, name) {
			continue
		}
		detail := "there is no such phase"
		if now, ok := renamedPhases[name]; ok && slices.Contains(known, now) {
			detail = fmt.Sprintf("this phase is now called %q", now)
		} else if near, ok := spell.Nearest(name, known); ok {
			detail += fmt.Sprintf("; did you mean %q?", near)
		}
		errs = append(errs, field.Invalid(at.Index(i), name, detail))
	}
	return errs
}

// The feature gates of kubeadm: behaviour catalogue §5.13.
var (
	currentGates = []string{"RootlessControlPlane"}
	formerGates  = []string{
		"EtcdLearnerMode", "ControlPlaneKubeletLocalMode", "WaitForAllControlPlaneComponents", "NodeLocalCRISocket",
		"PublicKeysECDSA", "UpgradeAddonsBeforeControlPlane", "UnversionedKubeletConfigMap", "IPv6DualStack",
		"MergeCLIArgumentsWithConfig", "CoreDNS", "SelfHosting", "StoreCertsInSecrets", "HighAvailability",
		"DynamicKubeletConfig", "Auditing", "SupportIPVSProxyMode",
	}
)
