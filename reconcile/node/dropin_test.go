package node

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/reconcile"
)

// With the kubelet's package alone the unit starts the kubelet without any
// flag; kubeadm's package adds them.
func TestDropIn(t *testing.T) {
	const packaged = "/usr/bin/kubelet --bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf --config=/var/lib/kubelet/config.yaml $KUBELET_KUBEADM_ARGS"
	address := FileAddress(DropInPath)
	tests := map[string]struct {
		execStart string
		files     []string
		there     string // content of the drop-in; "" is absent, "same" the right one
		want      reconcile.Action
		summary   string
	}{
		"kubeadm's package is there":     {packaged, []string{KubeletFlagsPath}, "", "", ""},
		"the kubelet's package alone":    {"/usr/bin/kubelet", nil, "", reconcile.Create, "the kubelet's unit lacks --kubeconfig, --config, /var/lib/kubelet/kubeadm-flags.env"},
		"flags from a file of variables": {"/usr/bin/kubelet $KUBELET_EXTRA_ARGS", nil, "", "", ""},
		"a wrapper":                      {"/usr/local/bin/start-kubelet --config=x", nil, "", "", ""},
		"bootstrapped without the flag":  {"/usr/bin/kubelet --kubeconfig=/etc/kubernetes/kubelet.conf --config=/var/lib/kubelet/config.yaml", []string{KubeletFlagsPath}, "", "", ""},
		"the flags' file is not read":    {strings.TrimSuffix(packaged, " $KUBELET_KUBEADM_ARGS"), nil, "", reconcile.Create, "lacks /var/lib/kubelet/kubeadm-flags.env"},
		"paths of somebody's own":        {"/usr/bin/kubelet --bootstrap-kubeconfig=/b --kubeconfig=/k --config /c ", []string{KubeletFlagsPath}, "", "", ""},
		"ours, and the unit is whole":    {packaged, []string{KubeletFlagsPath}, "same", "", ""},
		"ours, edited":                   {packaged, []string{KubeletFlagsPath}, "[Service]\n", reconcile.Update, "content differs"},
		"nothing is known of the unit":   {"", nil, "", "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := joined(t)
			m.services.state.ExecStart, m.services.state.EnvironmentFiles = tt.execStart, tt.files
			content := tt.there
			if content == "same" {
				content = string(dropIn("/usr/bin/kubelet"))
			}
			if content != "" {
				m.write(DropInPath, content)
			}
			m.services.state.StartedAt = m.services.state.StartedAt.AddDate(1, 0, 0) // after all files
			c := m.plan()
			if tt.want == "" {
				if len(c.Changes) > 0 {
					t.Errorf("%+v", c.Changes)
				}
				return
			}
			if len(c.Changes) != 2 || c.Changes[0].Address != address || c.Changes[0].Action != tt.want ||
				!strings.Contains(c.Changes[0].Summary, tt.summary) || c.Changes[1].Address != KubeletService || c.Changes[1].Because[0] != address {
				t.Errorf("%+v", c.Changes)
			}
		})
	}
}

// systemd reads the drop-in when it starts the kubelet: who may read or write it
// is no reason to do that again.
func TestDropInOwnership(t *testing.T) {
	for name, tt := range map[string]struct {
		act  func(t *testing.T, m *machine)
		want change
	}{
		"mode": {func(t *testing.T, m *machine) { m.must(os.Chmod(m.path(DropInPath), 0o666)) },
			change{FileAddress(DropInPath), reconcile.Update, reconcile.Drift, reconcile.NoDisruption, "", nil}},
		"owner": {func(t *testing.T, m *machine) {
			if os.Geteuid() != 0 {
				t.Skip("only root can give a file away")
			}
			m.must(os.Chown(m.path(DropInPath), 65534, 65534))
		}, change{FileAddress(DropInPath), reconcile.Update, reconcile.Drift, reconcile.NoDisruption, "", nil}},
		"leftover": {func(_ *testing.T, m *machine) {
			m.write("/etc/systemd/system/kubelet.service.d/.20-kubejoin.conf.kubejoin-tmp", "[Serv")
		},
			change{FileAddress(DropInPath), reconcile.Delete, reconcile.Drift, reconcile.NoDisruption, "", nil}},
	} {
		t.Run(name, func(t *testing.T) {
			m := joined(t)
			m.services.state.ExecStart, m.services.state.EnvironmentFiles = "/usr/bin/kubelet --kubeconfig=/k --config=/c", []string{KubeletFlagsPath}
			m.write(DropInPath, string(dropIn("/usr/bin/kubelet")))
			tt.act(t, m)
			if diff := cmp.Diff([]change{tt.want}, changesOf(m.plan())); diff != "" {
				t.Fatal(diff)
			}
			m.apply()
			if len(m.services.calls) > 0 {
				t.Errorf("the kubelet was touched: %v", m.services.calls)
			}
		})
	}
}
