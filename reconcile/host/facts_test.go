package host_test

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

func TestFactsBelowARoot(t *testing.T) {
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); strings.HasSuffix(strings.ToLower(name), "_proxy") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("Some_Proxy", "http://proxy:3128")
	t.Setenv("some_proxy_x", "no")
	for name, test := range map[string]struct {
		files map[string]string // content by path; "+x" makes a program, "socket" a socket
		want  host.Facts
	}{
		"nothing there": {},
		"a machine": {
			files: map[string]string{
				"etc/hostname":                       "# the name\n\n  Worker-1 \n",
				"etc/machine-id":                     "0123456789abcdef\n",
				"var/lib/dbus/machine-id":            "other\n",
				"run/systemd/system/x":               "",
				"run/systemd/resolve/resolv.conf":    "",
				"usr/bin/kubelet":                    "+x",
				"usr/share/ca-certificates/x":        "",
				"usr/local/share/ca-certificates":    "not a directory",
				"etc/pki/tls/certs/x":                "",
				"var/run/containerd/containerd.sock": "socket",
				"var/run/cri-dockerd.sock":           "socket",
			},
			want: host.Facts{
				Hostname: "Worker-1", MachineID: "0123456789abcdef", ResolvedActive: true, KubeletPath: "/usr/bin/kubelet",
				CRISockets: []string{"unix:///var/run/containerd/containerd.sock", "unix:///var/run/cri-dockerd.sock"},
				CADirs:     []string{"/etc/pki/tls/certs", "/usr/share/ca-certificates"},
			},
		},
		"another machine": {
			files: map[string]string{
				"var/lib/dbus/machine-id":  "other\n",
				"usr/bin/kubelet":          "not a program",
				"opt/bin/kubelet":          "+x",
				"var/run/crio/crio.sock":   "not a socket",
				"var/run/cri-dockerd.sock": "",
			},
			want: host.Facts{MachineID: "other", KubeletPath: "/opt/bin/kubelet"},
		},
		"an empty machine id is one": {
			files: map[string]string{"etc/machine-id": "", "var/lib/dbus/machine-id": "other\n"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h, root := machine(t)
			for path, content := range test.files {
				path = filepath.Join(root, path)
				must(t, os.MkdirAll(filepath.Dir(path), 0o755))
				switch content {
				case "socket":
					l, err := net.Listen("unix", path)
					must(t, err)
					t.Cleanup(func() { must(t, l.Close()) })
				case "+x":
					must(t, os.WriteFile(path, nil, 0o755))
				default:
					must(t, os.WriteFile(path, []byte(content), 0o644))
				}
			}
			before := list(t, root)
			got, err := h.Facts(t.Context())
			must(t, err)
			test.want.EffectiveUID = os.Geteuid()
			test.want.ProxyEnv = []string{"Some_Proxy=http://proxy:3128"}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(before, list(t, root)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFactsOfTheLiveMachine(t *testing.T) {
	got, err := open(t, "").Facts(t.Context())
	must(t, err)
	name, err := os.Hostname()
	must(t, err)
	if got.Hostname != name || len(got.Addresses) == 0 || got.EffectiveUID != os.Geteuid() {
		t.Errorf("%+v", got)
	}
}

func TestDefaultAddress(t *testing.T) {
	h, _ := machine(t)
	if addr, err := h.DefaultAddress(netip.Addr{}); addr.IsValid() {
		t.Errorf("below a root: %s", addr)
	} else {
		wantClass(t, err, fault.InvalidConfig)
	}

	_, err := h.LoopbackAddress(netip.Addr{})
	wantClass(t, err, fault.InvalidConfig)

	// What the running machine has is its own business; it may have none.
	own, err := net.InterfaceAddrs()
	must(t, err)
	for _, prefer := range []netip.Addr{{}, netip.IPv4Unspecified(), netip.IPv6Unspecified()} {
		addr, err := open(t, "").DefaultAddress(prefer)
		if err != nil {
			wantClass(t, err, fault.InvalidConfig)
			continue
		}
		mine := slices.ContainsFunc(own, func(a net.Addr) bool {
			prefix, err := netip.ParsePrefix(a.String())
			return err == nil && prefix.Addr() == addr
		})
		if !mine || !addr.IsGlobalUnicast() {
			t.Errorf("preferring %s: %s is not one of %v", prefer, addr, own)
		}
	}
}
