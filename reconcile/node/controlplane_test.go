package node

import (
	"net"
	"slices"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/reconcile/pki"
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

// A voter that runs at the old address needs it in its certificates until it is
// removed.
func TestEtcdCertificatesKeepTheOldAddress(t *testing.T) {
	c := &kubeadm.ClusterConfiguration{Networking: kubeadm.Networking{ServiceSubnet: "10.96.0.0/12"}}
	leaves, _, err := pki.Leaves(pki.Input{Cluster: c, NodeName: "cp2", Endpoint: kubeadm.APIEndpoint{AdvertiseAddress: "10.0.0.3"}})
	if err != nil {
		t.Fatal(err)
	}
	moved := EtcdInput{PeerURL: "https://10.0.0.3:2380", RecordedPeerURL: "https://10.0.0.2:2380", RecordedMember: true}
	gone, same := moved, moved
	old := func(l pki.Leaf) bool {
		return slices.ContainsFunc(l.IPs, func(ip net.IP) bool { return ip.String() == "10.0.0.2" })
	}
	gone.RecordedMember, same.RecordedPeerURL = false, moved.PeerURL
	for name, c := range map[string]struct {
		in   *EtcdInput
		ca   *pki.CA
		want int // addresses
	}{
		"moved":                     {&moved, &pki.CA{}, 4},
		"the old one is removed":    {&gone, &pki.CA{}, 3},
		"not moved":                 {&same, &pki.CA{}, 3},
		"the CA's key is elsewhere": {&moved, &pki.CA{External: true}, 3},
		"etcd is not known":         {nil, &pki.CA{}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			p := keepEtcdAddress(PKI{Leaves: leaves, Shared: &pki.Shared{CAs: map[pki.Authority]*pki.CA{pki.EtcdCA: c.ca}}}, c.in)
			for _, l := range p.Leaves {
				if want := c.want; l.Name == pki.EtcdServer || l.Name == pki.EtcdPeer {
					if len(l.IPs) != want || old(l) != (want == 4) {
						t.Errorf("%s: %v", l.Name, l.IPs)
					}
				} else if old(l) {
					t.Errorf("%s: %v", l.Name, l.IPs)
				}
			}
		})
	}
}

// Only an API server that is to answer elsewhere is one that its kubeconfigs
// wait for.
func TestAPIServerMoves(t *testing.T) {
	build := func(address string, port int32) (*ControlPlane, []staticpod.Pod) {
		t.Helper()
		c := &kubeadm.ClusterConfiguration{KubernetesVersion: "v1.37.2", ImageRepository: "registry.k8s.io", CertificatesDir: "/etc/kubernetes/pki"}
		cp := &ControlPlane{Pods: staticpod.Input{Cluster: c, NodeName: "cp2", Endpoint: kubeadm.APIEndpoint{AdvertiseAddress: address, BindPort: port}}}
		pods, _, err := staticpod.Build(cp.Pods)
		if err != nil {
			t.Fatal(err)
		}
		return cp, pods
	}
	cp, pods := build("10.0.0.2", 6443)
	if apiServerMoves(cp, pods) {
		t.Error("one that is not there yet")
	}
	record, err := staticpod.Recorded(staticpod.APIServer, pods[0].Manifest, cp.Pods.Cluster)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		address string
		port    int32
		want    bool
	}{
		"stays":           {"10.0.0.2", 6443, false},
		"another port":    {"10.0.0.2", 7443, true},
		"another address": {"10.0.0.3", 6443, true},
	} {
		cp, pods := build(tt.address, tt.port)
		cp.Pods.Recorded = map[string]staticpod.Record{staticpod.APIServer: record}
		if got := apiServerMoves(cp, pods); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
