package load

import (
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta4"
)

// group is the API group of all kinds that are decoded here.
const group = "kubeadm.k8s.io"

// current is the version that users are told to write.
const current = v1beta4.APIVersion

// version is one external version. Without its functions it is one that exists
// and cannot be read yet.
type version struct {
	apiVersion string
	join       func(*decoder, *yaml.Node) *kubeadm.JoinConfiguration
	cluster    func(*decoder, *yaml.Node) *kubeadm.ClusterConfiguration
}

// versions is the one place where a version is registered.
func versions() []version {
	return []version{
		{apiVersion: "kubeadm.k8s.io/v1beta1"},
		{apiVersion: "kubeadm.k8s.io/v1beta2"},
		{apiVersion: "kubeadm.k8s.io/v1beta3"},
		{
			apiVersion: v1beta4.APIVersion,
			join:       reads(v1beta4.SetDefaultsJoinConfiguration, v1beta4.ToInternalJoinConfiguration),
			cluster:    reads(v1beta4.SetDefaultsClusterConfiguration, v1beta4.ToInternalClusterConfiguration),
		},
		{apiVersion: "kubeadm.k8s.io/v1"},
	}
}

// reads makes the three steps from a node to the internal version: decode,
// static defaults, conversion.
func reads[External, Internal any](defaults func(*External), convert func(*External) *Internal) func(*decoder, *yaml.Node) *Internal {
	return func(d *decoder, root *yaml.Node) *Internal {
		external := new(External)
		d.document(root, external)
		defaults(external)
		return convert(external)
	}
}

// versionOf finds the version of a document and reports one that is not there
// or cannot be read.
func versionOf(file string, doc document, problems *Problems) (version, bool) {
	var supported []string
	known := false
	for _, v := range versions() {
		if v.join == nil {
			known = known || v.apiVersion == doc.apiVersion
			continue
		}
		if v.apiVersion == doc.apiVersion {
			return v, true
		}
		supported = append(supported, v.apiVersion)
	}
	pos := fieldPosition(file, doc.root, "apiVersion")
	if known {
		problems.add(pos, "apiVersion", doc.apiVersion+" is not supported yet",
			"write "+strings.Join(supported, " or ")+`; "kubeadm config migrate" of Kubernetes 1.31 to 1.36 converts to it`)
	} else {
		problems.add(pos, "apiVersion", "unknown version "+doc.apiVersion, "supported: "+strings.Join(supported, ", "))
	}
	return version{}, false
}

// fieldPosition is the position of a top-level field's value, or else of the
// document.
func fieldPosition(file string, root *yaml.Node, name string) Position {
	pos := position(file, root)
	for _, f := range fields(root) {
		if f.key.Value == name {
			pos = position(file, f.value)
		}
	}
	return pos
}
