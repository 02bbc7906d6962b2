package load

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta4"
	"github.com/kubejoin/kubejoin/apis/kubeadm/validation"
)

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
	argNames  map[string][]string
	// overridden are the fields that override changed, as lower-case paths.
	overridden []string
	// name is that of the node as it was given, before the defaults; see asGiven.
	name     string
	setter   func(fieldPath string) string
	detected map[string]string
}

// Detected says what of the machine a field was taken from, so that the file is
// not blamed for it.
func (j *Join) Detected(fieldPath, what string) {
	if j.detected == nil {
		j.detected = map[string]string{}
	}
	j.detected[fieldPath] = what
}

// Override changes a configuration after its static defaults are set, as flags of
// the command line do.
type Override struct {
	Apply func(*kubeadm.JoinConfiguration)
	// Setter names what changed a field: the flag "--node-name", or the variable
	// "$KUBEJOIN_TOKEN"; empty if nothing did, although something around it was
	// changed. It may be nil.
	Setter func(fieldPath string) string
}

func (o *Override) apply(join *Join, original *kubeadm.JoinConfiguration) {
	if o == nil {
		return
	}
	o.Apply(join.Config)
	join.setter = o.Setter
	join.name = join.Config.NodeRegistration.Name
	join.overridden = changes(reflect.ValueOf(original), reflect.ValueOf(join.Config), "")
}

// JoinConfiguration reads the one JoinConfiguration in a file. The name of the
// file is used in positions only. override may be nil. Dynamic defaults and
// validation are left to the caller. Errors are Problems of class InvalidConfig.
func JoinConfiguration(name string, data []byte, override *Override) (*Join, error) {
	doc, kind, notes, problems := find(name, data, "JoinConfiguration")
	if problems != nil {
		return nil, problems.err()
	}
	d := newDecoder(name)
	join := &Join{
		Config:    kind.read(d, doc.root).(*kubeadm.JoinConfiguration),
		Version:   kind.APIVersion,
		Notes:     notes,
		positions: d.positions,
		unset:     d.unset,
		argNames:  d.argNames,
	}
	if problems := slices.Concat(d.problems, d.surplus); len(problems) > 0 {
		return nil, problems.err()
	}
	if note := aged(kind.APIVersion); note != "" {
		join.Notes = append(join.Notes, fieldPosition(name, doc.root, "apiVersion").String()+": "+note)
	}
	if pos, ok := d.positions["controlPlane"]; ok && join.Config.ControlPlane == nil {
		join.Notes = append(join.Notes, pos.String()+": controlPlane is null, so the machine joins as a worker; "+
			`"controlPlane: {}" makes it a control plane`)
	}
	join.name = join.Config.NodeRegistration.Name
	override.apply(join, kind.read(newDecoder(name), doc.root).(*kubeadm.JoinConfiguration))
	return join, nil
}

// FromObject makes a Join of a configuration that was not read from a file, but
// built from flags. It sets the static defaults of the object. Its problems have
// no positions. override may be nil.
func FromObject(cfg *v1beta4.JoinConfiguration, override *Override) *Join {
	v1beta4.SetDefaultsJoinConfiguration(cfg)
	join := &Join{Config: v1beta4.ToInternalJoinConfiguration(cfg), Version: v1beta4.APIVersion}
	override.apply(join, v1beta4.ToInternalJoinConfiguration(cfg))
	return join
}

// Position finds a field by its path in JSON notation, such as
// "nodeRegistration.taints[0].effect"; the path is that of the current version,
// whatever the version of the file. For a field that is not in the file it is
// the position of the nearest one around it. It is false if the field was set on
// the command line or if there is no file.
func (j *Join) Position(fieldPath string) (Position, bool) {
	if j.isOverridden(fieldPath) {
		return Position{}, false
	}
	return nearest(j.positions, writtenAs(j.Version, fieldPath, j.argNames))
}

// nearest is the position of a field, or of the nearest one around it.
func nearest(positions map[string]Position, fieldPath string) (Position, bool) {
	for path := fieldPath; ; path = parent(path) {
		if pos, ok := positions[path]; ok {
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
	for _, e := range asGiven(validation.JoinConfiguration(j.Config), j.name) {
		pos, _ := j.Position(e.Field)
		hint := ""
		if j.positions != nil && j.isOverridden(e.Field) {
			hint = "set by " + cmp.Or(j.SetBy(e.Field), "the command line")
		}
		message := lowerFirst(e.ErrorBody())
		if what := j.detected[e.Field]; what != "" {
			pos, message, hint = Position{}, "is not given, and "+what+" cannot be it: "+message, "set "+e.Field
		}
		problems.add(pos, writtenAs(j.Version, e.Field, j.argNames), message, hint)
	}
	return problems.err()
}

// ClusterConfiguration reads the configuration that a cluster publishes. As a
// newer or older tool may have written it, unknown and duplicate fields are
// warnings, of which each is one line; of duplicates the last one wins. Errors
// are Problems of class InvalidConfig.
func ClusterConfiguration(name string, data []byte) (*kubeadm.ClusterConfiguration, []string, error) {
	doc, kind, _, problems := find(name, data, "ClusterConfiguration")
	if problems != nil {
		return nil, nil, problems.err()
	}
	d := newDecoder(name)
	cfg := kind.read(d, doc.root).(*kubeadm.ClusterConfiguration)
	if len(d.problems) > 0 {
		return nil, nil, d.problems.err()
	}
	var warnings []string
	for _, p := range d.surplus {
		warnings = append(warnings, p.String())
	}
	return cfg, warnings, nil
}

// maxNotes bounds the notes on documents that are not used, so that they are no
// wall.
const maxNotes = 5

// find gives the one document of a kind, and notes on the others.
func find(name string, data []byte, kind string) (document, Kind, []string, Problems) {
	if problems := checkSize(name, data); problems != nil {
		return document{}, Kind{}, nil, problems
	}
	var found document
	var foundKind Kind
	var notes, others []string
	var own Problems
	problems := eachDocument(name, data, func(doc document) {
		pos := position(name, doc.root)
		k, known := Kind{}, false
		if doc.group() == group {
			if k, known = findKind(name, doc, &own); !known {
				return
			}
		}
		switch {
		case doc.kind == kind && !known:
			own.add(fieldPosition(name, doc.root, "apiVersion"), "apiVersion",
				fmt.Sprintf("there is no %s in %q", kind, doc.apiVersion), "did you mean "+current+"?")
		case doc.kind == kind && found.root != nil:
			own.add(pos, "", fmt.Sprintf("a second %s", kind), "the first one is at "+position(name, found.root).String())
		case doc.kind == kind:
			found, foundKind = doc, k
		default:
			others = append(others, clean(fmt.Sprintf("%s at line %d", doc.kind, pos.Line)))
			if len(others) <= maxNotes {
				notes = append(notes, clean(fmt.Sprintf("%s: %s is not used by a join and was ignored", pos, doc.kind)))
			}
		}
	})
	if problems = append(own, problems...); len(problems) > 0 {
		return document{}, Kind{}, nil, problems
	}
	if more := len(others) - maxNotes; more > 0 {
		notes = append(notes, fmt.Sprintf("%s: %d more documents are not used by a join and were ignored", name, more))
		others = append(others[:maxNotes], fmt.Sprintf("%d more", more))
	}
	switch {
	case found.root != nil:
		return found, foundKind, notes, nil
	case len(others) == 0:
		problems.add(Position{File: name}, "", fmt.Sprintf("no %s found; the file is empty", kind),
			fmt.Sprintf(`a configuration starts with "apiVersion: %s" and "kind: %s"`, current, kind))
	default:
		problems.add(Position{File: name}, "", fmt.Sprintf("no %s found; the file has %s", kind, strings.Join(others, ", ")), "")
	}
	return document{}, Kind{}, nil, problems
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
