package kubeadm

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// JoinConfiguration says how this machine joins a cluster.
// Fields and defaults: behaviour catalogue §1.2 and §2.
type JoinConfiguration struct {
	NodeRegistration NodeRegistration
	// CACertPath is where the cluster's CA is written on a worker.
	CACertPath string
	Discovery  Discovery
	// ControlPlane is nil for a worker; non-nil, even if empty, asks for a
	// control-plane instance.
	ControlPlane *JoinControlPlane
	SkipPhases   []string
	Patches      *Patches
	Timeouts     Timeouts
	DryRun       bool
}

// JoinControlPlane is the part of a join that only control planes have.
type JoinControlPlane struct {
	LocalAPIEndpoint APIEndpoint
	// CertificateKey decrypts the kubeadm-certs Secret: 32 bytes in hex. Secret.
	CertificateKey string
}

// APIEndpoint is where this machine's API server listens.
type APIEndpoint struct {
	AdvertiseAddress string
	BindPort         int32
}

// Discovery says how the cluster is found and why it is trusted. Exactly one
// of BootstrapToken and File is set.
type Discovery struct {
	BootstrapToken *BootstrapTokenDiscovery
	File           *FileDiscovery
	// TLSBootstrapToken authenticates the kubelet's CSR. Secret.
	TLSBootstrapToken string
}

// BootstrapTokenDiscovery finds the cluster by the cluster-info ConfigMap.
type BootstrapTokenDiscovery struct {
	// Token signs cluster-info: "[a-z0-9]{6}.[a-z0-9]{16}". Its second half is secret.
	Token string
	// APIServerEndpoint is host:port.
	APIServerEndpoint string
	// CACertHashes pin the cluster CA: "sha256:<hex of the SPKI's digest>".
	CACertHashes             []string
	UnsafeSkipCAVerification bool
}

// FileDiscovery finds the cluster by a kubeconfig file or an HTTPS URL of one.
type FileDiscovery struct {
	KubeConfigPath string
}

// NodeRegistration is what the Node is to be.
type NodeRegistration struct {
	// Name is the Node's name; empty means the machine's hostname.
	Name string
	// CRISocket is the container runtime's endpoint, "unix:///path"; empty
	// means detection.
	CRISocket string
	// Taints: nil means the default (none on a worker), empty means none.
	Taints                []corev1.Taint
	KubeletExtraArgs      []Arg
	IgnorePreflightErrors []string
	ImagePullPolicy       corev1.PullPolicy
	ImagePullSerial       *bool
}

// Arg is one command-line argument of a component. Order matters and names may
// repeat.
type Arg struct {
	Name        string
	Value       string
	MergeMethod MergeMethod
}

// MergeMethod says what an Arg does to the built-in argument of its name.
type MergeMethod string

// The merge methods; only configuration version v1 can express the last two.
const (
	MergeReplace MergeMethod = ""
	MergeAppend  MergeMethod = "append"
	MergePrepend MergeMethod = "prepend"
)

// Patches names the folder of patches for generated files.
type Patches struct {
	Directory string
}

// Timeouts are the budgets of all waits.
type Timeouts struct {
	ControlPlaneComponentHealthCheck time.Duration
	KubeletHealthCheck               time.Duration
	KubernetesAPICall                time.Duration
	EtcdAPICall                      time.Duration
	TLSBootstrap                     time.Duration
	Discovery                        time.Duration
	UpgradeManifests                 time.Duration
}

// ClusterConfiguration is what the cluster publishes of itself in the
// kubeadm-config ConfigMap. Fields: behaviour catalogue §1.9.
type ClusterConfiguration struct {
	KubernetesVersion           string
	ControlPlaneEndpoint        string
	ClusterName                 string
	CertificatesDir             string
	ImageRepository             string
	FeatureGates                map[string]bool
	EncryptionAlgorithm         string
	CertificateValidityPeriod   time.Duration
	CACertificateValidityPeriod time.Duration
	Networking                  Networking
	APIServer                   APIServer
	ControllerManager           ControlPlaneComponent
	Scheduler                   ControlPlaneComponent
	Etcd                        Etcd
	DNS                         DNS
	Proxy                       Proxy
}

// Networking holds the cluster's address ranges; dual-stack ones are
// comma-separated.
type Networking struct {
	ServiceSubnet string
	PodSubnet     string
	DNSDomain     string
}

// ControlPlaneComponent is what can be set on every control-plane component.
type ControlPlaneComponent struct {
	ExtraArgs    []Arg
	ExtraVolumes []HostPathMount
	ExtraEnvs    []corev1.EnvVar
}

// APIServer adds the API server's own settings.
type APIServer struct {
	ControlPlaneComponent
	CertSANs []string
}

// HostPathMount is a folder or file of the host in a static pod.
type HostPathMount struct {
	Name      string
	HostPath  string
	MountPath string
	ReadOnly  bool
	PathType  corev1.HostPathType
}

// Etcd is either local (a static pod on every control plane) or external.
type Etcd struct {
	Local    *LocalEtcd
	External *ExternalEtcd
}

// LocalEtcd is etcd as a static pod.
type LocalEtcd struct {
	ImageRepository string
	ImageTag        string
	DataDir         string
	ExtraArgs       []Arg
	ExtraEnvs       []corev1.EnvVar
	ServerCertSANs  []string
	PeerCertSANs    []string
}

// ExternalEtcd is an etcd cluster that somebody else runs.
type ExternalEtcd struct {
	Endpoints     []string
	HTTPEndpoints []string
	CAFile        string
	CertFile      string
	KeyFile       string
}

// DNS is the cluster DNS add-on.
type DNS struct {
	Disabled        bool
	ImageRepository string
	ImageTag        string
}

// Proxy is the kube-proxy add-on.
type Proxy struct {
	Disabled bool
}
