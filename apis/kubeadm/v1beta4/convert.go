package v1beta4

import (
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
)

// ToInternalJoinConfiguration converts a configuration to the internal version.
// It sets no defaults. The two share no memory, and a nil list stays different
// from an empty one.
func ToInternalJoinConfiguration(in *JoinConfiguration) *kubeadm.JoinConfiguration {
	node := in.NodeRegistration
	out := &kubeadm.JoinConfiguration{
		NodeRegistration: kubeadm.NodeRegistration{
			Name:                  node.Name,
			CRISocket:             node.CRISocket,
			Taints:                convertEach(node.Taints, copyTaint),
			KubeletExtraArgs:      convertEach(node.KubeletExtraArgs, argToInternal),
			IgnorePreflightErrors: slices.Clone(node.IgnorePreflightErrors),
			ImagePullPolicy:       node.ImagePullPolicy,
			ImagePullSerial:       clonePointer(node.ImagePullSerial),
		},
		CACertPath: in.CACertPath,
		Discovery:  kubeadm.Discovery{TLSBootstrapToken: in.Discovery.TLSBootstrapToken},
		SkipPhases: slices.Clone(in.SkipPhases),
		DryRun:     in.DryRun,
	}
	if token := in.Discovery.BootstrapToken; token != nil {
		out.Discovery.BootstrapToken = &kubeadm.BootstrapTokenDiscovery{
			Token:                    token.Token,
			APIServerEndpoint:        token.APIServerEndpoint,
			CACertHashes:             slices.Clone(token.CACertHashes),
			UnsafeSkipCAVerification: token.UnsafeSkipCAVerification,
		}
	}
	if file := in.Discovery.File; file != nil {
		out.Discovery.File = &kubeadm.FileDiscovery{KubeConfigPath: file.KubeConfigPath}
	}
	if cp := in.ControlPlane; cp != nil {
		out.ControlPlane = &kubeadm.JoinControlPlane{
			LocalAPIEndpoint: kubeadm.APIEndpoint(cp.LocalAPIEndpoint),
			CertificateKey:   cp.CertificateKey,
		}
	}
	if in.Patches != nil {
		out.Patches = &kubeadm.Patches{Directory: in.Patches.Directory}
	}
	if t := in.Timeouts; t != nil {
		out.Timeouts = kubeadm.Timeouts{
			ControlPlaneComponentHealthCheck: durationToInternal(t.ControlPlaneComponentHealthCheck),
			KubeletHealthCheck:               durationToInternal(t.KubeletHealthCheck),
			KubernetesAPICall:                durationToInternal(t.KubernetesAPICall),
			EtcdAPICall:                      durationToInternal(t.EtcdAPICall),
			TLSBootstrap:                     durationToInternal(t.TLSBootstrap),
			Discovery:                        durationToInternal(t.Discovery),
			UpgradeManifests:                 durationToInternal(t.UpgradeManifests),
		}
	}
	return out
}

// FromInternalJoinConfiguration converts a configuration from the internal
// version. The error names an argument whose merge method this version cannot
// express; dropping the method would turn "append" into "replace".
func FromInternalJoinConfiguration(in *kubeadm.JoinConfiguration) (*JoinConfiguration, error) {
	node := in.NodeRegistration
	args, err := argsFromInternal("nodeRegistration.kubeletExtraArgs", node.KubeletExtraArgs)
	if err != nil {
		return nil, err
	}
	out := &JoinConfiguration{
		TypeMeta: metav1.TypeMeta{APIVersion: APIVersion, Kind: "JoinConfiguration"},
		DryRun:   in.DryRun,
		NodeRegistration: NodeRegistrationOptions{
			Name:                  node.Name,
			CRISocket:             node.CRISocket,
			Taints:                convertEach(node.Taints, copyTaint),
			KubeletExtraArgs:      args,
			IgnorePreflightErrors: slices.Clone(node.IgnorePreflightErrors),
			ImagePullPolicy:       node.ImagePullPolicy,
			ImagePullSerial:       clonePointer(node.ImagePullSerial),
		},
		CACertPath: in.CACertPath,
		Discovery:  Discovery{TLSBootstrapToken: in.Discovery.TLSBootstrapToken},
		SkipPhases: slices.Clone(in.SkipPhases),
		Timeouts: &Timeouts{
			ControlPlaneComponentHealthCheck: durationFromInternal(in.Timeouts.ControlPlaneComponentHealthCheck),
			KubeletHealthCheck:               durationFromInternal(in.Timeouts.KubeletHealthCheck),
			KubernetesAPICall:                durationFromInternal(in.Timeouts.KubernetesAPICall),
			EtcdAPICall:                      durationFromInternal(in.Timeouts.EtcdAPICall),
			TLSBootstrap:                     durationFromInternal(in.Timeouts.TLSBootstrap),
			Discovery:                        durationFromInternal(in.Timeouts.Discovery),
			UpgradeManifests:                 durationFromInternal(in.Timeouts.UpgradeManifests),
		},
	}
	if token := in.Discovery.BootstrapToken; token != nil {
		out.Discovery.BootstrapToken = &BootstrapTokenDiscovery{
			Token:                    token.Token,
			APIServerEndpoint:        token.APIServerEndpoint,
			CACertHashes:             slices.Clone(token.CACertHashes),
			UnsafeSkipCAVerification: token.UnsafeSkipCAVerification,
		}
	}
	if file := in.Discovery.File; file != nil {
		out.Discovery.File = &FileDiscovery{KubeConfigPath: file.KubeConfigPath}
	}
	if cp := in.ControlPlane; cp != nil {
		out.ControlPlane = &JoinControlPlane{
			LocalAPIEndpoint: APIEndpoint(cp.LocalAPIEndpoint),
			CertificateKey:   cp.CertificateKey,
		}
	}
	if in.Patches != nil {
		out.Patches = &Patches{Directory: in.Patches.Directory}
	}
	return out, nil
}

// ToInternalClusterConfiguration converts a configuration to the internal
// version. It sets no defaults. The two share no memory.
func ToInternalClusterConfiguration(in *ClusterConfiguration) *kubeadm.ClusterConfiguration {
	out := &kubeadm.ClusterConfiguration{
		KubernetesVersion:           in.KubernetesVersion,
		ControlPlaneEndpoint:        in.ControlPlaneEndpoint,
		ClusterName:                 in.ClusterName,
		CertificatesDir:             in.CertificatesDir,
		ImageRepository:             in.ImageRepository,
		FeatureGates:                maps.Clone(in.FeatureGates),
		EncryptionAlgorithm:         string(in.EncryptionAlgorithm),
		CertificateValidityPeriod:   durationToInternal(in.CertificateValidityPeriod),
		CACertificateValidityPeriod: durationToInternal(in.CACertificateValidityPeriod),
		Networking:                  kubeadm.Networking(in.Networking),
		APIServer: kubeadm.APIServer{
			ControlPlaneComponent: componentToInternal(in.APIServer.ControlPlaneComponent),
			CertSANs:              slices.Clone(in.APIServer.CertSANs),
		},
		ControllerManager: componentToInternal(in.ControllerManager),
		Scheduler:         componentToInternal(in.Scheduler),
		DNS:               kubeadm.DNS(in.DNS),
		Proxy:             kubeadm.Proxy(in.Proxy),
	}
	if local := in.Etcd.Local; local != nil {
		out.Etcd.Local = &kubeadm.LocalEtcd{
			ImageRepository: local.ImageRepository,
			ImageTag:        local.ImageTag,
			DataDir:         local.DataDir,
			ExtraArgs:       convertEach(local.ExtraArgs, argToInternal),
			ExtraEnvs:       convertEach(local.ExtraEnvs, copyEnv),
			ServerCertSANs:  slices.Clone(local.ServerCertSANs),
			PeerCertSANs:    slices.Clone(local.PeerCertSANs),
		}
	}
	if external := in.Etcd.External; external != nil {
		out.Etcd.External = &kubeadm.ExternalEtcd{
			Endpoints:     slices.Clone(external.Endpoints),
			HTTPEndpoints: slices.Clone(external.HTTPEndpoints),
			CAFile:        external.CAFile,
			CertFile:      external.CertFile,
			KeyFile:       external.KeyFile,
		}
	}
	return out
}

// FromInternalClusterConfiguration converts a configuration from the internal
// version. The error is as for FromInternalJoinConfiguration.
func FromInternalClusterConfiguration(in *kubeadm.ClusterConfiguration) (*ClusterConfiguration, error) {
	out := &ClusterConfiguration{
		TypeMeta:                    metav1.TypeMeta{APIVersion: APIVersion, Kind: "ClusterConfiguration"},
		KubernetesVersion:           in.KubernetesVersion,
		ControlPlaneEndpoint:        in.ControlPlaneEndpoint,
		ClusterName:                 in.ClusterName,
		CertificatesDir:             in.CertificatesDir,
		ImageRepository:             in.ImageRepository,
		FeatureGates:                maps.Clone(in.FeatureGates),
		EncryptionAlgorithm:         EncryptionAlgorithm(in.EncryptionAlgorithm),
		CertificateValidityPeriod:   durationFromInternal(in.CertificateValidityPeriod),
		CACertificateValidityPeriod: durationFromInternal(in.CACertificateValidityPeriod),
		Networking:                  Networking(in.Networking),
		APIServer:                   APIServer{CertSANs: slices.Clone(in.APIServer.CertSANs)},
		DNS:                         DNS(in.DNS),
		Proxy:                       Proxy(in.Proxy),
	}
	var err error
	if out.APIServer.ControlPlaneComponent, err = componentFromInternal("apiServer", in.APIServer.ControlPlaneComponent); err != nil {
		return nil, err
	}
	if out.ControllerManager, err = componentFromInternal("controllerManager", in.ControllerManager); err != nil {
		return nil, err
	}
	if out.Scheduler, err = componentFromInternal("scheduler", in.Scheduler); err != nil {
		return nil, err
	}
	if local := in.Etcd.Local; local != nil {
		args, err := argsFromInternal("etcd.local.extraArgs", local.ExtraArgs)
		if err != nil {
			return nil, err
		}
		out.Etcd.Local = &LocalEtcd{
			ImageRepository: local.ImageRepository,
			ImageTag:        local.ImageTag,
			DataDir:         local.DataDir,
			ExtraArgs:       args,
			ExtraEnvs:       convertEach(local.ExtraEnvs, copyEnv),
			ServerCertSANs:  slices.Clone(local.ServerCertSANs),
			PeerCertSANs:    slices.Clone(local.PeerCertSANs),
		}
	}
	if external := in.Etcd.External; external != nil {
		out.Etcd.External = &ExternalEtcd{
			Endpoints:     slices.Clone(external.Endpoints),
			HTTPEndpoints: slices.Clone(external.HTTPEndpoints),
			CAFile:        external.CAFile,
			CertFile:      external.CertFile,
			KeyFile:       external.KeyFile,
		}
	}
	return out, nil
}

func componentToInternal(in ControlPlaneComponent) kubeadm.ControlPlaneComponent {
	return kubeadm.ControlPlaneComponent{
		ExtraArgs:    convertEach(in.ExtraArgs, argToInternal),
		ExtraVolumes: convertEach(in.ExtraVolumes, func(v HostPathMount) kubeadm.HostPathMount { return kubeadm.HostPathMount(v) }),
		ExtraEnvs:    convertEach(in.ExtraEnvs, copyEnv),
	}
}

func componentFromInternal(path string, in kubeadm.ControlPlaneComponent) (ControlPlaneComponent, error) {
	args, err := argsFromInternal(path+".extraArgs", in.ExtraArgs)
	return ControlPlaneComponent{
		ExtraArgs:    args,
		ExtraVolumes: convertEach(in.ExtraVolumes, func(v kubeadm.HostPathMount) HostPathMount { return HostPathMount(v) }),
		ExtraEnvs:    convertEach(in.ExtraEnvs, copyEnv),
	}, err
}

func argToInternal(a Arg) kubeadm.Arg { return kubeadm.Arg{Name: a.Name, Value: a.Value} }

func argsFromInternal(path string, in []kubeadm.Arg) ([]Arg, error) {
	for i, a := range in {
		if a.MergeMethod != kubeadm.MergeReplace {
			return nil, fmt.Errorf("%s[%d].mergeMethod: %q cannot be expressed in %s", path, i, a.MergeMethod, APIVersion)
		}
	}
	return convertEach(in, func(a kubeadm.Arg) Arg { return Arg{Name: a.Name, Value: a.Value} }), nil
}

func copyTaint(t corev1.Taint) corev1.Taint { return *t.DeepCopy() }

func copyEnv(e corev1.EnvVar) corev1.EnvVar { return *e.DeepCopy() }

func durationToInternal(d *metav1.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return d.Duration
}

func durationFromInternal(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }

func clonePointer[T any](p *T) *T {
	if p == nil {
		return nil
	}
	return new(*p)
}

// convertEach keeps nil different from empty.
func convertEach[A, B any](in []A, convert func(A) B) []B {
	if in == nil {
		return nil
	}
	out := make([]B, len(in))
	for i := range in {
		out[i] = convert(in[i])
	}
	return out
}
