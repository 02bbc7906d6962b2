package cli

import (
	"github.com/spf13/cobra"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile/preflight"
	"github.com/kubejoin/kubejoin/reconcile/report"
	"github.com/kubejoin/kubejoin/reconcile/session"
)

func newPreflight(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "preflight [-f join.yaml] [HOST:PORT]",
		Short: "Check whether this machine could join; touches nothing",
		Long: `Check whether this machine could join, without a plan: before there is a cluster,
while an image is built, or in CI.

All checks are made at once. None has a side effect: no module is loaded, no port
bound, no image pulled, and no program started but the kubelet to ask its version.
What needs the cluster is checked if the cluster answers, and is a warning
otherwise; --cluster gives it as a file. Below --rootfs only files are looked at.

plan and apply make the same checks where they have something to change.`,
		Example: `  kubejoin preflight -f join.yaml
  kubejoin preflight -f join.yaml --rootfs ./image
  kubejoin preflight list`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 0 && !isEndpoint(args[0]) {
				return unknownCommand(c, args[0])
			}
			return endpointOnly(c, args)
		},
	}
	f := addJoinFlags(c)
	c.Flags().StringVar(&f.cluster, "cluster", "", "as for plan")
	c.RunE = func(c *cobra.Command, args []string) error {
		f.takeEndpoint(args)
		p := g.printer()
		o, join, err := f.options(c, p, true)
		if err != nil {
			return err
		}
		found, err := session.Check(c.Context(), o)
		if err != nil {
			if f.config == "" {
				err = f.inFlags(err, join)
			}
			return err
		}
		p.Checked(found.Subject, found.Findings, found.Made, found.Elapsed)
		if preflight.Blocking(found.Findings) != nil {
			return exit(fault.Preflight.ExitCode()) // the findings said why
		}
		return nil
	}
	c.AddCommand(newPreflightList(g))
	return c
}

func newPreflightList(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Print every check with its meaning",
		Long: `Print every check: the name that waives it, who it is for, how severe it is, and
what it means. docs/preflight.md has the same with reasons and remedies.`,
		Example: `  kubejoin preflight list
  kubejoin preflight list -o json`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			p := g.printer()
			if report.Format(g.output) == report.JSON {
				p.Object("checks", map[string]any{"checks": preflight.Checks()})
				return nil
			}
			for _, check := range preflight.Checks() {
				p.Line("%-30s %-13s %-7s %s", check.Name, check.Role, check.Severity, check.Meaning)
			}
			return nil
		},
	}
}
