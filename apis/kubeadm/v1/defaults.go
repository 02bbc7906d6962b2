package v1

import (
	"net/url"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubejoin/kubejoin/apis/internal/defaults"
	"github.com/kubejoin/kubejoin/apis/kubeadm"
)

// SetDefaultsJoinConfiguration fills what is missing and does not depend on the
// machine.
func SetDefaultsJoinConfiguration(cfg *JoinConfiguration) {
	defaults.Set(&cfg.CACertPath, kubeadm.DefaultCACertPath)
	setDefaultsNode(&cfg.NodeRegistration)
	if cfg.ControlPlane != nil {
		defaults.Set(&cfg.ControlPlane.LocalAPIEndpoint.BindPort, kubeadm.DefaultBindPort)
	}
	if token := cfg.Discovery.BootstrapToken; token != nil {
		defaults.Set(&cfg.Discovery.TLSBootstrapToken, token.Token)
	}
	if file := cfg.Discovery.File; file != nil {
		if u, err := url.Parse(file.KubeConfigPath); err == nil && u.Scheme == "file" {
			file.KubeConfigPath = u.Path
		}
	}
	setDefaultsTimeouts(&cfg.Timeouts)
}

// SetDefaultsInitConfiguration fills what is missing and does not depend on the
// machine. A missing token stays empty: init makes one up.
func SetDefaultsInitConfiguration(cfg *InitConfiguration) {
	if len(cfg.BootstrapTokens) == 0 {
		cfg.BootstrapTokens = []BootstrapToken{{}}
	}
	for i := range cfg.BootstrapTokens {
		token := &cfg.BootstrapTokens[i]
		defaults.Token(&token.TTL, token.Expires, &token.Usages, &token.Groups)
	}
	setDefaultsNode(&cfg.NodeRegistration)
	defaults.Set(&cfg.LocalAPIEndpoint.BindPort, kubeadm.DefaultBindPort)
	setDefaultsTimeouts(&cfg.Timeouts)
}

func setDefaultsNode(node *NodeRegistrationOptions) {
	defaults.Set(&node.ImagePullPolicy, corev1.PullIfNotPresent)
	defaults.Pointer(&node.ImagePullSerial, true)
	setDefaultsArgs(node.KubeletExtraArgs)
}

// setDefaultsArgs makes "replace", which may be written out, what it is without
// a word.
func setDefaultsArgs(args []Arg) {
	for i := range args {
		if args[i].MergeMethod == "replace" {
			args[i].MergeMethod = ""
		}
	}
}

func setDefaultsTimeouts(timeouts **Timeouts) {
	defaults.Pointer(timeouts, Timeouts{})
	t, values := *timeouts, kubeadm.DefaultTimeouts()
	defaults.Duration(&t.ControlPlaneComponentHealthCheck, values.ControlPlaneComponentHealthCheck)
	defaults.Duration(&t.KubeletHealthCheck, values.KubeletHealthCheck)
	defaults.Duration(&t.KubernetesAPICall, values.KubernetesAPICall)
	defaults.Duration(&t.EtcdAPICall, values.EtcdAPICall)
	defaults.Duration(&t.TLSBootstrap, values.TLSBootstrap)
	defaults.Duration(&t.Discovery, values.Discovery)
	defaults.Duration(&t.UpgradeManifests, values.UpgradeManifests)
}

// SetDefaultsClusterConfiguration fills what is missing. A missing
// kubernetesVersion stays empty: kubeadm's default is a label that has to be
// looked up on the internet, which says nothing about the cluster.
func SetDefaultsClusterConfiguration(cfg *ClusterConfiguration) {
	defaults.Set(&cfg.Networking.ServiceSubnet, kubeadm.DefaultServiceSubnet)
	defaults.Set(&cfg.Networking.DNSDomain, kubeadm.DefaultDNSDomain)
	defaults.Set(&cfg.CertificatesDir, kubeadm.DefaultCertificatesDir)
	defaults.Set(&cfg.ImageRepository, kubeadm.DefaultImageRepository)
	defaults.Set(&cfg.ClusterName, kubeadm.DefaultClusterName)
	defaults.Set(&cfg.EncryptionAlgorithm, kubeadm.DefaultEncryptionAlgorithm)
	defaults.Duration(&cfg.CertificateValidityPeriod, kubeadm.DefaultCertificateValidityPeriod)
	defaults.Duration(&cfg.CACertificateValidityPeriod, kubeadm.DefaultCACertificateValidityPeriod)

	if cfg.Etcd.Local == nil && cfg.Etcd.External == nil {
		cfg.Etcd.Local = &LocalEtcd{}
	}
	for _, c := range []*ControlPlaneComponent{&cfg.APIServer.ControlPlaneComponent, &cfg.ControllerManager, &cfg.Scheduler} {
		setDefaultsArgs(c.ExtraArgs)
	}
	if local := cfg.Etcd.Local; local != nil {
		setDefaultsArgs(local.ExtraArgs)
		defaults.Set(&local.DataDir, kubeadm.DefaultEtcdDataDir)
		defaults.Envs(local.ExtraEnvs)
	}
	if external := cfg.Etcd.External; external != nil && len(external.HTTPEndpoints) == 0 {
		external.HTTPEndpoints = slices.Clone(external.Endpoints)
	}
	defaults.Envs(cfg.APIServer.ExtraEnvs)
	defaults.Envs(cfg.ControllerManager.ExtraEnvs)
	defaults.Envs(cfg.Scheduler.ExtraEnvs)
}

// SetDefaultsResetConfiguration fills what is missing and does not depend on the
// machine.
func SetDefaultsResetConfiguration(cfg *ResetConfiguration) {
	defaults.Set(&cfg.CertificatesDir, kubeadm.DefaultCertificatesDir)
	setDefaultsTimeouts(&cfg.Timeouts)
}

// SetDefaultsUpgradeConfiguration fills what is missing.
func SetDefaultsUpgradeConfiguration(cfg *UpgradeConfiguration) {
	apply, node := &cfg.Apply, &cfg.Node
	defaults.Pointer(&apply.CertificateRenewal, true)
	defaults.Pointer(&apply.EtcdUpgrade, true)
	defaults.Set(&apply.ImagePullPolicy, corev1.PullIfNotPresent)
	defaults.Pointer(&apply.ImagePullSerial, true)
	defaults.Pointer(&node.CertificateRenewal, true)
	defaults.Pointer(&node.EtcdUpgrade, true)
	defaults.Set(&node.ImagePullPolicy, corev1.PullIfNotPresent)
	defaults.Pointer(&node.ImagePullSerial, true)
	defaults.Pointer(&cfg.Plan.EtcdUpgrade, true)
	setDefaultsTimeouts(&cfg.Timeouts)
}
