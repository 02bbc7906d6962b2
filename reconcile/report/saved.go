package report

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kubejoin/kubejoin/reconcile"
)

// Saved prints a saved plan: what it was made from, and the plan.
func (p *Printer) Saved(s *reconcile.Saved) {
	if p.o.Format == JSON {
		p.Object("saved-plan", object{"format": s.FormatVersion, "program": s.Program, "machine": s.Machine,
			"input": s.Input, "observed": s.Observed, "plan": s.Plan})
		return
	}
	p.Line("%s", clean("saved by kubejoin "+s.Program+madeFrom(s.Input)))
	p.Plan(&s.Plan)
}

// madeFrom is what the command line said.
func madeFrom(in reconcile.Input) string {
	var out strings.Builder
	if in.Endpoint != "" {
		out.WriteString(" for " + in.Endpoint)
	}
	for _, config := range in.Flags["config"] {
		if config == "-" {
			config = "standard input"
		} else if !filepath.IsAbs(config) {
			config = filepath.Join(in.Directory, config)
		}
		out.WriteString(" from " + config)
	}
	for _, name := range slices.Sorted(maps.Keys(in.Flags)) {
		if name != "config" {
			out.WriteString(" --" + name + "=" + strings.Join(in.Flags[name], ","))
		}
	}
	return out.String()
}

// overrides is the line on values that the file has no say in.
func overrides(list []reconcile.Setting) string {
	all := make([]string, len(list))
	for i, o := range list {
		all[i] = o.Path + " (" + o.Source + ")"
	}
	return "not from the file: " + strings.Join(all, ", ")
}
