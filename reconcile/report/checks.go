package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/kubejoin/kubejoin/reconcile"
)

// Checked prints what the checks found without a plan.
func (p *Printer) Checked(s reconcile.Subject, findings []reconcile.Finding, made int, elapsed time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.o.Format == JSON {
		if findings == nil {
			findings = []reconcile.Finding{} // an empty list, not null
		}
		p.line(object{"type": "preflight", "subject": s, "findings": findings, "checks": made, "elapsedSeconds": elapsed.Seconds()})
		return
	}
	p.header(s)
	for _, f := range findings {
		p.finding(f)
	}
	if len(findings) > 0 {
		p.outf("\n")
	}
	p.outf("%s\n", p.out(bold, checkedSummary(findings, made)+" ("+seconds(elapsed)+")"))
}

func checkedSummary(findings []reconcile.Finding, made int) string {
	var parts []string
	count := func(word string, is func(reconcile.Finding) bool) {
		n := 0
		for _, f := range findings {
			if is(f) {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, plural(n, word)))
		}
	}
	count("error", func(f reconcile.Finding) bool { return f.Severity == reconcile.SeverityError && !f.Waived })
	count("waived error", func(f reconcile.Finding) bool { return f.Waived })
	count("warning", func(f reconcile.Finding) bool { return f.Severity == reconcile.SeverityWarning })
	if len(parts) == 0 {
		return fmt.Sprintf("%d %s passed", made, plural(made, "check"))
	}
	return fmt.Sprintf("%d %s: %s", made, plural(made, "check"), strings.Join(parts, ", "))
}
