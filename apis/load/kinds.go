package load

import (
	"go.yaml.in/yaml/v4"

	"github.com/kubejoin/kubejoin/apis/kubeadm/v1"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta1"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta2"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta3"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta4"
)

// Kind is one kind in one version, for those who need the type itself: schemas
// are made of it, and default configurations printed.
type Kind struct {
	// APIVersion is "kubeadm.k8s.io/v1beta4", Name is "JoinConfiguration".
	APIVersion, Name string
	// New makes an empty object: a pointer.
	New func() any
	// SetDefaults sets the static defaults of an object that New made.
	SetDefaults func(any)

	// read makes the three steps from a node to the internal version: decode,
	// static defaults, conversion.
	read func(*decoder, *yaml.Node) any
}

// Kinds is the one place where kinds and versions are registered. It gives all
// of them, the current version first.
func Kinds() []Kind {
	return []Kind{
		kind(v1beta4.APIVersion, "JoinConfiguration", v1beta4.SetDefaultsJoinConfiguration, v1beta4.ToInternalJoinConfiguration),
		kind(v1beta4.APIVersion, "InitConfiguration", v1beta4.SetDefaultsInitConfiguration, v1beta4.ToInternalInitConfiguration),
		kind(v1beta4.APIVersion, "ClusterConfiguration", v1beta4.SetDefaultsClusterConfiguration, v1beta4.ToInternalClusterConfiguration),
		kind(v1beta4.APIVersion, "ResetConfiguration", v1beta4.SetDefaultsResetConfiguration, v1beta4.ToInternalResetConfiguration),
		kind(v1beta4.APIVersion, "UpgradeConfiguration", v1beta4.SetDefaultsUpgradeConfiguration, v1beta4.ToInternalUpgradeConfiguration),

		kind(v1beta3.APIVersion, "JoinConfiguration", v1beta3.SetDefaultsJoinConfiguration, v1beta3.ToInternalJoinConfiguration),
		kind(v1beta3.APIVersion, "InitConfiguration", v1beta3.SetDefaultsInitConfiguration, v1beta3.ToInternalInitConfiguration),
		kind(v1beta3.APIVersion, "ClusterConfiguration", v1beta3.SetDefaultsClusterConfiguration, v1beta3.ToInternalClusterConfiguration),

		kind(v1beta2.APIVersion, "JoinConfiguration", v1beta2.SetDefaultsJoinConfiguration, v1beta2.ToInternalJoinConfiguration),
		kind(v1beta2.APIVersion, "InitConfiguration", v1beta2.SetDefaultsInitConfiguration, v1beta2.ToInternalInitConfiguration),
		kind(v1beta2.APIVersion, "ClusterConfiguration", v1beta2.SetDefaultsClusterConfiguration, v1beta2.ToInternalClusterConfiguration),
		kind(v1beta2.APIVersion, clusterStatus, func(*v1beta2.ClusterStatus) {}, noInternal[v1beta2.ClusterStatus]),

		kind(v1beta1.APIVersion, "JoinConfiguration", v1beta1.SetDefaultsJoinConfiguration, v1beta1.ToInternalJoinConfiguration),
		kind(v1beta1.APIVersion, "InitConfiguration", v1beta1.SetDefaultsInitConfiguration, v1beta1.ToInternalInitConfiguration),
		kind(v1beta1.APIVersion, "ClusterConfiguration", v1beta1.SetDefaultsClusterConfiguration, v1beta1.ToInternalClusterConfiguration),
		kind(v1beta1.APIVersion, clusterStatus, func(*v1beta1.ClusterStatus) {}, noInternal[v1beta1.ClusterStatus]),

		kind(v1.APIVersion, "JoinConfiguration", v1.SetDefaultsJoinConfiguration, v1.ToInternalJoinConfiguration),
		kind(v1.APIVersion, "InitConfiguration", v1.SetDefaultsInitConfiguration, v1.ToInternalInitConfiguration),
		kind(v1.APIVersion, "ClusterConfiguration", v1.SetDefaultsClusterConfiguration, v1.ToInternalClusterConfiguration),
		kind(v1.APIVersion, "ResetConfiguration", v1.SetDefaultsResetConfiguration, v1.ToInternalResetConfiguration),
		kind(v1.APIVersion, "UpgradeConfiguration", v1.SetDefaultsUpgradeConfiguration, v1.ToInternalUpgradeConfiguration),
	}
}

func kind[External, Internal any](apiVersion, name string, setDefaults func(*External), toInternal func(*External) *Internal) Kind {
	return Kind{
		APIVersion:  apiVersion,
		Name:        name,
		New:         func() any { return new(External) },
		SetDefaults: func(object any) { setDefaults(object.(*External)) },
		read: func(d *decoder, root *yaml.Node) any {
			d.version, d.kind = apiVersion, name
			external := new(External)
			d.document(root, external)
			setDefaults(external)
			return toInternal(external)
		},
	}
}

// noInternal is for a kind that means nothing any more.
func noInternal[External any](*External) *struct{} { return nil }
