package node

import (
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/reconcile/staticpod"
)

// Another address needs consent, another port or an edited manifest does not.
func TestAddressConsent(t *testing.T) {
	build := func(address string, port int32, external bool) (*ControlPlane, staticpod.Pod) {
		t.Helper()
		c := &kubeadm.ClusterConfiguration{KubernetesVersion: "v1.37.2", ImageRepository: "registry.k8s.io", CertificatesDir: "/etc/kubernetes/pki"}
		if external {
			c.Etcd.External = &kubeadm.ExternalEtcd{Endpoints: []string{"http://10.0.0.9:2379"}}
		}
		cp := &ControlPlane{Pods: staticpod.Input{Cluster: c, NodeName: "cp2", Endpoint: kubeadm.APIEndpoint{AdvertiseAddress: address, BindPort: port}}}
		pods, _, err := staticpod.Build(cp.Pods)
		if err != nil {
			t.Fatal(err)
		}
		return cp, pods[0]
	}
	for name, c := range map[string]struct {
		address  string
		port     int32
		external bool
		edit     bool
		allow    string
	}{
		"the same":                {address: "10.0.0.2", port: 6443},
		"another port":            {address: "10.0.0.2", port: 7443},
		"another address":         {address: "10.0.0.3", port: 6443, allow: allowMember},
		"with an external etcd":   {address: "fd00::3", port: 6443, external: true, allow: allowIdentity},
		"an annotation by hand":   {address: "10.0.0.3", port: 6443, edit: true},
		"something else entirely": {address: "", port: 6443},
	} {
		t.Run(name, func(t *testing.T) {
			cp, pod := build("10.0.0.2", 6443, c.external)
			if c.edit {
				cp, pod = build(c.address, c.port, c.external)
			}
			_, was := build(c.address, c.port, c.external)
			existing := was.Manifest
			if c.edit {
				edited := was.Pod.DeepCopy()
				edited.Annotations[staticpod.AnnotationAPIServer] = "10.9.9.9:6443"
				existing, _ = yaml.Marshal(edited) // it was unmarshalled
			}
			if c.address == "" {
				existing = []byte("{{")
			}
			summary, allow := addressConsent(cp, pod)(existing)
			if allow != c.allow || (summary == "") != (allow == "") {
				t.Errorf("%q, %q", summary, allow)
			}
		})
	}
}
