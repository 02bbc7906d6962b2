package reconcile

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"reflect"
	"slices"
	"strings"

	"github.com/kubejoin/kubejoin/fault"
)

// SavedFormat is the version of the format that saved plans have. The minor
// number grows when fields are added, the major one when a reader must change.
const SavedFormat = "1.0"

// savedType tells a saved plan from other JSON.
const savedType = "saved-plan"

// Saved is a plan with what it was computed from, to be applied later exactly as
// it is or not at all. It holds no secret.
type Saved struct {
	FormatVersion string `json:"formatVersion"`
	Type          string `json:"type"`
	// Program is the version of the program: another one may see and say things
	// differently.
	Program string `json:"program"`
	// Machine is a digest of the machine's ID.
	Machine string `json:"machine"`
	Input   Input  `json:"input"`
	// Observed are digests of what the resources found, also of those that have
	// nothing to change.
	Observed map[Address]string `json:"observed"`
	Plan     Plan               `json:"plan"`
}

// Input is what a plan was asked for.
type Input struct {
	// Directory is where relative paths of Flags start.
	Directory string `json:"directory"`
	// Flags are those of the command line, without the ones that hold a secret.
	Flags    map[string][]string `json:"flags,omitempty"`
	Endpoint string              `json:"endpoint,omitempty"`
	// Settings are the values of the configuration. Secrets are masked.
	Settings []Setting `json:"settings"`
	// Digest is that of the whole configuration with its secrets.
	Digest string `json:"digest"`
}

// Setting is one value of a configuration, in JSON notation, and where it came
// from.
type Setting struct {
	Path   string `json:"path"`
	Value  string `json:"value"`
	Source string `json:"source"`
}

// Digester is an Observation that can be told from another one.
type Digester interface {
	// Digest covers what matters of the observation, secrets included; not what
	// changes by itself, such as a time. It never leaves the program as it is.
	Digest() []byte
}

// Seal is a digest that can be kept. Without the key, which is the machine's ID,
// nobody can tell by trying what it was made of; and a token, the weakest secret
// there is, has more than 80 bits.
func Seal(key string, data []byte) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write(data)
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// Digests are the sealed digests of what the resources found, of those that have
// one.
func (c *Computed) Digests(key string) map[Address]string {
	c.view.mu.RLock()
	defer c.view.mu.RUnlock()
	out := make(map[Address]string)
	for a, o := range c.view.observed {
		if d, ok := o.(Digester); ok {
			out[a] = Seal(key, d.Digest())
		}
	}
	return out
}

// Save makes a plan one that can be applied later.
func Save(program, machineID string, in Input, plan Plan, observed map[Address]string) *Saved {
	if plan.Changes == nil {
		plan.Changes = []Change{} // an empty list, not null
	}
	return &Saved{FormatVersion: SavedFormat, Type: savedType, Program: program,
		Machine: Seal(machineID, []byte("machine")), Input: in, Observed: observed, Plan: plan}
}

// Marshal is the content of a saved plan's file.
func (s *Saved) Marshal() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // people read it
	e.SetIndent("", "  ")
	err := e.Encode(s)
	return b.Bytes(), err
}

// ParseSaved reads a saved plan. Errors are of class InvalidConfig.
func ParseSaved(data []byte) (*Saved, error) {
	var s Saved
	if err := json.Unmarshal(data, &s); err != nil || s.Type != savedType {
		return nil, fault.New(fault.InvalidConfig, "is not a saved plan").WithHint("`kubejoin plan --out FILE` writes one; a configuration is given with -f")
	}
	major, _, _ := strings.Cut(SavedFormat, ".")
	if has, _, _ := strings.Cut(s.FormatVersion, "."); has != major {
		return nil, fault.New(fault.InvalidConfig, "has format version %q, and this program reads %s", s.FormatVersion, SavedFormat).
			WithHint("%s", planAgain)
	}
	if err := s.complete(); err != nil {
		return nil, fault.New(fault.InvalidConfig, "is no plan that this program saved: %w", err).WithHint("%s", planAgain)
	}
	return &s, nil
}

// complete wants all that Save gives. Half a plan would look like one without
// changes.
func (s *Saved) complete() error {
	for _, f := range []struct {
		name  string
		given bool
	}{
		{"program", s.Program != ""},
		{"machine", s.Machine != ""},
		{"input.directory", s.Input.Directory != ""},
		{"input.digest", s.Input.Digest != ""},
		{"observed", s.Observed != nil},
		{"plan.subject.node", s.Plan.Subject.Node != ""},
		{"plan.changes", s.Plan.Changes != nil},
	} {
		if !f.given {
			return fmt.Errorf("%s is missing", f.name)
		}
	}
	if !path.IsAbs(s.Input.Directory) {
		return fmt.Errorf("input.directory is not absolute: %q", s.Input.Directory)
	}
	for i, c := range s.Plan.Changes {
		if !slices.Contains([]Action{Create, Update, Replace, Delete, Start, Restart, Wait}, c.Action) {
			return fmt.Errorf("plan.changes[%d].action is none: %q", i, c.Action)
		}
		if c.Address == "" {
			return fmt.Errorf("plan.changes[%d].address is missing", i)
		}
	}
	for i, f := range s.Plan.Findings {
		if !slices.Contains([]Severity{SeverityError, SeverityWarning, SeverityInfo}, f.Severity) {
			return fmt.Errorf("plan.findings[%d].severity is none: %q", i, f.Severity)
		}
	}
	return nil
}

const planAgain = "plan again, and apply that"

// Moved is the first thing that is not as it was when a plan was saved, as an
// error of class Conflict; nil if nothing moved. now is the same plan, computed
// again. What the findings measured may differ, and one that is gone is none the
// worse: a failed check was mended. A new error or warning was not agreed to.
func (s *Saved) Moved(now *Saved) error {
	for _, first := range []func(*Saved) error{s.otherPlace, s.otherInput, s.otherSubject, s.otherChanges, s.newFinding, s.otherSight} {
		if err := first(now); err != nil {
			return err
		}
	}
	return nil
}

func moved(at, format string, args ...any) error {
	return fault.New(fault.Conflict, format, args...).At(at).WithHint("nothing was changed; %s", planAgain)
}

func (s *Saved) otherPlace(now *Saved) error {
	switch {
	case s.Program != now.Program:
		return moved("", "the plan was made by version %s of this program, which is %s", s.Program, now.Program)
	case s.Plan.Subject.Root != now.Plan.Subject.Root:
		return moved("", "the plan was made for %s, and this is %s", rootName(s.Plan.Subject.Root), rootName(now.Plan.Subject.Root))
	case s.Machine != now.Machine:
		return moved("", "the plan was made for another machine: the machine ID differs")
	}
	return nil
}

func rootName(root string) string {
	if root == "" {
		return "the running machine"
	}
	return "the machine below " + root
}

func (s *Saved) otherInput(now *Saved) error {
	if s.Input.Digest == now.Input.Digest {
		return nil
	}
	have := make(map[string]string, len(now.Input.Settings))
	for _, v := range now.Input.Settings {
		have[v.Path] = v.Value
	}
	for _, v := range s.Input.Settings {
		value, ok := have[v.Path]
		switch {
		case !ok && strings.HasPrefix(v.Value, maskBegin):
			return fault.New(fault.Conflict, "the plan was made with it, and it is not given").At(v.Path).
				WithHint("a saved plan holds no secret: give it again as for plan")
		case !ok:
			return moved(v.Path, "the configuration had it when the plan was made: %s", v.Value)
		case value != v.Value:
			return moved(v.Path, "was %s when the plan was made, and is %s", v.Value, value)
		}
		delete(have, v.Path)
	}
	for _, path := range slices.Sorted(maps.Keys(have)) {
		return moved(path, "the configuration did not have it when the plan was made: %s", have[path])
	}
	return moved("", "the configuration is not the one that the plan was made from")
}

func (s *Saved) otherSubject(now *Saved) error {
	was, is := s.Plan.Subject, now.Plan.Subject
	for _, f := range []struct{ name, was, is string }{
		{"the node's name", was.Node, is.Node},
		{"the cluster's CA", was.ClusterCA, is.ClusterCA},
		{"the cluster's name", was.Cluster, is.Cluster},
		{"the API server", was.Server, is.Server},
		{"the cluster's Kubernetes version", was.KubernetesVersion, is.KubernetesVersion},
	} {
		if f.was != f.is {
			return moved("", "%s was %q when the plan was made, and is %q", f.name, f.was, f.is)
		}
	}
	if was != is {
		return moved("", "the plan was made for something else than is here")
	}
	return nil
}

func (s *Saved) otherChanges(now *Saved) error {
	is := make(map[Address]*Change, len(now.Plan.Changes))
	for i := range now.Plan.Changes {
		is[now.Plan.Changes[i].Address] = &now.Plan.Changes[i]
	}
	for i := range s.Plan.Changes {
		was := &s.Plan.Changes[i]
		c := is[was.Address]
		if c == nil {
			return moved(string(was.Address), "the plan wants to %s it, and there is nothing to do any more", was.Action)
		}
		if err := was.other(c); err != nil {
			return err
		}
		delete(is, was.Address)
	}
	for _, c := range now.Plan.Changes {
		if is[c.Address] != nil {
			return moved(string(c.Address), "was right when the plan was made, and now there is something to %s: %s", c.Action, c.Summary)
		}
	}
	return nil
}

// other says in what a change is another one than it was.
func (c *Change) other(now *Change) error {
	at := string(c.Address)
	if process(c.Action) && process(now.Action) && c.Allow == now.Allow && slices.Equal(c.Because, now.Because) {
		return nil // a kubelet without configuration comes and goes all the time
	}
	if c.Action != now.Action {
		return moved(at, "the plan wants to %s it, and what is needed now is %s: %s", c.Action, now.Action, now.Summary)
	}
	if c.Action == Wait {
		return nil // what somebody else is up to changes all the time
	}
	if c.Allow != now.Allow || c.Disruption != now.Disruption {
		return moved(at, "would cost something else than in the plan: %s, not %s", costOf(now), costOf(c))
	}
	was := make(map[string]Field, len(c.Fields))
	for _, f := range c.Fields {
		was[f.Path] = f
	}
	for _, f := range now.Fields {
		old, ok := was[f.Path]
		switch {
		case !ok:
			return moved(at, "%s was right when the plan was made, and is %s", f.Path, f.Before)
		case old.Before != f.Before:
			return moved(at, "%s was %s when the plan was made, and is %s", f.Path, orNothing(old.Before), orNothing(f.Before))
		case old.After != f.After:
			return moved(at, "%s was to become %s when the plan was made, and would become %s", f.Path, orNothing(old.After), orNothing(f.After))
		}
		delete(was, f.Path)
	}
	for _, f := range c.Fields {
		if _, left := was[f.Path]; left {
			return moved(at, "%s differed when the plan was made, and does not any more", f.Path)
		}
	}
	if c.Diff != now.Diff {
		return moved(at, "the content is not the one of the plan")
	}
	was1, is := *c, *now
	was1.Fields, is.Fields = nil, nil // equal but for their order
	if !reflect.DeepEqual(was1, is) {
		return moved(at, "the plan says %q, and now it is %q", c.Summary, now.Summary)
	}
	return nil
}

// process tells whether an action is about what runs, not about what is written.
func process(a Action) bool { return a == Start || a == Restart }

func costOf(c *Change) string {
	if c.Allow != "" {
		return fmt.Sprintf("%s (%s)", c.Disruption, c.Allow)
	}
	return string(c.Disruption)
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

func (s *Saved) newFinding(now *Saved) error {
	type key struct {
		severity Severity
		name     string
		address  Address
	}
	known := make(map[key]bool, len(s.Plan.Findings))
	for _, f := range s.Plan.Findings {
		known[key{f.Severity, f.Name, f.Address}] = true
	}
	for _, f := range now.Plan.Findings {
		if f.Passing {
			continue // whoever acts waits for it
		}
		if f.Severity != SeverityInfo && !f.Waived && !known[key{f.Severity, f.Name, f.Address}] {
			at := f.Name
			if f.Address != "" {
				at = string(f.Address)
			}
			return moved(at, "the plan did not have this %s: %s", f.Severity, f.Seen)
		}
	}
	return nil
}

func (s *Saved) otherSight(now *Saved) error {
	for _, a := range slices.Sorted(maps.Keys(now.Observed)) {
		if was, ok := s.Observed[a]; ok && was != now.Observed[a] {
			return moved(string(a), "is not what it was when the plan was made")
		}
	}
	for _, a := range slices.Sorted(maps.Keys(s.Observed)) {
		if _, ok := now.Observed[a]; !ok {
			return moved(string(a), "could be seen when the plan was made, and cannot any more")
		}
	}
	for _, a := range slices.Sorted(maps.Keys(now.Observed)) {
		if _, ok := s.Observed[a]; !ok {
			return moved(string(a), "could not be seen when the plan was made, and can now")
		}
	}
	return nil
}
