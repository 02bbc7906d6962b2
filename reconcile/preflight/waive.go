package preflight

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
)

// all is the name that waives every error.
const all = "all"

// FindingAllWaived tells what "all" hides.
const FindingAllWaived = "IgnorePreflightErrors"

// Waive marks the errors that the user wants to ignore, by name or "all". They
// stay visible and block nothing. What it returns belongs to the findings too: a
// warning that lists what "all" hides.
func Waive(findings []reconcile.Finding, names []string) []reconcile.Finding {
	named := func(name string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
	}
	var hidden []string
	for i := range findings {
		f := &findings[i]
		if f.Waived = f.Severity == reconcile.SeverityError && (named(f.Name) || named(all)); f.Waived && !named(f.Name) && !slices.Contains(hidden, f.Name) {
			hidden = append(hidden, f.Name)
		}
	}
	if len(hidden) == 0 {
		return nil
	}
	return []reconcile.Finding{{Severity: reconcile.SeverityWarning, Name: FindingAllWaived,
		Seen:   `"all" waives ` + strings.Join(hidden, ", "),
		Wanted: "the names of the errors that are known and meant",
		Why:    "it waives each error that a later run may find, too",
		Hint:   "mend them, or write " + strings.Join(hidden, ",") + ` instead of "all"`}}
}

// CheckNames refuses a waiver that no check answers to. The first result is the
// place of the wrong one among the names.
func CheckNames(names []string) (int, error) {
	for i, name := range names {
		if Known(name) {
			continue
		}
		e := fault.New(fault.InvalidConfig, "there is no check %q", name)
		if near := nearest(name); near != "" {
			return i, e.WithHint("did you mean %q?", near)
		}
		return i, e.WithHint("`kubejoin preflight list` prints the names")
	}
	return 0, nil
}

// Blocking is the error of the findings that stand in the way of apply; nil if
// there is none.
func Blocking(findings []reconcile.Finding) error {
	var names, hints []string
	for _, f := range findings {
		if f.Severity == reconcile.SeverityError && !f.Waived {
			names = append(names, fmt.Sprintf("%s (%s)", f.Name, f.Seen))
			if f.Hint != "" && !slices.Contains(hints, f.Hint) {
				hints = append(hints, f.Hint)
			}
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fault.New(fault.Preflight, "this machine cannot do what the plan needs: %s", strings.Join(names, "; ")).
		WithHint("%s", strings.Join(hints, "; "))
}
