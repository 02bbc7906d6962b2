package e2e

import (
	"strings"
	"testing"
)

// A saved plan is applied as it was shown, or not at all: whatever moved since is told, the first of it by name, and nothing is
// written. Not beside others: the cluster's kubelet-config is every node's.
func TestSavedPlan(t *testing.T) {
	f := use(t)
	m := f.worker(t)
	must(t, m.Run(t.Context(), "systemctl stop kubelet"))
	f.configure(t, m)
	const (
		file = "/root/plan.json"
		save = plan + " --out=" + file
		held = "kubejoin apply " + file
	)
	s := run(t, m, "root", save, 2)
	wantSteps(t, s, toJoin(m.Name)...)
	data, err := m.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	f.Canary.Saw("a saved plan", string(data))
	if r := must(t, m.Run(t.Context(), "stat --format=%a "+file)); r.Stdout != "600\n" {
		t.Errorf("mode %s", r.Stdout)
	}
	wantSteps(t, run(t, m, "root", held, 0), toJoin(m.Name)...)
	f.ready(t, m)
	f.inSync(t, m)
	f.unchanged(t, m, func() { run(t, m, "root", held, 7) }) // it has been applied

	// From here on there is one change to be made, and each time something else moves.
	must(t, m.Run(t.Context(), "chmod 0600 "+strings.TrimPrefix(caFile, "file:")))
	wantSteps(t, run(t, m, "root", save, 2), "update "+caFile+" drift")
	config, instance, flags := strings.TrimPrefix(configFile, "file:"), strings.TrimPrefix(instanceFile, "file:"), strings.TrimPrefix(flagsFile, "file:")
	const keep, back = "cp --preserve=all /etc/join.yaml /root/; ", "cp --preserve=all /root/join.yaml /etc/"
	tests := []struct {
		name, drift, undo string // on the machine
		flags             string
		says              []string // its address, and what moved
	}{
		{name: "a file edited", drift: "cp -p " + config + " /root/config && sed -i 's/rotateCertificates: true/rotateCertificates: false/' " + config,
			undo: "cp -p /root/config " + config, says: []string{configFile, "was right when the plan was made"}},
		{name: "a comment", drift: "cp -p " + instance + " /root/instance && echo '# a comment' >>" + instance, undo: "cp -p /root/instance " + instance,
			says: []string{instanceFile, "is not what it was"}},
		{name: "a file gone", drift: "mv " + flags + " /root/flags", undo: "mv /root/flags " + flags,
			says: []string{flagsFile, "was right when the plan was made"}},
		{name: "another mode", drift: "chmod 0666 " + flags, undo: "chmod 0644 " + flags, says: []string{flagsFile, "was right when the plan was made"}},
		{name: "the planned change done by somebody else", drift: "chmod 0644 " + strings.TrimPrefix(caFile, "file:"), undo: "chmod 0600 " + strings.TrimPrefix(caFile, "file:"),
			says: []string{caFile, "nothing to do any more"}},
		{name: "the planned change become another", drift: "chmod 0640 " + strings.TrimPrefix(caFile, "file:"), undo: "chmod 0600 " + strings.TrimPrefix(caFile, "file:"),
			says: []string{caFile, "0600", "0640"}},
		{name: "the service stopped", drift: "systemctl stop kubelet", undo: "systemctl start kubelet", says: []string{service, "start"}},
		{name: "the service disabled", drift: "systemctl disable --quiet kubelet", undo: "systemctl enable --quiet kubelet", says: []string{service}},
		{name: "the configuration edited", drift: keep + "echo 'nodeRegistration: {kubeletExtraArgs: [{name: v, value: \"1\"}]}' >>/etc/join.yaml", undo: back,
			says: []string{"nodeRegistration.kubeletExtraArgs"}},
		{name: "another token", drift: keep + "sed -i 's/token: .*/token: abcdef.0123456789abcdef/' /etc/join.yaml", undo: back, says: []string{"oken"}},
		{name: "another flag", flags: " --node-name=other", says: []string{"nodeRegistration.name"}},
		{name: "a check that fails", drift: "sysctl --quiet --write net.ipv4.ip_forward=0", undo: "sysctl --quiet --write net.ipv4.ip_forward=1",
			says: []string{"FileContent--proc-sys-net-ipv4-ip_forward"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			must(t, m.Run(t.Context(), "true; "+tt.drift))
			f.unchanged(t, m, func() { wantMoved(t, run(t, m, "root", held+tt.flags, 7), tt.says) })
			must(t, m.Run(t.Context(), "true; "+tt.undo))
		})
	}
	t.Run("the cluster's kubelet-config", func(t *testing.T) {
		replace := func(from, to string) {
			must(t, f.cluster.ControlPlane.Run(t.Context(), "kubectl --namespace=kube-system get configmap kubelet-config --output=yaml | sed 's/"+from+"/"+to+
				"/' | kubectl replace --filename=- >/dev/null"))
		}
		replace("    staticPodPath:", "    maxPods: 77\\n    staticPodPath:")
		defer replace("    maxPods: 77", "    # maxPods") // a line that says nothing
		f.unchanged(t, m, func() {
			wantMoved(t, run(t, m, "root", held, 7), []string{configFile, "was right when the plan was made"})
		})
	})
	t.Run("another machine", func(t *testing.T) {
		other := f.worker(t)
		must(t, other.Run(t.Context(), "systemctl stop kubelet"))
		for _, name := range []string{file, "/etc/join.yaml"} {
			data, err := m.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if err := other.WriteFile(name, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		f.unchanged(t, other, func() { wantMoved(t, run(t, other, "root", held, 7), []string{"another machine"}) })
	})
	t.Run("nothing", func(t *testing.T) {
		must(t, m.Run(t.Context(), "systemctl restart kubelet")) // which comes and goes by itself
		f.ready(t, m)
		wantSteps(t, run(t, m, "root", held, 0), "update "+caFile+" drift")
		f.inSync(t, m)
	})
}

// wantMoved fails unless all of it is in what was said about a saved plan.
func wantMoved(t *testing.T, s said, says []string) {
	t.Helper()
	if s.Failure == nil || s.Failure.Class != "conflict" || !strings.Contains(s.Failure.Hint, "plan again") {
		t.Fatalf("said %+v", s.Failure)
	}
	for _, text := range says {
		if !strings.Contains(s.Failure.Address+": "+s.Failure.Message, text) {
			t.Errorf("said %q of %q, without %q", s.Failure.Message, s.Failure.Address, text)
		}
	}
}
