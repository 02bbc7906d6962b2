package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster/etcd"
)

func TestFindPhase(t *testing.T) {
	for name, want := range map[string]string{
		"kubelet-start":                  "kubelet-start",
		"control-plane-prepare":          "control-plane-prepare",
		"control-plane-prepare/all":      "control-plane-prepare",
		"control-plane-prepare all":      "control-plane-prepare",
		"control-plane-prepare certs":    "control-plane-prepare/certs",
		"control-plane-join/all":         "control-plane-join",
		"kubelet-start/all":              "",
		"control-plane-join etcd":        "",
		"control-plane-prepare/certs/ca": "",
		"":                               "",
	} {
		if got, ok := FindPhase(name); got.Name != want || ok != (want != "") {
			t.Errorf("%q: %q, want %q", name, got.Name, want)
		}
	}
}

func TestSelectionIdle(t *testing.T) {
	tests := map[string]struct {
		s    Selection
		idle bool
	}{
		"all":                            {Selection{}, false},
		"a worker's phase":               {Selection{Only: []string{"kubelet-start", "etcd-join"}}, false},
		"a parent with a worker's child": {Selection{Only: []string{"control-plane-join"}}, false},
		"a control plane's":              {Selection{Only: []string{"control-plane-prepare", "wait-control-plane"}}, true},
		"a control plane's, on one":      {Selection{Only: []string{"control-plane-prepare"}, ControlPlane: true}, false},
		"skipped":                        {Selection{Skip: []string{"etcd-join"}}, false},
	}
	for name, tt := range tests {
		if err := tt.s.Idle(); (err != nil) != tt.idle {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSharedKeys(t *testing.T) {
	tests := map[string]struct {
		s    Selection
		want bool
	}{
		"all":           {Selection{}, true},
		"the kubelet":   {Selection{Only: []string{"kubelet-start", "kubelet-wait-bootstrap"}}, false},
		"the mark":      {Selection{Only: []string{"control-plane-join"}}, false},
		"etcd":          {Selection{Only: []string{"etcd-join"}}, true},
		"the checks":    {Selection{Only: []string{"preflight"}}, true},
		"a file":        {Selection{Targets: []string{string(FileAddress(KubeletConfigPath))}}, false},
		"a certificate": {Selection{Targets: []string{"certificate:/etc/kubernetes/pki/apiserver.crt"}}, true},
	}
	for name, tt := range tests {
		if got := tt.s.SharedKeys(); got != tt.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// linked is a resource that comes after others.
type linked struct {
	fixed
	after []reconcile.Address
}

func (l linked) After() []reconcile.Address                           { return l.after }
func (linked) Observe(context.Context) (reconcile.Observation, error) { return nil, nil }

// What is left as it is weighs more where something that is done needs it.
func TestJudge(t *testing.T) {
	certificate := linked{fixed: fixed{address: "certificate:/x.crt", action: reconcile.Create}}
	image := linked{fixed: fixed{address: "image:etcd", action: reconcile.Create}}
	mark := linked{fixed: fixed{address: "node-marks:cp2", action: reconcile.Create}}
	pod := linked{fixed: fixed{address: "static-pod:etcd", action: reconcile.Create}, after: []reconcile.Address{certificate.address, image.address}}
	tests := map[string]struct {
		s    Selection
		want string // severity and address of each NotManaged
	}{
		"nothing left out":   {Selection{}, ""},
		"skipped and needed": {Selection{Skip: []string{"control-plane-prepare/certs"}}, "warning certificate:/x.crt"},
		"skipped, and only missed": {Selection{Skip: []string{"control-plane-join", "preflight"}},
			"info image:etcd, info node-marks:cp2"}, // the kubelet pulls images too
		"one phase": {Selection{Only: []string{"etcd-join"}}, "warning certificate:/x.crt"},
		"the other": {Selection{Only: []string{"control-plane-join"}}, ""},
		"a target":  {Selection{Targets: []string{"static-pod:etcd"}}, "warning certificate:/x.crt"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.s.ControlPlane = true
			out, _, err := Select([]reconcile.Resource{certificate, image, mark, pod}, tt.s)
			if err != nil {
				t.Fatal(err)
			}
			set, err := reconcile.NewSet(out...)
			if err != nil {
				t.Fatal(err)
			}
			c, err := set.Compute(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range tt.s.Judge(out, c) {
				got = append(got, string(f.Severity)+" "+string(f.Address))
				if f.Severity == reconcile.SeverityWarning && f.Why != "static-pod:etcd comes after it" {
					t.Errorf("%+v", f)
				}
			}
			if strings.Join(got, ", ") != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// selected is the plan of a pod case of which only a part is managed.
func (c *podCase) selected(s Selection) *reconcile.Set {
	c.t.Helper()
	s.ControlPlane = true
	out, _, err := Select([]reconcile.Resource{StaticPodResource(c.pod)}, s)
	if err != nil {
		c.t.Fatal(err)
	}
	set, err := reconcile.NewSet(out...)
	if err != nil {
		c.t.Fatal(err)
	}
	return set
}

// wait-control-plane alone waits for what is there, writes nothing, and never
// succeeds without having looked.
func TestHealthAlone(t *testing.T) {
	t.Parallel()
	only := Selection{Only: []string{"wait-control-plane"}}
	c := newPodCase(t)
	p, err := c.selected(only).Compute(t.Context())
	if err != nil || len(p.Changes) != 0 || len(p.Findings) != 1 || p.Findings[0].Severity != reconcile.SeverityError {
		t.Fatalf("a pod that is not there: %+v, %v", p, err)
	}
	c.started(c.pod.Want)
	if p, err = c.selected(only).Compute(t.Context()); err != nil || len(p.Changes)+len(p.Findings) != 0 {
		t.Fatalf("a pod that serves: %+v, %v", p, err)
	}
	other := scheduler("--leader-elect=false")
	c.write(schedulerManifest, other, 0o600)
	serves := false
	health := c.pod.Health
	c.pod.Health = func(ctx context.Context) error {
		if !serves {
			return errors.New("connection refused")
		}
		return health(ctx)
	}
	set := c.selected(only)
	if p, err = set.Compute(t.Context()); err != nil || len(p.Changes) != 1 || p.Changes[0].Action != reconcile.Wait {
		t.Fatalf("another pod that does not serve: %+v, %v", p, err)
	}
	serves = true
	if err := set.Apply(t.Context(), p, nil, func(reconcile.Event) {}); err != nil {
		t.Fatal(err)
	}
	if c.read() != string(other) {
		t.Error("the manifest was written")
	}
}

// Without wait-control-plane the manifest is written and nobody waits.
func TestNoHealth(t *testing.T) {
	t.Parallel()
	c := newPodCase(t)
	c.pod.NoHealth, c.pod.Timeout = true, time.Hour
	asked := false
	c.pod.Health = func(context.Context) error { asked = true; return errors.New("connection refused") }
	c.kubelet.ignores = true
	c.applied()
	c.pod.Want = scheduler("--leader-elect=false")
	c.applied()
	if c.read() != string(c.pod.Want) || asked {
		t.Errorf("not written, or asked: %t", asked)
	}
	if _, err := os.Stat(filepath.Join(c.root, schedulerManifest)); err != nil {
		t.Error(err)
	}
}

// Without check-etcd a member that is down is no reason not to begin, and
// nothing is removed.
func TestBeginAnyway(t *testing.T) {
	member := func(id uint64, name, ip string) etcd.Member {
		return etcd.Member{ID: id, Name: name, PeerURLs: []string{"https://" + ip + ":2380"}, ClientURLs: []string{"https://" + ip + ":2379"}}
	}
	members := []etcd.Member{member(1, "cp1", "10.0.0.1"), member(3, "cp3", "10.0.0.3"), member(4, "cp4", "10.0.0.4")}
	for name, tt := range map[string]struct {
		begin bool
		more  []etcd.Member
		adds  bool
	}{
		"checked":               {false, nil, false},
		"begun":                 {true, nil, true},
		"nothing is removed so": {true, []etcd.Member{member(5, "cp2", "10.0.0.9")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			all := slices.Concat(members, tt.more)
			o := &etcdObservation{cluster: etcd.Cluster{ID: 1, Members: all, Status: map[uint64]etcd.Status{}}}
			for _, m := range all {
				o.cluster.Status[m.ID] = etcd.Status{MemberID: m.ID, Leader: 1, Version: "3.7.0"}
			}
			for _, down := range []uint64{4, 5} {
				o.cluster.Status[down] = etcd.Status{Err: "connection refused"}
			}
			in := EtcdInput{NodeName: "cp2", PeerURL: "https://10.0.0.2:2380", ClientURL: "https://10.0.0.2:2379", DataDir: "/var/lib/etcd",
				BeginAnyway: tt.begin, Client: noEtcd{}}
			r := EtcdResources(in)[2]
			c, findings, err := r.Change(o, nil)
			if err != nil {
				t.Fatal(err)
			}
			severity := reconcile.SeverityError
			if tt.adds {
				severity = reconcile.SeverityWarning
			}
			out, _, err := Select([]reconcile.Resource{r}, Selection{Only: []string{"check-etcd"}, ControlPlane: true})
			if err != nil {
				t.Fatal(err)
			}
			if none, told, err := out[0].Change(o, nil); none != nil || len(told) != len(findings) || err != nil {
				t.Errorf("check-etcd alone: %+v, %+v, %v", none, told, err)
			}
			if (c != nil) != tt.adds || len(findings) != 1 || findings[0].Severity != severity {
				t.Errorf("%+v, %+v", c, findings)
			}
		})
	}
}

// noEtcd is asked for nothing.
type noEtcd struct{ EtcdClient }

// The checks are those of a whole join, or none.
func TestSelectionOfChecks(t *testing.T) {
	for name, tt := range map[string]struct {
		of    Selection
		made  bool
		asked bool
	}{
		"all":                {Selection{}, true, false},
		"skipped":            {Selection{Skip: []string{"preflight"}}, false, false},
		"asked":              {Selection{Only: []string{"preflight"}}, true, true},
		"another phase":      {Selection{Only: []string{"kubelet-start"}}, false, false},
		"a target":           {Selection{Targets: []string{"file:/var/lib/kubelet/config.yaml"}}, false, false},
		"a target and asked": {Selection{Only: []string{"preflight"}, Targets: []string{"image:x"}}, false, false},
	} {
		if made, asked := tt.of.Preflight(), tt.of.PreflightAsked(); made != tt.made || asked != tt.asked {
			t.Errorf("%s: %v, %v", name, made, asked)
		}
	}
}
