package node

import (
	"strings"
	"testing"

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
	return &reconcile.Change{Address: f.address, Action: f.action}, nil, nil
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
		"the kubelet's start":        {[]string{"kubelet-start"}, "credential:kubelet node:w1", "kubelet-start is skipped: file:/var/lib/kubelet/config.yaml"},
		"the wait keeps the token":   {[]string{"kubelet-wait-bootstrap"}, "file:/var/lib/kubelet/config.yaml service:kubelet", "credential:kubelet, node:w1 are not managed"},
		"named twice, and told once": {[]string{"kubelet-wait-bootstrap", "kubelet-wait-bootstrap"}, "file:/var/lib/kubelet/config.yaml service:kubelet", "credential:kubelet, node:w1 are not managed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			out, findings := Skip(resources, tt.phases)
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
