package v1beta2

import (
	"net/url"

	"github.com/kubejoin/kubejoin/apis/internal/defaults"
	"github.com/kubejoin/kubejoin/apis/kubeadm"
)

// SetDefaultsJoinConfiguration fills what is missing and does not depend on the
// machine.
func SetDefaultsJoinConfiguration(cfg *JoinConfiguration) {
	defaults.Set(&cfg.CACertPath, kubeadm.DefaultCACertPath)
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
	defaults.Duration(&cfg.Discovery.Timeout, kubeadm.DefaultTimeouts().Discovery)
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
	defaults.Set(&cfg.LocalAPIEndpoint.BindPort, kubeadm.DefaultBindPort)
}

// SetDefaultsClusterConfiguration fills what is missing. A missing
// kubernetesVersion stays empty: kubeadm's default is a label that has to be
// looked up on the internet, which says nothing about the cluster. A missing
// timeoutForControlPlane stays absent too: the InitConfiguration's default is the
// same.
func SetDefaultsClusterConfiguration(cfg *ClusterConfiguration) {
	defaults.Set(&cfg.Networking.ServiceSubnet, kubeadm.DefaultServiceSubnet)
	defaults.Set(&cfg.Networking.DNSDomain, kubeadm.DefaultDNSDomain)
	defaults.Set(&cfg.CertificatesDir, kubeadm.DefaultCertificatesDir)
	defaults.Set(&cfg.ImageRepository, kubeadm.DefaultImageRepository)
	defaults.Set(&cfg.ClusterName, kubeadm.DefaultClusterName)
	defaults.Set(&cfg.DNS.Type, coreDNS)
	if cfg.Etcd.Local == nil && cfg.Etcd.External == nil {
		cfg.Etcd.Local = &LocalEtcd{}
	}
	if local := cfg.Etcd.Local; local != nil {
		defaults.Set(&local.DataDir, kubeadm.DefaultEtcdDataDir)
	}
}
