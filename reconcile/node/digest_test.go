package node

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
	"github.com/kubejoin/kubejoin/reconcile/cluster/etcd"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

// A digest tells apart what has to be looked at again, and nothing else.
func TestDigests(t *testing.T) {
	file := func(content string) fileObservation {
		return fileObservation{state: host.FileState{Kind: host.File, Mode: 0o644, ModTime: time.Unix(1, 0)}, content: []byte(content)}
	}
	touched, mode, gone := file("a"), file("a"), fileObservation{}
	touched.state.ModTime = time.Unix(2, 0)
	mode.state.Mode = 0o600
	credential := func(name string, why string) credentialObservation {
		return credentialObservation{Credential: cluster.Credential{State: cluster.CredentialValid, CommonName: name, Serial: why, NotAfter: time.Now()}}
	}
	members := func(learner bool) *etcdObservation {
		return &etcdObservation{cluster: etcd.Cluster{ID: 1, Members: []etcd.Member{{ID: 2, Name: "cp1", Learner: learner}}}}
	}
	service := func(enabled bool, pid int) serviceObservation {
		return serviceObservation{ServiceState: host.ServiceState{Enabled: enabled, MainPID: pid, Active: pid > 0}, uptime: time.Duration(pid)}
	}
	asked := members(false)
	asked.err = errors.New("one endpoint was slow")
	for name, tt := range map[string]struct {
		a, b  reconcile.Digester
		equal bool
	}{
		"the same file":          {file("a"), file("a"), true},
		"another content":        {file("a"), file("b"), false},
		"no file":                {file(""), gone, false},
		"another mode":           {file("a"), mode, false},
		"a file that is touched": {file("a"), touched, true},
		"another node":           {credential("w1", ""), credential("w2", ""), false},
		"a renewed certificate":  {credential("w1", "1"), credential("w1", "2"), true},
		"disabled":               {service(true, 1), service(false, 1), false},
		"a kubelet that crashed": {service(true, 1), service(true, 0), true},
		"a Node that is new": {nodeObservation{seen: true, info: &cluster.NodeInfo{UID: "a"}},
			nodeObservation{seen: true, info: &cluster.NodeInfo{UID: "b"}}, false},
		"a Node that is Ready": {nodeObservation{seen: true, info: &cluster.NodeInfo{UID: "a"}},
			nodeObservation{seen: true, info: &cluster.NodeInfo{UID: "a", Ready: true}}, true},
		"a Node that is there":     {nodeObservation{seen: true}, nodeObservation{seen: true, info: &cluster.NodeInfo{}}, false},
		"a key":                    {certificateObservation{cert: file("a"), key: file("a")}, certificateObservation{cert: file("a"), key: file("b")}, false},
		"a kubeconfig":             {kubeconfigObservation{file: file("a")}, kubeconfigObservation{file: file("b")}, false},
		"a manifest":               {staticPodObservation{file: file("a")}, staticPodObservation{file: file("b")}, false},
		"a pod that crashes":       {staticPodObservation{file: file("a")}, staticPodObservation{file: file("a"), health: errors.New("no")}, true},
		"another API server":       {kubeletServerObservation{server: "a"}, kubeletServerObservation{server: "b"}, false},
		"a member that is a voter": {members(true), members(false), false},
		"a slow endpoint":          {members(false), asked, true},
	} {
		if got := bytes.Equal(tt.a.Digest(), tt.b.Digest()); got != tt.equal {
			t.Errorf("%s: equal is %t", name, got)
		}
	}
}
