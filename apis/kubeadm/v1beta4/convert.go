package v1beta4

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubejoin/kubejoin/apis/internal/convert"
	"github.com/kubejoin/kubejoin/apis/kubeadm"
)

// Conversions set no defaults, and their two sides share no memory. Those from
// the internal version also give the paths of what this version cannot express;
// their input has its static defaults.

// ToInternalJoinConfiguration converts to the internal version.
func ToInternalJoinConfiguration(in *JoinConfiguration) *kubeadm.JoinConfiguration {
	return convert.To[kubeadm.JoinConfiguration](in)
}

// FromInternalJoinConfiguration converts from the internal version, and says
// what is lost.
func FromInternalJoinConfiguration(in *kubeadm.JoinConfiguration) (*JoinConfiguration, []string) {
	out := convert.To[JoinConfiguration](in)
	out.TypeMeta = typeMeta("JoinConfiguration")
	return out, convert.Lost(in, ToInternalJoinConfiguration(out))
}

// ToInternalInitConfiguration converts to the internal version.
func ToInternalInitConfiguration(in *InitConfiguration) *kubeadm.InitConfiguration {
	return convert.To[kubeadm.InitConfiguration](in)
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
	return convert.To[kubeadm.ClusterConfiguration](in)
}

// FromInternalClusterConfiguration converts from the internal version, and says
// what is lost.
func FromInternalClusterConfiguration(in *kubeadm.ClusterConfiguration) (*ClusterConfiguration, []string) {
	out := convert.To[ClusterConfiguration](in)
	out.TypeMeta = typeMeta("ClusterConfiguration")
	return out, convert.Lost(in, ToInternalClusterConfiguration(out))
}

// ToInternalResetConfiguration converts to the internal version.
func ToInternalResetConfiguration(in *ResetConfiguration) *kubeadm.ResetConfiguration {
	return convert.To[kubeadm.ResetConfiguration](in)
}

// FromInternalResetConfiguration converts from the internal version, and says
// what is lost.
func FromInternalResetConfiguration(in *kubeadm.ResetConfiguration) (*ResetConfiguration, []string) {
	out := convert.To[ResetConfiguration](in)
	out.TypeMeta = typeMeta("ResetConfiguration")
	return out, convert.Lost(in, ToInternalResetConfiguration(out))
}

// ToInternalUpgradeConfiguration converts to the internal version.
func ToInternalUpgradeConfiguration(in *UpgradeConfiguration) *kubeadm.UpgradeConfiguration {
	return convert.To[kubeadm.UpgradeConfiguration](in)
}

// FromInternalUpgradeConfiguration converts from the internal version, and says
// what is lost.
func FromInternalUpgradeConfiguration(in *kubeadm.UpgradeConfiguration) (*UpgradeConfiguration, []string) {
	out := convert.To[UpgradeConfiguration](in)
	out.TypeMeta = typeMeta("UpgradeConfiguration")
	return out, convert.Lost(in, ToInternalUpgradeConfiguration(out))
}

func typeMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: APIVersion, Kind: kind}
}
