package e2e

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kubejoin/kubejoin/e2e/lab"
)

// What must not become a control plane is refused before anything is changed, here, in the cluster or in etcd. The message names
// the thing, and there is a way out.
func refusedControlPlane(t *testing.T, f *fixture) {
	first, m := f.cluster.ControlPlane, f.controlPlane(t)
	must(t, m.Run(t.Context(), "systemctl stop kubelet"))
	f.configureControlPlane(t, m)
	data, err := m.ReadFile("/etc/join.yaml")
	if err != nil {
		t.Fatal(err)
	}
	config, key := string(data), f.cluster.CertificateKey
	kubectl := func(args string) string { return "kubectl --namespace=kube-system " + args + " >/dev/null" }
	// edit changes the cluster's configuration by sed.
	edit := func(script string) string {
		return kubectl("get configmap kubeadm-config --output=yaml | sed -E '" + script + "' | kubectl replace --filename=-")
	}
	const backup = "/root/refused.yaml"
	restore := "kubectl replace --force --filename=" + backup + " >/dev/null"
	tests := []struct {
		name, old, new string // of the configuration
		before, after  string // on the first control plane
		prepare, undo  string // on the machine
		code           int
		says           string // an address, or the name of a finding
	}{
		{
			name: "no controlPlaneEndpoint", before: edit("/controlPlaneEndpoint:/d"), after: restore,
			code: 4, says: "configmap kube-system/kubeadm-config",
		},
		{
			name: "a cluster that is too old", before: edit("s/(kubernetesVersion: v1)[.][0-9]+/\\1.30/"), after: restore,
			code: 4, says: "1.30",
		},
		{
			name: "a cluster that is too new", before: edit("s/(kubernetesVersion: v1)[.][0-9]+/\\1.39/"), after: restore,
			code: 4, says: "1.39",
		},
		{name: "certificate key of another length", old: key, new: key[2:], code: 3, says: "controlPlane.certificateKey"},
		{name: "certificate key that is none", old: key, new: strings.Repeat("z", len(key)), code: 3, says: "controlPlane.certificateKey"},
		{name: "certificate key of another upload", old: key, new: hex.EncodeToString([]byte(strings.Repeat("k", 32))), code: 9, says: "secret:kube-system/kubeadm-certs"},
		{name: "no certificate key", old: "  certificateKey: " + key + "\n", new: "", code: 4, says: "kubeadm init phase upload-certs"},
		{
			name: "certificates that have expired", before: kubectl("delete secret kubeadm-certs"), after: restore,
			code: 4, says: "kubeadm init phase upload-certs",
		},
		{name: "another machine's address", old: "advertiseAddress: " + m.Address, new: "advertiseAddress: " + first.Address, code: 4, says: "AdvertiseAddress"},
		{
			name: "another machine's name", old: "timeouts:\n", new: "nodeRegistration:\n  name: " + first.Name + "\ntimeouts:\n",
			code: 7, says: "node:" + first.Name,
		},
		{
			name: "etcd cannot be reached", prepare: "ip rule add ipproto tcp dport 2379 unreachable", undo: "ip rule delete ipproto tcp dport 2379 unreachable",
			code: 4, says: "EtcdUnreachable",
		},
		{name: "a port is taken", prepare: "systemd-run --unit=taken socat TCP-LISTEN:2380,fork,reuseaddr /dev/null && " + listens("2380"), undo: "systemctl stop taken", code: 4, says: "2380"},
	}
	members := func() string { return fmt.Sprint(f.members(t)) }
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			must(t, first.RunSecret(t.Context(), "kubectl --namespace=kube-system get configmap/kubeadm-config secret/kubeadm-certs --output=yaml >"+backup))
			if tt.before != "" {
				must(t, first.Run(t.Context(), tt.before))
			}
			if tt.after != "" {
				t.Cleanup(func() { must(t, first.Run(context.Background(), tt.after)) })
			}
			if tt.prepare != "" {
				must(t, m.Run(t.Context(), tt.prepare))
				t.Cleanup(func() { must(t, m.Run(context.Background(), tt.undo)) })
			}
			if tt.old != "" && !strings.Contains(config, tt.old) {
				t.Fatal("the configuration is another one")
			}
			if err := m.WriteFile("/etc/join.yaml", []byte(strings.Replace(config, tt.old, tt.new, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			before := members()
			s := f.refused(t, m, tt.code)
			if after := members(); after != before {
				t.Errorf("etcd's members were %s, and are %s", before, after)
			}
			if r := m.Run(t.Context(), "test ! -e /var/lib/etcd -a ! -e /etc/kubernetes/pki"); r.Code != 0 {
				t.Error("there is something of a control plane on the machine")
			}
			if !strings.Contains(s.String(), tt.says) {
				t.Errorf("does not say %q:\n%s", tt.says, s)
			}
			if s.Failure.Hint == "" && len(s.Failure.Problems) == 0 && !strings.Contains(s.Stdout, `"hint":`) {
				t.Errorf("does not tell a way out:\n%s", s)
			}
			if s.Took > 20*time.Second {
				t.Errorf("took %s", s.Took)
			}
		})
	}
	t.Run("and then it joins", func(t *testing.T) {
		if err := m.WriteFile("/etc/join.yaml", data, 0o600); err != nil {
			t.Fatal(err)
		}
		f.becomes(t, m)
		f.healthy(t, first, m)
	})
}

// What stands in a component's way is told within seconds, in the words of whoever refuses. What did serve is left as it was.
func brokenControlPlane(t *testing.T, f *fixture) {
	first, m := f.cluster.ControlPlane, f.controlPlane(t)
	const soon = 40 * time.Second // kubeadm waits four minutes, and then says that it timed out
	within := soon
	patch := func(t *testing.T, text string) {
		t.Helper()
		must(t, m.Run(t.Context(), "rm -rf /etc/kubejoin-patches && mkdir /etc/kubejoin-patches"))
		if text != "" {
			put(t, m, "/etc/kubejoin-patches/kube-scheduler+json.json", text)
		}
	}
	const flag = `[{"op": "add", "path": "/spec/containers/0/command/-", "value": "--no-such-flag"}]`
	const image = `[{"op": "replace", "path": "/spec/containers/0/image", "value": "registry.invalid/kube-scheduler:v0"}]`
	patch(t, "")
	must(t, m.Run(t.Context(), "echo 127.0.0.1 registry.k8s.io registry.invalid >>/etc/hosts")) // nobody listens there
	f.configureControlPlane(t, m, "patches:\n  directory: /etc/kubejoin-patches\n")
	fails := func(t *testing.T, code int, says ...string) said {
		t.Helper()
		s := run(t, m, "root", apply, code)
		if s.Took > within {
			t.Errorf("took %s", s.Took)
		}
		for _, text := range says {
			if !strings.Contains(s.String(), text) {
				t.Errorf("does not say %q:\n%s", text, s)
			}
		}
		return s
	}

	t.Run("an image is missing", func(t *testing.T) {
		before := fmt.Sprint(f.members(t))
		image := strings.TrimSpace(must(t, m.Run(t.Context(), "ctr --namespace=k8s.io images list --quiet | grep '^registry.k8s.io/etcd:'")).Stdout)
		ctr := func(command, names string) {
			must(t, m.Run(t.Context(), "ctr --namespace=k8s.io images "+command+" "+names))
		}
		const kept = "registry.k8s.io/kept:v0"
		ctr("tag", image+" "+kept)
		ctr("remove --sync", image)
		missing := func() bool { // the runtime sees such a change in its own time
			return parse(t, m.Run(t.Context(), plan+" -o json")).change("image:"+image).Action != ""
		}
		until(t, "the image is missing", missing)
		fails(t, 4, image, "connection refused")
		if after := fmt.Sprint(f.members(t)); after != before {
			t.Errorf("etcd's members were %s, and are %s", before, after)
		}
		ctr("tag", kept+" "+image)
		until(t, "the image is back", func() bool { return !missing() })
		ctr("remove", kept)
	})
	joins := t.Run("a container exits", func(t *testing.T) {
		patch(t, flag)
		fails(t, 11, "static-pod:kube-scheduler", "no-such-flag", "has joined")
		patch(t, "")
		f.becomes(t, m)
		f.healthy(t, first, m)
	})
	if !joins {
		return
	}
	for _, tt := range []struct {
		name, patch string
		code        int
		says        []string
		within      time.Duration
	}{
		// After four starts, which the kubelet puts off by half a minute.
		{"a changed manifest is put back", flag, 11, []string{"static-pod:kube-scheduler", "no-such-flag", "back in place"}, time.Minute},
		{"an image that there is not changes no manifest", image, 4, []string{"registry.invalid/kube-scheduler:v0", "connection refused"}, soon},
	} {
		t.Run(tt.name, func(t *testing.T) {
			within = tt.within
			before, err := m.ReadFile("/etc/kubernetes/manifests/kube-scheduler.yaml")
			if err != nil {
				t.Fatal(err)
			}
			patch(t, tt.patch)
			fails(t, tt.code, tt.says...)
			after, err := m.ReadFile("/etc/kubernetes/manifests/kube-scheduler.yaml")
			if err != nil || string(after) != string(before) {
				t.Errorf("%v: the manifest is another one:\n%s", err, after)
			}
			patch(t, "")
			f.becomes(t, m) // which may have to wait until the pod of before is there again
			f.healthy(t, first, m)
		})
	}
	t.Run("a port is taken", func(t *testing.T) {
		must(t, m.Run(t.Context(), "mv /etc/kubernetes/manifests/kube-scheduler.yaml /root/"))
		until(t, "the scheduler has ended", func() bool { return m.Run(t.Context(), "pgrep -x kube-scheduler").Code == 1 })
		must(t, m.Run(t.Context(), "systemd-run --unit=taken socat TCP-LISTEN:10259,fork,reuseaddr /dev/null && "+listens("10259")))
		p, err := m.Start(t.Context(), "root", apply)
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		until(t, "apply says that the port is taken", func() bool {
			return strings.Contains(p.Stdout()+p.Stderr(), "a port that it needs is taken") || strings.Contains(p.Stdout()+p.Stderr(), "10259")
		})
		if took := time.Since(begin); took > soon {
			t.Errorf("said after %s", took)
		}
		must(t, m.Run(t.Context(), "systemctl stop taken"))
		if r := p.Wait(); r.Code == 4 { // it was said before anything was done
			f.becomes(t, m)
		} else if r.Code != 0 {
			t.Errorf("exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
		}
		f.converged(t, m)
		f.healthy(t, first, m)
	})
}

// members are etcd's, as text.
func (f *fixture) members(t *testing.T) []lab.Member {
	t.Helper()
	members, err := f.cluster.Members(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return members
}
