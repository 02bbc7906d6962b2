package cluster

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/kubejoin/kubejoin/fault"
)

func document(t *testing.T, v any) string {
	t.Helper()
	data, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// offline is a server that nobody asks, and the three ConfigMaps of its cluster.
func offline(t *testing.T) (*apiServer, []*corev1.ConfigMap) {
	t.Helper()
	s := serve(t, newAuthority("kubernetes"))
	t.Cleanup(func() {
		if n := len(s.requests()); n != 0 {
			t.Errorf("%d requests", n)
		}
	})
	return s, []*corev1.ConfigMap{
		clusterInfo(clusterInfoKubeconfig(s.URL, s.ca.pem)),
		configMap("kube-system", "kubeadm-config", map[string]string{"ClusterConfiguration": "clusterName: prod\n"}),
		configMap("kube-system", "kubelet-config", map[string]string{"kubelet": kubeletDocument}),
	}
}

func TestFromFile(t *testing.T) {
	s, maps := offline(t)
	list := func(maps ...*corev1.ConfigMap) string {
		return document(t, map[string]any{"apiVersion": "v1", "kind": "List", "items": maps})
	}
	for name, data := range map[string]string{
		"one list":              list(maps...),
		"documents":             document(t, maps[0]) + "---\n" + document(t, maps[1]) + "---\n" + document(t, maps[2]),
		"a document and a list": "# kubectl\n---\n" + document(t, maps[0]) + "---\n" + list(maps[1:]...),
		"every namespace": list(append(slices.Clone(maps),
			configMap("team-a", "kubelet-config", map[string]string{"kubelet": "kind: Other\n"}),
			configMap("team-a", "kubeadm-config", nil),
			configMap("team-a", "cluster-info", nil),
			configMap("kube-system", "cluster-info", nil))...),
		"with others between": list(configMap("default", "kube-root-ca.crt", nil), maps[0], maps[1], maps[2]) + "---\nkind: Secret\nmetadata: {name: kubeadm-config}\n",
	} {
		t.Run(name, func(t *testing.T) {
			st, err := FromFile([]byte(data), options(s))
			if err != nil {
				t.Fatal(err)
			}
			if st.Source != "cluster file" || st.Server != s.URL || st.Configuration.ClusterName != "prod" || string(st.KubeletConfig) != kubeletDocument || st.TokenID != tokenID {
				t.Errorf("%v", st)
			}
			if st.NodeSeen || len(st.Unseen) != 1 || st.Unseen[0].What != "node w1" || len(st.Warnings) != 0 {
				t.Errorf("unseen %v, warnings %v", st.Unseen, st.Warnings)
			}
			if b := string(st.Bootstrap); !strings.Contains(b, "token: "+token) || !strings.Contains(b, "name: prod") {
				t.Error("the bootstrap kubeconfig is not complete")
			}
			noCanary(t, st.Warnings, fmt.Sprintf("%v %#v", st, *st))
		})
	}
}

func TestFromFileTrust(t *testing.T) {
	other := newAuthority("other")
	for name, tc := range map[string]struct {
		change func(s *apiServer, info *corev1.ConfigMap, o *Options)
		class  fault.Class // 0: it works
		says   string      // in the warning or the error
	}{
		"unsigned": {func(_ *apiServer, info *corev1.ConfigMap, _ *Options) { delete(info.Data, "jws-kubeconfig-"+tokenID) }, 0, "not verified by the token"},
		"another secret": {func(_ *apiServer, _ *corev1.ConfigMap, o *Options) {
			o.Join.Discovery.BootstrapToken.Token = "abcdef.0123456789abcdef"
		}, fault.Untrusted, "was not made with the token"},
		"another pin": {func(_ *apiServer, _ *corev1.ConfigMap, o *Options) {
			o.Join.Discovery.BootstrapToken.CACertHashes = []string{other.pin()}
		}, fault.Untrusted, "none of the cluster's CA certificates is pinned"},
		"unsigned, another pin": {func(_ *apiServer, info *corev1.ConfigMap, o *Options) {
			delete(info.Data, "jws-kubeconfig-"+tokenID)
			o.Join.Discovery.BootstrapToken.CACertHashes = []string{other.pin()}
		}, fault.Untrusted, "pinned"},
		"no kubeconfig": {func(_ *apiServer, info *corev1.ConfigMap, _ *Options) { delete(info.Data, "kubeconfig") }, fault.Untrusted, "holds no kubeconfig"},
		"discovery file": {func(s *apiServer, _ *corev1.ConfigMap, o *Options) {
			*o = withFile(*o, write(t, filepath.Join(t.TempDir(), "d.conf"), discoveryFile(s.clusterYAML(), "{}")))
		}, 0, ""},
		"discovery file of another cluster": {func(s *apiServer, _ *corev1.ConfigMap, o *Options) {
			*o = withFile(*o, write(t, filepath.Join(t.TempDir(), "d.conf"), clusterInfoKubeconfig(s.URL, other.pem)))
		}, fault.Untrusted, "another cluster than the discovery file"},
		"discovery URL": {func(_ *apiServer, _ *corev1.ConfigMap, o *Options) { *o = withFile(*o, "https://files.invalid/d.conf") }, 0, "is not verified"},
		"a node of it": {func(s *apiServer, _ *corev1.ConfigMap, o *Options) {
			o.Credential = ReadCredential(diskFiles{}, kubeletConf(t, s.URL, s.ca.pem, issuePair(s.ca)), time.Now())
		}, 0, ""},
		"a node of another cluster": {func(s *apiServer, _ *corev1.ConfigMap, o *Options) {
			o.Join.Discovery.BootstrapToken.CACertHashes = nil
			o.Join.Discovery.BootstrapToken.UnsafeSkipCAVerification = true
			o.Credential = ReadCredential(diskFiles{}, kubeletConf(t, s.URL, other.pem, issuePair(other)), time.Now())
		}, fault.Conflict, "already belongs to another cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			s, maps := offline(t)
			o := options(s)
			tc.change(s, maps[0], &o)
			st, err := FromFile([]byte(document(t, map[string]any{"kind": "List", "items": maps})), o)
			if tc.class != 0 {
				expect(t, err, tc.class, tc.says)
				noCanary(t, err, fault.HintOf(err))
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(strings.Join(st.Warnings, "\n"), tc.says) || (tc.says == "") != (len(st.Warnings) == 0) {
				t.Errorf("warnings %q", st.Warnings)
			}
		})
	}
}

func TestFromFileUnusable(t *testing.T) {
	s, maps := offline(t)
	empty := configMap("kube-system", "kubeadm-config", nil)
	elsewhere := configMap("team-a", "kubelet-config", map[string]string{"kubelet": kubeletDocument})
	nowhere := configMap("", "kubelet-config", map[string]string{"kubelet": kubeletDocument})
	for name, tc := range map[string]struct{ data, says string }{
		"elsewhere":          {document(t, maps[0]) + "---\n" + document(t, maps[1]) + "---\n" + document(t, elsewhere), "no ConfigMap kubelet-config in kube-system"},
		"nowhere":            {document(t, maps[0]) + "---\n" + document(t, maps[1]) + "---\n" + document(t, nowhere), "kubelet-config does not say its namespace"},
		"one is there twice": {document(t, map[string]any{"kind": "List", "items": append(slices.Clone(maps), maps[2])}), "kubelet-config in kube-system twice"},
		"empty":              {"", "no ConfigMap cluster-info"},
		"syntax":             {"a: [", "does not parse"},
		"one is missing":     {document(t, maps[0]) + "---\n" + document(t, maps[1]), "no ConfigMap kubelet-config"},
		"one is empty":       {document(t, maps[0]) + "---\n" + document(t, empty) + "---\n" + document(t, maps[2]), "does not hold what it is made for"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := FromFile([]byte(tc.data), options(s))
			expect(t, err, fault.InvalidConfig, tc.says)
		})
	}
}
