package node

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/patch"
)

func kubeletPatch(t *testing.T, content string) *patch.Set {
	t.Helper()
	return patches(t, fstest.MapFS{"kubeletconfiguration.yaml": {Data: []byte(content)}})
}

func TestKubeletConfigFindings(t *testing.T) {
	tests := map[string]struct {
		published string // appended to the plain document
		edit      func(*Input)
		want      []string // severity, name and part of what was seen
	}{
		"recommended values":              {"staticPodPath: /etc/kubernetes/manifests\nhealthzPort: 10248\nclusterDNS: [10.96.0.10]\n", nil, nil},
		"rotateCertificates is overruled": {"rotateCertificates: false\n", nil, nil},
		"cgroupDriver is nobody's advice": {"cgroupDriver: cgroupfs\n", nil, nil},
		"unusual values": {
			"healthzPort: 1\nauthentication: {anonymous: {enabled: true}}\nclusterDNS: []\n", nil,
			[]string{
				"warning KubeletConfigUnusualValue configmap kube-system/kubelet-config publishes clusterDNS []; kubeadm recommends [\"10.96.0.10\"]",
				"warning KubeletConfigUnusualValue configmap kube-system/kubelet-config publishes authentication.anonymous.enabled true; kubeadm recommends false",
				"warning KubeletConfigUnusualValue configmap kube-system/kubelet-config publishes healthzPort 1; kubeadm recommends 10248",
			},
		},
		"published: unknown and repeated fields": {
			"bogus: 1\nlogging: {Verbosity: 2}\nmaxPods: 1\nmaxPods: 2\n", nil,
			[]string{`warning KubeletConfigUnknownField configmap kube-system/kubelet-config is not exact: unknown field "bogus", unknown field "logging.Verbosity", `},
		},
		"published: endpoint of another runtime": {
			"containerRuntimeEndpoint: unix:///a\n", nil,
			[]string{`info KubeletConfigOverridden containerRuntimeEndpoint "unix:///a" of the published configuration or a patch gives way to "unix:///run/x.sock"`},
		},
		"patch: unknown field": {
			"", func(in *Input) { in.Patches = kubeletPatch(t, "future: 1") },
			[]string{`warning KubeletConfigUnknownField patches set fields that this version does not know, they are kept: unknown field "future"`},
		},
		"patch: endpoint of another runtime": {
			"", func(in *Input) { in.Patches = kubeletPatch(t, "containerRuntimeEndpoint: unix:///b") },
			[]string{`info KubeletConfigOverridden containerRuntimeEndpoint "unix:///b"`},
		},
		"another caCertPath": {
			"", func(in *Input) { in.Config.CACertPath = "/etc/my/ca.crt" },
			[]string{`warning KubeletClientCAFile the cluster's CA is written to /etc/my/ca.crt, but the kubelet trusts clients by "/etc/kubernetes/pki/ca.crt"`},
		},
		"another caCertPath, and a patch for it": {
			"", func(in *Input) {
				in.Config.CACertPath = "/etc/my/ca.crt"
				in.Patches = kubeletPatch(t, "authentication: {x509: {clientCAFile: /etc/my/ca.crt}}")
			}, nil,
		},
		"another certificatesDir": {
			"", func(in *Input) { in.Cluster.Configuration.CertificatesDir = "/etc/foo" },
			[]string{`warning KubeletClientCAFile the cluster's CA is written to /etc/kubernetes/pki/ca.crt, but the kubelet trusts clients by "/etc/foo/ca.crt"`},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := base(t)
			in.Cluster.KubeletConfig = append(in.Cluster.KubeletConfig, tt.published...)
			if tt.edit != nil {
				tt.edit(&in)
			}
			_, findings := compute(t, in)
			expectFindings(t, tt.want, findings)
		})
	}
}

func expectFindings(t *testing.T, want []string, got []reconcile.Finding) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("got %d findings, want %d: %+v", len(got), len(want), got)
	}
	for i, f := range got {
		if line := string(f.Severity) + " " + f.Name + " " + f.Seen; !strings.HasPrefix(line, want[i]) || f.Hint == "" {
			t.Errorf("got %q (hint %q); want %q", line, f.Hint, want[i])
		}
	}
}

func TestResolvConf(t *testing.T) {
	tests := map[string]struct {
		published, patch string
		resolved         bool
		want             string
	}{
		"no systemd-resolved":          {"", "", false, ""},
		"systemd-resolved":             {"", "", true, "resolvConf: /run/systemd/resolve/resolv.conf"},
		"published value wins":         {"resolvConf: /etc/other", "", true, "resolvConf: /etc/other"},
		"published empty value wins":   {"resolvConf: ''", "", true, `resolvConf: ""`},
		"a patch comes after the rule": {"", "resolvConf: /patched", true, "resolvConf: /patched"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := base(t)
			in.Cluster.KubeletConfig = append(in.Cluster.KubeletConfig, tt.published+"\n"...)
			in.Facts.ResolvedActive = tt.resolved
			if tt.patch != "" {
				in.Patches = kubeletPatch(t, tt.patch)
			}
			d, _ := compute(t, in)
			var got string
			for line := range strings.Lines(content(d, KubeletConfigPath)) {
				if strings.HasPrefix(line, "resolvConf") {
					got = strings.TrimSpace(line)
				}
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestHealthzAddress(t *testing.T) {
	tests := map[string]struct {
		published string
		args      []kubeadm.Arg
		want      string
	}{
		"default":       {"", nil, "127.0.0.1:10248"},
		"published":     {"healthzBindAddress: 10.0.0.1\nhealthzPort: 1", nil, "10.0.0.1:1"},
		"off":           {"healthzPort: 0", nil, ""},
		"every address": {"healthzBindAddress: 0.0.0.0", nil, "127.0.0.1:10248"},
		"IPv6":          {`healthzBindAddress: "::"`, nil, "[::1]:10248"},
		"flags win":     {"healthzPort: 0", []kubeadm.Arg{{Name: "healthz-port", Value: "7"}, {Name: "healthz-bind-address", Value: "::1"}}, "[::1]:7"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := base(t)
			in.Cluster.KubeletConfig = append(in.Cluster.KubeletConfig, tt.published+"\n"...)
			in.Config.NodeRegistration.KubeletExtraArgs = tt.args
			d, _ := compute(t, in)
			if diff := cmp.Diff(tt.want, d.HealthzAddress); diff != "" {
				t.Error(diff)
			}
		})
	}
}
