package v1beta4

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

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
