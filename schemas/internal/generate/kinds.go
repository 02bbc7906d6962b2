package generate

import (
	"reflect"
	"strings"

	"github.com/kubejoin/kubejoin/apis/kubeadm/v1"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta1"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta2"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta3"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta4"
)

// Kind is one kind in one version: what a schema is made for.
type Kind struct {
	// APIVersion is "kubeadm.k8s.io/v1beta4", Name is "JoinConfiguration".
	APIVersion, Name string

	typ reflect.Type
	// setDefaults takes a pointer to typ.
	setDefaults func(reflect.Value)
}

// File is where the schema is, in package schemas: "v1beta4/JoinConfiguration.json".
func (k Kind) File() string {
	return strings.TrimPrefix(k.APIVersion, "kubeadm.k8s.io/") + "/" + k.Name + ".json"
}

// Kinds is the one place where a kind is registered.
func Kinds() []Kind {
	return []Kind{
		kind(v1.APIVersion, v1.SetDefaultsJoinConfiguration),
		kind(v1.APIVersion, v1.SetDefaultsInitConfiguration),
		kind(v1.APIVersion, v1.SetDefaultsClusterConfiguration),
		kind(v1.APIVersion, v1.SetDefaultsResetConfiguration),
		kind(v1.APIVersion, v1.SetDefaultsUpgradeConfiguration),

		kind(v1beta4.APIVersion, v1beta4.SetDefaultsJoinConfiguration),
		kind(v1beta4.APIVersion, v1beta4.SetDefaultsInitConfiguration),
		kind(v1beta4.APIVersion, v1beta4.SetDefaultsClusterConfiguration),
		kind(v1beta4.APIVersion, v1beta4.SetDefaultsResetConfiguration),
		kind(v1beta4.APIVersion, v1beta4.SetDefaultsUpgradeConfiguration),

		kind(v1beta3.APIVersion, v1beta3.SetDefaultsJoinConfiguration),
		kind(v1beta3.APIVersion, v1beta3.SetDefaultsInitConfiguration),
		kind(v1beta3.APIVersion, v1beta3.SetDefaultsClusterConfiguration),

		kind(v1beta2.APIVersion, v1beta2.SetDefaultsJoinConfiguration),
		kind(v1beta2.APIVersion, v1beta2.SetDefaultsInitConfiguration),
		kind(v1beta2.APIVersion, v1beta2.SetDefaultsClusterConfiguration),
		kind(v1beta2.APIVersion, func(*v1beta2.ClusterStatus) {}),

		kind(v1beta1.APIVersion, v1beta1.SetDefaultsJoinConfiguration),
		kind(v1beta1.APIVersion, v1beta1.SetDefaultsInitConfiguration),
		kind(v1beta1.APIVersion, v1beta1.SetDefaultsClusterConfiguration),
		kind(v1beta1.APIVersion, func(*v1beta1.ClusterStatus) {}),
	}
}

// kind registers the type that a default function takes.
func kind[T any](apiVersion string, setDefaults func(*T)) Kind {
	t := reflect.TypeFor[T]()
	return Kind{
		APIVersion:  apiVersion,
		Name:        t.Name(),
		typ:         t,
		setDefaults: func(v reflect.Value) { setDefaults(v.Interface().(*T)) },
	}
}
