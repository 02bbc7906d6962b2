package cli

import (
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/kubejoin/kubejoin/apis/load"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
	"github.com/kubejoin/kubejoin/reconcile/node"
	"github.com/kubejoin/kubejoin/reconcile/report"
	"github.com/kubejoin/kubejoin/reconcile/session"
)

func newPlan(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "plan [-f join.yaml] [HOST:PORT]",
		Short: "Show what apply would change, in order; touches nothing",
		Long: `Show what apply would change on this machine, in order, with file contents as diffs.

plan only reads: it writes no file, takes no lock, and sends the cluster nothing
but reads. It works without root; what it may not see it names. With --cluster it
needs no network either. With --out it saves what it shows, for apply to do that or
nothing.

Flags override what the file says, and without a file they say it all, as for
kubejoin join.

` + helpSecrets,
		Example: `  kubejoin plan -f join.yaml
  kubejoin plan -f join.yaml --detailed-exitcode     # 0 in sync, 2 changes pending
  kubejoin plan -f join.yaml --out plan.json         # then: kubejoin apply plan.json
  kubejoin plan -f join.yaml --node-name worker-7 --token-file token
  kubejoin plan -f join.yaml --cluster cluster.yaml --rootfs ./image
  kubectl get cm -A -o yaml | kubejoin plan -f join.yaml --cluster -`,
		Args: endpointOnly,
	}
	f := addJoinFlags(c)
	f.addSelection()
	f.addWait()
	f.addCluster(`file with the ConfigMaps cluster-info, kubeadm-config and kubelet-config, as "kubectl get -o yaml" writes them, instead of the network; "-" is standard input`)
	c.Flags().StringVar(&f.out, "out", "", "file to save the plan in, for apply and show; it holds no secret")
	_ = c.MarkFlagFilename("out", "json") // the error is for a flag that is not there
	c.Flags().BoolVar(&f.detailedExitCode, "detailed-exitcode", false, "exit with 2 when changes are pending")
	c.RunE = func(c *cobra.Command, args []string) error {
		f.takeEndpoint(args)
		p := g.printer()
		run, err := f.open(c, p, true)
		if err != nil {
			return err
		}
		defer run.Close()
		if f.out != "" {
			if err := f.save(run); err != nil {
				return err
			}
		}
		p.Plan(run.Plan)
		if !f.detailedExitCode {
			return nil
		}
		return detailed(run.Plan)
	}
	return c
}

// detailed is the exit code of `plan --detailed-exitcode`: an empty plan that
// could not compare everything is not "in sync".
func detailed(p *reconcile.Plan) error {
	switch {
	case !p.Empty():
		return exit(2)
	case p.Unseen:
		return exit(fault.Unreachable.ExitCode())
	case p.Incomplete:
		return exit(fault.Preflight.ExitCode())
	}
	return nil
}

// open loads the configuration and observes machine and cluster.
func (f *joinFlags) open(c *cobra.Command, p *report.Printer, readOnly bool) (*session.Run, error) {
	o, join, err := f.options(c, p, readOnly)
	if err != nil {
		return nil, err
	}
	run, err := session.Open(c.Context(), o)
	if err != nil && f.config == "" {
		err = f.inFlags(err, join)
	}
	if err == nil && f.config != "" {
		run.Plan.Overrides = run.Overrides()
	}
	return run, err
}

// options loads the configuration, with the flags on top.
func (f *joinFlags) options(c *cobra.Command, p *report.Printer, readOnly bool) (o session.Options, join *load.Join, err error) {
	switch node.Wait(f.wait) {
	case "", node.WaitRegistered, node.WaitReady:
	default:
		return o, nil, misused("--wait: %q is not a choice", f.wait).WithHint(`use "registered" or "ready"`)
	}
	if f.renewBefore < 0 {
		return o, nil, misused("--renew-before: %s is negative", f.renewBefore).WithHint("0 means when a certificate has expired")
	}
	if f.out == "-" {
		return o, nil, fault.New(fault.InvalidConfig, "--out: the plan goes to a file").WithHint("-o json prints it to standard output")
	}
	if err := checkAllow(f.allow); err != nil {
		return o, nil, err
	}
	only, err := f.only()
	if err != nil {
		return o, nil, err
	}
	join, base, err := f.load(p)
	if err != nil {
		return o, nil, err
	}
	if err := f.notItself(join, base); err != nil {
		return o, nil, err
	}
	o = session.Options{
		Join:      join,
		BaseDir:   base,
		Root:      f.rootfs,
		ReadOnly:  readOnly || join.Config.DryRun,
		Listing:   f.listing,
		Phases:    only,
		Targets:   f.targets,
		Wait:      node.Wait(f.wait),
		UserAgent: userAgent(),
		Note:      note(p),
		Waiting:   func(w cluster.Waiting) { p.Waiting(w.What, w.Err, w.Left) },
	}
	if c.Flags().Lookup("renew-before") != nil {
		o.RenewBefore = &f.renewBefore
	}
	if f.cluster == "" && os.Getenv("GOGC") == "" {
		// Who speaks with a cluster allocates many times what stays in use; see main.
		debug.SetGCPercent(50)
	}
	if f.cluster != "" {
		if _, o.ClusterFile, err = session.ReadConfiguration(c.Context(), f.cluster, f.cmd.InOrStdin()); err != nil {
			return o, nil, err
		}
	}
	return o, join, nil
}

func noArgs(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return misused("unexpected argument %q", args[0]).
		WithHint("`%s --help` shows how it is called; the configuration is given with -f", c.CommandPath())
}
