package node

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
)

func TestNodeChanges(t *testing.T) {
	node := func(edit func(*cluster.NodeInfo)) *cluster.NodeInfo {
		n := &cluster.NodeInfo{Name: "w1", MachineID: "m1", Ready: true}
		edit(n)
		return n
	}
	replace := &change{Action: reconcile.Replace, Reason: reconcile.Drift, Disruption: reconcile.Destructive, Allow: "replace-node"}
	wait := &change{Action: reconcile.Wait, Reason: reconcile.Drift, Disruption: reconcile.NoDisruption}
	tests := map[string]struct {
		node    *cluster.NodeInfo
		wait    Wait
		want    *change
		summary string
	}{
		"is there":             {node: node(func(*cluster.NodeInfo) {})},
		"absent":               {nil, WaitRegistered, &change{Action: reconcile.Create, Reason: reconcile.Missing, Disruption: reconcile.NoDisruption}, "the kubelet registers it"},
		"has no machine ID":    {node: node(func(n *cluster.NodeInfo) { n.MachineID = "" })},
		"another machine":      {node(func(n *cluster.NodeInfo) { n.MachineID = "m2" }), WaitRegistered, replace, "choose another nodeRegistration.name"},
		"another, and down":    {node(func(n *cluster.NodeInfo) { n.MachineID, n.Ready = "m2", false }), WaitRegistered, replace, "`kubectl delete node w1` first"},
		"another, with an IP":  {node(func(n *cluster.NodeInfo) { n.MachineID, n.Addresses = "m2", []string{"10.0.0.9"} }), WaitRegistered, replace, "its address: 10.0.0.9"},
		"not ready":            {node: node(func(n *cluster.NodeInfo) { n.Ready = false })},
		"not ready, waited":    {node(func(n *cluster.NodeInfo) { n.Ready, n.NotReadyReason = false, "cni plugin not initialized" }), WaitReady, wait, "is not Ready: cni plugin not initialized"},
		"ready, waited for it": {node: node(func(*cluster.NodeInfo) {}), wait: WaitReady},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := joined(t)
			m.in.Cluster.Node, m.options.Wait = tt.node, tt.wait
			c := m.plan()
			if tt.want == nil {
				if len(c.Changes) > 0 {
					t.Errorf("%+v", c.Changes)
				}
				return
			}
			got := changesOf(c)
			if len(got) != 1 || got[0].Address != nodeAddress("w1") || !strings.Contains(c.Changes[0].Summary, tt.summary) {
				t.Fatalf("%+v", c.Changes)
			}
			got[0].Address = ""
			if diff := cmp.Diff(*tt.want, got[0]); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNodeWait(t *testing.T) {
	const budget = 5 * time.Minute
	here := cluster.NodeInfo{Name: "w1", MachineID: "m1"}
	ready, other := here, here
	ready.Ready = true
	other.MachineID = "m2"
	noCNI := here
	noCNI.NotReadyReason = "no CNI"
	tests := map[string]struct {
		ready bool
		sends []*cluster.NodeInfo // one a second
		says  []string
		err   string // "" is success
		hint  string
	}{
		"registered":           {sends: []*cluster.NodeInfo{nil, &here}},
		"ready":                {ready: true, sends: []*cluster.NodeInfo{nil, &noCNI, &noCNI, &ready}, says: []string{"the Node is registered, and not Ready yet: no CNI"}},
		"never registered":     {sends: []*cluster.NodeInfo{nil}, err: "not registered after 5m0s (timeouts.tlsBootstrap)", hint: "journalctl -u kubelet"},
		"never ready":          {ready: true, sends: []*cluster.NodeInfo{&noCNI}, says: []string{"the Node is registered, and not Ready yet: no CNI"}, err: "not Ready after 5m0s", hint: "no CNI"},
		"registered, replaced": {sends: []*cluster.NodeInfo{&other, &here}, says: []string{"the Node still shows the machine it was before"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := &fakeAPI{nodes: make(chan *cluster.NodeInfo, len(tt.sends))}
				r := &nodeResource{name: "w1", machineID: "m1", waitReady: tt.ready, timeout: budget, last: nodeObservation{seen: true}, ports: Ports{
					Services: &fakeServices{}, Now: time.Now,
					As:             func(cluster.Credential) (API, error) { return api, nil },
					ReadCredential: func() cluster.Credential { return cluster.Credential{} },
				}}
				go func() {
					for _, n := range tt.sends {
						time.Sleep(time.Second)
						api.nodes <- n
					}
				}()
				var said told
				err := r.Apply(t.Context(), reconcile.Change{}, viewOf{}, said.say)
				var says []string
				for _, p := range said.list() {
					says = append(says, p.Message)
				}
				if diff := cmp.Diff(tt.says, says); diff != "" {
					t.Error(diff)
				}
				if tt.err != "" {
					if fault.ClassOf(err) != fault.Timeout || !strings.Contains(err.Error(), tt.err) || !strings.Contains(fault.HintOf(err), tt.hint) {
						t.Errorf("%v, hint %q", err, fault.HintOf(err))
					}
					return
				}
				if err != nil {
					t.Error(err)
				}
				// What the watch saw last is what is observed: no second question.
				o, _ := r.Observe(t.Context())
				if c, _, _ := r.Change(o, viewOf{}); c != nil {
					t.Errorf("still to do: %+v", c)
				}
			})
		})
	}
}

func TestNodeWaitEndsWithItsContext(t *testing.T) {
	r := &nodeResource{name: "w1", timeout: time.Minute, ports: Ports{
		Services: &fakeServices{}, Now: time.Now,
		As:             func(cluster.Credential) (API, error) { return &fakeAPI{}, nil },
		ReadCredential: func() cluster.Credential { return cluster.Credential{} },
	}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Apply(ctx, reconcile.Change{}, viewOf{}, func(reconcile.Progress) {}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestResourcesBelowARootDirectory(t *testing.T) {
	m := joined(t)
	m.options.FilesOnly = true
	m.write(KubeletConfigPath, "")
	c := m.plan()
	if len(c.Changes) != 1 || c.Changes[0].Disruption != reconcile.NoDisruption {
		t.Errorf("no kubelet runs in an image, and still: %+v", c.Changes)
	}
}

// A copy of a machine's disk has its machine ID; the kernel's boot ID tells them
// apart as long as the other one is up.
func TestClonedMachine(t *testing.T) {
	tests := map[string]struct {
		credential cluster.CredentialState
		bootID     string
		ready      bool
		conflict   bool
	}{
		"a copy of a machine that is up":   {cluster.CredentialAbsent, "b2", true, true},
		"the other one is down":            {cluster.CredentialAbsent, "b2", false, false},
		"the same boot":                    {cluster.CredentialAbsent, "b1", true, false},
		"rebooted, with the credential":    {cluster.CredentialValid, "b2", true, false},
		"rebooted, the certificate is old": {cluster.CredentialExpired, "b2", true, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := joined(t)
			m.in.Facts.BootID = "b1"
			m.in.Cluster.Node.BootID, m.in.Cluster.Node.Ready = tt.bootID, tt.ready
			m.in.Cluster.Bootstrap = []byte("b")
			c := m.own()
			c.State = tt.credential
			m.setCredential(c)
			got := false
			for _, ch := range m.plan().Changes {
				got = got || ch.Address == nodeAddress("w1") && ch.Allow == "replace-node"
			}
			if got != tt.conflict {
				t.Errorf("conflict %t", got)
			}
		})
	}
}
