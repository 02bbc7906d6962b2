package staticpod

import (
	"fmt"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/util/version"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/reconcile"
)

// Images lists what a control plane of the cluster pulls, in kubeadm's order
// (behaviour catalogue §8.5).
func Images(in Input) ([]string, error) {
	row, err := For(in.Cluster.KubernetesVersion)
	if err != nil {
		return nil, err
	}
	c := in.Cluster
	out := []string{in.image(APIServer), in.image(ControllerManager), in.image(Scheduler)}
	if !c.Proxy.Disabled {
		out = append(out, in.image("kube-proxy"))
	}
	if !c.DNS.Disabled {
		out = append(out, dnsImage(c, row))
	}
	out = append(out, PauseImage(c, row))
	if c.Etcd.External == nil {
		tag, _ := in.etcdTag(row)
		out = append(out, in.etcdImage(tag))
	}
	return out, nil
}

// PauseImage is the sandbox image that goes with a cluster's version.
func PauseImage(c *kubeadm.ClusterConfiguration, row Row) string {
	return c.ImageRepository + "/pause:" + row.PauseTag
}

func dnsImage(c *kubeadm.ClusterConfiguration, row Row) string {
	repository, tag := c.ImageRepository, row.CoreDNSTag
	if c.DNS.ImageRepository != "" {
		repository = c.DNS.ImageRepository
	}
	if c.DNS.ImageTag != "" {
		tag = c.DNS.ImageTag
	}
	// The project's own registry has it one folder deeper.
	if repository == kubeadm.DefaultImageRepository {
		repository += "/coredns"
	}
	return repository + "/coredns:" + tag
}

var notInTag = regexp.MustCompile(`[^-\w.]`)

// image is that of a component of Kubernetes itself. A version may hold
// characters that a tag may not: v1.37.2+build.
func (in *Input) image(name string) string {
	tag := "v" + strings.TrimPrefix(in.Cluster.KubernetesVersion, "v")
	return in.Cluster.ImageRepository + "/" + name + ":" + notInTag.ReplaceAllString(tag, "_")
}

func (in *Input) etcdImage(tag string) string {
	repository := in.Cluster.ImageRepository
	if l := in.Cluster.Etcd.Local; l != nil && l.ImageRepository != "" {
		repository = l.ImageRepository
	}
	return repository + "/etcd:" + tag
}

// etcdTag chooses etcd's version: the configured one, or that of this node's
// manifest, or that of the other members, or the table's. Which one kubeadm
// wrote depends on its own patch release, and often on its own minor version
// instead of the cluster's (behaviour catalogue §11 #14); a join must neither
// restart etcd for that nor take it back to an older version, which etcd
// refuses once it has data.
func (in *Input) etcdTag(row Row) (string, []reconcile.Finding) {
	if l := in.Cluster.Etcd.Local; l != nil && l.ImageTag != "" {
		return l.ImageTag, nil
	}
	tag := row.EtcdTag
	if in.EtcdTag != "" {
		tag = in.EtcdTag
	}
	had := in.Recorded[Etcd].EtcdTag
	if had == tag || !keepsEtcd(had, tag) {
		return tag, nil
	}
	return had, []reconcile.Finding{{Severity: reconcile.SeverityInfo, Name: FindingEtcdTag, Address: Address(Etcd),
		Seen: fmt.Sprintf("etcd runs with %s, a new member would get %s; it is left as it is", had, tag),
		Hint: "kubeadm upgrade changes etcd's version, or etcd.local.imageTag in the ClusterConfiguration"}}
}

// keepsEtcd tells whether a recorded version stays: of the wanted minor
// version, or newer.
func keepsEtcd(had, want string) bool {
	h, err := version.ParseGeneric(had)
	if err != nil {
		return false
	}
	w, err := version.ParseGeneric(want)
	if err != nil {
		return false
	}
	return !h.LessThan(version.MajorMinor(w.Major(), w.Minor()))
}
