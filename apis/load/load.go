package load

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/kubejoin/kubejoin/apis/internal/spell"
	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta4"
	"github.com/kubejoin/kubejoin/apis/kubeadm/validation"
)

// kinds are all kinds of the group kubeadm.k8s.io.
var kinds = []string{
	"JoinConfiguration", "InitConfiguration", "ClusterConfiguration",
	"ResetConfiguration", "UpgradeConfiguration", "ClusterStatus",
}

// Join is a JoinConfiguration, and where its fields came from.
type Join struct {
	// Config has its static defaults. kubeadm.SetDynamicDefaults adds the others.
	Config *kubeadm.JoinConfiguration
	// Version is the apiVersion that the configuration was written in.
	Version string
	// Notes are worth knowing and no errors, such as a document that a join
	// does not use; one line each, with its position.
	Notes []string

	positions map[string]Position
	unset     map[string]bool
	// overridden are the fields that override changed, as lower-case paths.
	overridden []string
}

// JoinConfiguration reads the one JoinConfiguration in a file. The name of the
// file is used in positions only. override may be nil; it changes the result, as
// flags of the command line do. Dynamic defaults and validation are left to
// the caller. Errors are Problems of class InvalidConfig.
func JoinConfiguration(name string, data []byte, override func(*kubeadm.JoinConfiguration)) (*Join, error) {
	doc, notes, problems := find(name, data, "JoinConfiguration")
	if problems != nil {
		return nil, problems.err()
	}
	v, ok := versionOf(name, doc, &problems)
	if !ok {
		return nil, problems.err()
	}
	d := newDecoder(name)
	join := &Join{Config: v.join(d, doc.root), Version: v.apiVersion, Notes: notes, positions: d.positions, unset: d.unset}
	if problems := slices.Concat(d.problems, d.surplus); len(problems) > 0 {
		return nil, problems.err()
	}
	if pos, ok := d.positions["controlPlane"]; ok && join.Config.ControlPlane == nil {
		join.Notes = append(join.Notes, pos.String()+": controlPlane is null, so the machine joins as a worker; "+
			`"controlPlane: {}" makes it a control plane`)
	}
	if override != nil {
		override(join.Config)
		original := v.join(newDecoder(name), doc.root)
		join.overridden = changes(reflect.ValueOf(original), reflect.ValueOf(join.Config), "")
	}
	return join, nil
}

// FromObject makes a Join of a configuration that was not read from a file, but
// built from flags. It sets the static defaults of the object. Its problems have
// no positions.
func FromObject(cfg *v1beta4.JoinConfiguration) (*Join, error) {
	v1beta4.SetDefaultsJoinConfiguration(cfg)
	return &Join{Config: v1beta4.ToInternalJoinConfiguration(cfg), Version: v1beta4.APIVersion}, nil
}

// Position finds a field by its path in JSON notation, such as
// "nodeRegistration.taints[0].effect". For a field that is not in the file it is
// the position of the nearest one around it. It is false if the field was set on
// the command line or if there is no file.
func (j *Join) Position(fieldPath string) (Position, bool) {
	if j.isOverridden(fieldPath) {
		return Position{}, false
	}
	for path := fieldPath; ; path = parent(path) {
		if pos, ok := j.positions[path]; ok {
			return pos, true
		}
		if path == "" {
			return Position{}, false
		}
	}
}

// Validate says everything that is wrong with the configuration. The dynamic
// defaults must be set. The error is Problems of class InvalidConfig.
func (j *Join) Validate() error {
	var problems Problems
	for _, e := range validation.JoinConfiguration(j.Config) {
		pos, _ := j.Position(e.Field)
		hint := ""
		if j.isOverridden(e.Field) {
			hint = "set on the command line"
		}
		problems.add(pos, e.Field, lowerFirst(e.ErrorBody()), hint)
	}
	return problems.err()
}

// ClusterConfiguration reads the configuration that a cluster publishes. As a
// newer or older tool may have written it, unknown and duplicate fields are
// warnings, of which each is one line; of duplicates the last one wins. Errors
// are Problems of class InvalidConfig.
func ClusterConfiguration(name string, data []byte) (*kubeadm.ClusterConfiguration, []string, error) {
	doc, _, problems := find(name, data, "ClusterConfiguration")
	if problems != nil {
		return nil, nil, problems.err()
	}
	v, ok := versionOf(name, doc, &problems)
	if !ok {
		return nil, nil, problems.err()
	}
	d := newDecoder(name)
	cfg := v.cluster(d, doc.root)
	if len(d.problems) > 0 {
		return nil, nil, d.problems.err()
	}
	var warnings []string
	for _, p := range d.surplus {
		warnings = append(warnings, p.String())
	}
	return cfg, warnings, nil
}

// find gives the one document of a kind, and a note for each of the others.
func find(name string, data []byte, kind string) (document, []string, Problems) {
	if problems := checkSize(name, data); problems != nil {
		return document{}, nil, problems
	}
	documents, problems := split(name, data)
	var found []document
	var notes, others []string
	for _, doc := range documents {
		pos := position(name, doc.root)
		switch {
		case doc.kind == kind && doc.group() == group:
			found = append(found, doc)
		case doc.kind == kind:
			problems.add(fieldPosition(name, doc.root, "apiVersion"), "apiVersion",
				fmt.Sprintf("there is no %s in %q", kind, doc.apiVersion), "did you mean "+current+"?")
		case doc.group() == group && !slices.Contains(kinds, doc.kind):
			hint := ""
			if near, ok := spell.Nearest(doc.kind, kinds); ok {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			problems.add(fieldPosition(name, doc.root, "kind"), "kind", fmt.Sprintf("unknown kind %q", doc.kind), hint)
		default:
			notes = append(notes, clean(fmt.Sprintf("%s: %s is not used by a join and was ignored", pos, doc.kind)))
			others = append(others, fmt.Sprintf("%s at line %d", doc.kind, pos.Line))
		}
	}
	if len(problems) > 0 {
		return document{}, nil, problems
	}
	switch {
	case len(found) == 0 && len(others) == 0:
		problems.add(Position{File: name}, "", fmt.Sprintf("no %s found; the file is empty", kind),
			fmt.Sprintf(`a configuration starts with "apiVersion: %s" and "kind: %s"`, current, kind))
	case len(found) == 0:
		problems.add(Position{File: name}, "", fmt.Sprintf("no %s found; the file has %s", kind, strings.Join(others, ", ")), "")
	case len(found) > 1:
		for _, doc := range found[1:] {
			problems.add(position(name, doc.root), "", fmt.Sprintf("a second %s", kind),
				"the first one is at "+position(name, found[0].root).String())
		}
	}
	if len(problems) > 0 {
		return document{}, nil, problems
	}
	return found[0], notes, nil
}

func (j *Join) isOverridden(fieldPath string) bool {
	lower := strings.ToLower(fieldPath)
	for _, path := range j.overridden {
		if rest, ok := strings.CutPrefix(lower, path); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}

// changes gives the fields in which two structs differ, as lower-case paths: the
// names of the internal version differ from those in a file only in case.
func changes(before, after reflect.Value, path string) []string {
	if before.Kind() == reflect.Pointer && !before.IsNil() && !after.IsNil() && before.Elem().Kind() == reflect.Struct {
		return changes(before.Elem(), after.Elem(), path)
	}
	if before.Kind() != reflect.Struct {
		if reflect.DeepEqual(before.Interface(), after.Interface()) {
			return nil
		}
		return []string{path}
	}
	var paths []string
	for i := range before.NumField() {
		name := strings.ToLower(before.Type().Field(i).Name)
		paths = append(paths, changes(before.Field(i), after.Field(i), strings.TrimPrefix(path+"."+name, "."))...)
	}
	return paths
}

// parent cuts the last field or index off a path.
func parent(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}

func lowerFirst(s string) string {
	r, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToLower(r)) + s[size:]
}
