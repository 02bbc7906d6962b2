package load

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/kubejoin/kubejoin/apis/internal/convert"
	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/apis/kubeadm/validation"
	"github.com/kubejoin/kubejoin/fault"
)

// Validate says everything that is wrong with all documents: what cannot be read,
// what the rules of package validation refuse, and what Fail added. What depends
// on the machine, such as the host name, counts as right if it is absent. The error
// is Problems of class InvalidConfig, in the order of the file; its text has all of
// them, not only a screen full.
func (f *File) Validate() error {
	problems := slices.Concat(f.form, f.added)
	for i := range f.Documents {
		doc := &f.Documents[i]
		for _, p := range doc.check() {
			if !doc.unread(p) && len(problems) < maxProblems {
				problems = append(problems, p.Problem)
			}
		}
	}
	problems.sort()
	if len(problems) == 0 {
		return nil
	}
	return fault.New(fault.InvalidConfig, "%w", wholeText{problems})
}

// unread tells that a field is only wrong because it, or a part of it, could not be
// read or has a misspelt name, which is no mistake of its own.
func (d *Document) unread(p violation) bool {
	_, written := d.positions[p.Path]
	return slices.ContainsFunc(d.form, func(q Problem) bool {
		return inside(p.Path, q.Path) && q.Message != duplicateField ||
			p.missing && inside(q.Path, p.Path) ||
			!written && parent(q.Path) == parent(p.Path)
	})
}

// violation is a rule that a field breaks; missing says that it does by being
// absent.
type violation struct {
	Problem
	missing bool
}

// inside tells whether a field is another one or a part of it.
func inside(path, around string) bool {
	rest, ok := strings.CutPrefix(path, around)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// wholeText are problems that may fill more than a screen.
type wholeText struct{ Problems }

func (w wholeText) Error() string {
	lines := make([]string, len(w.Problems))
	for i, p := range w.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

func (w wholeText) Unwrap() error { return w.Problems }

// Warnings are about what works, or is ignored, and had better be changed, in the
// order of the file.
func (f *File) Warnings() Problems {
	list := slices.Clone(f.warnings)
	for i := range f.Documents {
		doc := &f.Documents[i]
		for _, w := range doc.warnings() {
			list = append(list, doc.problem(w.Field, w.Message, w.Hint))
		}
	}
	list.sort()
	return list
}

// Place is a field of a document.
type Place struct {
	// Field is in the notation of the current version.
	Field string

	document *Document
}

// Reference is a file or directory that a document names.
type Reference struct {
	Place
	// Path is what is named; a relative one starts at the configuration file.
	Path string
	// Patches says that it is a directory of patches; otherwise it is a kubeconfig.
	Patches bool
}

// References are the files and directories that the documents name, except those
// that only exist when the configuration is used, and those whose names are wrong
// themselves.
func (f *File) References() []Reference {
	var list []Reference
	for i := range f.Documents {
		doc := &f.Documents[i]
		add := func(r Reference) {
			r.document = doc
			written := writtenAs(doc.APIVersion, r.Field, doc.argNames)
			if r.Path != "" && !slices.ContainsFunc(doc.check(), func(v violation) bool { return v.Path == written }) {
				list = append(list, r)
			}
		}
		patches := func(field string, p *kubeadm.Patches) {
			if p != nil {
				add(Reference{Place: Place{Field: field}, Path: p.Directory, Patches: true})
			}
		}
		switch cfg := doc.Object.(type) {
		case *kubeadm.JoinConfiguration:
			if file := cfg.Discovery.File; file != nil && !strings.Contains(file.KubeConfigPath, "://") {
				add(Reference{Place: Place{Field: "discovery.file.kubeConfigPath"}, Path: file.KubeConfigPath})
			}
			patches("patches.directory", cfg.Patches)
		case *kubeadm.InitConfiguration:
			patches("patches.directory", cfg.Patches)
		case *kubeadm.UpgradeConfiguration:
			patches("apply.patches.directory", cfg.Apply.Patches)
			patches("node.patches.directory", cfg.Node.Patches)
		}
	}
	return list
}

// Waiver is a check whose errors a join is to ignore.
type Waiver struct {
	Place
	Name string
}

// Waivers are those of the JoinConfigurations. Other commands of kubeadm have
// checks of their own.
func (f *File) Waivers() []Waiver {
	var list []Waiver
	for i := range f.Documents {
		doc := &f.Documents[i]
		if cfg, ok := doc.Object.(*kubeadm.JoinConfiguration); ok {
			for i, name := range cfg.NodeRegistration.IgnorePreflightErrors {
				list = append(list, Waiver{Place{fmt.Sprintf("nodeRegistration.ignorePreflightErrors[%d]", i), doc}, name})
			}
		}
	}
	return list
}

// Fail makes a problem of a field.
func (f *File) Fail(p Place, message, hint string) {
	f.added = append(f.added, p.document.problem(p.Field, message, hint))
}

// Warn makes a warning of a field.
func (f *File) Warn(p Place, message, hint string) {
	f.warnings = append(f.warnings, p.document.problem(p.Field, message, hint))
}

// problem places a field of the internal version in the document.
func (d *Document) problem(fieldPath, message, hint string) Problem {
	written := writtenAs(d.APIVersion, fieldPath, d.argNames)
	pos, _ := nearest(d.positions, written)
	var one Problems
	one.add(pos, written, message, hint)
	return one[0]
}

// check applies the rules to a document.
func (d *Document) check() []violation {
	var errs field.ErrorList
	var list []violation
	// The machine's part of the defaults; any name will do.
	dynamic := func(join *kubeadm.JoinConfiguration) {
		m := kubeadm.Machine{Hostname: "localhost"}
		if e := (*fault.Error)(nil); errors.As(kubeadm.SetDynamicDefaults(join, m), &e) {
			list = append(list, violation{Problem: d.problem(e.Address, e.Err.Error(), e.Hint)})
			join.NodeRegistration.Name = "" // a blank one; on to everything else
			_ = kubeadm.SetDynamicDefaults(join, m)
		}
	}
	switch cfg := d.Object.(type) {
	case *kubeadm.JoinConfiguration:
		name := cfg.NodeRegistration.Name
		cfg = convert.To[kubeadm.JoinConfiguration](cfg)
		dynamic(cfg)
		errs = asGiven(validation.JoinConfiguration(cfg), name)
	case *kubeadm.InitConfiguration:
		name := cfg.NodeRegistration.Name
		cfg = convert.To[kubeadm.InitConfiguration](cfg)
		join := &kubeadm.JoinConfiguration{NodeRegistration: cfg.NodeRegistration, ControlPlane: &kubeadm.JoinControlPlane{}}
		dynamic(join)
		cfg.NodeRegistration = join.NodeRegistration
		errs = asGiven(validation.InitConfiguration(cfg), name)
	case *kubeadm.ClusterConfiguration:
		errs = validation.ClusterConfiguration(cfg)
	case *kubeadm.ResetConfiguration:
		errs = validation.ResetConfiguration(cfg)
	case *kubeadm.UpgradeConfiguration:
		errs = validation.UpgradeConfiguration(cfg)
	}
	for _, e := range errs {
		list = append(list, violation{d.problem(e.Field, lowerFirst(e.ErrorBody()), ""), e.Type == field.ErrorTypeRequired})
	}
	return list
}

// asGiven puts the name of the node into errors as it was given: the defaults make
// it lower-case.
func asGiven(errs field.ErrorList, name string) field.ErrorList {
	for _, e := range errs {
		if e.Field == "nodeRegistration.name" && e.Type == field.ErrorTypeInvalid && e.BadValue == strings.ToLower(strings.TrimSpace(name)) {
			e.BadValue = name
		}
	}
	return errs
}

func (d *Document) warnings() []validation.Warning {
	switch cfg := d.Object.(type) {
	case *kubeadm.JoinConfiguration:
		return validation.NodeRegistrationWarnings(&cfg.NodeRegistration, "nodeRegistration")
	case *kubeadm.InitConfiguration:
		return validation.InitConfigurationWarnings(cfg)
	case *kubeadm.ClusterConfiguration:
		return validation.ClusterConfigurationWarnings(cfg)
	case *kubeadm.ResetConfiguration:
		return validation.ResetConfigurationWarnings(cfg)
	}
	return nil
}
