package cli

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/report"
)

func newApply(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "apply [-f join.yaml] [HOST:PORT | plan.json]",
		Short: "Make this machine what the configuration wants",
		Long: `Make this machine what the configuration wants: do what plan shows, then look again.

Nothing happens when nothing is missing. A run that was killed leaves nothing
half-written, and the next one goes on from there. What destroys something is
refused until --allow names it.

With a plan that plan --out saved, it does exactly what that says: it refuses when
the configuration, the cluster or the machine is not what it was. The flags are
those of plan; only secrets have to be given again where the configuration does not
hold them.

` + helpSecrets,
		Example: `  kubejoin apply -f join.yaml
  kubejoin apply -f join.yaml --wait=ready
  kubejoin apply -f join.yaml --token-file token --node-name worker-7
  kubejoin apply plan.json`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 1 {
				return endpointOnly(c, args) // of which one is too many
			}
			return nil
		},
	}
	f := addJoinFlags(c)
	f.addSelection()
	f.addWait()
	f.addAllow()
	f.addCluster("as for plan; only with --rootfs")
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 0 || isEndpoint(args[0]) {
			f.takeEndpoint(args)
			return f.apply(c, g.printer(), nil)
		}
		f.planFile = args[0]
		if err := f.oneReader(); err != nil {
			return err
		}
		saved, err := readSaved(c.Context(), args[0], c.InOrStdin())
		if err != nil {
			return savedOrWhat(c, args[0], err)
		}
		if err := f.recall(saved); err != nil {
			return err
		}
		return withoutSecret(f.apply(c, g.printer(), saved))
	}
	c.ValidArgsFunction = completeSaved
	return c
}

// addCluster adds the cluster that is a file. apply has it too: below --rootfs it
// prepares an image without any network.
func (f *joinFlags) addCluster(usage string) {
	f.cmd.Flags().StringVar(&f.cluster, "cluster", "", usage)
	_ = f.cmd.MarkFlagFilename("cluster", "yaml", "yml", "json") // the error is for a flag that is not there
}

// apply makes the plan's changes; those of a saved plan, if there is one, or none.
func (f *joinFlags) apply(c *cobra.Command, p *report.Printer, saved *reconcile.Saved) error {
	begin := time.Now()
	run, err := f.open(c, p, f.dryRun)
	if err != nil {
		return err
	}
	defer run.Close()
	if saved != nil {
		if err := run.Hold(saved, version); err != nil {
			return err
		}
	}
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
