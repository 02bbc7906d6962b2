package session

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/apis/load"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

func TestDetectBelowARoot(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/hostname"), []byte("Worker-1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	const (
		address = "controlPlane.localAPIEndpoint.advertiseAddress"
		none    = "only the running machine has a default route"
	)
	for given, test := range map[string]struct {
		address  string
		detected map[string]string
	}{
		"{}":                                  {"", map[string]string{"nodeRegistration.name": "hostname"}},
		"{controlPlane: {}}":                  {"", map[string]string{"nodeRegistration.name": "hostname", address: none}},
		controlPlane("0.0.0.0"):               {"", map[string]string{"nodeRegistration.name": "hostname", address: none}},
		controlPlane("::"):                    {"", map[string]string{"nodeRegistration.name": "hostname", address: none}},
		controlPlane("10.0.0.7"):              {"10.0.0.7", map[string]string{"nodeRegistration.name": "hostname"}},
		controlPlane("010.1.2.3"):             {"10.1.2.3", map[string]string{"nodeRegistration.name": "hostname"}},
		controlPlane("127.0.0.1"):             {"", map[string]string{"nodeRegistration.name": "hostname", address: "only the running machine has interfaces"}},
		controlPlane("no address"):            {"no address", map[string]string{"nodeRegistration.name": "hostname"}},
		"{nodeRegistration: {name: given}}":   {"", map[string]string{}},
		"{nodeRegistration: {criSocket: /x}}": {"", map[string]string{"nodeRegistration.name": "hostname"}},
	} {
		t.Run(given, func(t *testing.T) {
			data := "{apiVersion: kubeadm.k8s.io/v1beta4, kind: JoinConfiguration, " + given[1:]
			join, err := load.JoinConfiguration("join.yaml", []byte(data), nil)
			if err != nil {
				t.Fatal(err)
			}
			detected, _, err := Detect(t.Context(), join, root)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.detected, detected); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if c := join.Config.ControlPlane; c != nil && c.LocalAPIEndpoint.AdvertiseAddress != test.address {
				t.Errorf("the address is %q, want %q", c.LocalAPIEndpoint.AdvertiseAddress, test.address)
			}
		})
	}
}

func controlPlane(address string) string {
	return `{controlPlane: {localAPIEndpoint: {advertiseAddress: "` + address + `"}}}`
}

// Which of two runtimes is meant has to be said only where something needs it.
func TestSeveralRuntimes(t *testing.T) {
	two := func(with string) Options {
		o := options(t, func(s string) string {
			return regexp.MustCompile(`(?m)^  criSocket: .*\n`).ReplaceAllString(s, "") + with
		})
		o.ReadOnly = true
		for _, socket := range host.CRISockets()[:2] {
			path := filepath.Join(o.Root, strings.TrimPrefix(socket, "unix://"))
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mknod(path, syscall.S_IFSOCK|0o600, 0); err != nil {
				t.Fatal(err)
			}
		}
		return o
	}
	const told = "2 container runtimes answer on this machine: unix:///var/run/containerd/containerd.sock, unix:///var/run/crio/crio.sock"
	const controlPlane = "\ncontrolPlane: {localAPIEndpoint: {advertiseAddress: 10.0.0.2}}\n"
	for name, tt := range map[string]struct {
		with            string
		phases, targets []string
		fails           bool
	}{
		"all":                    {"", nil, nil, true},
		"the kubelet":            {"", []string{"kubelet-start"}, nil, true},
		"its configuration":      {"", nil, []string{"file:/var/lib/kubelet/config.yaml"}, true},
		"its arguments":          {"", nil, []string{"file:/var/lib/kubelet/kubeadm-flags.env"}, false},
		"its certificate":        {"", []string{"kubelet-wait-bootstrap"}, nil, false},
		"marks":                  {controlPlane, []string{"control-plane-join"}, nil, false},
		"the checks of a worker": {"", []string{"preflight"}, nil, false},
		"a static pod":           {controlPlane, nil, []string{"static-pod:kube-scheduler"}, true},
		"static pods":            {controlPlane, []string{"control-plane-prepare/control-plane"}, nil, true},
		"etcd":                   {controlPlane, []string{"etcd-join"}, nil, true},
		"health":                 {controlPlane, []string{"wait-control-plane"}, nil, true},
		"images":                 {controlPlane, []string{"preflight"}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			o := two(tt.with)
			o.Phases, o.Targets = tt.phases, tt.targets
			r, err := Open(t.Context(), o)
			if err == nil {
				r.Close()
			}
			if tt.fails != (err != nil) || err != nil && (fault.ClassOf(err) != fault.InvalidConfig || !strings.Contains(err.Error(), told)) {
				t.Errorf("%v", err)
			}
		})
	}
	list := two("")
	list.Listing = true
	r, err := Open(t.Context(), list)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	got, err := Check(t.Context(), two(""))
	if err != nil {
		t.Fatal(err)
	}
	if f := named(got.Findings, "CRI"); len(f) != 1 || f[0].Severity != reconcile.SeverityError || f[0].Seen != told || len(got.Findings) < 2 {
		t.Errorf("%+v", got.Findings)
	}
	o := two("")
	detected, _, err := Detect(t.Context(), o.Join, o.Root)
	if err != nil || detected["nodeRegistration.criSocket"] != told || o.Join.Config.NodeRegistration.CRISocket != "" {
		t.Errorf("%v %v", detected, err)
	}
}
