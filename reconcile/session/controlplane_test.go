package session

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/host"
	"github.com/kubejoin/kubejoin/reconcile/pki"
	"github.com/kubejoin/kubejoin/reconcile/staticpod"
)

// An address is compared as text with what kubeadm wrote, in the list of etcd's
// members too.
func TestAdvertiseAddressIsCanonical(t *testing.T) {
	for given, want := range map[string]string{
		"FD00:0:0:0::A": "fd00::a", "::ffff:10.0.0.2": "10.0.0.2", "10.0.0.2": "10.0.0.2", "no address": "no address", "010.1.2.3": "10.1.2.3",
	} {
		cfg := &kubeadm.JoinConfiguration{ControlPlane: &kubeadm.JoinControlPlane{LocalAPIEndpoint: kubeadm.APIEndpoint{AdvertiseAddress: given}}}
		if err := (&Run{}).advertiseAddress(cfg, host.Facts{}); err != nil {
			t.Fatal(err)
		}
		if got := cfg.ControlPlane.LocalAPIEndpoint.AdvertiseAddress; got != want {
			t.Errorf("%s: got %s, want %s", given, got, want)
		}
	}
}

// Neither a loopback address nor one of the wrong family becomes a member of
// etcd, also where no machine runs that could be asked.
func TestAdvertiseAddressBelowARoot(t *testing.T) {
	with := func(address string) Options {
		o := options(t, func(s string) string {
			return s + "\ncontrolPlane: {localAPIEndpoint: {advertiseAddress: \"" + address + "\"}}\n"
		})
		o.ReadOnly = true
		return o
	}
	r := open(t, with("fd00::1"))
	if f := named(r.Plan.Findings, "AdvertiseAddress"); len(f) != 1 || f[0].Severity != reconcile.SeverityError || !strings.Contains(f[0].Seen, "not of the family") {
		t.Errorf("%+v", r.Plan.Findings)
	}
	if f := named(open(t, with("010.1.2.3")).Plan.Findings, "AdvertiseAddress"); len(f) != 0 {
		t.Errorf("%+v", f)
	}
	_, err := Open(t.Context(), with("127.0.0.1"))
	if fault.ClassOf(err) != fault.InvalidConfig || !strings.Contains(err.Error(), "127.0.0.1 stands for a global address of the loopback interface") || fault.HintOf(err) == "" {
		t.Errorf("%v", err)
	}
	got, err := Check(t.Context(), with("::1"))
	if err != nil {
		t.Fatal(err)
	}
	if f := named(got.Findings, "AdvertiseAddress"); len(f) != 1 || f[0].Severity != reconcile.SeverityWarning || !strings.Contains(f[0].Seen, "::1 stands for") {
		t.Errorf("%+v", f)
	}
}

// A control plane stays with the address that it joined with, where the
// configuration leaves that to the machine.
func TestRecordedAdvertiseAddress(t *testing.T) {
	for given, want := range map[string]string{"127.0.0.1": "10.0.0.2", "": "10.0.0.2", "0.0.0.0": "10.0.0.2", "10.0.0.3": "10.0.0.3"} {
		o := options(t, func(s string) string {
			return s + "\ncontrolPlane: {localAPIEndpoint: {advertiseAddress: \"" + given + "\"}}\n"
		})
		path := filepath.Join(o.Root, staticpod.Path(staticpod.APIServer))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		manifest := "apiVersion: v1\nkind: Pod\nmetadata:\n  annotations:\n    " + staticpod.AnnotationAPIServer + ": 10.0.0.2:6443\n"
		if err := os.WriteFile(path, []byte(manifest), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Detect(t.Context(), o.Join, o.Root); err != nil {
			t.Fatal(err)
		}
		if got := o.Join.Config.ControlPlane.LocalAPIEndpoint.AdvertiseAddress; got != want {
			t.Errorf("%q: got %s, want %s", given, got, want)
		}
	}
}

func TestClusterEndpoint(t *testing.T) {
	for given, want := range map[string]string{
		"lb.example:8443": "https://lb.example:8443", "lb.example": "https://lb.example:6443",
		"fd00::1": "https://[fd00::1]:6443", "[fd00::1]:443": "https://[fd00::1]:443",
	} {
		if got := clusterEndpoint(&kubeadm.ClusterConfiguration{ControlPlaneEndpoint: given}); got != want {
			t.Errorf("%s: got %s, want %s", given, got, want)
		}
	}
}

// A control plane does not become a worker by a configuration that leaves
// something out.
func TestAControlPlaneIsNoWorker(t *testing.T) {
	o := options(t, nil)
	path := filepath.Join(o.Root, staticpod.Path(staticpod.APIServer))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	manifest := "apiVersion: v1\nkind: Pod\nmetadata:\n  name: kube-apiserver\n  annotations:\n    " + staticpod.AnnotationAPIServer + ": 10.0.0.2:6443\n"
	if err := os.WriteFile(path, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), o)
	if fault.ClassOf(err) != fault.Conflict || !strings.Contains(err.Error(), "no controlPlane") || fault.HintOf(err) == "" {
		t.Errorf("%v (%s)", err, fault.ClassOf(err))
	}
}

// An image of a control plane has its manifests compared; what it is a member
// of is not to be seen there.
func TestAControlPlaneBelowARoot(t *testing.T) {
	o := options(t, func(s string) string {
		return s + "\ncontrolPlane:\n  localAPIEndpoint: {advertiseAddress: 10.0.0.2}\n  certificateKey: " + strings.Repeat("ab", 32) + "\n"
	})
	o.ReadOnly = true
	r := open(t, o)
	seen := ""
	for _, c := range r.Plan.Changes {
		seen += string(c.Address) + "\n"
	}
	if !strings.Contains(seen, "static-pod:kube-apiserver\n") || strings.Contains(seen, "etcd") {
		t.Error(seen)
	}
	if len(named(r.Plan.Findings, "FilesOnly")) != 2 {
		t.Errorf("%+v", r.Plan.Findings)
	}
}

func TestBundleEnds(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for age, told := range map[time.Duration]string{
		time.Hour: "", 110 * time.Minute: "was uploaded 1h50m ago, and kubeadm's is deleted after two hours", 3 * time.Hour: "", -time.Minute: "",
	} {
		f := bundleEnds(now.Add(-age), now)
		if len(f) > 1 || (told != "") != (len(f) == 1) || told != "" && !strings.Contains(f[0].Seen, told) {
			t.Errorf("%s: %+v", age, f)
		}
	}
	if f := bundleEnds(time.Time{}, now); f != nil {
		t.Error(f)
	}
}

// A key that is not here is never passed over in silence; one of several is
// rather lost than kept elsewhere.
func TestExternalCAs(t *testing.T) {
	for name, tt := range map[string]struct {
		external []pki.Authority
		severity reconcile.Severity
		seen     string
	}{
		"none": {},
		"all": {[]pki.Authority{pki.ClusterCA, pki.FrontProxyCA, pki.EtcdCA}, reconcile.SeverityInfo,
			"/pki/ca.key, /pki/front-proxy-ca.key, /pki/etcd/ca.key: not here, and taken to be kept elsewhere on purpose"},
		"one": {[]pki.Authority{pki.EtcdCA}, reconcile.SeverityWarning,
			"/pki/etcd/ca.key: not here, and taken to be kept elsewhere on purpose, although /pki/ca.key, /pki/front-proxy-ca.key is here"},
	} {
		t.Run(name, func(t *testing.T) {
			shared := &pki.Shared{CAs: map[pki.Authority]*pki.CA{pki.ClusterCA: {}, pki.FrontProxyCA: {}, pki.EtcdCA: {}}}
			for _, a := range tt.external {
				shared.CAs[a].External = true
			}
			got := (&Run{}).externalCAs(t.Context(), shared, &kubeadm.ClusterConfiguration{CertificatesDir: "/pki"})
			switch {
			case tt.seen == "" && len(got) > 0, tt.seen != "" && (len(got) != 1 || got[0].Severity != tt.severity || got[0].Seen != tt.seen):
				t.Errorf("%+v", got)
			}
		})
	}
}
