package node

import (
	"testing"

	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

// A kubelet that asks the cluster's endpoint is turned to its own API server by
// the join that started it, also if its certificate came before anybody waited
// for it. One that an older release joined is left alone.
func TestKubeletIsTurned(t *testing.T) {
	const own, endpoint = "https://10.0.0.2:6443", "https://cp1:6443"
	r := &kubeletServerResource{server: own, endpoint: endpoint}
	bootstrap := FileAddress(BootstrapKubeconfigPath)
	changes := func(a reconcile.Address, action reconcile.Action) map[reconcile.Address]*reconcile.Change {
		return map[reconcile.Address]*reconcile.Change{a: {Address: a, Action: action}}
	}
	there := map[reconcile.Address]reconcile.Observation{bootstrap: fileObservation{state: host.FileState{Kind: host.File}}}
	for name, tt := range map[string]struct {
		view   viewOf
		server string
		want   reconcile.Action
	}{
		"its certificate is waited for":             {viewOf{changed: changes(KubeletCredential, reconcile.Create)}, endpoint, reconcile.Update},
		"its certificate was there before":          {viewOf{changed: changes(bootstrap, reconcile.Create)}, endpoint, reconcile.Update},
		"a join that was killed":                    {viewOf{observed: there}, endpoint, reconcile.Update},
		"a join that was killed after it":           {viewOf{observed: there}, own, reconcile.Wait},
		"an older release":                          {viewOf{}, endpoint, ""},
		"an older release, and a leftover":          {viewOf{changed: changes(bootstrap, reconcile.Delete)}, endpoint, ""},
		"an older release, and its files' mode":     {viewOf{changed: changes(KubeletCredential, reconcile.Update)}, endpoint, ""},
		"it asks its own":                           {viewOf{}, own, ""},
		"it asks another, which nobody has meant":   {viewOf{}, "https://10.0.0.9:6443", reconcile.Update},
		"its certificate is new, and so is its own": {viewOf{changed: changes(bootstrap, reconcile.Create)}, own, reconcile.Wait},
	} {
		t.Run(name, func(t *testing.T) {
			c, _, err := r.Change(kubeletServerObservation{cluster.CredentialValid, tt.server}, tt.view)
			if err != nil || (c == nil) != (tt.want == "") || c != nil && c.Action != tt.want {
				t.Errorf("%+v, %v", c, err)
			}
		})
	}
}
