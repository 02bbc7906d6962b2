package node

import (
	"slices"
	"strings"
	"testing"

	"github.com/kubejoin/kubejoin/apis/kubeadm/validation"
	"github.com/kubejoin/kubejoin/reconcile"
)

// fixed is a resource that always wants one action.
type fixed struct {
	reconcile.Resource
	address reconcile.Address
	action  reconcile.Action
}

func (f fixed) Address() reconcile.Address { return f.address }
func (f fixed) Change(reconcile.Observation, reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	return &reconcile.Change{Address: f.address, Action: f.action, Summary: "is missing"}, nil, nil
}

func TestSkippedPhases(t *testing.T) {
	bootstrap := FileAddress(BootstrapKubeconfigPath)
	resources := []reconcile.Resource{
		fixed{address: FileAddress(KubeletConfigPath), action: reconcile.Create},
		fixed{address: bootstrap, action: reconcile.Delete},
		fixed{address: KubeletService, action: reconcile.Start},
		fixed{address: KubeletCredential, action: reconcile.Wait},
		fixed{address: nodeAddress("w1"), action: reconcile.Create},
	}
	tests := map[string]struct {
		phases  []string
		managed string // what still changes
		told    string
	}{
		"none":                       {nil, "file:/var/lib/kubelet/config.yaml file:/etc/kubernetes/bootstrap-kubelet.conf service:kubelet credential:kubelet node:w1", ""},
		"of a control plane":         {[]string{"check-etcd", "preflight"}, "file:/var/lib/kubelet/config.yaml file:/etc/kubernetes/bootstrap-kubelet.conf service:kubelet credential:kubelet node:w1", ""},
		"the kubelet's start":        {[]string{"kubelet-start"}, "file:/etc/kubernetes/bootstrap-kubelet.conf credential:kubelet node:w1", "kubelet-start is skipped: file:/var/lib/kubelet/config.yaml"},
		"the wait keeps the token":   {[]string{"kubelet-wait-bootstrap"}, "file:/var/lib/kubelet/config.yaml service:kubelet", "credential:kubelet, node:w1 are not managed"},
		"named twice, and told once": {[]string{"kubelet-wait-bootstrap", "kubelet-wait-bootstrap"}, "file:/var/lib/kubelet/config.yaml service:kubelet", "credential:kubelet, node:w1 are not managed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			out, findings, err := Select(resources, Selection{Skip: tt.phases})
			if err != nil {
				t.Fatal(err)
			}
			var managed []string
			for _, r := range out {
				c, _, err := r.Change(nil, nil)
				if err != nil {
					t.Fatal(err)
				}
				if c != nil {
					managed = append(managed, string(c.Address))
				}
			}
			if got := strings.Join(managed, " "); got != tt.managed || len(out) != len(resources) {
				t.Errorf("managed %s, want %s", got, tt.managed)
			}
			if tt.told == "" && len(findings) > 0 || tt.told != "" && (len(findings) != 1 || !strings.Contains(findings[0].Seen, tt.told)) {
				t.Errorf("findings %v, want %q", findings, tt.told)
			}
		})
	}
}

func TestSelect(t *testing.T) {
	resources := []reconcile.Resource{
		fixed{address: "image:etcd"},
		fixed{address: "file:/etc/kubernetes/pki/sa.key"},
		fixed{address: "certificate:/etc/kubernetes/pki/apiserver.crt"},
		fixed{address: "kubeconfig:/etc/kubernetes/admin.conf"},
		fixed{address: FileAddress(KubeletConfigPath)},
		fixed{address: KubeletServer},
		fixed{address: KubeletService},
		fixed{address: "etcd-member:cp2"},
		fixed{address: "static-pod:etcd"},
		fixed{address: "static-pod:kube-scheduler"},
		fixed{address: KubeletCredential},
		fixed{address: "node-marks:cp2"},
	}
	tests := map[string]struct {
		s       Selection
		managed string
	}{
		"a parent":       {Selection{Only: []string{"control-plane-prepare"}}, "file:/etc/kubernetes/pki/sa.key certificate:/etc/kubernetes/pki/apiserver.crt kubeconfig:/etc/kubernetes/admin.conf static-pod:kube-scheduler"},
		"a child":        {Selection{Only: []string{"control-plane-prepare/certs"}}, "certificate:/etc/kubernetes/pki/apiserver.crt"},
		"etcd":           {Selection{Only: []string{"etcd-join"}}, "etcd-member:cp2 static-pod:etcd"},
		"the kubelet":    {Selection{Only: []string{"kubelet-start"}}, "file:/var/lib/kubelet/config.yaml service:kubelet"},
		"its credential": {Selection{Only: []string{"kubelet-wait-bootstrap"}}, "kubeconfig:/etc/kubernetes/kubelet.conf credential:kubelet"},
		"the mark":       {Selection{Only: []string{"control-plane-join"}}, "node-marks:cp2"},
		"less":           {Selection{Only: []string{"control-plane-join", "preflight"}, Skip: []string{"preflight"}}, "node-marks:cp2"},
		"a target":       {Selection{Targets: []string{"static-pod:etcd"}}, "static-pod:etcd"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.s.ControlPlane = true
			out, _, err := Select(resources, tt.s)
			if err != nil {
				t.Fatal(err)
			}
			var managed []string
			for _, r := range out {
				c, findings, _ := r.Change(nil, nil)
				if c != nil {
					managed = append(managed, string(c.Address))
				} else if len(findings) != 1 || !strings.Contains(findings[0].Seen, "is missing: left as it is, because ") {
					t.Errorf("%s: %v", r.Address(), findings)
				}
			}
			if got := strings.Join(managed, " "); got != tt.managed {
				t.Errorf("managed %s, want %s", got, tt.managed)
			}
		})
	}
	if _, _, err := Select(resources, Selection{Targets: []string{"static-pod:ectd"}}); err == nil || !strings.Contains(err.Error(), `no resource "static-pod:ectd"`) {
		t.Errorf("got %v", err)
	}
}

// Every phase that validation lets pass has a description here, and holds what it says.
func TestPhasesAreThoseOfValidation(t *testing.T) {
	var names []string
	for _, p := range Phases() {
		names = append(names, p.Name)
	}
	for _, name := range validation.Phases()["JoinConfiguration"] {
		if !slices.Contains(names, name) && !strings.HasSuffix(name, "/all") {
			t.Errorf("no phase %s", name)
		}
	}
}
