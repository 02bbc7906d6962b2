package kubeadm

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

// InitConfiguration says how the first control plane of a cluster comes to be.
// kubejoin runs no init: it reads the kind to check, migrate and explain it.
type InitConfiguration struct {
	BootstrapTokens  []BootstrapToken
	NodeRegistration NodeRegistration
	LocalAPIEndpoint APIEndpoint
	// CertificateKey encrypts the kubeadm-certs Secret: 32 bytes in hex. Secret.
	CertificateKey string
	SkipPhases     []string
	Patches        *Patches
	Timeouts       Timeouts
	DryRun         bool
}

// BootstrapToken is a token that init creates.
type BootstrapToken struct {
	// Token is as in BootstrapTokenDiscovery; empty means that init makes one up.
	Token       string
	Description string
	// TTL is how long it is valid; 0 is for ever, nil means that Expires counts.
	TTL     *time.Duration
	Expires *metav1.Time
	Usages  []string
	Groups  []string
}

// ResetConfiguration says how "kubeadm reset" undoes a join.
// Fields: behaviour catalogue §10.
type ResetConfiguration struct {
	CertificatesDir       string
	CleanupTmpDir         bool
	CRISocket             string
	DryRun                bool
	Force                 bool
	IgnorePreflightErrors []string
	SkipPhases            []string
	UnmountFlags          []string
	Timeouts              Timeouts
}

// UpgradeConfiguration says how "kubeadm upgrade" behaves. Fields: behaviour
// catalogue §1.9.
type UpgradeConfiguration struct {
	Apply    UpgradeApply
	Diff     UpgradeDiff
	Node     UpgradeNode
	Plan     UpgradePlan
	Timeouts Timeouts
}

// UpgradeApply is for "kubeadm upgrade apply".
type UpgradeApply struct {
	KubernetesVersion         string
	AllowExperimentalUpgrades *bool
	AllowRCUpgrades           *bool
	CertificateRenewal        *bool
	DryRun                    *bool
	EtcdUpgrade               *bool
	ForceUpgrade              *bool
	IgnorePreflightErrors     []string
	Patches                   *Patches
	PrintConfig               *bool
	SkipPhases                []string
	ImagePullPolicy           corev1.PullPolicy
	ImagePullSerial           *bool
}

// UpgradeDiff is for "kubeadm upgrade diff".
type UpgradeDiff struct {
	KubernetesVersion string
	ContextLines      int
}

// UpgradeNode is for "kubeadm upgrade node".
type UpgradeNode struct {
	CertificateRenewal    *bool
	DryRun                *bool
	EtcdUpgrade           *bool
	IgnorePreflightErrors []string
	SkipPhases            []string
	Patches               *Patches
	ImagePullPolicy       corev1.PullPolicy
	ImagePullSerial       *bool
}

// UpgradePlan is for "kubeadm upgrade plan".
type UpgradePlan struct {
	KubernetesVersion         string
	AllowExperimentalUpgrades *bool
	AllowRCUpgrades           *bool
	DryRun                    *bool
	EtcdUpgrade               *bool
	IgnorePreflightErrors     []string
	PrintConfig               *bool
}

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
	// UseHyperKubeImage is of v1beta1 and v1beta2, and means nothing any more.
	UseHyperKubeImage bool
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
	// TimeoutForControlPlane is of the versions up to v1beta3. Later it is
	// InitConfiguration's Timeouts.ControlPlaneComponentHealthCheck, which only a
	// whole file can tell (behaviour catalogue §1.3). nil if it is not set.
	TimeoutForControlPlane *time.Duration
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
	// Type is of v1beta1 and v1beta2, and empty for CoreDNS, the only one there is.
	Type string
}

// Proxy is the kube-proxy add-on.
type Proxy struct {
	Disabled bool
}
