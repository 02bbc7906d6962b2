package v1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// APIVersion is the apiVersion of every kind in this package.
const APIVersion = "kubeadm.k8s.io/v1"

// JoinConfiguration says how a machine joins a cluster, as a worker or as a
// control plane.
type JoinConfiguration struct {
	metav1.TypeMeta `json:",inline"`

	// DryRun asks for the difference only: nothing is changed.
	DryRun bool `json:"dryRun,omitempty"`

	// NodeRegistration is what the Node is to be.
	NodeRegistration NodeRegistrationOptions `json:"nodeRegistration,omitempty"`

	// CACertPath is the file that the cluster's CA certificate is written to.
	// It must be absolute and end in ".crt". Default: /etc/kubernetes/pki/ca.crt.
	CACertPath string `json:"caCertPath,omitempty"`

	// Discovery says how the cluster is found, and why it is trusted.
	Discovery Discovery `json:"discovery"`

	// ControlPlane makes the machine a control plane if it is present, even if
	// it is empty ("controlPlane: {}"). Without it the machine becomes a worker.
	ControlPlane *JoinControlPlane `json:"controlPlane,omitempty"`

	// SkipPhases are the names of the phases to leave out, such as
	// "preflight" or "control-plane-join/mark-control-plane".
	SkipPhases []string `json:"skipPhases,omitempty"`

	// Patches says where patches for the generated files are.
	Patches *Patches `json:"patches,omitempty"`

	// Timeouts are the budgets of everything that is waited for.
	Timeouts *Timeouts `json:"timeouts,omitempty"`
}

// NodeRegistrationOptions is what the Node is to be, and how its kubelet runs.
type NodeRegistrationOptions struct {
	// Name is the name of the Node, an RFC 1123 subdomain. Default: the
	// machine's host name in lower case.
	Name string `json:"name,omitempty"`

	// CRISocket is the endpoint of the container runtime, such as
	// "unix:///var/run/containerd/containerd.sock". Default: the one runtime that
	// answers on this machine.
	CRISocket string `json:"criSocket,omitempty"`

	// Taints are set on the Node when it registers. If the field is absent or
	// null, a control plane gets node-role.kubernetes.io/control-plane:NoSchedule
	// and a worker gets none. An empty list means none.
	Taints []corev1.Taint `json:"taints"`

	// KubeletExtraArgs are passed to the kubelet on its command line, and
	// replace or extend the built-in arguments of the same name.
	KubeletExtraArgs []Arg `json:"kubeletExtraArgs,omitempty"`

	// IgnorePreflightErrors are the names of the checks whose errors become
	// warnings. "all" stands for every check and must be alone.
	IgnorePreflightErrors []string `json:"ignorePreflightErrors,omitempty"`

	// ImagePullPolicy says when the control plane's images are pulled: Always,
	// IfNotPresent or Never. Default: IfNotPresent.
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`

	// ImagePullSerial pulls the images one after the other. Default: true.
	ImagePullSerial *bool `json:"imagePullSerial,omitempty"`
}

// Arg is one command-line argument of a component. Names may repeat, and their
// order is kept.
type Arg struct {
	// Name is the argument's name without leading dashes.
	Name string `json:"name"`

	// Value is the argument's value.
	Value string `json:"value"`

	// MergeMethod says what the argument does to the built-in one of its name:
	// append puts the value after it, prepend before it, without a separator;
	// replace, which is also what happens without a method, takes its place.
	// kubeadm 1.37 does not know the word replace: leave it out for kubeadm.
	MergeMethod MergeMethod `json:"mergeMethod,omitempty"`
}

// MergeMethod is append, prepend, replace or nothing, which means replace.
type MergeMethod string

// Discovery says how the cluster is found. Exactly one of bootstrapToken and
// file must be set.
type Discovery struct {
	// BootstrapToken finds the cluster through its API server and a token.
	BootstrapToken *BootstrapTokenDiscovery `json:"bootstrapToken,omitempty"`

	// File finds the cluster through a kubeconfig.
	File *FileDiscovery `json:"file,omitempty"`

	// TLSBootstrapToken authenticates the kubelet's certificate request.
	// Default: bootstrapToken.token.
	TLSBootstrapToken string `json:"tlsBootstrapToken,omitempty" sensitive:"true"`
}

// BootstrapTokenDiscovery finds the cluster through its API server and a
// bootstrap token.
type BootstrapTokenDiscovery struct {
	// Token verifies what the cluster says of itself. It has the form
	// "abcdef.0123456789abcdef".
	Token string `json:"token" sensitive:"true"`

	// APIServerEndpoint is the host and port of an API server.
	APIServerEndpoint string `json:"apiServerEndpoint,omitempty"`

	// CACertHashes pin the cluster's CA: "sha256:" and the digest, in hex, of the
	// CA certificate's public key (its Subject Public Key Info). One of
	// them has to match. Required unless unsafeSkipCAVerification is true.
	CACertHashes []string `json:"caCertHashes,omitempty"`

	// UnsafeSkipCAVerification permits a join without caCertHashes: whoever knows
	// the token can then pretend to be the cluster. Hashes that are present are
	// still enforced.
	UnsafeSkipCAVerification bool `json:"unsafeSkipCAVerification,omitempty"`
}

// FileDiscovery finds the cluster through a kubeconfig.
type FileDiscovery struct {
	// KubeConfigPath is a file, or an https URL from which the kubeconfig is
	// loaded.
	KubeConfigPath string `json:"kubeConfigPath"`
}

// JoinControlPlane is what only a control plane needs.
type JoinControlPlane struct {
	// LocalAPIEndpoint is where this machine's API server listens.
	LocalAPIEndpoint APIEndpoint `json:"localAPIEndpoint,omitempty"`

	// CertificateKey decrypts the shared certificates that the cluster keeps in
	// the Secret kubeadm-certs: 32 bytes in hex.
	CertificateKey string `json:"certificateKey,omitempty" sensitive:"true"`
}

// APIEndpoint is where an API server listens.
type APIEndpoint struct {
	// AdvertiseAddress is the IP address that the API server tells other
	// members of the cluster. Default: the address of the machine's default route.
	AdvertiseAddress string `json:"advertiseAddress,omitempty"`

	// BindPort is the API server's port. Default: 6443.
	BindPort int32 `json:"bindPort,omitempty"`
}

// Patches says where patches are.
type Patches struct {
	// Directory holds files named "target[suffix][+type].extension", such as
	// "kube-apiserver0+merge.yaml" or "kubeletconfiguration.json".
	Directory string `json:"directory,omitempty"`
}

// Timeouts are durations such as "4m0s".
type Timeouts struct {
	// ControlPlaneComponentHealthCheck is how long a control-plane component
	// may take to become healthy. Default: 4m.
	ControlPlaneComponentHealthCheck *metav1.Duration `json:"controlPlaneComponentHealthCheck,omitempty"`

	// KubeletHealthCheck is how long the kubelet may take to become healthy.
	// Default: 4m.
	KubeletHealthCheck *metav1.Duration `json:"kubeletHealthCheck,omitempty"`

	// KubernetesAPICall is how long a request to the API server is repeated.
	// Default: 1m.
	KubernetesAPICall *metav1.Duration `json:"kubernetesAPICall,omitempty"`

	// EtcdAPICall is how long a request to etcd is repeated. Default: 2m.
	EtcdAPICall *metav1.Duration `json:"etcdAPICall,omitempty"`

	// TLSBootstrap is how long the kubelet may take to get its certificate.
	// Default: 5m.
	TLSBootstrap *metav1.Duration `json:"tlsBootstrap,omitempty"`

	// Discovery is how long the cluster is looked for. Default: 5m.
	Discovery *metav1.Duration `json:"discovery,omitempty"`

	// UpgradeManifests is how long a changed static pod may take to restart
	// during an upgrade. A join does not use it. Default: 5m.
	UpgradeManifests *metav1.Duration `json:"upgradeManifests,omitempty"`
}

// ClusterConfiguration is what all control planes of a cluster have in common.
// The cluster keeps it in the ConfigMap kube-system/kubeadm-config.
type ClusterConfiguration struct {
	metav1.TypeMeta `json:",inline"`

	// Etcd says where the cluster keeps its data.
	Etcd Etcd `json:"etcd,omitempty"`

	// Networking holds the cluster's address ranges.
	Networking Networking `json:"networking,omitempty"`

	// KubernetesVersion is the version of the control plane, such as "v1.37.2".
	KubernetesVersion string `json:"kubernetesVersion,omitempty"`

	// ControlPlaneEndpoint is the stable address of all API servers:
	// a DNS name or IP address, with or without a port.
	ControlPlaneEndpoint string `json:"controlPlaneEndpoint,omitempty"`

	// APIServer holds settings of the API server.
	APIServer APIServer `json:"apiServer,omitempty"`

	// ControllerManager holds settings of the controller manager.
	ControllerManager ControlPlaneComponent `json:"controllerManager,omitempty"`

	// Scheduler holds settings of the scheduler.
	Scheduler ControlPlaneComponent `json:"scheduler,omitempty"`

	// DNS holds settings of the DNS add-on.
	DNS DNS `json:"dns,omitempty"`

	// Proxy holds settings of the kube-proxy add-on.
	Proxy Proxy `json:"proxy,omitempty"`

	// CertificatesDir is where the certificates are. Default:
	// /etc/kubernetes/pki.
	CertificatesDir string `json:"certificatesDir,omitempty"`

	// ImageRepository is where images are pulled from. Default: registry.k8s.io.
	ImageRepository string `json:"imageRepository,omitempty"`

	// FeatureGates are kubeadm's own feature gates.
	FeatureGates map[string]bool `json:"featureGates,omitempty"`

	// ClusterName is the cluster's name in kubeconfigs. Default: kubernetes.
	ClusterName string `json:"clusterName,omitempty"`

	// EncryptionAlgorithm is the kind of key that new certificates get:
	// RSA-2048, RSA-3072, RSA-4096, ECDSA-P256 or ECDSA-P384. Default: RSA-2048.
	EncryptionAlgorithm EncryptionAlgorithm `json:"encryptionAlgorithm,omitempty"`

	// CertificateValidityPeriod is how long a new certificate is valid.
	// Default: 8760h (one year).
	CertificateValidityPeriod *metav1.Duration `json:"certificateValidityPeriod,omitempty"`

	// CACertificateValidityPeriod is how long a new CA is valid. Default: 87600h
	// (ten years).
	CACertificateValidityPeriod *metav1.Duration `json:"caCertificateValidityPeriod,omitempty"`
}

// EncryptionAlgorithm names the kind of a certificate's key.
type EncryptionAlgorithm string

// Networking holds address ranges; a dual-stack cluster has two of a kind,
// separated by a comma.
type Networking struct {
	// ServiceSubnet is the range of Service addresses. Default: 10.96.0.0/12.
	ServiceSubnet string `json:"serviceSubnet,omitempty"`

	// PodSubnet is the range of pod addresses.
	PodSubnet string `json:"podSubnet,omitempty"`

	// DNSDomain is the DNS domain of Services. Default: cluster.local.
	DNSDomain string `json:"dnsDomain,omitempty"`
}

// ControlPlaneComponent holds what can be set on every component.
type ControlPlaneComponent struct {
	// ExtraArgs replace or extend the built-in arguments of the same name.
	ExtraArgs []Arg `json:"extraArgs,omitempty"`

	// ExtraVolumes are mounted into the component's pod.
	ExtraVolumes []HostPathMount `json:"extraVolumes,omitempty"`

	// ExtraEnvs are set in the component's environment.
	ExtraEnvs []corev1.EnvVar `json:"extraEnvs,omitempty"`
}

// APIServer holds settings of the API server.
type APIServer struct {
	ControlPlaneComponent `json:",inline"`

	// CertSANs are further names and IP addresses in the API server's
	// certificate.
	CertSANs []string `json:"certSANs,omitempty"`
}

// HostPathMount is a file or folder of the host in a pod.
type HostPathMount struct {
	// Name is the volume's name in the pod.
	Name string `json:"name"`

	// HostPath is the path on the host.
	HostPath string `json:"hostPath"`

	// MountPath is the path in the pod.
	MountPath string `json:"mountPath"`

	// ReadOnly keeps the pod from writing to it.
	ReadOnly bool `json:"readOnly,omitempty"`

	// PathType says what has to be at hostPath, such as File or
	// DirectoryOrCreate.
	PathType corev1.HostPathType `json:"pathType,omitempty"`
}

// Etcd says where the cluster keeps its data. Only one of local and external
// may be set. Default: local.
type Etcd struct {
	// Local runs etcd on every control plane.
	Local *LocalEtcd `json:"local,omitempty"`

	// External uses an etcd cluster that somebody else runs.
	External *ExternalEtcd `json:"external,omitempty"`
}

// LocalEtcd is etcd as a static pod.
type LocalEtcd struct {
	// ImageRepository replaces the cluster's imageRepository for etcd.
	ImageRepository string `json:"imageRepository,omitempty"`

	// ImageTag replaces the tag of etcd's image.
	ImageTag string `json:"imageTag,omitempty"`

	// DataDir is where etcd keeps its data. Default: /var/lib/etcd.
	DataDir string `json:"dataDir"`

	// ExtraArgs replace or extend the built-in arguments of the same name.
	ExtraArgs []Arg `json:"extraArgs,omitempty"`

	// ExtraEnvs are set in etcd's environment.
	ExtraEnvs []corev1.EnvVar `json:"extraEnvs,omitempty"`

	// ServerCertSANs are further names and IP addresses in etcd's server
	// certificate.
	ServerCertSANs []string `json:"serverCertSANs,omitempty"`

	// PeerCertSANs are further names and IP addresses in etcd's peer certificate.
	PeerCertSANs []string `json:"peerCertSANs,omitempty"`
}

// ExternalEtcd is an etcd cluster that somebody else runs.
type ExternalEtcd struct {
	// Endpoints are the URLs of its members.
	Endpoints []string `json:"endpoints"`

	// HTTPEndpoints are the URLs for health checks. Default: endpoints.
	HTTPEndpoints []string `json:"httpEndpoints,omitempty"`

	// CAFile is the CA of the members' certificates.
	CAFile string `json:"caFile"`

	// CertFile is the client certificate.
	CertFile string `json:"certFile"`

	// KeyFile is the client certificate's key.
	KeyFile string `json:"keyFile"`
}

// DNS holds settings of the DNS add-on.
type DNS struct {
	// Disabled says that the cluster has no DNS add-on of kubeadm's.
	Disabled bool `json:"disabled,omitempty"`

	// ImageRepository replaces the cluster's imageRepository for CoreDNS.
	ImageRepository string `json:"imageRepository,omitempty"`

	// ImageTag replaces the tag of CoreDNS's image.
	ImageTag string `json:"imageTag,omitempty"`
}

// Proxy holds settings of the kube-proxy add-on.
type Proxy struct {
	// Disabled says that the cluster has no kube-proxy of kubeadm's.
	Disabled bool `json:"disabled,omitempty"`
}

// InitConfiguration says how the first control plane of a cluster comes to be.
type InitConfiguration struct {
	metav1.TypeMeta `json:",inline"`

	// BootstrapTokens are the tokens that other machines may join with. Default:
	// one that is made up and valid for a day.
	BootstrapTokens []BootstrapToken `json:"bootstrapTokens,omitempty"`

	// DryRun asks for the difference only: nothing is changed.
	DryRun bool `json:"dryRun,omitempty"`

	// NodeRegistration is what the Node is to be.
	NodeRegistration NodeRegistrationOptions `json:"nodeRegistration,omitempty"`

	// LocalAPIEndpoint is where this machine's API server listens.
	LocalAPIEndpoint APIEndpoint `json:"localAPIEndpoint,omitempty"`

	// CertificateKey encrypts the shared certificates that the cluster keeps in
	// the Secret kubeadm-certs: 32 bytes in hex.
	CertificateKey string `json:"certificateKey,omitempty" sensitive:"true"`

	// SkipPhases are the names of the phases to leave out.
	SkipPhases []string `json:"skipPhases,omitempty"`

	// Patches says where patches for the generated files are.
	Patches *Patches `json:"patches,omitempty"`

	// Timeouts are the budgets of everything that is waited for.
	Timeouts *Timeouts `json:"timeouts,omitempty"`
}

// BootstrapToken is a token that other machines may join with.
type BootstrapToken struct {
	// Token has the form "abcdef.0123456789abcdef". Default: one that is made
	// up.
	Token string `json:"token" sensitive:"true"`

	// Description says for people what the token is for.
	Description string `json:"description,omitempty"`

	// TTL is how long the token is valid; "0s" means for ever. It must not be
	// set together with expires. Default: 24h.
	TTL *metav1.Duration `json:"ttl,omitempty"`

	// Expires is when the token becomes invalid. kubeadm 1.37 refuses it, as it
	// takes the default of ttl for a second lifetime.
	Expires *metav1.Time `json:"expires,omitempty"`

	// Usages are what the token is good for: signing, authentication or both.
	// Default: both.
	Usages []string `json:"usages,omitempty"`

	// Groups are what the token authenticates as; each begins with
	// "system:bootstrappers:". Default: system:bootstrappers:kubeadm:default-node-token.
	Groups []string `json:"groups,omitempty"`
}

// ResetConfiguration says how a join is undone.
type ResetConfiguration struct {
	metav1.TypeMeta `json:",inline"`

	// CleanupTmpDir empties /etc/kubernetes/tmp as well.
	CleanupTmpDir bool `json:"cleanupTmpDir,omitempty"`

	// CertificatesDir is where the certificates are. Default:
	// /etc/kubernetes/pki.
	CertificatesDir string `json:"certificatesDir,omitempty"`

	// CRISocket is the endpoint of the container runtime, such as
	// "unix:///var/run/containerd/containerd.sock". Default: the one runtime that
	// answers on this machine.
	CRISocket string `json:"criSocket,omitempty"`

	// DryRun asks for the difference only: nothing is changed.
	DryRun bool `json:"dryRun,omitempty"`

	// Force asks no questions.
	Force bool `json:"force,omitempty"`

	// IgnorePreflightErrors are the names of the checks whose errors become
	// warnings. "all" stands for every check and must be alone.
	IgnorePreflightErrors []string `json:"ignorePreflightErrors,omitempty"`

	// SkipPhases are the names of the phases to leave out.
	SkipPhases []string `json:"skipPhases,omitempty"`

	// UnmountFlags are used when /var/lib/kubelet is unmounted: MNT_FORCE,
	// MNT_DETACH, MNT_EXPIRE or UMOUNT_NOFOLLOW.
	UnmountFlags []string `json:"unmountFlags,omitempty"`

	// Timeouts are the budgets of everything that is waited for.
	Timeouts *Timeouts `json:"timeouts,omitempty"`
}

// UpgradeConfiguration says how a cluster is upgraded.
type UpgradeConfiguration struct {
	metav1.TypeMeta `json:",inline"`

	// Apply is for "kubeadm upgrade apply".
	Apply UpgradeApplyConfiguration `json:"apply,omitempty"`

	// Diff is for "kubeadm upgrade diff".
	Diff UpgradeDiffConfiguration `json:"diff,omitempty"`

	// Node is for "kubeadm upgrade node".
	Node UpgradeNodeConfiguration `json:"node,omitempty"`

	// Plan is for "kubeadm upgrade plan".
	Plan UpgradePlanConfiguration `json:"plan,omitempty"`

	// Timeouts are the budgets of everything that is waited for.
	Timeouts *Timeouts `json:"timeouts,omitempty"`
}

// UpgradeApplyConfiguration is for "kubeadm upgrade apply".
type UpgradeApplyConfiguration struct {
	// KubernetesVersion is the version to upgrade to, such as "v1.37.2".
	KubernetesVersion string `json:"kubernetesVersion,omitempty"`

	// AllowExperimentalUpgrades permits unstable versions. Default: false.
	AllowExperimentalUpgrades *bool `json:"allowExperimentalUpgrades,omitempty"`

	// AllowRCUpgrades permits release candidates. Default: false.
	AllowRCUpgrades *bool `json:"allowRCUpgrades,omitempty"`

	// CertificateRenewal renews the certificates. Default: true.
	CertificateRenewal *bool `json:"certificateRenewal,omitempty"`

	// DryRun asks for the difference only. Default: false.
	DryRun *bool `json:"dryRun,omitempty"`

	// EtcdUpgrade upgrades etcd too. Default: true.
	EtcdUpgrade *bool `json:"etcdUpgrade,omitempty"`

	// ForceUpgrade goes on where requirements are not met. Default: false.
	ForceUpgrade *bool `json:"forceUpgrade,omitempty"`

	// IgnorePreflightErrors are the names of the checks whose errors become
	// warnings. "all" stands for every check and must be alone.
	IgnorePreflightErrors []string `json:"ignorePreflightErrors,omitempty"`

	// Patches says where patches for the generated files are.
	Patches *Patches `json:"patches,omitempty"`

	// PrintConfig prints the configuration that is used. Default: false.
	PrintConfig *bool `json:"printConfig,omitempty"`

	// SkipPhases are the names of the phases to leave out.
	SkipPhases []string `json:"skipPhases,omitempty"`

	// ImagePullPolicy says when images are pulled: Always, IfNotPresent or
	// Never. Default: IfNotPresent.
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`

	// ImagePullSerial pulls the images one after the other. Default: true.
	ImagePullSerial *bool `json:"imagePullSerial,omitempty"`
}

// UpgradeDiffConfiguration is for "kubeadm upgrade diff".
type UpgradeDiffConfiguration struct {
	// KubernetesVersion is the version to compare with, such as "v1.37.2".
	KubernetesVersion string `json:"kubernetesVersion,omitempty"`

	// ContextLines are the lines shown around a difference; 0 stands for 3.
	ContextLines int `json:"contextLines,omitempty"`
}

// UpgradeNodeConfiguration is for "kubeadm upgrade node".
type UpgradeNodeConfiguration struct {
	// CertificateRenewal renews the certificates. Default: true.
	CertificateRenewal *bool `json:"certificateRenewal,omitempty"`

	// DryRun asks for the difference only. Default: false.
	DryRun *bool `json:"dryRun,omitempty"`

	// EtcdUpgrade upgrades etcd too. Default: true.
	EtcdUpgrade *bool `json:"etcdUpgrade,omitempty"`

	// IgnorePreflightErrors are the names of the checks whose errors become
	// warnings. "all" stands for every check and must be alone.
	IgnorePreflightErrors []string `json:"ignorePreflightErrors,omitempty"`

	// SkipPhases are the names of the phases to leave out.
	SkipPhases []string `json:"skipPhases,omitempty"`

	// Patches says where patches for the generated files are.
	Patches *Patches `json:"patches,omitempty"`

	// ImagePullPolicy says when images are pulled: Always, IfNotPresent or
	// Never. Default: IfNotPresent.
	ImagePullPolicy corev1.PullPolicy `json:"imagePullPolicy,omitempty"`

	// ImagePullSerial pulls the images one after the other. Default: true.
	ImagePullSerial *bool `json:"imagePullSerial,omitempty"`
}

// UpgradePlanConfiguration is for "kubeadm upgrade plan".
type UpgradePlanConfiguration struct {
	// KubernetesVersion is the version to plan for, such as "v1.37.2".
	KubernetesVersion string `json:"kubernetesVersion,omitempty"`

	// AllowExperimentalUpgrades offers unstable versions. Default: false.
	AllowExperimentalUpgrades *bool `json:"allowExperimentalUpgrades,omitempty"`

	// AllowRCUpgrades offers release candidates. Default: false.
	AllowRCUpgrades *bool `json:"allowRCUpgrades,omitempty"`

	// DryRun asks for the difference only. Default: false.
	DryRun *bool `json:"dryRun,omitempty"`

	// EtcdUpgrade upgrades etcd too. Default: true.
	EtcdUpgrade *bool `json:"etcdUpgrade,omitempty"`

	// IgnorePreflightErrors are the names of the checks whose errors become
	// warnings. "all" stands for every check and must be alone.
	IgnorePreflightErrors []string `json:"ignorePreflightErrors,omitempty"`

	// PrintConfig prints the configuration that is used. Default: false.
	PrintConfig *bool `json:"printConfig,omitempty"`
}
