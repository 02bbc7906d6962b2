package validation

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
)

const (
	goodToken = "abcdef.0123456789abcdef"
	goodHash  = "sha256:3b793efefe27a19f93b0fbe6e637e9c41d0dde8a377d6ab1c0f656bf1136dd8a"
)

// joinConfiguration is a valid control plane; a case breaks one thing of it.
func joinConfiguration() *kubeadm.JoinConfiguration {
	return &kubeadm.JoinConfiguration{
		CACertPath: "/etc/kubernetes/pki/ca.crt",
		Discovery: kubeadm.Discovery{
			BootstrapToken: &kubeadm.BootstrapTokenDiscovery{
				Token: goodToken, APIServerEndpoint: "10.0.0.1:6443", CACertHashes: []string{goodHash},
			},
			TLSBootstrapToken: goodToken,
		},
		ControlPlane: &kubeadm.JoinControlPlane{LocalAPIEndpoint: kubeadm.APIEndpoint{AdvertiseAddress: "10.0.0.2", BindPort: 6443}},
		NodeRegistration: kubeadm.NodeRegistration{
			Name: "cp2.example", CRISocket: "unix:///run/containerd/containerd.sock",
			Taints:           []corev1.Taint{{Key: "a.b/c", Value: "v", Effect: "NoSchedule"}, {Key: "a.b/c", Effect: "NoExecute"}},
			KubeletExtraArgs: []kubeadm.Arg{{Name: "v", Value: "5"}, {Name: "v", Value: "6"}},
			ImagePullPolicy:  corev1.PullAlways, IgnorePreflightErrors: []string{"all"},
		},
		SkipPhases: []string{"preflight", "control-plane-prepare/certs", "check-etcd"},
		Timeouts:   kubeadm.DefaultTimeouts(),
	}
}

// describe is one line per error: path, type, and the value if it is shown.
func describe(errs field.ErrorList) []string {
	var lines []string
	for _, e := range errs {
		line := e.Field + " " + strings.TrimPrefix(string(e.Type), "FieldValue")
		if _, omitted := e.BadValue.(field.OmitValueType); !omitted {
			line += fmt.Sprintf(" %v", e.BadValue)
		}
		lines = append(lines, strings.TrimSpace(line))
	}
	return lines
}

func TestJoinConfiguration(t *testing.T) {
	type config = kubeadm.JoinConfiguration
	file := func(path string) func(*config) {
		return func(c *config) {
			c.Discovery = kubeadm.Discovery{File: &kubeadm.FileDiscovery{KubeConfigPath: path}}
		}
	}
	endpoint := func(value string) func(*config) {
		return func(c *config) { c.Discovery.BootstrapToken.APIServerEndpoint = value }
	}
	hash := func(value string) func(*config) {
		return func(c *config) { c.Discovery.BootstrapToken.CACertHashes = []string{goodHash, value} }
	}
	tlsToken := func(value string) func(*config) {
		return func(c *config) { c.Discovery.TLSBootstrapToken = value }
	}
	socket := func(value string) func(*config) {
		return func(c *config) { c.NodeRegistration.CRISocket = value }
	}
	address := func(value string) func(*config) {
		return func(c *config) { c.ControlPlane.LocalAPIEndpoint.AdvertiseAddress = value }
	}
	arg := func(name string) func(*config) {
		return func(c *config) { c.NodeRegistration.KubeletExtraArgs[1].Name = name }
	}
	key := func(value string) func(*config) {
		return func(c *config) { c.ControlPlane.CertificateKey = value }
	}
	const discovery, node = "discovery.bootstrapToken", "nodeRegistration"
	for _, tt := range []struct {
		name  string
		spoil func(*config)
		want  []string
	}{
		{"valid", func(c *config) {}, nil},
		{"worker", func(c *config) { c.ControlPlane = nil }, nil},

		// Rules 1 to 8: discovery.
		{"neither token nor file", func(c *config) { c.Discovery = kubeadm.Discovery{} }, []string{"discovery Required"}},
		{"token and file", func(c *config) { c.Discovery.File = &kubeadm.FileDiscovery{KubeConfigPath: "/x"} }, []string{"discovery Invalid"}},
		{"no endpoint", endpoint(""), []string{discovery + " Required"}},
		{"no hashes", func(c *config) { c.Discovery.BootstrapToken.CACertHashes = nil }, []string{discovery + ".caCertHashes Invalid"}},
		{"no hashes on purpose", func(c *config) {
			c.Discovery.BootstrapToken.CACertHashes = nil
			c.Discovery.BootstrapToken.UnsafeSkipCAVerification = true
		}, nil},
		{"token without an ID", func(c *config) { c.Discovery.BootstrapToken.Token = "hunter2" }, []string{discovery + ".token Invalid"}},
		{"token with an ID", func(c *config) { c.Discovery.BootstrapToken.Token = "abcdef.hunter2" }, []string{discovery + ".token Invalid abcdef"}},
		{"both tokens are the same wrong one", func(c *config) {
			c.Discovery.BootstrapToken.Token, c.Discovery.TLSBootstrapToken = "", ""
		}, []string{discovery + ".token Invalid"}},
		{"endpoint without a port", endpoint("cp.example"), []string{discovery + ".apiServerEndpoint Invalid cp.example"}},
		{"endpoint with a scheme", endpoint("https://cp:6443"), []string{discovery + ".apiServerEndpoint Invalid https://cp:6443"}},
		{"endpoint with a bare IPv6 address", endpoint("fd00::1:6443"), []string{discovery + ".apiServerEndpoint Invalid fd00::1:6443"}},
		{"endpoint with IPv6", endpoint("[fd00::1]:6443"), nil},
		{"endpoint without a host", endpoint(":6443"), []string{discovery + ".apiServerEndpoint Invalid :6443"}},
		{"endpoint with a path", endpoint("cp/x:6443"), []string{discovery + ".apiServerEndpoint Invalid cp/x:6443"}},
		{"endpoint that is no address", endpoint("256.1.1.1:6443"), []string{discovery + ".apiServerEndpoint Invalid 256.1.1.1:6443"}},
		{"endpoint that is a number", endpoint("10:6443"), []string{discovery + ".apiServerEndpoint Invalid 10:6443"}},
		{"endpoint with leading zeros", endpoint("010.000.0.01:6443"), nil},
		{"endpoint with numbers in its name", endpoint("1.2.example.a1.:6443"), nil},
		{"port that is a word", endpoint("cp:https"), []string{discovery + ".apiServerEndpoint Invalid cp:https"}},
		{"port too large", endpoint("cp:65536"), []string{discovery + ".apiServerEndpoint Invalid cp:65536"}},
		{"port 0", endpoint("cp:0"), []string{discovery + ".apiServerEndpoint Invalid cp:0"}},
		{"hash with SHA256", hash("SHA256:" + strings.ToUpper(goodHash[7:])), nil},
		{"hash without a format", hash(goodHash[7:]), []string{discovery + ".caCertHashes[1] Invalid " + goodHash[7:]}},
		{"hash of another kind", hash("sha1:" + goodHash[7:]), []string{discovery + ".caCertHashes[1] Invalid sha1:" + goodHash[7:]}},
		{"short hash", hash("sha256:3b79"), []string{discovery + ".caCertHashes[1] Invalid sha256:3b79"}},
		{"hash with colons", hash("sha256:3b:79"), []string{discovery + ".caCertHashes[1] Invalid sha256:3b:79"}},
		{"empty hash", hash(""), []string{discovery + ".caCertHashes[1] Invalid"}},
		{"wrong TLS token", tlsToken("abc"), []string{"discovery.tlsBootstrapToken Invalid"}},
		{"no TLS token", tlsToken(""), []string{"discovery.tlsBootstrapToken Invalid"}},
		{"file", file("/etc/discovery.conf"), nil},
		{"relative file", file("discovery.conf"), nil},
		{"file and wrong TLS token", func(c *config) { file("/x")(c); tlsToken("abc")(c) }, []string{"discovery.tlsBootstrapToken Invalid"}},
		{"https", file("https://user:password@config.example/x"), nil},
		{"no file", file(""), []string{"discovery.file.kubeConfigPath Required"}},
		{"http", file("http://user:password@config.example/x"), []string{"discovery.file.kubeConfigPath Invalid"}},
		{"no URL", file("https://%zz"), []string{"discovery.file.kubeConfigPath Invalid"}},
		{"URL without a host", file("https:///x"), []string{"discovery.file.kubeConfigPath Invalid"}},

		// Rules 9 to 13: the node.
		{"no name", func(c *config) { c.NodeRegistration.Name = "" }, []string{node + " Required"}},
		{"bad name", func(c *config) { c.NodeRegistration.Name = "a_b" }, []string{node + ".name Invalid a_b"}},
		{"no socket", socket(""), []string{node + ".criSocket Invalid"}},
		{"socket with another scheme", socket("http://foo"), []string{node + ".criSocket Invalid http://foo"}},
		{"socket as kubeadm mends it", socket("unix://http://foo"), []string{node + ".criSocket Invalid unix://http://foo"}},
		{"socket with one slash", socket("unix:/run/x.sock"), nil},
		{"socket with two", socket("unix://run/x.sock"), []string{node + ".criSocket Invalid unix://run/x.sock"}},
		{"socket without a slash", socket("unix:run/x.sock"), []string{node + ".criSocket Invalid unix:run/x.sock"}},
		{"one slash is the root", socket("unix:/"), []string{node + ".criSocket Invalid unix:/"}},
		{"socket without a path", socket("unix://"), []string{node + ".criSocket Invalid unix://"}},
		{"socket that is the root", socket("unix:///"), []string{node + ".criSocket Invalid unix:///"}},
		{"relative socket", socket("run/x.sock"), []string{node + ".criSocket Invalid run/x.sock"}},
		{"argument without a name", arg(""), []string{node + ".kubeletExtraArgs[1].name Required"}},
		{"argument with dashes", arg("--v"), []string{node + ".kubeletExtraArgs[1].name Invalid --v"}},
		{"argument with its value", arg("v=5"), []string{node + ".kubeletExtraArgs[1].name Invalid"}},
		{"argument with a space", arg("v 5"), []string{node + ".kubeletExtraArgs[1].name Invalid v 5"}},
		{"merge method", func(c *config) { c.NodeRegistration.KubeletExtraArgs[0].MergeMethod = "mix" },
			[]string{node + ".kubeletExtraArgs[0].mergeMethod Invalid mix"}},
		{"append", func(c *config) { c.NodeRegistration.KubeletExtraArgs[0].MergeMethod = kubeadm.MergeAppend }, nil},
		{"pull policy", func(c *config) { c.NodeRegistration.ImagePullPolicy = "always" }, []string{node + ".imagePullPolicy NotSupported always"}},
		{"taint twice", func(c *config) { c.NodeRegistration.Taints[1].Effect = "NoSchedule" }, []string{node + ".taints[1] Duplicate a.b/c:NoSchedule"}},
		{"taint without an effect", func(c *config) { c.NodeRegistration.Taints[0].Effect = "" }, []string{node + ".taints[0].effect NotSupported"}},
		{"host name with a merge method", func(c *config) {
			c.NodeRegistration.KubeletExtraArgs = []kubeadm.Arg{{Name: "hostname_override", Value: "x", MergeMethod: kubeadm.MergeAppend}}
		}, []string{node + ".kubeletExtraArgs[0].mergeMethod Invalid append"}},
		{"taint without a key", func(c *config) { c.NodeRegistration.Taints[0].Key = "" }, []string{node + ".taints[0].key Required"}},
		{"taint with a bad key", func(c *config) { c.NodeRegistration.Taints[0].Key = "a b" }, []string{node + ".taints[0].key Invalid a b"}},
		{"taint with a bad value", func(c *config) { c.NodeRegistration.Taints[0].Value = "a b" }, []string{node + ".taints[0].value Invalid a b"}},
		{"all and others", func(c *config) { c.NodeRegistration.IgnorePreflightErrors = []string{"Swap", "ALL"} },
			[]string{node + ".ignorePreflightErrors Invalid Swap,ALL"}},

		// Rules 14 to 17, and the rest.
		{"address is a name", func(c *config) { c.ControlPlane.LocalAPIEndpoint.AdvertiseAddress = "cp2" },
			[]string{"controlPlane.localAPIEndpoint.advertiseAddress Invalid cp2"}},
		{"address to be detected", func(c *config) { c.ControlPlane.LocalAPIEndpoint.AdvertiseAddress = "" }, nil},
		{"address with leading zeros", func(c *config) { c.ControlPlane.LocalAPIEndpoint.AdvertiseAddress = "010.1.2.3" }, nil},
		{"address of everything", address("0.0.0.0"), nil},
		{"address of the loopback", address("127.0.0.1"), nil},
		{"address of many", address("224.0.0.1"), []string{"controlPlane.localAPIEndpoint.advertiseAddress Invalid 224.0.0.1"}},
		{"address of the link", address("fe80::1"), []string{"controlPlane.localAPIEndpoint.advertiseAddress Invalid fe80::1"}},
		{"port 0 to bind", func(c *config) { c.ControlPlane.LocalAPIEndpoint.BindPort = 0 }, []string{"controlPlane.localAPIEndpoint.bindPort Invalid 0"}},
		{"port too large to bind", func(c *config) { c.ControlPlane.LocalAPIEndpoint.BindPort = 65536 },
			[]string{"controlPlane.localAPIEndpoint.bindPort Invalid 65536"}},
		{"certificate key", key(goodHash[7:]), nil},
		{"certificate key too short", key("abcd"), []string{"controlPlane.certificateKey Invalid"}},
		{"certificate key not in hex", key(strings.Repeat("z", 64)), []string{"controlPlane.certificateKey Invalid"}},
		{"relative CA", func(c *config) { c.CACertPath = "ca.crt" }, []string{"caCertPath Invalid ca.crt"}},
		{"CA with another ending", func(c *config) { c.CACertPath = "/ca.pem" }, []string{"caCertPath Invalid /ca.pem"}},
		{"unknown phases", func(c *config) { c.SkipPhases = []string{"preflight", "Preflight", "control-plane-join/etcd"} },
			[]string{"skipPhases[1] Invalid Preflight", "skipPhases[2] Invalid control-plane-join/etcd"}},
		{"no timeout", func(c *config) { c.Timeouts.Discovery = 0 }, nil},
		{"no time at all", func(c *config) { c.Timeouts.TLSBootstrap, c.Timeouts.KubeletHealthCheck = 0, 0 },
			[]string{"timeouts.kubeletHealthCheck Invalid 0s", "timeouts.tlsBootstrap Invalid 0s"}},
		{"negative timeouts", func(c *config) { c.Timeouts.Discovery, c.Timeouts.EtcdAPICall = -time.Second, -1 },
			[]string{"timeouts.etcdAPICall Invalid -1ns", "timeouts.discovery Invalid -1s"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := joinConfiguration()
			tt.spoil(cfg)
			if diff := cmp.Diff(tt.want, describe(JoinConfiguration(cfg))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestPhaseSuggestions(t *testing.T) {
	for name, want := range map[string]string{
		"prefligth":                    `did you mean "preflight"?`,
		"KUBELET-START":                `did you mean "kubelet-start"?`,
		"control-plane-prepare/certss": `did you mean "control-plane-prepare/certs"?`,
		"control-plane-join/etcd":      `this phase is now called "etcd-join"`,
		"addon":                        "there is no such phase",
	} {
		cfg := joinConfiguration()
		cfg.SkipPhases = []string{name}
		errs := JoinConfiguration(cfg)
		if len(errs) != 1 || !strings.HasSuffix(errs[0].Detail, want) {
			t.Errorf("%s: %v", name, errs)
		}
	}
}

func TestClusterConfiguration(t *testing.T) {
	type config = kubeadm.ClusterConfiguration
	external := func(e kubeadm.ExternalEtcd) func(*config) {
		return func(c *config) { c.Etcd = kubeadm.Etcd{External: &e} }
	}
	services := func(value string) func(*config) {
		return func(c *config) { c.Networking.ServiceSubnet = value }
	}
	endpoint := func(value string) func(*config) {
		return func(c *config) { c.ControlPlaneEndpoint = value }
	}
	repository := func(value string) func(*config) {
		return func(c *config) { c.ImageRepository = value }
	}
	version := func(value string) func(*config) {
		return func(c *config) { c.KubernetesVersion = value }
	}
	pods := func(value string, args ...kubeadm.Arg) func(*config) {
		return func(c *config) { c.Networking.PodSubnet, c.ControllerManager.ExtraArgs = value, args }
	}
	gate := func(name string) func(*config) {
		return func(c *config) { c.FeatureGates = map[string]bool{name: true} }
	}
	for _, tt := range []struct {
		name  string
		spoil func(*config)
		want  []string
	}{
		{"valid", func(c *config) {}, nil},
		{"no version", version(""), nil},
		{"version without v", version("1.37.2"), nil},
		{"version is a label", version("stable-1"), nil},
		{"version is a label of a branch", version("ci/latest-1.37"), nil},
		{"version of CI", version("ci/v1.38.0-alpha.1.12+0123456789abcd"), nil},
		{"half a version", version("v1.37"), []string{"kubernetesVersion Invalid v1.37"}},
		{"version is a word", version("newest"), []string{"kubernetesVersion Invalid newest"}},
		{"no endpoint", endpoint(""), nil},
		{"endpoint without a port", endpoint("cp.example"), nil},
		{"endpoint with IPv6", endpoint("fd00::1"), nil},
		{"endpoint with IPv6 and a port", endpoint("[fd00::1]:6443"), nil},
		{"endpoint that is no address", endpoint("10.0.0.300"), []string{"controlPlaneEndpoint Invalid 10.0.0.300"}},
		{"endpoint with a bad port", endpoint("cp:x"), []string{"controlPlaneEndpoint Invalid cp:x"}},
		{"endpoint with a bad host", endpoint("c_p"), []string{"controlPlaneEndpoint Invalid c_p"}},
		{"endpoint with a bad host and a port", endpoint("c_p:6443"), []string{"controlPlaneEndpoint Invalid c_p:6443"}},
		{"relative folder", func(c *config) { c.CertificatesDir = "pki" }, []string{"certificatesDir Invalid pki"}},
		{"repository with port and path", repository("registry.example:5000/a/b_c"), nil},
		{"repository with a scheme", repository("https://registry.example"), []string{"imageRepository Invalid https://registry.example"}},
		{"repository with a tag", repository("registry.example/a:v1"), []string{"imageRepository Invalid registry.example/a:v1"}},
		{"DNS repository", func(c *config) { c.DNS.ImageRepository = "a b" }, []string{"dns.imageRepository Invalid a b"}},
		{"algorithm", func(c *config) { c.EncryptionAlgorithm = "RSA" }, []string{"encryptionAlgorithm NotSupported RSA"}},
		{"validity", func(c *config) { c.CertificateValidityPeriod, c.CACertificateValidityPeriod = 0, -1 },
			[]string{"certificateValidityPeriod Invalid 0s", "caCertificateValidityPeriod Invalid -1ns"}},
		{"DNS domain", func(c *config) { c.Networking.DNSDomain = "a_b" }, []string{"networking.dnsDomain Invalid a_b"}},
		{"dual-stack", services("10.96.0.0/12,fd00::/108"), nil},
		{"no service subnet", services(""), []string{"networking.serviceSubnet Invalid"}},
		{"two of one family", services("10.96.0.0/16,10.97.0.0/16"), []string{"networking.serviceSubnet Invalid 10.96.0.0/16,10.97.0.0/16"}},
		{"three", services("10.0.0.0/16,fd00::/108,10.1.0.0/16"), []string{"networking.serviceSubnet Invalid 10.0.0.0/16,fd00::/108,10.1.0.0/16"}},
		{"few services", services("10.0.0.0/29"), []string{"networking.serviceSubnet Invalid 10.0.0.0/29"}},
		{"many services", services("fd00::/64"), []string{"networking.serviceSubnet Invalid fd00::/64"}},
		{"no pod subnet", func(c *config) { c.Networking.PodSubnet = "" }, nil},
		{"few pods", func(c *config) { c.Networking.PodSubnet = "10.0.0.0/29" }, []string{"networking.podSubnet Invalid 10.0.0.0/29"}},
		{"pods of less than a node", pods("10.244.0.0/25"), []string{"networking.podSubnet Invalid 10.244.0.0/25"}},
		{"pods of less than a node, which is smaller", pods("10.244.0.0/25", kubeadm.Arg{Name: "node-cidr-mask-size", Value: "26"}), nil},
		{"pods that are no concern of the controller manager", pods("10.244.0.0/25", kubeadm.Arg{Name: "allocate-node-cidrs", Value: "false"}), nil},
		{"too many pods", pods("10.0.0.0/7"), []string{"networking.podSubnet Invalid 10.0.0.0/7"}},
		{"too many pods with IPv6", pods("fd00::/47"), []string{"networking.podSubnet Invalid fd00::/47"}},
		{"dual-stack pods", pods("10.244.0.0/16,fd00::/56"), nil},
		{"dual-stack pods of less than a node", pods("10.244.0.0/16,fd00::/56", kubeadm.Arg{Name: "node-cidr-mask-size-ipv6", Value: "55"}),
			[]string{"networking.podSubnet Invalid fd00::/56"}},
		{"mask of no address", pods("10.244.0.0/24", kubeadm.Arg{Name: "node-cidr-mask-size", Value: "33"}), []string{"controllerManager.extraArgs Invalid 33"}},
		{"mask that is a word", pods("10.244.0.0/16", kubeadm.Arg{Name: "node-cidr-mask-size", Value: "x"}), []string{"controllerManager.extraArgs Invalid x"}},
		{"feature gate", gate("RootlessControlPlane"), nil},
		{"former feature gate", gate("IPv6DualStack"), nil},
		{"unknown feature gate", gate("Rootless"), []string{"featureGates.Rootless Invalid"}},
		{"timeout of v1beta3", func(c *config) { c.APIServer.TimeoutForControlPlane = new(-time.Second) }, []string{"apiServer.timeoutForControlPlane Invalid -1s"}},
		{"volumes and variables", func(c *config) {
			c.Scheduler.ExtraVolumes = []kubeadm.HostPathMount{{Name: "a_b", HostPath: "x", MountPath: ""}}
			c.Scheduler.ExtraEnvs = []corev1.EnvVar{{Value: "x"}}
			c.Etcd.Local.ExtraEnvs = []corev1.EnvVar{{Value: "x"}}
		}, []string{
			"scheduler.extraVolumes[0].name Invalid a_b", "scheduler.extraVolumes[0].hostPath Invalid x", "scheduler.extraVolumes[0].mountPath Invalid",
			"scheduler.extraEnvs[0].name Required", "etcd.local.extraEnvs[0].name Required",
		}},
		{"names", func(c *config) {
			c.APIServer.CertSANs = []string{"10.0.0.1", "fd00::1", "A.example", "*.example", "a_b", ""}
		},
			[]string{"apiServer.certSANs[4] Invalid a_b", "apiServer.certSANs[5] Invalid"}},
		{"arguments", func(c *config) {
			c.APIServer.ExtraArgs = []kubeadm.Arg{{Name: ""}}
			c.ControllerManager.ExtraArgs = []kubeadm.Arg{{Name: "-v"}}
			c.Scheduler.ExtraArgs = []kubeadm.Arg{{Name: "a=b"}}
			c.Etcd.Local.ExtraArgs = []kubeadm.Arg{{Name: "a b"}}
		}, []string{
			"apiServer.extraArgs[0].name Required", "controllerManager.extraArgs[0].name Invalid -v",
			"scheduler.extraArgs[0].name Invalid", "etcd.local.extraArgs[0].name Invalid a b",
		}},
		{"no etcd", func(c *config) { c.Etcd = kubeadm.Etcd{} }, []string{"etcd Invalid"}},
		{"two etcds", func(c *config) {
			c.Etcd.External = &kubeadm.ExternalEtcd{Endpoints: []string{"http://e:2379"}}
		}, []string{"etcd Invalid"}},
		{"local etcd", func(c *config) {
			c.Etcd.Local = &kubeadm.LocalEtcd{DataDir: "etcd", ServerCertSANs: []string{"_"}, PeerCertSANs: []string{"_"}, ImageRepository: "/"}
		}, []string{"etcd.local.dataDir Invalid etcd", "etcd.local.imageRepository Invalid /", "etcd.local.serverCertSANs[0] Invalid _", "etcd.local.peerCertSANs[0] Invalid _"}},
		{"external etcd", external(kubeadm.ExternalEtcd{Endpoints: []string{"https://e:2379"}, CAFile: "/ca", CertFile: "/c", KeyFile: "/k"}), nil},
		{"external etcd without TLS", external(kubeadm.ExternalEtcd{Endpoints: []string{"http://e:2379"}}), nil},
		{"external etcd with half of TLS", external(kubeadm.ExternalEtcd{Endpoints: []string{"http://e:2379"}, CertFile: "c"}),
			[]string{"etcd.external Invalid", "etcd.external.certFile Invalid c", "etcd.external.endpoints[0] Invalid http://e:2379"}},
		{"external etcd without a CA", external(kubeadm.ExternalEtcd{Endpoints: []string{"https://e:2379"}, CertFile: "/c", KeyFile: "/k"}),
			[]string{"etcd.external.caFile Required"}},
		{"external etcd without endpoints", external(kubeadm.ExternalEtcd{}), []string{"etcd.external.endpoints Required"}},
		{"external etcd with bad endpoints", external(kubeadm.ExternalEtcd{Endpoints: []string{"e:2379", "%zz", "ftp://u:p@e"}}),
			[]string{"etcd.external.endpoints[0] Invalid", "etcd.external.endpoints[1] Invalid", "etcd.external.endpoints[2] Invalid ftp://u:xxxxx@e"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := &kubeadm.ClusterConfiguration{
				KubernetesVersion: "v1.37.2", ControlPlaneEndpoint: "cp.example:6443", CertificatesDir: "/etc/kubernetes/pki",
				ImageRepository: "registry.k8s.io", EncryptionAlgorithm: "ECDSA-P256",
				CertificateValidityPeriod: time.Hour, CACertificateValidityPeriod: time.Hour,
				Networking: kubeadm.Networking{ServiceSubnet: "10.96.0.0/12", PodSubnet: "10.244.0.0/16", DNSDomain: "cluster.local"},
				Etcd:       kubeadm.Etcd{Local: &kubeadm.LocalEtcd{DataDir: "/var/lib/etcd"}},
			}
			tt.spoil(cfg)
			if diff := cmp.Diff(tt.want, describe(ClusterConfiguration(cfg))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
