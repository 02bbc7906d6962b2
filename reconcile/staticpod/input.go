package staticpod

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/reconcile/patch"
)

// The names of the pods, in the order of Build.
const (
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	Etcd              = "etcd"
)

// Dir is where the kubelet looks for static pods.
const Dir = "/etc/kubernetes/manifests"

// Path is where the manifest of a pod is.
func Path(name string) string { return Dir + "/" + name + ".yaml" }

// Input is everything that decides what the pods are.
type Input struct {
	Cluster *kubeadm.ClusterConfiguration
	// Endpoint is where this node's API server listens.
	Endpoint kubeadm.APIEndpoint
	NodeName string
	// StartupTimeout is timeouts.controlPlaneComponentHealthCheck: how long the
	// startup probes wait.
	StartupTimeout time.Duration
	// Host is what the machine offers now. It counts for pods without a record.
	Host Host
	// Recorded is what the manifests on disk were made with, by pod name. It
	// wins over Host, so that a plan does not depend on the shell it runs in.
	Recorded map[string]Record
	// ExternalCA says that the CA's key is kept elsewhere on purpose: nothing
	// in the cluster signs certificates.
	ExternalCA bool
	// EtcdMembers are all members of etcd with this node's own, in the order of
	// the member list. nil means that they are not known yet.
	EtcdMembers []Member
	// EtcdTag is the image tag with which etcd's other members run, if it is
	// known. It is used instead of the table's.
	EtcdTag string
	// Users are needed if the cluster runs its control plane without root.
	Users   *Users
	Patches *patch.Set // nil means none
}

// Host is what of the machine goes into manifests.
type Host struct {
	ProxyEnv []string // NAME=value, as host.Facts has them; values may hold passwords
	CADirs   []string // those of the directories with CA certificates that exist
}

// Member is a member of etcd.
type Member struct {
	Name    string // the hex ID of one without a name (behaviour catalogue §5.8)
	PeerURL string
}

// Users are the users and groups of a control plane without root (behaviour
// catalogue §5.5).
type Users struct {
	Etcd, APIServer, ControllerManager, Scheduler UserGroup
	// SAKeyReaders is the group that may read sa.key.
	SAKeyReaders int64
}

// UserGroup is a user and its group.
type UserGroup struct{ UID, GID int64 }

// Pod is a static pod as it should be.
type Pod struct {
	Name     string
	Path     string
	Pod      *corev1.Pod
	Manifest []byte // YAML as kubeadm writes it
}

// caDir is a directory with CA certificates and the volume that brings it into pods.
type caDir struct{ volume, path string }

// optionalCADirs are mounted if they exist (behaviour catalogue §5.5).
func optionalCADirs() []caDir {
	return []caDir{
		{"etc-pki-ca-trust", "/etc/pki/ca-trust"},
		{"etc-pki-tls-certs", "/etc/pki/tls/certs"},
		{"etc-ca-certificates", "/etc/ca-certificates"},
		{"usr-share-ca-certificates", "/usr/share/ca-certificates"},
		{"usr-local-share-ca-certificates", "/usr/local/share/ca-certificates"},
	}
}

const systemCADir = "/etc/ssl/certs"

func (in *Input) host(pod string) Host {
	if r, found := in.Recorded[pod]; found {
		return r.Host
	}
	return in.Host
}
