package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/e2e/lab"
)

// Whatever happens to a file gives that file's change, and a restart of the kubelet only if the kubelet reads the file.
func TestDriftOfFiles(t *testing.T) {
	t.Parallel()
	f := use(t)
	m, _ := f.joined(t)
	files := []struct {
		address string
		edit    string // of its content, as a command
		restart bool
	}{
		{caFile, "", false}, // an edit is another CA: see TestConflicts
		{instanceFile, "sed -i s/containerd/other/", false},
		{configFile, "sed -i 's/^clusterDomain:.*/clusterDomain: other.example/'", true},
		{flagsFile, `sed -i 's/="/="--v=7 /'`, true},
	}
	for _, file := range files {
		name := strings.TrimPrefix(file.address, "file:")
		damages := []struct {
			name, command  string
			action, reason string
			content        bool
		}{
			{"missing", "rm", "create", "missing", true},
			{"empty", "truncate -s0", "update", "drift", true},
			{"truncated", "truncate -s20", "update", "drift", true},
			{"edited", file.edit, "update", "drift", true},
			{"with another mode", "chmod 0666", "update", "drift", false},
			{"of another owner", "chown nobody", "update", "drift", false},
		}
		for _, damage := range damages {
			if damage.command == "" {
				continue
			}
			t.Run(name[strings.LastIndex(name, "/")+1:]+" "+damage.name, func(t *testing.T) {
				must(t, m.Run(t.Context(), damage.command+" "+name))
				want := []string{damage.action + " " + file.address + " " + damage.reason}
				restarts := file.restart && damage.content
				if restarts {
					want = append(want, "restart "+service+" "+damage.reason)
				}
				f.pending(t, m, want...)
				if restarted := f.repair(t, m); restarted != restarts {
					t.Errorf("kubelet restarted: %t, want %t", restarted, restarts)
				}
			})
		}
	}
}

// What changes the bytes of a file but not its meaning is no drift. Only the kubelet cannot know that: it restarts if it may
// have read something else.
func TestDriftWithoutMeaning(t *testing.T) {
	t.Parallel()
	f := use(t)
	m, _ := f.joined(t)
	tests := []struct {
		name, command string
		want          []string
	}{
		{"comment in the CA", "sed -i '1i # a comment' /etc/kubernetes/pki/ca.crt", nil},
		{"comment in the instance's configuration", "sed -i '1i # a comment' /var/lib/kubelet/instance-config.yaml", nil},
		{"CA written again", "touch /etc/kubernetes/pki/ca.crt", nil},
		{"kubelet's configuration written after it started", "touch /var/lib/kubelet/config.yaml", []string{"restart " + service + " drift"}},
		{"kubelet's flags written after it started", "touch /var/lib/kubelet/kubeadm-flags.env", []string{"restart " + service + " drift"}},
		{"comment in the kubelet's configuration", "sed -i '1i # a comment' /var/lib/kubelet/config.yaml", []string{"restart " + service + " drift"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			must(t, m.Run(t.Context(), tt.command))
			if tt.want == nil {
				f.inSync(t, m)
				return
			}
			f.pending(t, m, tt.want...)
			f.repair(t, m)
		})
	}
	t.Run("a further CA is mentioned", func(t *testing.T) {
		appendTo(t, m, "/etc/kubernetes/pki/ca.crt", otherCA(t).pem)
		if s := f.inSync(t, m); !s.found("Advisory", caFile) {
			t.Errorf("not mentioned:\n%s", s)
		}
	})
}

func TestDriftOfService(t *testing.T) {
	t.Parallel()
	f := use(t)
	m, _ := f.joined(t)
	tests := []struct {
		name, command string
		want          []string
		fields        []string
		restart       bool
	}{
		{"stopped", "systemctl stop kubelet", []string{"start " + service + " drift"}, []string{"active"}, true},
		{"disabled", "systemctl disable --quiet kubelet", []string{"update " + service + " drift"}, []string{"enabled"}, false},
		{"stopped and disabled", "systemctl disable --quiet --now kubelet", []string{"start " + service + " drift"}, []string{"enabled", "active"}, true},
		{
			"stopped, and its flags deleted", "systemctl stop kubelet; rm /var/lib/kubelet/kubeadm-flags.env",
			[]string{"create " + flagsFile + " missing", "start " + service + " missing"}, []string{"active"}, true,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			must(t, m.Run(t.Context(), tt.command))
			s := f.pending(t, m, tt.want...)
			var fields []string
			for _, field := range s.change(service).Fields {
				fields = append(fields, field.Path)
			}
			if diff := cmp.Diff(tt.fields, fields); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
			if restarted := f.repair(t, m); restarted != tt.restart {
				t.Errorf("kubelet restarted: %t, want %t", restarted, tt.restart)
			}
			must(t, m.Run(t.Context(), "systemctl is-enabled kubelet && systemctl is-active kubelet"))
		})
	}
	t.Run("masked, which is somebody's decision", func(t *testing.T) {
		must(t, m.Run(t.Context(), "systemctl mask --quiet --runtime kubelet"))
		var s said
		f.unchanged(t, m, func() { s = run(t, m, "root", plan, 4) })
		if !s.found("Service-kubelet", service) {
			t.Errorf("not mentioned:\n%s", s)
		}
		f.refused(t, m, 4)
		must(t, m.Run(t.Context(), "systemctl unmask --quiet --runtime kubelet"))
		f.inSync(t, m)
	})
}

// A changed configuration changes what depends on it, with the configuration as the reason.
func TestChangedConfiguration(t *testing.T) {
	t.Parallel()
	f := use(t)
	m, discovery := f.joined(t)
	configure := func(t *testing.T, more string) {
		t.Helper()
		put(t, m, "/etc/join.yaml", joinConfig(discovery, more))
	}
	kubelet := []string{"update " + configFile + " intent", "restart " + service + " intent"}
	tests := []struct {
		name, more string
		want       []string
		shows      string // a command that shows it
	}{
		{
			"an argument of the kubelet", "nodeRegistration:\n  kubeletExtraArgs:\n  - {name: v, value: \"3\"}\n",
			[]string{"update " + flagsFile + " intent", "restart " + service + " intent"},
			"tr '\\0' '\\n' </proc/$(systemctl show -P MainPID kubelet)/cmdline | grep -x -e --v=3",
		},
		{
			"another path of the runtime's socket", "nodeRegistration:\n  criSocket: unix:///run/containerd/containerd.sock\n",
			[]string{"update " + instanceFile + " intent", kubelet[0], kubelet[1]},
			"grep -x 'containerRuntimeEndpoint: unix:///run/containerd/containerd.sock' /var/lib/kubelet/config.yaml",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			configure(t, tt.more)
			f.pending(t, m, tt.want...)
			if !f.repair(t, m) {
				t.Error("the kubelet was not restarted")
			}
			must(t, m.Run(t.Context(), tt.shows))
			configure(t, "") // which is a change too, but for the socket: a joined node stays with its own
			run(t, m, "root", apply, 0)
			f.inSync(t, m)
		})
	}
	t.Run("taints, which the kubelet sets only when it registers", func(t *testing.T) {
		configure(t, "nodeRegistration:\n  taints:\n  - {key: lab, effect: NoSchedule}\n")
		f.pending(t, m, "update "+flagsFile+" intent", "restart "+service+" intent")
		f.repair(t, m)
		configure(t, "")
		f.repair(t, m)
	})

	const patches = "patches:\n  directory: /etc/patches\n"
	t.Run("patches", func(t *testing.T) {
		tests := []struct {
			name, file, content string
			pods                int
		}{
			{"merge", "kubeletconfiguration+merge.yaml", "maxPods: 41\n", 41},
			{"changed", "kubeletconfiguration+merge.yaml", "maxPods: 42\n", 42},
			{"strategic, after it by name", "kubeletconfiguration1.yaml", "maxPods: 43\n", 43},
			{"json, after both", "kubeletconfiguration2+json.json", `[{"op": "replace", "path": "/maxPods", "value": 44}]`, 44},
		}
		configure(t, patches)
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				put(t, m, "/etc/patches/"+tt.file, tt.content)
				s := f.pending(t, m, kubelet...)
				if !strings.Contains(s.change(configFile).Diff, fmt.Sprintf("+maxPods: %d\n", tt.pods)) {
					t.Errorf("not in the diff:\n%s", s)
				}
				f.repair(t, m)
				f.eventually(t, fmt.Sprint(tt.pods), "get node %s --output=jsonpath={.status.capacity.pods}", m.Name)
			})
		}
		t.Run("as a Kubernetes volume presents them, each applied once", func(t *testing.T) {
			must(t, m.Run(t.Context(), `rm -r /etc/patches && mkdir -p /etc/patches/..2026 && cd /etc/patches && ln -s ..2026 ..data &&
				echo '[{"op": "add", "path": "/clusterDNS/-", "value": "10.96.0.11"}]' >..data/kubeletconfiguration+json.json &&
				ln -s ..data/kubeletconfiguration+json.json .`))
			f.pending(t, m, kubelet...)
			f.repair(t, m)
			if r := must(t, m.Run(t.Context(), "grep -c 10.96.0.11 /var/lib/kubelet/config.yaml")); r.Stdout != "1\n" {
				t.Errorf("applied %s times", r.Stdout)
			}
		})
		t.Run("behind a link", func(t *testing.T) {
			must(t, m.Run(t.Context(), "mv /etc/patches /etc/real && ln -s real /etc/patches"))
			f.inSync(t, m)
		})
		t.Run("gone", func(t *testing.T) {
			configure(t, "")
			f.pending(t, m, kubelet...)
			f.repair(t, m)
		})
	})
	t.Run("patches that cannot be used", func(t *testing.T) {
		tests := []struct{ name, file, content string }{
			{"a name that matches no target", "kubelet+merge.yaml", "maxPods: 42\n"},
			{"a type that is none", "kubeletconfiguration+patch.yaml", "maxPods: 42\n"},
			{"a path that is not there", "kubeletconfiguration+json.yaml", "[{op: replace, path: /no/such, value: 1}]\n"},
			{"no YAML", "kubeletconfiguration+merge.yaml", "maxPods: [\n"},
			{"a field of the wrong type", "kubeletconfiguration+merge.yaml", "maxPods: many\n"},
		}
		configure(t, patches)
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				must(t, m.Run(t.Context(), "rm -rf /etc/patches"))
				put(t, m, "/etc/patches/"+tt.file, tt.content)
				s := f.refused(t, m, 3)
				if all := fmt.Sprintf("%+v", *s.Failure); !strings.Contains(all, tt.file) {
					t.Errorf("the file is not named: %s", all)
				}
			})
		}
	})
}

// The cluster's kubelet-config is part of what a node should be. Not beside others: it is every node's.
func TestChangedKubeletConfigOfCluster(t *testing.T) {
	f := use(t)
	m, _ := f.joined(t)
	set := func(t *testing.T, from, to string) {
		t.Helper()
		var cm struct{ Data struct{ Kubelet string } }
		if err := json.Unmarshal([]byte(f.kubectl(t, "get configmap kubelet-config --namespace=kube-system --output=json")), &cm); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(cm.Data.Kubelet, from) {
			t.Fatalf("no %q in %s", from, cm.Data.Kubelet)
		}
		patch, err := json.Marshal(map[string]any{"data": map[string]string{"kubelet": strings.Replace(cm.Data.Kubelet, from, to, 1)}})
		if err != nil {
			t.Fatal(err)
		}
		put(t, f.cluster.ControlPlane, "/tmp/patch.json", string(patch))
		f.kubectl(t, "patch configmap kubelet-config --namespace=kube-system --type=merge --patch-file=/tmp/patch.json")
	}
	for _, change := range [][2]string{{"staticPodPath:", "maxPods: 77\nstaticPodPath:"}, {"maxPods: 77\n", ""}} {
		set(t, change[0], change[1])
		s := f.pending(t, m, "update "+configFile+" intent", "restart "+service+" intent")
		if !slices.ContainsFunc(s.change(configFile).Fields, func(f struct{ Path, Before, After string }) bool { return f.Path == "maxPods" }) {
			t.Errorf("maxPods is not named:\n%s", s)
		}
		f.repair(t, m)
	}
}

// eventually waits until kubectl prints something.
func (f *fixture) eventually(t *testing.T, want, format string, args ...any) {
	t.Helper()
	until(t, "kubectl says "+want, func() bool { return strings.TrimSpace(f.kubectl(t, format, args...)) == want })
}

func appendTo(t *testing.T, m *lab.Machine, name, text string) {
	t.Helper()
	data, err := m.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	put(t, m, name, string(data)+text)
}
