package e2e

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/e2e/lab"
)

// A changed configuration of a control plane that serves changes what belongs to it, or nothing that serves.
func changedControlPlane(t *testing.T, f *fixture) {
	first, m := f.cluster.ControlPlane, f.controlPlane(t)
	f.configureControlPlane(t, m)
	f.becomes(t, m)
	f.healthy(t, first, m)
	data, err := m.ReadFile("/etc/join.yaml")
	if err != nil {
		t.Fatal(err)
	}
	config := string(data)
	write := func(t *testing.T, config string) {
		t.Helper()
		if err := m.WriteFile("/etc/join.yaml", []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	withPort := func(port string) string {
		return strings.Replace(config, "localAPIEndpoint:\n", "localAPIEndpoint:\n    bindPort: "+port+"\n", 1)
	}
	serves := func(t *testing.T, port string) {
		t.Helper()
		f.kubectl(t, "--server=https://%s get --raw /readyz", m.HostPort(port))
		for _, name := range []string{"controller-manager", "scheduler", "kubelet"} {
			must(t, m.Run(t.Context(), fmt.Sprintf("grep 'server: https://%s' /etc/kubernetes/%s.conf", m.HostPort(port), name)))
		}
	}
	port := []string{
		"restart static-pod:kube-controller-manager intent", "restart static-pod:kube-scheduler intent",
		"update kubeconfig:/etc/kubernetes/controller-manager.conf intent", "update kubeconfig:/etc/kubernetes/kubelet.conf intent",
		"update kubeconfig:/etc/kubernetes/scheduler.conf intent", "update static-pod:kube-apiserver drift",
	}

	t.Run("bindPort", func(t *testing.T) {
		write(t, withPort("7443"))
		var s said
		f.unchanged(t, m, func() { s = run(t, m, "root", plan, 2) })
		got := s.steps()
		slices.Sort(got)
		if diff := cmp.Diff(port, got); diff != "" {
			t.Errorf("plan (-want +got):\n%s\n%s", diff, s)
		}
		run(t, m, "root", apply, 0)
		f.ready(t, m)
		f.inSync(t, m)
		serves(t, "7443")
	})
	t.Run("and back", func(t *testing.T) {
		write(t, config)
		f.becomes(t, m)
		serves(t, "6443")
		f.healthy(t, first, m)
	})
	t.Run("a bindPort that is taken", func(t *testing.T) {
		must(t, m.Run(t.Context(), "systemd-run --unit=taken socat TCP-LISTEN:7443,fork,reuseaddr /dev/null && "+listens("7443")))
		stop := func() { must(t, m.Run(context.Background(), "systemctl stop taken")) }
		write(t, withPort("7443"))
		var s said
		f.unchanged(t, m, func() { s = run(t, m, "root", apply, 4) })
		if !s.found("Port-7443", "") {
			t.Errorf("not found:\n%s", s)
		}
		// Nobody looked: it turns out when the API server starts. Whoever asks it stays where it is.
		s = run(t, m, "root", apply+" --ignore-preflight-errors=Port-7443", 11)
		if !strings.Contains(s.String(), "back in place") {
			t.Errorf("not put back:\n%s", s)
		}
		stop()
		write(t, config)
		f.becomes(t, m)
		serves(t, "6443")
		f.healthy(t, first, m)
	})
	t.Run("two manifests that do not serve", func(t *testing.T) {
		read := func() string {
			return must(t, m.Run(t.Context(), "cat /etc/kubernetes/manifests/kube-controller-manager.yaml /etc/kubernetes/manifests/kube-scheduler.yaml")).Stdout
		}
		before := read()
		const flag = `[{"op": "add", "path": "/spec/containers/0/command/-", "value": "--no-such-flag"}]`
		for _, name := range []string{"kube-controller-manager", "kube-scheduler"} {
			put(t, m, "/etc/kubejoin-patches/"+name+"+json.json", flag)
		}
		write(t, config+"patches:\n  directory: /etc/kubejoin-patches\n")
		s := run(t, m, "root", apply, 11)
		for _, name := range []string{"kube-controller-manager", "kube-scheduler"} {
			if e := s.Failure.about("static-pod:" + name); !strings.Contains(e.Message, "back in place") {
				t.Errorf("%s is not put back:\n%s", name, s)
			}
		}
		if read() != before {
			t.Error("a manifest is another one")
		}
		write(t, config)
		f.becomes(t, m)
		f.healthy(t, first, m)
	})
	t.Run("another address", func(t *testing.T) {
		const last = "250"
		address := m.Address[:strings.LastIndex(m.Address, ".")+1] + last
		must(t, m.Run(t.Context(), "ip address add "+address+"/24 dev host0"))
		write(t, strings.Replace(config, "advertiseAddress: "+m.Address, "advertiseAddress: "+address, 1))
		s := f.refused(t, m, 7)
		if !strings.Contains(s.String(), "remove-etcd-member") {
			t.Errorf("does not say what has to be allowed:\n%s", s)
		}
		run(t, m, "root", apply+" --allow=remove-etcd-member,wipe-etcd-data", 0)
		f.inSync(t, m)
		want := []string{first.Address, address}
		if got := peers(f.members(t)); !slices.Equal(got, want) {
			t.Errorf("etcd's members are at %q, not %q", got, want)
		}
		f.kubectl(t, "--server=https://%s get --raw /readyz", net.JoinHostPort(address, "6443"))

		write(t, config)
		run(t, m, "root", apply+" --allow=remove-etcd-member,wipe-etcd-data", 0)
		f.inSync(t, m)
		f.healthy(t, first, m)
	})
}

// peers are the hosts of members' peer URLs.
func peers(members []lab.Member) []string {
	var hosts []string
	for _, m := range members {
		host := strings.TrimSuffix(strings.TrimPrefix(m.Peer, "https://"), ":2380")
		hosts = append(hosts, host)
	}
	return hosts
}
