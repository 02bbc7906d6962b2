package e2e

import (
	"strings"
	"testing"
)

// Where OpenRC runs the services, its commands do what D-Bus does elsewhere: a worker joins, a second run does nothing, and
// whatever happens to the service or its files is put right.
func TestOpenRC(t *testing.T) {
	t.Parallel()
	f := use(t)
	l, err := f.OpenRC(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := f.workerOf(t, l)
	must(t, m.Run(t.Context(), "test ! -e /run/systemd/system && rc-service containerd status"))
	f.configure(t, m)
	pid := func() string {
		return strings.TrimSpace(must(t, m.Run(t.Context(), "pgrep -x kubelet")).Stdout)
	}

	s := run(t, m, "root", plan, 2)
	if c := s.change(service); c.Action != "start" || len(c.Fields) != 2 {
		t.Errorf("the plan has %+v", c)
	}
	run(t, m, "root", apply, 0)
	f.ready(t, m)
	must(t, m.Run(t.Context(), "rc-update show default | grep -w kubelet"))
	leftovers(t, m)

	converged := func() {
		t.Helper()
		before := pid()
		run(t, m, "root", plan, 0)
		wantSteps(t, run(t, m, "root", apply, 0))
		if after := pid(); after != before {
			t.Errorf("the kubelet's pid was %s, and is %s", before, after)
		}
	}
	converged()
	for _, tt := range []struct {
		name, command string
		want          []string
		restart       bool
	}{
		{"stopped", "rc-service kubelet stop", []string{"start " + service + " drift"}, true},
		{"disabled", "rc-update delete kubelet default", []string{"update " + service + " drift"}, false},
		{
			"another configuration", "sed -i 's/^clusterDomain:.*/clusterDomain: other.example/' /var/lib/kubelet/config.yaml",
			[]string{"update " + configFile + " drift", "restart " + service + " drift"}, true,
		},
		{"configuration written after it started", "sleep 1; touch /var/lib/kubelet/config.yaml", []string{"restart " + service + " drift"}, true},
		{"flags are missing", "rm /var/lib/kubelet/kubeadm-flags.env", []string{"create " + flagsFile + " missing", "restart " + service + " missing"}, true},
		{"killed, and started again by its supervisor", "old=$(pgrep -x kubelet); kill -KILL $old; until now=$(pgrep -x kubelet) && [ $now != $old ]; do sleep 0.2; done", nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := pid()
			must(t, m.Run(t.Context(), tt.command))
			if tt.want != nil {
				wantSteps(t, run(t, m, "root", plan, 2), tt.want...)
				run(t, m, "root", apply, 0)
				if restarted := pid() != before; restarted != tt.restart {
					t.Errorf("kubelet restarted: %t, want %t", restarted, tt.restart)
				}
			}
			f.ready(t, m)
			converged()
			must(t, m.Run(t.Context(), "rc-service kubelet status && rc-update show default | grep -w kubelet"))
		})
	}
	t.Run("it cannot start", func(t *testing.T) {
		must(t, m.Run(t.Context(), "rc-service kubelet stop && mv /etc/init.d/kubelet /root/"))
		s := run(t, m, "root", plan, 4)
		if !s.found("Service-kubelet", "") {
			t.Errorf("not mentioned:\n%s", s)
		}
		must(t, m.Run(t.Context(), "mv /root/kubelet /etc/init.d/"))
		run(t, m, "root", apply, 0)
		converged()
	})
}
