package v1beta3

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubejoin/kubejoin/apis/internal/convert"
	"github.com/kubejoin/kubejoin/apis/kubeadm"
)

// Conversions set no defaults but those of fields that this version does not
// have, and their two sides share no memory. Those from the internal version also
// give the paths of what this version cannot express; their input has its static
// defaults.

// ToInternalJoinConfiguration converts to the internal version.
func ToInternalJoinConfiguration(in *JoinConfiguration) *kubeadm.JoinConfiguration {
	out := convert.To[kubeadm.JoinConfiguration](in)
	setAbsentNode(&out.NodeRegistration)
	out.Timeouts = kubeadm.DefaultTimeouts()
	out.Timeouts.Discovery = 0
	if in.Discovery.Timeout != nil {
		out.Timeouts.Discovery = in.Discovery.Timeout.Duration
	}
	return out
}

// FromInternalJoinConfiguration converts from the internal version, and says
// what is lost.
func FromInternalJoinConfiguration(in *kubeadm.JoinConfiguration) (*JoinConfiguration, []string) {
	out := convert.To[JoinConfiguration](in)
	out.TypeMeta = typeMeta("JoinConfiguration")
	out.Discovery.Timeout = &metav1.Duration{Duration: in.Timeouts.Discovery}
	return out, convert.Lost(in, ToInternalJoinConfiguration(out))
}

// ToInternalInitConfiguration converts to the internal version.
func ToInternalInitConfiguration(in *InitConfiguration) *kubeadm.InitConfiguration {
	out := convert.To[kubeadm.InitConfiguration](in)
	setAbsentNode(&out.NodeRegistration)
	out.Timeouts = kubeadm.DefaultTimeouts()
	return out
}

// FromInternalInitConfiguration converts from the internal version, and says
// what is lost.
func FromInternalInitConfiguration(in *kubeadm.InitConfiguration) (*InitConfiguration, []string) {
	out := convert.To[InitConfiguration](in)
	out.TypeMeta = typeMeta("InitConfiguration")
	return out, convert.Lost(in, ToInternalInitConfiguration(out))
}

// ToInternalClusterConfiguration converts to the internal version.
func ToInternalClusterConfiguration(in *ClusterConfiguration) *kubeadm.ClusterConfiguration {
	out := convert.To[kubeadm.ClusterConfiguration](in)
	out.EncryptionAlgorithm = kubeadm.DefaultEncryptionAlgorithm
	out.CertificateValidityPeriod = kubeadm.DefaultCertificateValidityPeriod
	out.CACertificateValidityPeriod = kubeadm.DefaultCACertificateValidityPeriod
	if external := out.Etcd.External; external != nil {
		external.HTTPEndpoints = slices.Clone(external.Endpoints)
	}
	return out
}

// FromInternalClusterConfiguration converts from the internal version, and says
// what is lost.
func FromInternalClusterConfiguration(in *kubeadm.ClusterConfiguration) (*ClusterConfiguration, []string) {
	out := convert.To[ClusterConfiguration](in)
	out.TypeMeta = typeMeta("ClusterConfiguration")
	return out, convert.Lost(in, ToInternalClusterConfiguration(out))
}

func setAbsentNode(node *kubeadm.NodeRegistration) {
	node.ImagePullSerial = new(true)
}

func typeMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: APIVersion, Kind: kind}
}
