package validation

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
)

func TestInitConfiguration(t *testing.T) {
	type config = kubeadm.InitConfiguration
	token := func(spoil func(*kubeadm.BootstrapToken)) func(*config) {
		return func(c *config) { spoil(&c.BootstrapTokens[0]) }
	}
	for _, tt := range []struct {
		name  string
		spoil func(*config)
		want  []string
	}{
		{"valid", func(*config) {}, nil},
		{"token to be made up", token(func(b *kubeadm.BootstrapToken) { b.Token = "" }), nil},
		{"token", token(func(b *kubeadm.BootstrapToken) { b.Token = "abcdef.hunter2" }), []string{"bootstrapTokens[0].token Invalid abcdef"}},
		{"token for ever", token(func(b *kubeadm.BootstrapToken) { b.TTL = new(time.Duration(0)) }), nil},
		{"negative lifetime", token(func(b *kubeadm.BootstrapToken) { b.TTL = new(-time.Hour) }), []string{"bootstrapTokens[0].ttl Invalid -1h0m0s"}},
		{"two lifetimes", token(func(b *kubeadm.BootstrapToken) { b.Expires = &metav1.Time{} }), []string{"bootstrapTokens[0] Invalid"}},
		{"end of life", token(func(b *kubeadm.BootstrapToken) { b.TTL, b.Expires = nil, &metav1.Time{} }), nil},
		{"only signing", token(func(b *kubeadm.BootstrapToken) { b.Usages = []string{"signing"} }), []string{"bootstrapTokens[0].groups Invalid"}},
		{"usage", token(func(b *kubeadm.BootstrapToken) { b.Usages = []string{"authentication", "sign"} }), []string{"bootstrapTokens[0].usages[1] NotSupported sign"}},
		{"group", token(func(b *kubeadm.BootstrapToken) { b.Groups = []string{"system:bootstrappers:a:b-1", "system:masters"} }),
			[]string{"bootstrapTokens[0].groups[1] Invalid system:masters"}},
		{"node", func(c *config) { c.NodeRegistration.Name = "a_b" }, []string{"nodeRegistration.name Invalid a_b"}},
		{"address", func(c *config) { c.LocalAPIEndpoint.AdvertiseAddress = "cp" }, []string{"localAPIEndpoint.advertiseAddress Invalid cp"}},
		{"port", func(c *config) { c.LocalAPIEndpoint.BindPort = -1 }, []string{"localAPIEndpoint.bindPort Invalid -1"}},
		{"certificate key", func(c *config) { c.CertificateKey = "abcd" }, []string{"certificateKey Invalid"}},
		{"phases", func(c *config) {
			c.SkipPhases = []string{"addon/kube-proxy", "addon/proxy", "kubelet-finalize/experimental-cert-rotation"}
		},
			[]string{"skipPhases[1] Invalid addon/proxy", "skipPhases[2] Invalid kubelet-finalize/experimental-cert-rotation"}},
		{"timeout", func(c *config) { c.Timeouts.Discovery = -1 }, []string{"timeouts.discovery Invalid -1ns"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := &config{
				BootstrapTokens: []kubeadm.BootstrapToken{{
					Token: goodToken, TTL: new(time.Hour), Usages: kubeadm.DefaultTokenUsages(), Groups: []string{kubeadm.DefaultTokenGroup},
				}},
				NodeRegistration: kubeadm.NodeRegistration{Name: "cp1", CRISocket: kubeadm.DefaultCRISocket},
				LocalAPIEndpoint: kubeadm.APIEndpoint{BindPort: 6443},
				Timeouts:         kubeadm.DefaultTimeouts(),
			}
			tt.spoil(cfg)
			if diff := cmp.Diff(tt.want, describe(InitConfiguration(cfg))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestResetConfiguration(t *testing.T) {
	type config = kubeadm.ResetConfiguration
	for _, tt := range []struct {
		name  string
		spoil func(*config)
		want  []string
	}{
		{"valid", func(*config) {}, nil},
		{"socket", func(c *config) { c.CRISocket = "unix:///run/x.sock" }, nil},
		{"socket without a scheme", func(c *config) { c.CRISocket = "/run/x.sock" }, nil},
		{"socket with another scheme", func(c *config) { c.CRISocket = "tcp://x" }, []string{"criSocket Invalid tcp://x"}},
		{"relative folder", func(c *config) { c.CertificatesDir = "pki" }, []string{"certificatesDir Invalid pki"}},
		{"flags", func(c *config) { c.UnmountFlags = []string{"MNT_FORCE", "force"} }, []string{"unmountFlags[1] NotSupported force"}},
		{"all and others", func(c *config) { c.IgnorePreflightErrors = []string{"all", "x"} }, []string{"ignorePreflightErrors Invalid all,x"}},
		{"phases", func(c *config) { c.SkipPhases = []string{"preflight", "etcd"} }, []string{"skipPhases[1] Invalid etcd"}},
		{"timeout", func(c *config) { c.Timeouts.EtcdAPICall = -1 }, []string{"timeouts.etcdAPICall Invalid -1ns"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := &config{CertificatesDir: "/etc/kubernetes/pki", Timeouts: kubeadm.DefaultTimeouts()}
			tt.spoil(cfg)
			if diff := cmp.Diff(tt.want, describe(ResetConfiguration(cfg))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestUpgradeConfiguration(t *testing.T) {
	type config = kubeadm.UpgradeConfiguration
	for _, tt := range []struct {
		name  string
		spoil func(*config)
		want  []string
	}{
		{"valid", func(*config) {}, nil},
		{"versions", func(c *config) {
			c.Apply.KubernetesVersion, c.Diff.KubernetesVersion, c.Plan.KubernetesVersion = "v1.37.2", "37", "stable"
		}, []string{"diff.kubernetesVersion Invalid 37"}},
		{"patches", func(c *config) {
			c.Apply.Patches, c.Node.Patches = &kubeadm.Patches{Directory: "patches"}, &kubeadm.Patches{Directory: "/patches"}
		}, []string{"apply.patches.directory Invalid patches"}},
		{"pull policies", func(c *config) { c.Apply.ImagePullPolicy, c.Node.ImagePullPolicy = "always", "Never" },
			[]string{"apply.imagePullPolicy NotSupported always"}},
		{"all and others", func(c *config) {
			list := []string{"x", "ALL"}
			c.Apply.IgnorePreflightErrors, c.Node.IgnorePreflightErrors, c.Plan.IgnorePreflightErrors = list, list, list
		}, []string{"apply.ignorePreflightErrors Invalid x,ALL", "node.ignorePreflightErrors Invalid x,ALL", "plan.ignorePreflightErrors Invalid x,ALL"}},
		{"phases", func(c *config) {
			c.Apply.SkipPhases, c.Node.SkipPhases = []string{"bootstrap-token"}, []string{"bootstrap-token"}
		}, []string{"node.skipPhases[0] Invalid bootstrap-token"}},
		{"context", func(c *config) { c.Diff.ContextLines = -1 }, []string{"diff.contextLines Invalid -1"}},
		{"timeout", func(c *config) { c.Timeouts.UpgradeManifests = 0 }, []string{"timeouts.upgradeManifests Invalid 0s"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := &config{Timeouts: kubeadm.DefaultTimeouts()}
			tt.spoil(cfg)
			if diff := cmp.Diff(tt.want, describe(UpgradeConfiguration(cfg))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
