package kubeadm

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/kubejoin/kubejoin/fault"
)

func TestSetDynamicDefaults(t *testing.T) {
	cpTaint := []corev1.Taint{{Key: "node-role.kubernetes.io/control-plane", Effect: "NoSchedule"}}
	own := []corev1.Taint{{Key: "own", Effect: "NoExecute"}}
	const containerd, crio = "unix:///var/run/containerd/containerd.sock", "unix:///var/run/crio/crio.sock"
	for _, tt := range []struct {
		name         string
		node         NodeRegistration
		controlPlane bool
		machine      Machine
		want         NodeRegistration
		err          string
	}{
		{name: "all from the machine", machine: Machine{Hostname: "Node-1", CRISockets: []string{crio}},
			want: NodeRegistration{Name: "node-1", CRISocket: crio}},
		{name: "no runtime answers", machine: Machine{Hostname: "n"},
			want: NodeRegistration{Name: "n", CRISocket: containerd}},
		{name: "name is trimmed and lower-cased", node: NodeRegistration{Name: " CP.Example "}, machine: Machine{Hostname: "n"},
			want: NodeRegistration{Name: "cp.example", CRISocket: containerd}},
		{name: "bare path", node: NodeRegistration{CRISocket: "/run/x.sock"}, machine: Machine{Hostname: "n", CRISockets: []string{containerd, crio}},
			want: NodeRegistration{Name: "n", CRISocket: "unix:///run/x.sock"}},
		{name: "another scheme is validation's", node: NodeRegistration{CRISocket: "http://x"}, machine: Machine{Hostname: "n"},
			want: NodeRegistration{Name: "n", CRISocket: "http://x"}},
		{name: "taint of a control plane", controlPlane: true, machine: Machine{Hostname: "n"},
			want: NodeRegistration{Name: "n", CRISocket: containerd, Taints: cpTaint}},
		{name: "no taints on purpose", controlPlane: true, node: NodeRegistration{Taints: []corev1.Taint{}}, machine: Machine{Hostname: "n"},
			want: NodeRegistration{Name: "n", CRISocket: containerd, Taints: []corev1.Taint{}}},
		{name: "taints of a worker", node: NodeRegistration{Taints: own}, machine: Machine{Hostname: "n"},
			want: NodeRegistration{Name: "n", CRISocket: containerd, Taints: own}},

		{name: "two runtimes answer", machine: Machine{Hostname: "n", CRISockets: []string{containerd, crio}},
			err: "nodeRegistration.criSocket: 2 container runtimes answer on this machine: " + containerd + ", " + crio},
		{name: "no name", machine: Machine{Hostname: " \n"}, err: "nodeRegistration.name: the node has no name"},
		{name: "blank name", node: NodeRegistration{Name: "  "}, machine: Machine{Hostname: "n"}, err: "the node has no name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := &JoinConfiguration{NodeRegistration: tt.node}
			if tt.controlPlane {
				cfg.ControlPlane = &JoinControlPlane{}
			}
			err := SetDynamicDefaults(cfg, tt.machine)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || fault.ClassOf(err) != fault.InvalidConfig || fault.HintOf(err) == "" {
					t.Fatalf("got %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, cfg.NodeRegistration); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if err := SetDynamicDefaults(cfg, tt.machine); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, cfg.NodeRegistration); diff != "" {
				t.Errorf("the second time (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSocketURL(t *testing.T) {
	for endpoint, want := range map[string]string{
		"unix:///run/x": "unix:///run/x", "unix:/run/x": "unix:///run/x", "/run/x": "unix:///run/x",
		"unix://run/x": "unix://run/x", "unix:run/x": "unix:run/x", "tcp://run/x": "tcp://run/x", "": "",
	} {
		if got := SocketURL(endpoint); got != want {
			t.Errorf("%q: got %q, want %q", endpoint, got, want)
		}
	}
}

func TestEffectiveNodeName(t *testing.T) {
	for _, tt := range []struct {
		args []Arg
		want string
	}{
		{nil, "name"},
		{[]Arg{{Name: "v", Value: "5"}}, "name"},
		{[]Arg{{Name: "hostname-override", Value: "one"}, {Name: "hostname-override", Value: " Two "}}, "two"},
		{[]Arg{{Name: "hostname-override", Value: "one"}, {Name: "hostname-override", Value: ""}}, "name"},
	} {
		cfg := &JoinConfiguration{NodeRegistration: NodeRegistration{Name: "name", KubeletExtraArgs: tt.args}}
		if got := EffectiveNodeName(cfg); got != tt.want {
			t.Errorf("%v: got %q, want %q", tt.args, got, tt.want)
		}
	}
}

// TestFormat: whoever prints a configuration by mistake prints no secret.
func TestFormat(t *testing.T) {
	const secret = "sesame"
	cfg := JoinConfiguration{
		ControlPlane: &JoinControlPlane{CertificateKey: secret},
		Discovery: Discovery{
			TLSBootstrapToken: secret,
			BootstrapToken:    &BootstrapTokenDiscovery{Token: secret},
			File:              &FileDiscovery{KubeConfigPath: "https://user:" + secret + "@example"},
		},
	}
	for _, value := range []any{cfg, &cfg, cfg.ControlPlane, cfg.Discovery, *cfg.Discovery.BootstrapToken} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			if text := fmt.Sprintf(verb, value); strings.Contains(text, secret) || strings.Contains(text, fmt.Sprintf("%x", secret)) {
				t.Errorf("%s of %T: %s", verb, value, text)
			}
		}
	}
}
