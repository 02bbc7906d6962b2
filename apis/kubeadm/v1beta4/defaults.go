package v1beta4

import (
	"net/url"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The static defaults: behaviour catalogue §2.1.
const (
	DefaultCACertPath          = "/etc/kubernetes/pki/ca.crt"
	DefaultBindPort            = 6443
	DefaultServiceSubnet       = "10.96.0.0/12"
	DefaultDNSDomain           = "cluster.local"
	DefaultCertificatesDir     = "/etc/kubernetes/pki"
	DefaultImageRepository     = "registry.k8s.io"
	DefaultClusterName         = "kubernetes"
	DefaultEncryptionAlgorithm = "RSA-2048"
	DefaultEtcdDataDir         = "/var/lib/etcd"
)

// SetDefaultsJoinConfiguration fills what is missing and does not depend on the
// machine.
func SetDefaultsJoinConfiguration(cfg *JoinConfiguration) {
	setDefault(&cfg.CACertPath, DefaultCACertPath)
	setDefault(&cfg.NodeRegistration.ImagePullPolicy, corev1.PullIfNotPresent)
	if cfg.NodeRegistration.ImagePullSerial == nil {
		cfg.NodeRegistration.ImagePullSerial = new(true)
	}
	if cfg.ControlPlane != nil {
		setDefault(&cfg.ControlPlane.LocalAPIEndpoint.BindPort, DefaultBindPort)
	}
	if token := cfg.Discovery.BootstrapToken; token != nil {
		setDefault(&cfg.Discovery.TLSBootstrapToken, token.Token)
	}
	if file := cfg.Discovery.File; file != nil {
		if u, err := url.Parse(file.KubeConfigPath); err == nil && u.Scheme == "file" {
			file.KubeConfigPath = u.Path
		}
	}
	if cfg.Timeouts == nil {
		cfg.Timeouts = &Timeouts{}
	}
	setDefaultsTimeouts(cfg.Timeouts)
}

func setDefaultsTimeouts(t *Timeouts) {
	setDuration(&t.ControlPlaneComponentHealthCheck, 4*time.Minute)
	setDuration(&t.KubeletHealthCheck, 4*time.Minute)
	setDuration(&t.KubernetesAPICall, 1*time.Minute)
	setDuration(&t.EtcdAPICall, 2*time.Minute)
	setDuration(&t.TLSBootstrap, 5*time.Minute)
	setDuration(&t.Discovery, 5*time.Minute)
	setDuration(&t.UpgradeManifests, 5*time.Minute)
}

// SetDefaultsClusterConfiguration fills what is missing. A missing
// kubernetesVersion stays empty: kubeadm's default is a label that has to be
// looked up on the internet, which says nothing about the cluster.
func SetDefaultsClusterConfiguration(cfg *ClusterConfiguration) {
	setDefault(&cfg.Networking.ServiceSubnet, DefaultServiceSubnet)
	setDefault(&cfg.Networking.DNSDomain, DefaultDNSDomain)
	setDefault(&cfg.CertificatesDir, DefaultCertificatesDir)
	setDefault(&cfg.ImageRepository, DefaultImageRepository)
	setDefault(&cfg.ClusterName, DefaultClusterName)
	setDefault(&cfg.EncryptionAlgorithm, DefaultEncryptionAlgorithm)
	setDuration(&cfg.CertificateValidityPeriod, 365*24*time.Hour)
	setDuration(&cfg.CACertificateValidityPeriod, 10*365*24*time.Hour)

	if cfg.Etcd.Local == nil && cfg.Etcd.External == nil {
		cfg.Etcd.Local = &LocalEtcd{}
	}
	if local := cfg.Etcd.Local; local != nil {
		setDefault(&local.DataDir, DefaultEtcdDataDir)
		setDefaultsEnvs(local.ExtraEnvs)
	}
	if external := cfg.Etcd.External; external != nil && len(external.HTTPEndpoints) == 0 {
		external.HTTPEndpoints = slices.Clone(external.Endpoints)
	}
	setDefaultsEnvs(cfg.APIServer.ExtraEnvs)
	setDefaultsEnvs(cfg.ControllerManager.ExtraEnvs)
	setDefaultsEnvs(cfg.Scheduler.ExtraEnvs)
}

// setDefaultsEnvs sets what the API server would set in a pod; without it a
// static pod differs from its mirror.
func setDefaultsEnvs(envs []corev1.EnvVar) {
	for _, env := range envs {
		if env.ValueFrom != nil && env.ValueFrom.FieldRef != nil {
			setDefault(&env.ValueFrom.FieldRef.APIVersion, "v1")
		}
	}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func setDuration(field **metav1.Duration, value time.Duration) {
	if *field == nil {
		*field = &metav1.Duration{Duration: value}
	}
}
