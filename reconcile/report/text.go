package report

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
)

type style string

const (
	bold   style = "1"
	dim    style = "2"
	red    style = "31"
	green  style = "32"
	yellow style = "33"
	cyan   style = "36"
)

func paint(on bool, s style, text string) string {
	if !on || s == "" || text == "" {
		return text
	}
	return "\x1b[" + string(s) + "m" + text + "\x1b[0m"
}

func (p *Printer) out(s style, text string) string { return paint(p.o.ColorOut, s, text) }
func (p *Printer) err(s style, text string) string { return paint(p.o.ColorErr, s, text) }

func (p *Printer) outf(format string, args ...any) { p.write(fmt.Appendf(nil, format, args...)) }

// errf prints what may quote what the user typed.
func (p *Printer) errf(format string, args ...any) {
	_, _ = io.WriteString(p.o.Err, p.o.Hide(fmt.Sprintf(format, args...)))
}

// clean makes control characters visible, so that text from a cluster, a log
// or a file cannot move the cursor, change colours, or begin a line that looks
// like one of ours.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		if r != '\t' && drives(r) {
			return '\uFFFD'
		}
		return r
	}, s)
}

// drives tells whether a terminal may do something else with a character than
// show it.
func drives(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) }

func styleOf(s reconcile.Severity) style {
	switch s {
	case reconcile.SeverityError:
		return red
	case reconcile.SeverityWarning:
		return yellow
	}
	return cyan
}

// sign is the mark before a change.
func sign(c reconcile.Change) (string, style) {
	switch c.Action {
	case reconcile.Create, reconcile.Start:
		return "+", green
	case reconcile.Delete:
		return "-", red
	case reconcile.Replace:
		return "±", red
	case reconcile.Wait:
		return "…", cyan
	}
	return "~", yellow
}

// Plan prints a plan to standard output.
func (p *Printer) Plan(plan *reconcile.Plan) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.o.Format == JSON {
		changes := plan.Changes
		if changes == nil {
			changes = []reconcile.Change{} // an empty list, not null
		}
		q := *plan
		q.Changes = changes
		p.line(object{"type": "plan", "plan": q})
		return
	}
	p.header(plan.Subject)
	if len(plan.Overrides) > 0 {
		p.outf("%s\n", p.out(dim, clean(overrides(plan.Overrides))))
	}
	for _, c := range plan.Changes {
		p.change(c)
	}
	for _, f := range plan.Findings {
		p.finding(f)
	}
	if len(plan.Changes)+len(plan.Findings) > 0 {
		p.outf("\n")
	}
	p.outf("%s\n", p.out(bold, summary(plan)))
}

func (p *Printer) header(s reconcile.Subject) {
	line := "node " + s.Node
	if s.Cluster != "" {
		line += " of cluster " + s.Cluster
	}
	if s.KubernetesVersion != "" {
		line += " " + s.KubernetesVersion
	}
	if s.Server != "" {
		line += " at " + s.Server
	}
	if s.Root != "" {
		line += " below " + s.Root
	}
	p.outf("%s\n", clean(line))
	if s.ClusterCA != "" {
		p.outf("%s\n", p.out(dim, "cluster CA "+clean(s.ClusterCA)))
	}
}

func (p *Printer) change(c reconcile.Change) {
	mark, st := sign(c)
	p.outf("\n%s %s  %s (%s): %s\n", p.out(st, "  "+mark), p.out(bold, clean(string(c.Address))),
		clean(string(c.Action)), clean(string(c.Reason)), clean(c.Summary))
	if c.Allow != "" {
		p.outf("      %s\n", p.out(red, clean("destructive: refused without --allow="+c.Allow)))
	} else if c.Disruption != reconcile.NoDisruption {
		p.outf("      disruption: %s\n", clean(string(c.Disruption)))
	}
	for _, a := range c.Because {
		p.outf("      because of %s\n", clean(string(a)))
	}
	if c.Diff != "" {
		for _, l := range strings.Split(strings.TrimSuffix(c.Diff, "\n"), "\n") {
			s := style("")
			switch {
			case strings.HasPrefix(l, "+"):
				s = green
			case strings.HasPrefix(l, "-"):
				s = red
			case strings.HasPrefix(l, "@@"):
				s = cyan
			}
			p.outf("      %s\n", p.out(s, clean(l)))
		}
	}
	for _, f := range c.Fields {
		if c.Diff != "" && f.Path != "mode" && f.Path != "owner" {
			continue // the diff shows it
		}
		p.outf("      %s\n", clean(fieldText(f)))
	}
}

func fieldText(f reconcile.Field) string {
	switch {
	case f.Before == "":
		return fmt.Sprintf("%s: %s", f.Path, f.After)
	case f.After == "":
		return fmt.Sprintf("%s: %s (removed)", f.Path, f.Before)
	}
	return fmt.Sprintf("%s: %s → %s", f.Path, f.Before, f.After)
}

func (p *Printer) finding(f reconcile.Finding) {
	word := string(f.Severity)
	if f.Waived {
		word = "waived"
	}
	p.outf("\n  %s %s", p.out(styleOf(f.Severity), clean(word+":")), clean(f.Name))
	if f.Address != "" {
		p.outf(" %s", clean(string(f.Address)))
	}
	p.outf(": %s\n", clean(f.Seen))
	for _, l := range []struct{ word, text string }{{"wanted:", f.Wanted}, {"why:", f.Why}} {
		if l.text != "" {
			p.outf("      %s %s\n", p.out(dim, l.word), clean(l.text))
		}
	}
	if f.Hint != "" {
		p.outf("      %s %s\n", p.out(cyan, "hint:"), clean(f.Hint))
	}
}

func summary(plan *reconcile.Plan) string {
	if plan.Empty() {
		if plan.Incomplete {
			return "no changes, but not everything could be compared or put right: see the findings"
		}
		if plan.Partial {
			return "no changes to what is managed"
		}
		return "no changes: this machine is what the configuration wants"
	}
	count := map[string]int{}
	order := []string{"create", "update", "replace", "delete", "start", "restart", "wait for"}
	for _, c := range plan.Changes {
		word := string(c.Action)
		if c.Action == reconcile.Wait {
			word = "wait for"
		}
		count[word]++
	}
	var parts []string
	for _, w := range order {
		if n := count[w]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d to %s", n, w))
		}
	}
	return "plan: " + strings.Join(parts, ", ")
}

func (p *Printer) textEvent(e reconcile.Event) {
	switch e.Type {
	case reconcile.EventProgress:
		p.progress(string(e.Address), e.Say.Message, e.Say.Lines, e.Say.Hint)
	case reconcile.EventStart:
		p.errf("%s: %s\n", clean(string(e.Address)), doing(e.Change.Action))
	case reconcile.EventDone:
		p.errf("%s: %s %s\n", clean(string(e.Address)), p.err(green, "done"), p.err(dim, "("+seconds(e.Elapsed)+")"))
	case reconcile.EventSkip:
		p.errf("%s: nothing to do any more\n", clean(string(e.Address)))
	case reconcile.EventFail:
		p.errf("%s: %s %s\n", clean(string(e.Address)), p.err(red, "failed"), p.err(dim, "("+seconds(e.Elapsed)+")"))
	}
}

func doing(a reconcile.Action) string {
	switch a {
	case reconcile.Create:
		return "creating"
	case reconcile.Update:
		return "updating"
	case reconcile.Replace:
		return "replacing"
	case reconcile.Delete:
		return "deleting"
	case reconcile.Start:
		return "starting"
	case reconcile.Restart:
		return "restarting"
	}
	return "waiting"
}

func seconds(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%dms", d.Milliseconds())
	}
	return fmt.Sprintf("%.1fs", d.Seconds())
}

// Applied prints the result of an apply.
func (p *Printer) Applied(made int, elapsed time.Duration, requests int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.o.Format == JSON {
		p.line(object{"type": "result", "changes": made, "elapsedSeconds": elapsed.Seconds(), "apiRequests": requests})
		return
	}
	if made == 0 {
		return // the plan said so, or the events did
	}
	p.outf("%s\n", p.out(bold, fmt.Sprintf("applied %d %s in %s",
		made, plural(made, "change"), seconds(elapsed))))
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// Error prints a failure: every error of a joined one, each with its hint.
func (p *Printer) Error(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.o.Format == JSON {
		p.hiding(object{"type": "error", "error": jsonError(err)})
		return
	}
	p.textError(err)
}

func (p *Printer) textError(err error) {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			p.textError(e)
		}
		return
	}
	first, more, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	p.errf("%s %s\n", p.err(red, "error:"), clean(first))
	for line := range strings.Lines(more) { // one for each problem of a file
		p.errf("  %s\n", clean(strings.TrimSuffix(line, "\n")))
	}
	if h := fault.HintOf(err); h != "" {
		p.errf("%s %s\n", p.err(cyan, "hint:"), clean(h))
	}
}

// Line prints one line of a result that is not a plan, such as a version.
func (p *Printer) Line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.outf(format+"\n", args...)
}

// Object prints a result that is not a plan as JSON.
func (p *Printer) Object(kind string, fields map[string]any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := object{"type": kind}
	for k, v := range fields {
		o[k] = v
	}
	p.line(o)
}
