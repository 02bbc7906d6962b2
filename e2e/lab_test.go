package e2e

import (
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/e2e/lab"
)

// The lab is what every other case rests on, so it is proved first, with kubeadm's own join.
func TestLab(t *testing.T) {
	f := use(t)
	w := f.boot(t, f.Lab, "w1", lab.Worker)

	mark, err := f.cluster.Audit.Mark()
	if err != nil {
		t.Fatal(err)
	}
	if err := f.cluster.KubeadmJoin(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if err := f.cluster.WaitReady(t.Context(), w.Name); err != nil {
		t.Fatal(err)
	}

	t.Run("audit", func(t *testing.T) {
		requests, err := f.cluster.Audit.Since(t.Context(), mark)
		if err != nil {
			t.Fatal(err)
		}
		joined := func(r lab.Request) bool {
			return r.Verb == "create" && r.User == "system:node:w1" && r.Code == 201 && strings.HasPrefix(r.URI, "/api/v1/nodes")
		}
		if !slices.ContainsFunc(requests, joined) {
			t.Errorf("no request that made Node w1 among %v", requests)
		}
		reads := func(r lab.Request) bool { return strings.HasPrefix(r.UserAgent, "kubeadm/") && !r.Writes() }
		if !slices.ContainsFunc(requests, reads) {
			t.Errorf("kubeadm read nothing: %v", requests)
		}
	})

	t.Run("unit", func(t *testing.T) {
		before, err := w.Unit(t.Context(), "kubelet")
		if err != nil {
			t.Fatal(err)
		}
		if before.ActiveState != "active" || before.MainPID == 0 {
			t.Errorf("kubelet: %+v", before)
		}
		jobs, err := w.Operations(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		must(t, w.Run(t.Context(), "systemctl restart kubelet && systemctl daemon-reload"))
		after, err := w.Unit(t.Context(), "kubelet")
		if err != nil {
			t.Fatal(err)
		}
		if after.InvocationID == before.InvocationID {
			t.Error("a restart did not show in the unit")
		}
		later, err := w.Operations(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if later.Jobs == jobs.Jobs || later.LoadedAt == jobs.LoadedAt {
			t.Errorf("operations before %+v, after a restart and a daemon-reload %+v", jobs, later)
		}
	})
}

// kubeadmsControlPlane tries the parts that the other cases of control planes rest on, with a control plane of kubeadm's.
func kubeadmsControlPlane(t *testing.T, f *fixture) {
	first := f.cluster.ControlPlane
	if err := f.cluster.UploadCerts(t.Context()); err != nil {
		t.Fatal(err)
	}
	written := f.write(t)
	m := f.controlPlane(t)
	if err := f.cluster.KubeadmJoinControlPlane(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	f.ready(t, m)
	f.healthy(t, first, m)
	f.kubeadmWorks(t, m)
	written(first, m)

	t.Run("power cut", func(t *testing.T) {
		before := unit(t, m)
		if err := m.CutPower(); err != nil {
			t.Fatal(err)
		}
		// One of two is no quorum: nothing is acknowledged until the other is back.
		if r := f.cluster.Etcdctl(t.Context(), "put lab/x y --command-timeout=2s"); r.Code == 0 {
			t.Error("one of two members wrote alone")
		}
		if err := m.PowerOn(t.Context()); err != nil {
			t.Fatal(err)
		}
		until(t, "etcd is healthy again", func() bool { return f.cluster.Healthy(t.Context(), first, m) == nil })
		if after := unit(t, m); after.InvocationID == before.InvocationID {
			t.Errorf("the kubelet did not end: %+v", after)
		}
	})
	t.Run("reset", func(t *testing.T) {
		must(t, m.Run(t.Context(), "kubeadm reset --force"))
		f.healthy(t, first)
	})
}

func TestMachine(t *testing.T) {
	f := use(t)
	m := f.boot(t, f.Lab, "w2", lab.Worker)

	t.Run("commands", func(t *testing.T) {
		tests := []struct {
			user, command, stdout, stderr string
			code                          int
		}{
			{"root", "hostname; id -u", "w2\n0\n", "", 0},
			{"nobody", "id -u; cat /etc/shadow", "65534\n", "cat: /etc/shadow: Permission denied\n", 1},
			{"root", "exit 7", "", "", 7},
			{"root", "kill -9 $$", "", "", 137},
		}
		for _, tt := range tests {
			r := m.RunAs(t.Context(), tt.user, tt.command)
			got := []any{r.Stdout, r.Stderr, r.Code}
			if diff := cmp.Diff([]any{tt.stdout, tt.stderr, tt.code}, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.command, diff)
			}
		}
	})

	t.Run("a killed command leaves nothing running", func(t *testing.T) {
		p, err := m.Start(t.Context(), "root", "sleep 4711")
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if r := p.Wait(); r.Code != 137 {
			t.Errorf("code %d", r.Code)
		}
		if r := m.Run(t.Context(), "pgrep --exact --runstates D,R,S,T sleep"); r.Code != 1 {
			t.Errorf("still running: %s", r.Stdout)
		}
	})

	t.Run("trace", func(t *testing.T) {
		tests := []struct{ user, command, call string }{
			{"root", "cat /etc/hostname 2>/dev/null; ls /", ""},
			{"root", "echo 'it is' > /tmp/a", "openat(AT_FDCWD, \"/tmp/a\", O_WRONLY|O_CREAT|O_TRUNC"},
			{"root", "rm -f /etc/absent", "unlinkat(AT_FDCWD, \"/etc/absent\""},
			{"nobody", "mkdir /etc/forbidden", "mkdir(\"/etc/forbidden\", 0777) = -1 EACCES"},
		}
		for _, tt := range tests {
			_, calls, err := m.Trace(t.Context(), tt.user, tt.command)
			if err != nil {
				t.Fatal(err)
			}
			found := slices.ContainsFunc(calls, func(c string) bool { return strings.HasPrefix(c, tt.call) })
			if tt.call == "" && len(calls) > 0 || tt.call != "" && !found {
				t.Errorf("%s as %s: want %q in %q", tt.command, tt.user, tt.call, calls)
			}
		}
	})

	t.Run("tree and watch", func(t *testing.T) {
		must(t, m.Run(t.Context(), "mkdir -p /etc/x/y && echo a > /etc/x/y/same && echo b > /etc/x/gone"))
		tests := []struct {
			name, command string
			diff          []string // first words
			events        []string
		}{
			{"read", "cat /etc/x/y/same; ls -R /etc/x", nil, nil},
			{"touch", "touch -d @0 /etc/x/y/same", []string{"~ /etc/x/y/same"}, []string{"attributes /etc/x/y/same", "written /etc/x/y/same"}},
			{
				"temporary file", "touch /etc/x/y/tmp && rm /etc/x/y/tmp", []string{"~ /etc/x/y"},
				[]string{"create /etc/x/y/tmp", "attributes /etc/x/y/tmp", "written /etc/x/y/tmp", "delete /etc/x/y/tmp"},
			},
			{"delete", "rm /etc/x/gone", []string{"- /etc/x/gone", "~ /etc/x"}, []string{"delete /etc/x/gone"}},
			{"new directory", "mkdir /etc/x/new", []string{"+ /etc/x/new", "~ /etc/x"}, []string{"create /etc/x/new"}},
		}
		for _, tt := range tests {
			before, err := m.Tree("/etc/x")
			if err != nil {
				t.Fatal(err)
			}
			w, err := m.Watch("/etc/x")
			if err != nil {
				t.Fatal(err)
			}
			must(t, m.Run(t.Context(), tt.command))
			events, err := w.Stop()
			if err != nil {
				t.Fatal(err)
			}
			after, err := m.Tree("/etc/x")
			if err != nil {
				t.Fatal(err)
			}
			var diff, happened []string
			for _, line := range before.Diff(after) {
				short, _, _ := strings.Cut(line, ":")
				diff = append(diff, short)
			}
			slices.Sort(diff)
			slices.Sort(tt.diff)
			if d := cmp.Diff(tt.diff, diff); d != "" {
				t.Errorf("%s: tree (-want +got):\n%s", tt.name, d)
			}
			for _, e := range events {
				happened = append(happened, e.String())
			}
			if d := cmp.Diff(tt.events, happened); d != "" {
				t.Errorf("%s: events (-want +got):\n%s", tt.name, d)
			}
		}
	})
}
