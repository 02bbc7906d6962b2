package staticpod

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	"github.com/kubejoin/kubejoin/fault"
)

// Minor is a minor version of Kubernetes, "1.37".
type Minor string

// Row is what kubeadm of one minor version does differently from the others.
type Row struct {
	Minor Minor
	// Released is the patch release that was run to learn the facts of this
	// row. Some of them changed between patch releases.
	Released string
	// EtcdTag, CoreDNSTag and PauseTag are of the images that go with it.
	EtcdTag, CoreDNSTag, PauseTag string
	// APIServerKubeletClientOrganizations are the organizations of the
	// certificate apiserver-kubelet-client. Without any, its rights come from
	// the ClusterRoleBinding kubeadm:apiserver-kubelet-client, which init and
	// upgrade create and a join does not (behaviour catalogue §11 #13).
	APIServerKubeletClientOrganizations []string
	// FeatureGates are those that may be set in ClusterConfiguration, with
	// their defaults. Others in it mean nothing, also those that kubeadm lists
	// but has made final.
	FeatureGates map[string]bool
	// PodInfraContainerImage says that --pod-infra-container-image is among the
	// kubelet's flags. kubelets of this minor take it and do not need it.
	PodInfraContainerImage bool
	// ExperimentalEtcdBefore is the version of etcd before which the tag of its
	// image brings back its older, experimental flags; so does a tag that is no
	// version. Empty: no tag does.
	ExperimentalEtcdBefore string
	// FlexVolumes says that kube-controller-manager mounts the folder of FlexVolume
	// plugins, whether it exists or not.
	FlexVolumes bool
}

// KubeletClientBinding tells whether the cluster is to have the
// ClusterRoleBinding kubeadm:apiserver-kubelet-client.
func (r Row) KubeletClientBinding() bool { return len(r.APIServerKubeletClientOrganizations) == 0 }

// Gate tells whether a feature gate is on in a cluster that sets these.
func (r Row) Gate(name string, set map[string]bool) bool {
	byDefault, known := r.FeatureGates[name]
	if on, found := set[name]; found && known {
		return on
	}
	return byDefault
}

// oldEtcd tells whether an image's tag is of an etcd with experimental flags.
func (r Row) oldEtcd(tag string) bool {
	if r.ExperimentalEtcdBefore == "" {
		return false
	}
	v, err := version.ParseSemantic(tag)
	return err != nil || v.LessThan(version.MustParseSemantic(r.ExperimentalEtcdBefore))
}

// The feature gates that change what a join writes.
const (
	GateRootless  = "RootlessControlPlane"
	GateLocalMode = "ControlPlaneKubeletLocalMode"
	GateCRISocket = "NodeLocalCRISocket"
)

// table has one row per supported minor version, the oldest first. Every row is
// compared with its released kubeadm by the tests in e2e/oracle.
func table() []Row {
	return []Row{
		{
			Minor: "1.34", Released: "1.34.4", EtcdTag: "3.6.5-0", CoreDNSTag: "v1.12.1", PauseTag: "3.10.1",
			APIServerKubeletClientOrganizations: []string{"kubeadm:cluster-admins"},
			FeatureGates:                        map[string]bool{GateRootless: false, GateLocalMode: true, GateCRISocket: true},
			ExperimentalEtcdBefore:              "3.6.0", FlexVolumes: true, PodInfraContainerImage: true,
		},
		{
			Minor: "1.35", Released: "1.35.4", EtcdTag: "3.6.6-0", CoreDNSTag: "v1.13.1", PauseTag: "3.10.1",
			APIServerKubeletClientOrganizations: []string{"kubeadm:cluster-admins"},
			FeatureGates:                        map[string]bool{GateRootless: false, GateCRISocket: true},
			ExperimentalEtcdBefore:              "3.6.0", FlexVolumes: true,
		},
		{
			Minor: "1.36", Released: "1.36.3", EtcdTag: "3.6.8-0", CoreDNSTag: "v1.14.2", PauseTag: "3.10.2",
			FeatureGates: map[string]bool{GateRootless: false, GateCRISocket: true},
		},
		{
			Minor: "1.37", Released: "1.37.2", EtcdTag: "3.7.0-0", CoreDNSTag: "v1.14.6", PauseTag: "3.10.2",
			FeatureGates: map[string]bool{GateRootless: false},
		},
	}
}

// Supported lists the minor versions of the table, the oldest first.
func Supported() []Minor {
	var out []Minor
	for _, r := range table() {
		out = append(out, r.Minor)
	}
	return out
}

// For is the row for a cluster's version, "v1.37.2". A version that is none, or
// that the table does not have, is of class fault.Preflight.
func For(kubernetesVersion string) (Row, error) {
	const field = "kubernetesVersion of configmap kube-system/kubeadm-config"
	var names []string
	for _, m := range Supported() {
		names = append(names, string(m))
	}
	v, err := version.ParseGeneric(kubernetesVersion)
	if err != nil {
		return Row{}, fault.New(fault.Preflight, "%q is not a version", kubernetesVersion).At(field).
			WithHint("correct it: kubectl -n kube-system edit configmap kubeadm-config")
	}
	minor := Minor(fmt.Sprintf("%d.%d", v.Major(), v.Minor()))
	rows := table()
	for _, r := range rows {
		if r.Minor == minor {
			return r, nil
		}
	}
	f := fault.New(fault.Preflight, "the cluster is of version %s; control planes of %s can be joined", kubernetesVersion, strings.Join(names, ", ")).At(field)
	if oldest := version.MustParseGeneric(names[0]); v.LessThan(oldest) {
		return Row{}, f.WithHint("upgrade the cluster to %s or newer, or join this control plane with kubeadm of the cluster's version", names[0])
	}
	return Row{}, f.WithHint("use a newer kubejoin that knows %s", minor)
}
