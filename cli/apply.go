package cli

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/report"
)

func newApply(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "apply -f join.yaml",
		Short: "Make this machine what the configuration wants",
		Long: `Make this machine what the configuration wants: do what plan shows, then look again.

Nothing happens when nothing is missing. A run that was killed leaves nothing
half-written, and the next one goes on from there. What destroys something is
refused until --allow names it.`,
		Example: `  kubejoin apply -f join.yaml
  kubejoin apply -f join.yaml --wait=ready`,
		Args: endpointOnly,
	}
	f := addJoinFlags(c)
	f.addWait()
	f.addAllow()
	f.addCluster("as for plan; only with --rootfs")
	c.RunE = func(c *cobra.Command, args []string) error {
		f.takeEndpoint(args)
		return f.apply(c, g.printer())
	}
	return c
}

// addCluster adds the cluster that is a file. apply has it too: below --rootfs it
// prepares an image without any network.
func (f *joinFlags) addCluster(usage string) {
	f.cmd.Flags().StringVar(&f.cluster, "cluster", "", usage)
	_ = f.cmd.MarkFlagFilename("cluster", "yaml", "yml", "json") // the error is for a flag that is not there
}

func (f *joinFlags) apply(c *cobra.Command, p *report.Printer) error {
	begin := time.Now()
	run, err := f.open(c, p, f.dryRun)
	if err != nil {
		return err
	}
	defer run.Close()
	p.Plan(run.Plan)
	if run.DryRun() {
		p.Note(reconcile.SeverityInfo, "dry run: nothing was changed")
		return nil
	}
	stop := p.Follow()
	made := 0 // events come one at a time
	err = run.Apply(c.Context(), f.allow, func(e reconcile.Event) {
		if e.Type == reconcile.EventDone {
			made++
		}
		p.Event(e)
		stepHook(e)
	})
	stop()
	if err != nil {
		return err
	}
	p.Applied(made, time.Since(begin), run.Requests())
	return nil
}
