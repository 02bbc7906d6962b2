package preflight

import (
	"fmt"
	"strings"
)

// Page is docs/preflight.md.
func Page() []byte {
	var b strings.Builder
	b.WriteString(`# Checks

<!-- Made from the table of checks in reconcile/preflight: go test ./reconcile/preflight -run TestPage -update -->

` + "`kubejoin preflight -f join.yaml`" + ` makes them alone, before there is a cluster or while an image
is built; ` + "`plan` and `apply`" + ` make them where they have something to change. All are made at once,
and none changes anything: no module is loaded, no port bound, no directory made, no
image pulled, and no program started but ` + "`kubelet --version`" + `, once. ` + "`preflight`" + ` also tells
the runtime that answers, with its version and cgroup driver.

A finding tells what was seen, what is wanted, why that matters and what to do. An error
stops apply before it changes anything (exit code 4). A warning does not.
A machine that has joined already has passed once: the checks marked *joining* find
warnings on it instead of errors, so that they do not keep it from being mended.

` + "`--ignore-preflight-errors=NAME,…` and `nodeRegistration.ignorePreflightErrors`" + ` waive the errors of
checks by name, in any case; both lists count. Waived errors stay visible. ` + "`all`" + ` waives every
error, and a warning lists what that hides. A name that no check has is an error. The names are
kubeadm's where it has the check. Where a name has a ` + "`*`" + `, the path, port or program in question stands
there, with ` + "`-` for `/`" + `.

| check | for | finds | kubeadm |
|---|---|---|---|
`)
	for _, c := range Checks() {
		has := "no"
		if c.Kubeadm {
			has = "yes"
		}
		if c.Kubeadm && c.Differs != "" {
			has = "differs"
		}
		fmt.Fprintf(&b, "| [%s](#%s) | %s | %s | %s |\n", strings.ReplaceAll(c.Name, "*", `\*`), anchor(c.Name), c.Role, c.Severity, has)
	}
	for _, c := range Checks() {
		fmt.Fprintf(&b, "\n## %s\n\n", strings.ReplaceAll(c.Name, "*", `\*`))
		fmt.Fprintf(&b, "%s.\n", capital(c.Meaning))
		fmt.Fprintf(&b, "Otherwise: %s.\n", c.Why)
		list := func(title, text string) {
			if text != "" {
				fmt.Fprintf(&b, "- %s: %s\n", title, text)
			}
		}
		b.WriteString("\n")
		list("for", string(c.Role))
		list("finds at worst", string(c.Severity))
		list("remedy", c.Hint)
		list("kubeadm", c.Differs)
		if len(c.Names) > 0 {
			list("names", "`"+strings.Join(c.Names, "`, `")+"`")
		}
		list("needs", c.needs())
		if c.joining {
			list("joining", "a warning on a machine that has joined")
		}
	}
	return []byte(b.String())
}

func (c *Check) needs() string {
	var needs []string
	if c.Plan {
		needs = append(needs, "plan or apply")
	}
	if c.live {
		needs = append(needs, "the running machine")
	}
	if c.cluster {
		needs = append(needs, "the cluster")
	}
	return strings.Join(needs, " and ")
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// anchor is a heading's in GitHub's rendering.
func anchor(name string) string { return strings.ToLower(strings.ReplaceAll(name, "*", "")) }
