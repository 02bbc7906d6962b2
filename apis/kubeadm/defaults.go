package kubeadm

import "time"

// The values of the static defaults, which are the same in all versions that
// have the field: behaviour catalogue §2.1.
const (
	DefaultCACertPath                  = "/etc/kubernetes/pki/ca.crt"
	DefaultBindPort                    = 6443
	DefaultServiceSubnet               = "10.96.0.0/12"
	DefaultDNSDomain                   = "cluster.local"
	DefaultCertificatesDir             = "/etc/kubernetes/pki"
	DefaultImageRepository             = "registry.k8s.io"
	DefaultClusterName                 = "kubernetes"
	DefaultEncryptionAlgorithm         = "RSA-2048"
	DefaultEtcdDataDir                 = "/var/lib/etcd"
	DefaultCertificateValidityPeriod   = 365 * 24 * time.Hour
	DefaultCACertificateValidityPeriod = 10 * 365 * 24 * time.Hour
	DefaultTokenTTL                    = 24 * time.Hour
	DefaultTokenGroup                  = "system:bootstrappers:kubeadm:default-node-token"
)

// DefaultTokenUsages are what a bootstrap token is for.
func DefaultTokenUsages() []string { return []string{"signing", "authentication"} }

// DefaultTimeouts are the budgets of all waits.
func DefaultTimeouts() Timeouts {
	return Timeouts{
		ControlPlaneComponentHealthCheck: 4 * time.Minute,
		KubeletHealthCheck:               4 * time.Minute,
		KubernetesAPICall:                1 * time.Minute,
		EtcdAPICall:                      2 * time.Minute,
		TLSBootstrap:                     5 * time.Minute,
		Discovery:                        5 * time.Minute,
		UpgradeManifests:                 5 * time.Minute,
	}
}
