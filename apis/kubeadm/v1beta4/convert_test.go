package v1beta4

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/randfill"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
)

// filler makes random configurations in which nothing is absent that the
// internal version cannot leave out.
func filler(seed int64) *randfill.Filler {
	return randfill.NewWithSeed(seed).NilChance(0.3).NumElements(0, 3).Funcs(
		func(d **metav1.Duration, c randfill.Continue) {
			*d = &metav1.Duration{Duration: time.Duration(c.Int63())}
		},
		func(t **Timeouts, c randfill.Continue) {
			*t = &Timeouts{}
			c.FillNoCustom(*t)
		},
		func(t *metav1.TypeMeta, _ randfill.Continue) { *t = metav1.TypeMeta{} },
		func(e *corev1.EnvVar, c randfill.Continue) { e.Name, e.Value = c.String(5), c.String(5) },
		func(t *corev1.Taint, c randfill.Continue) {
			*t = corev1.Taint{Key: c.String(5), TimeAdded: &metav1.Time{Time: time.Unix(c.Int63()%1e9, 0)}}
		},
	)
}

// TestRoundTrip: no field is forgotten on the way to the internal version and
// back, and nil stays different from empty.
func TestRoundTrip(t *testing.T) {
	for seed := range int64(200) {
		join := new(JoinConfiguration)
		filler(seed).Fill(join)
		join2, err := FromInternalJoinConfiguration(ToInternalJoinConfiguration(join))
		if err != nil {
			t.Fatal(err)
		}
		join.TypeMeta = metav1.TypeMeta{APIVersion: "kubeadm.k8s.io/v1beta4", Kind: "JoinConfiguration"}
		if diff := cmp.Diff(join, join2); diff != "" {
			t.Fatalf("seed %d (-before +after):\n%s", seed, diff)
		}

		cluster := new(ClusterConfiguration)
		filler(seed).Fill(cluster)
		cluster2, err := FromInternalClusterConfiguration(ToInternalClusterConfiguration(cluster))
		if err != nil {
			t.Fatal(err)
		}
		cluster.TypeMeta = metav1.TypeMeta{APIVersion: "kubeadm.k8s.io/v1beta4", Kind: "ClusterConfiguration"}
		if diff := cmp.Diff(cluster, cluster2); diff != "" {
			t.Fatalf("seed %d (-before +after):\n%s", seed, diff)
		}
	}
}

func TestFromInternalRefusesMergeMethods(t *testing.T) {
	args := []kubeadm.Arg{{Name: "a"}, {Name: "b", MergeMethod: kubeadm.MergeAppend}}
	component := kubeadm.ControlPlaneComponent{ExtraArgs: args}
	const want = `[1].mergeMethod: "append" cannot be expressed in kubeadm.k8s.io/v1beta4`

	join := &kubeadm.JoinConfiguration{NodeRegistration: kubeadm.NodeRegistration{KubeletExtraArgs: args}}
	if _, err := FromInternalJoinConfiguration(join); err == nil || err.Error() != "nodeRegistration.kubeletExtraArgs"+want {
		t.Errorf("got %v", err)
	}
	for path, cfg := range map[string]*kubeadm.ClusterConfiguration{
		"apiServer.extraArgs":         {APIServer: kubeadm.APIServer{ControlPlaneComponent: component}},
		"controllerManager.extraArgs": {ControllerManager: component},
		"scheduler.extraArgs":         {Scheduler: component},
		"etcd.local.extraArgs":        {Etcd: kubeadm.Etcd{Local: &kubeadm.LocalEtcd{ExtraArgs: args}}},
	} {
		if _, err := FromInternalClusterConfiguration(cfg); err == nil || err.Error() != path+want {
			t.Errorf("got %v", err)
		}
	}
}

func TestDefaultsJoinConfiguration(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"empty", `{}`, `{
			"caCertPath": "/etc/kubernetes/pki/ca.crt",
			"discovery": {},
			"nodeRegistration": {"taints": null, "imagePullPolicy": "IfNotPresent", "imagePullSerial": true},
			"timeouts": {"controlPlaneComponentHealthCheck": "4m0s", "kubeletHealthCheck": "4m0s", "kubernetesAPICall": "1m0s",
				"etcdAPICall": "2m0s", "tlsBootstrap": "5m0s", "discovery": "5m0s", "upgradeManifests": "5m0s"}}`},
		{"nothing that is set is replaced", `{
			"caCertPath": "/ca.crt",
			"controlPlane": {"localAPIEndpoint": {"bindPort": 1}},
			"discovery": {"bootstrapToken": {"token": "a"}, "tlsBootstrapToken": "b", "file": {"kubeConfigPath": "https://x/y"}},
			"nodeRegistration": {"taints": [], "imagePullPolicy": "Never", "imagePullSerial": false},
			"timeouts": {"controlPlaneComponentHealthCheck": "0s", "kubeletHealthCheck": "1s", "kubernetesAPICall": "1s",
				"etcdAPICall": "1s", "tlsBootstrap": "1s", "discovery": "1s", "upgradeManifests": "1s"}}`, ``},
		{"control plane, token and file URL", `{
			"controlPlane": {},
			"discovery": {"bootstrapToken": {"token": "a"}, "file": {"kubeConfigPath": "file:///x/y"}},
			"timeouts": {"discovery": "1s"}}`, `{
			"caCertPath": "/etc/kubernetes/pki/ca.crt",
			"controlPlane": {"localAPIEndpoint": {"bindPort": 6443}},
			"discovery": {"bootstrapToken": {"token": "a"}, "tlsBootstrapToken": "a", "file": {"kubeConfigPath": "/x/y"}},
			"nodeRegistration": {"taints": null, "imagePullPolicy": "IfNotPresent", "imagePullSerial": true},
			"timeouts": {"controlPlaneComponentHealthCheck": "4m0s", "kubeletHealthCheck": "4m0s", "kubernetesAPICall": "1m0s",
				"etcdAPICall": "2m0s", "tlsBootstrap": "5m0s", "discovery": "1s", "upgradeManifests": "5m0s"}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.want == "" {
				tt.want = tt.in
			}
			compare(t, tt.in, tt.want, SetDefaultsJoinConfiguration)
		})
	}
}

func TestDefaultsClusterConfiguration(t *testing.T) {
	compare(t, `{"etcd": {"external": {"endpoints": ["https://e"]}}, "scheduler": {"extraEnvs": [{"name": "a", "valueFrom": {"fieldRef": {"fieldPath": "p"}}}]}}`, `{
		"networking": {"serviceSubnet": "10.96.0.0/12", "dnsDomain": "cluster.local"},
		"apiServer": {}, "controllerManager": {}, "dns": {}, "proxy": {},
		"scheduler": {"extraEnvs": [{"name": "a", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "p"}}}]},
		"etcd": {"external": {"endpoints": ["https://e"], "httpEndpoints": ["https://e"], "caFile": "", "certFile": "", "keyFile": ""}},
		"certificatesDir": "/etc/kubernetes/pki", "imageRepository": "registry.k8s.io", "clusterName": "kubernetes",
		"encryptionAlgorithm": "RSA-2048", "certificateValidityPeriod": "8760h0m0s", "caCertificateValidityPeriod": "87600h0m0s"}`,
		SetDefaultsClusterConfiguration)

	cfg := &ClusterConfiguration{}
	SetDefaultsClusterConfiguration(cfg)
	if cfg.Etcd.Local == nil || cfg.Etcd.Local.DataDir != "/var/lib/etcd" {
		t.Errorf("etcd is %+v", cfg.Etcd)
	}
	if cfg.KubernetesVersion != "" {
		t.Errorf("a version was made up: %s", cfg.KubernetesVersion)
	}
}

// compare decodes a configuration, sets its defaults, and compares the JSON.
func compare[T any](t *testing.T, in, want string, defaults func(*T)) {
	t.Helper()
	cfg := new(T)
	if err := json.Unmarshal([]byte(in), cfg); err != nil {
		t.Fatal(err)
	}
	defaults(cfg)
	text, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var wantAny, gotAny any
	if err := json.Unmarshal([]byte(want), &wantAny); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &gotAny); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wantAny, gotAny); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if strings.Contains(string(text), "TypeMeta") {
		t.Errorf("apiVersion and kind are not inlined: %s", text)
	}
}
