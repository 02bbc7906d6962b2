package reconcile

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/fault"
)

func savedSample() *Saved {
	return Save("v1.0", "machine-1",
		Input{Directory: "/home/me", Flags: map[string][]string{"config": {"join.yaml"}}, Endpoint: "cp1:6443",
			Settings: []Setting{{"nodeRegistration.name", "w1", "default"}, {"discovery.bootstrapToken.token", Mask([]byte("t")), "join.yaml:4"}}, Digest: "c0"},
		Plan{
			Subject: Subject{Node: "w1", Server: "https://cp1:6443", ClusterCA: "sha256:aa", KubernetesVersion: "v1.37.2"},
			Changes: []Change{
				{Address: "file:/a", Action: Update, Reason: Drift, Summary: "content differs", Disruption: KubeletRestart, Diff: "-a\n+b\n",
					Fields: []Field{{"mode", "0600", "0644"}, {"content", Mask([]byte("x")), Mask([]byte("y"))}}},
				{Address: "service:kubelet", Action: Start, Reason: Missing, Summary: "starts", Disruption: NoDisruption, Because: []Address{"file:/a"},
					Fields: []Field{{"active", "inactive/dead", "running"}}},
				{Address: "node:w1", Action: Wait, Reason: Drift, Summary: "is not Ready: no CNI", Disruption: NoDisruption},
			},
			Findings: []Finding{{Severity: SeverityError, Name: "Swap", Seen: "swap is on"}, {Severity: SeverityWarning, Name: "ClockSkew", Seen: "0.4 s"}},
		},
		map[Address]string{"file:/a": "d1", "file:/b": "d2"})
}

// What moved is told by its name; what says nothing about the plan is not told.
func TestMoved(t *testing.T) {
	tests := map[string]struct {
		move func(*Saved)
		want string // empty: the plan still holds
	}{
		"nothing":         {func(*Saved) {}, ""},
		"another program": {func(s *Saved) { s.Program = "v2.0" }, "version v1.0 of this program, which is v2.0"},
		"another machine": {func(s *Saved) { s.Machine = "x" }, "another machine"},
		"another root":    {func(s *Saved) { s.Plan.Subject.Root = "/image" }, "for the running machine, and this is the machine below /image"},
		"a setting":       {func(s *Saved) { s.Input.Digest, s.Input.Settings[0].Value = "c1", "w2" }, "nodeRegistration.name: was w1 when the plan was made, and is w2"},
		"a setting less":  {func(s *Saved) { s.Input.Digest, s.Input.Settings = "c1", s.Input.Settings[1:] }, "nodeRegistration.name: the configuration had it when the plan was made: w1"},
		"a secret less":   {func(s *Saved) { s.Input.Digest, s.Input.Settings = "c1", s.Input.Settings[:1] }, "discovery.bootstrapToken.token: the plan was made with it, and it is not given"},
		"a setting more": {func(s *Saved) {
			s.Input.Digest, s.Input.Settings = "c1", append(s.Input.Settings, Setting{Path: "caCertPath", Value: "/x"})
		}, "caCertPath: the configuration did not have it when the plan was made: /x"},
		"something of the digest":    {func(s *Saved) { s.Input.Digest = "c1" }, "the configuration is not the one"},
		"where a setting comes from": {func(s *Saved) { s.Input.Settings[0].Source = "flag --node-name" }, ""},
		"the CA":                     {func(s *Saved) { s.Plan.Subject.ClusterCA = "sha256:bb" }, `the cluster's CA was "sha256:aa" when the plan was made, and is "sha256:bb"`},
		"the version":                {func(s *Saved) { s.Plan.Subject.KubernetesVersion = "v1.38.0" }, `version was "v1.37.2" when`},
		"the node":                   {func(s *Saved) { s.Plan.Subject.Node = "w2" }, `the node's name was "w1"`},
		"done meanwhile":             {func(s *Saved) { s.Plan.Changes = s.Plan.Changes[1:] }, "file:/a: the plan wants to update it, and there is nothing to do any more"},
		"one more": {func(s *Saved) {
			s.Plan.Changes = append(s.Plan.Changes, Change{Address: "file:/c", Action: Create, Summary: "does not exist"})
		}, "file:/c: was right when the plan was made, and now there is something to create: does not exist"},
		"another action":  {func(s *Saved) { s.Plan.Changes[0].Action = Create }, "file:/a: the plan wants to update it, and what is needed now is create"},
		"destructive now": {func(s *Saved) { s.Plan.Changes[0].Allow, s.Plan.Changes[0].Disruption = "replace-ca", Destructive }, "file:/a: would cost something else than in the plan: destructive (replace-ca), not kubelet-restart"},
		"before":          {func(s *Saved) { s.Plan.Changes[0].Fields[0].Before = "0666" }, "file:/a: mode was 0600 when the plan was made, and is 0666"},
		"a secret before": {func(s *Saved) { s.Plan.Changes[0].Fields[1].Before = Mask([]byte("z")) }, "file:/a: content was (sensitive, sha256:"},
		"after":           {func(s *Saved) { s.Plan.Changes[0].Fields[0].After = "0640" }, "file:/a: mode was to become 0644 when the plan was made, and would become 0640"},
		"a field less":    {func(s *Saved) { s.Plan.Changes[0].Fields = s.Plan.Changes[0].Fields[:1] }, "file:/a: content differed when the plan was made, and does not any more"},
		"a field more": {func(s *Saved) {
			s.Plan.Changes[0].Fields = append(s.Plan.Changes[0].Fields, Field{"owner", "1:1", "0:0"})
		}, "file:/a: owner was right when the plan was made, and is 1:1"},
		"content":  {func(s *Saved) { s.Plan.Changes[0].Diff = "-c\n+b\n" }, "file:/a: the content is not the one of the plan"},
		"a reason": {func(s *Saved) { s.Plan.Changes[0].Reason = Intent }, "file:/a: the plan says"},
		"a kubelet that comes and goes": {func(s *Saved) {
			s.Plan.Changes[1].Action, s.Plan.Changes[1].Fields[0].Before, s.Plan.Changes[1].Disruption = Restart, "activating/auto-restart", KubeletRestart
		}, ""},
		"another cause of a restart": {func(s *Saved) { s.Plan.Changes[1].Because = nil }, "service:kubelet: the plan says"},
		"what a wait sees":           {func(s *Saved) { s.Plan.Changes[2].Summary = "is not Ready: starting" }, ""},
		"a measurement":              {func(s *Saved) { s.Plan.Findings[1].Seen = "0.6 s" }, ""},
		"a mended check":             {func(s *Saved) { s.Plan.Findings = s.Plan.Findings[1:] }, ""},
		"a new error": {func(s *Saved) {
			s.Plan.Findings = append(s.Plan.Findings, Finding{Severity: SeverityError, Name: "Port-10250", Seen: "in use"})
		}, "Port-10250: the plan did not have this error: in use"},
		"a new warning of a resource": {func(s *Saved) {
			s.Plan.Findings = append(s.Plan.Findings, Finding{Severity: SeverityWarning, Name: "NotCompared", Address: "file:/a", Seen: "denied"})
		}, "file:/a: the plan did not have this warning: denied"},
		"a new info": {func(s *Saved) {
			s.Plan.Findings = append(s.Plan.Findings, Finding{Severity: SeverityInfo, Name: "Advisory"})
		}, ""},
		"what was seen":           {func(s *Saved) { s.Observed["file:/b"] = "d3" }, "file:/b: is not what it was when the plan was made"},
		"seen no more":            {func(s *Saved) { delete(s.Observed, "file:/b") }, "file:/b: could be seen when the plan was made"},
		"seen for the first time": {func(s *Saved) { s.Observed["file:/c"] = "d3" }, "file:/c: could not be seen when the plan was made"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			now := savedSample()
			tt.move(now)
			err := savedSample().Moved(now)
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("%v, want %s", err, tt.want)
			case tt.want != "" && (fault.ClassOf(err) != fault.Conflict || fault.HintOf(err) == ""):
				t.Errorf("class %s, hint %q", fault.ClassOf(err), fault.HintOf(err))
			}
		})
	}
}

func TestSavedPlanIsReadAsItWasWritten(t *testing.T) {
	s := savedSample()
	data, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	read, err := ParseSaved(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, read); diff != "" {
		t.Error(diff)
	}
	for name, text := range map[string]string{
		"nothing":              "",
		"no JSON":              "apiVersion: v1",
		"other JSON":           `{"type":"plan","formatVersion":"1.0"}`,
		"a list":               `[]`,
		"a newer format":       strings.Replace(string(data), `"formatVersion": "1.0"`, `"formatVersion": "2.0"`, 1),
		"no format":            `{"type":"saved-plan"}`,
		"cut off":              string(data[:len(data)/2]),
		"hardly any":           `{"type":"saved-plan","formatVersion":"1.0"}`,
		"no changes":           strings.Replace(string(data), `"changes":`, `"chances":`, 1),
		"no digest":            strings.Replace(string(data), `"digest": "c0"`, `"digest": ""`, 1),
		"no node":              strings.Replace(string(data), `"node": "w1"`, `"node": ""`, 1),
		"nothing seen":         strings.Replace(string(data), `"observed":`, `"obscured":`, 1),
		"a relative directory": strings.Replace(string(data), `"/home/me"`, `"home/me"`, 1),
		"no such action":       strings.Replace(string(data), `"action": "update"`, `"action": "\u001b[2J"`, 1),
		"no such severity":     strings.Replace(string(data), `"severity": "error"`, `"severity": "fatal"`, 1),
	} {
		if _, err := ParseSaved([]byte(text)); fault.ClassOf(err) != fault.InvalidConfig {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParseSaved(bytes.Replace(data, []byte(`"formatVersion": "1.0"`), []byte(`"formatVersion": "1.7"`), 1)); err != nil {
		t.Errorf("a newer minor: %v", err)
	}
}

func TestSealNeedsTheKey(t *testing.T) {
	if Seal("a", []byte("x")) == Seal("b", []byte("x")) || Seal("a", []byte("x")) == Seal("a", []byte("y")) {
		t.Error("the same digest")
	}
}
