package e2e

import (
	"strings"
	"testing"
)

const dropIn = "file:/etc/systemd/system/kubelet.service.d/20-kubejoin.conf"

// The kubelet's package has a unit without any flag; kubeadm's package, which adds them, is not needed.
func TestKubeletPackageAlone(t *testing.T) {
	t.Parallel()
	f := use(t)
	m := f.worker(t)
	must(t, m.Run(t.Context(), "rm -r /usr/lib/systemd/system/kubelet.service.d && systemctl daemon-reload && systemctl stop kubelet"))
	f.configure(t, m)
	if c := run(t, m, "root", plan, 2).change(dropIn); c.Action != "create" || !strings.Contains(c.Summary, "--bootstrap-kubeconfig") {
		t.Errorf("the plan has %+v", c)
	}
	run(t, m, "root", apply, 0)
	f.ready(t, m)
	f.inSync(t, m)

	must(t, m.Run(t.Context(), "echo '# edited' >> "+strings.TrimPrefix(dropIn, "file:")))
	f.pending(t, m, "update "+dropIn+" drift", "restart "+service+" drift")
	if !f.repair(t, m) {
		t.Error("the kubelet was not restarted")
	}
	f.ready(t, m)

	// When kubeadm's package comes later, nothing has to change.
	must(t, m.Run(t.Context(), "mkdir -p /usr/lib/systemd/system/kubelet.service.d && "+
		"sed '/^#/d' "+strings.TrimPrefix(dropIn, "file:")+" > /usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf && systemctl daemon-reload"))
	f.inSync(t, m)
}

// Where nobody but the user can start the kubelet, the files are written, a finding says so, and nothing is waited for.
func TestNoInitSystem(t *testing.T) {
	t.Parallel()
	f := use(t)
	m := f.worker(t)
	must(t, m.Run(t.Context(), "systemctl stop kubelet"))
	f.configure(t, m)
	hidden := func(command string) string {
		return "unshare -m sh -c 'mount -t tmpfs tmpfs /run/systemd && " + command + " -o json'"
	}
	s := parse(t, must(t, m.Run(t.Context(), hidden(apply))))
	if !s.found("NoInitSystem", service) || s.Outcome == nil {
		t.Errorf("no finding:\n%s", s)
	}
	for _, file := range []string{"/etc/kubernetes/pki/ca.crt", "/var/lib/kubelet/config.yaml", "/etc/kubernetes/bootstrap-kubelet.conf"} {
		must(t, m.Run(t.Context(), "test -s "+file))
	}
	if s := parse(t, must(t, m.Run(t.Context(), hidden("kubejoin plan -f /etc/join.yaml --detailed-exitcode")))); len(s.steps()) > 0 {
		t.Errorf("something is left to do:\n%s", s)
	}
	// The user starts it.
	must(t, m.Run(t.Context(), "systemctl start kubelet"))
	f.ready(t, m)
	run(t, m, "root", apply, 0) // removes the bootstrap credential
	f.inSync(t, m)
	leftovers(t, m)
}
