package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/node"
	"github.com/kubejoin/kubejoin/reconcile/report"
)

func newPhase(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "phase",
		Short: "List the phases of a join",
		Long:  "List the phases of a join. `kubejoin join phase NAME` does one.",
		Args:  cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(c, args[0])
			}
			return c.Help()
		},
	}
	c.AddCommand(newPhaseList(g))
	return c
}

func newPhaseList(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "list [-f join.yaml] [HOST:PORT]",
		Short: "Print the phases in their order, with the resources that each holds",
		Long: `Print the phases in their order, with what each does and which resources it holds,
as patterns of their addresses. With a configuration the addresses are this
machine's own, for which the cluster is asked as for plan.

--skip-phases, skipPhases and --phases take these names, --target the addresses.
The order is kubeadm's; apply does what it can side by side.`,
		Example: `  kubejoin phase list
  kubejoin phase list -o json
  kubejoin phase list -f join.yaml`,
		Args: endpointOnly,
	}
	f := addJoinFlags(c)
	f.addCluster("as for plan")
	c.RunE = func(c *cobra.Command, args []string) error {
		f.takeEndpoint(args)
		p := g.printer()
		if f.config == "" && f.endpoint == "" && f.discoveryFile == "" {
			printPhases(p, g.output, nil)
			return nil
		}
		f.listing = true
		run, err := f.open(c, p, true)
		if err != nil {
			return err
		}
		defer run.Close()
		held := map[string][]string{}
		for _, a := range run.Addresses() {
			phase := node.PhaseOf(reconcile.Address(a), run.ControlPlane())
			held[phase] = append(held[phase], a)
		}
		printPhases(p, g.output, held)
		return nil
	}
	return c
}

// listedPhase is a phase as it is listed in JSON.
type listedPhase struct {
	node.Phase
	// Addresses are this machine's; there are none without a configuration.
	Addresses []string `json:"addresses,omitempty"`
}

// printPhases lists the phases; held are the addresses that each has on this
// machine, nil if that is not known.
func printPhases(p *report.Printer, format string, held map[string][]string) {
	phases := node.Phases()
	if report.Format(format) == report.JSON {
		list := make([]listedPhase, len(phases))
		for i, phase := range phases {
			list[i] = listedPhase{phase, held[phase.Name]}
		}
		p.Object("phases", map[string]any{"phases": list})
		return
	}
	for _, phase := range phases {
		name := phase.Name
		if _, child, ok := strings.Cut(name, "/"); ok {
			name = "  /" + child
		}
		on := "control plane"
		if phase.OnWorkers() {
			on = "every node"
		}
		p.Line("%-24s %-14s %s", name, on, phase.Short)
		list := phase.Resources
		if held != nil {
			list = held[phase.Name]
		}
		for _, a := range list {
			p.Line("%-24s %-14s   %s", "", "", a)
		}
	}
}
