package e2e

import (
	"slices"
	"strings"
	"testing"
)

// The released program needs nothing from the machine: no library, no root, no configuration.
func TestProgramRuns(t *testing.T) {
	m := use(t).worker(t)
	for _, user := range []string{"root", "nobody"} {
		must(t, m.RunAs(t.Context(), user, "kubejoin version"))
	}
}

// Law 1: plan only reads, whoever runs it and wherever. Law 2: it is empty exactly when apply would write nothing.
func TestLaws(t *testing.T) {
	t.Parallel()
	f := use(t)
	m := f.worker(t)
	f.configure(t, m)
	must(t, m.Run(t.Context(), "systemctl stop kubelet")) // else it restarts by itself, and counts
	reads := func(t *testing.T, user string, code int) {
		t.Helper()
		requests := f.unchanged(t, m, func() {
			r, calls, err := m.Trace(t.Context(), user, plan)
			if err != nil {
				t.Fatal(err)
			}
			if r.Code != code {
				t.Errorf("as %s: exit code %d, want %d\n%s%s", user, r.Code, code, r.Stdout, r.Stderr)
			}
			if len(calls) > 0 {
				t.Errorf("as %s: plan asked for changes:\n%s", user, strings.Join(calls, "\n"))
			}
		})
		if len(requests) == 0 {
			t.Error("no request was seen: the audit log proves nothing")
		}
	}

	t.Run("plan of a fresh machine only reads", func(t *testing.T) {
		for _, user := range []string{"root", "nobody"} {
			reads(t, user, 2)
		}
	})
	t.Run("apply writes what is planned", func(t *testing.T) {
		before, err := m.Tree(written...)
		if err != nil {
			t.Fatal(err)
		}
		// Traced for the canary: no secret in an argument of a program.
		r, calls, err := m.Trace(t.Context(), "root", apply+" -o json")
		if err != nil {
			t.Fatal(err)
		}
		s := parse(t, r)
		if s.Code != 0 || len(calls) == 0 {
			t.Fatalf("exit code %d, %d calls\n%s", s.Code, len(calls), s)
		}
		after, err := m.Tree(written...)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range before.Diff(after) {
			path, _, _ := strings.Cut(line[2:], ":")
			planned := s.change("file:"+path).Action != ""
			above := slices.ContainsFunc(s.Plan.Changes, func(c change) bool { return strings.HasPrefix(c.Address, "file:"+path+"/") })
			if !planned && !above && path != kubeletConf && !isOfKubelet(path) {
				t.Errorf("written, and not planned: %s", line)
			}
		}
		f.ready(t, m)
	})
	t.Run("plan of a joined machine only reads", func(t *testing.T) {
		reads(t, "root", 0)
		reads(t, "nobody", 4)
	})
	t.Run("apply of an empty plan does nothing", func(t *testing.T) {
		var s said
		requests := f.unchanged(t, m, func() {
			r, calls, err := m.Trace(t.Context(), "root", apply+" -o json")
			if err != nil {
				t.Fatal(err)
			}
			s = parse(t, r)
			if s.Code != 0 {
				t.Errorf("exit code %d\n%s", s.Code, s)
			}
			if len(calls) > 0 {
				t.Errorf("asked for changes:\n%s", strings.Join(calls, "\n"))
			}
		})
		wantSteps(t, s)
		if len(requests) > 3 || s.Outcome == nil || s.Outcome.APIRequests != len(requests) {
			t.Errorf("%d requests, said %+v\n%v", len(requests), s.Outcome, requests)
		}
	})
}

// Without root, plan sees what everybody may see, and names the rest.
func TestUnprivileged(t *testing.T) {
	t.Parallel()
	f := use(t)
	m := f.worker(t)
	must(t, m.Run(t.Context(), "systemctl stop kubelet"))
	f.configure(t, m)
	var s said
	f.unchanged(t, m, func() { s = run(t, m, "nobody", plan, 2) })
	wantSteps(t, s, toJoin(m.Name)...)
	f.unchanged(t, m, func() {
		if s := run(t, m, "nobody", apply, 4); !s.found("IsPrivilegedUser", "") {
			t.Errorf("does not say why:\n%s", s)
		}
	})
	run(t, m, "root", apply, 0)
	f.ready(t, m)

	t.Run("on a joined machine", func(t *testing.T) {
		f.unchanged(t, m, func() { s = run(t, m, "nobody", plan, 4) })
		wantSteps(t, s)
		if !s.Plan.Incomplete || s.Plan.Unseen || !s.found("NotCompared", credential) {
			t.Errorf("does not name what it could not read:\n%s", s)
		}
		must(t, m.Run(t.Context(), "chmod 0664 /var/lib/kubelet/config.yaml"))
		f.unchanged(t, m, func() { s = run(t, m, "nobody", plan, 2) })
		wantSteps(t, s, "update "+configFile+" drift")
		f.repair(t, m)
	})
	t.Run("on a joined machine, with an expired token", func(t *testing.T) {
		put(t, m, "/etc/join.yaml", joinConfig(byToken(f.cluster.Endpoint(), "aaaaaa.0123456789abcdef", f.cluster.CAHash)))
		f.unchanged(t, m, func() { s = run(t, m, "nobody", plan, 6) })
		wantSteps(t, s)
		if !s.Plan.Incomplete || !s.Plan.Unseen {
			t.Errorf("does not say what it could not see:\n%s", s)
		}
		f.inSync(t, m) // root has the node's credential
	})
}

// Without network, plan compares what it can.
func TestOffline(t *testing.T) {
	t.Parallel()
	f := use(t)
	m, _ := f.joined(t)
	must(t, m.Run(t.Context(), "ip link set host0 down"))
	s := run(t, m, "root", plan, 6)
	wantSteps(t, s)
	if !s.Plan.Incomplete || !s.Plan.Unseen || !s.found("NotCompared", configFile) || !s.found("NotCompared", "node:"+m.Name) {
		t.Errorf("does not name what it could not see:\n%s", s)
	}
	must(t, m.Run(t.Context(), "chmod 0600 /etc/kubernetes/pki/ca.crt; rm /var/lib/kubelet/kubeadm-flags.env"))
	wantSteps(t, run(t, m, "root", plan, 2), "update "+caFile+" drift", "create "+flagsFile+" missing", "restart "+service+" missing")
	discovery := f.configure(t, m, "timeouts:\n  kubernetesAPICall: 3s\n")
	if s := run(t, m, "root", apply, 6); s.Failure.Class != "cluster-unreachable" {
		t.Errorf("said %+v", *s.Failure)
	}
	must(t, m.Run(t.Context(), "ip link set host0 up && ip route add default via 10.77.0.1"))
	put(t, m, "/etc/join.yaml", joinConfig(discovery))
	f.repair(t, m)
}
