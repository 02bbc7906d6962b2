package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/report"
)

// Streams are the program's standard streams.
type Streams struct {
	In  *os.File
	Out io.Writer
	Err io.Writer
}

// globals are what every command has.
type globals struct {
	streams Streams
	hide    func(string) string // secrets of the command line, for errors
	output  string
	color   string
	// withoutPhases leaves out the commands below `join phase`: there are two dozen,
	// each with all flags, and most command lines name none.
	withoutPhases bool

	shared *report.Printer // the one of this run, once there is one
}

// exit ends the program with a code that is no failure.
type exit int

func (e exit) Error() string { return "exit" }

// Main runs the command line and returns the exit code; docs/exit-codes.md
// lists them.
func Main(args []string, s Streams) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // who asks twice, while a read of a terminal hangs for instance, is not asked for patience
	g := &globals{streams: s, hide: hiding(args), withoutPhases: !slices.Contains(args, "phase")}
	root := newRoot(g)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var code exit
	if errors.As(err, &code) {
		err = nil
	} else if err != nil && ctx.Err() != nil {
		err = fault.New(fault.Interrupted, "interrupted: %w", err).
			WithHint("nothing is half-written; the next run goes on from here")
	}
	if err != nil {
		if g.output != string(report.JSON) {
			g.output = string(report.Text) // also when --output itself was wrong
			if wantsJSON(args) {
				g.output = string(report.JSON)
			}
		}
		g.printer().Error(err)
		code = exit(fault.ClassOf(err).ExitCode())
	}
	if lost := g.printer().Err(); lost != nil {
		code = g.reportLost(err, lost)
	}
	return int(code)
}

// reportLost says on standard error what standard output did not take. The exit
// code is that of the run's own error, if it had one.
func (g *globals) reportLost(err, lost error) exit {
	p := report.New(report.Options{Err: g.streams.Err, ColorErr: g.colored(g.streams.Err), Hide: g.hide})
	if err != nil && g.output == string(report.JSON) {
		p.Error(err) // was lost, too
	}
	lost = fault.New(fault.Internal, "cannot write the result: %w", lost)
	p.Error(lost)
	if err == nil {
		err = lost
	}
	return exit(fault.ClassOf(err).ExitCode())
}

func newRoot(g *globals) *cobra.Command {
	root := &cobra.Command{
		Use:   "kubejoin",
		Short: "Make this machine a node of a Kubernetes cluster, and keep it that node",
		Long: `kubejoin makes this machine a node of a Kubernetes cluster, and keeps it that node.

It compares what a JoinConfiguration wants with what the machine and the cluster
have, shows the difference, and does only what is missing. A second run does
nothing; a run after a crash goes on from wherever the last one stopped.`,
		Example: `  kubejoin plan  -f join.yaml
  kubejoin apply -f join.yaml
  kubejoin join  cp1:6443 --token abcdef.1234567890abcdef --discovery-token-ca-cert-hash sha256:1234..cdef`,
		SilenceErrors:              true,
		SuggestionsMinimumDistance: 2,
		SilenceUsage:               true,
		CompletionOptions:          cobra.CompletionOptions{DisableDefaultCmd: true},
		PersistentPreRunE:          func(*cobra.Command, []string) error { return g.check() },
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(c, args[0])
			}
			return c.Help()
		},
		Args: cobra.ArbitraryArgs,
	}
	root.SetIn(g.streams.In)
	root.SetOut(g.streams.Out)
	root.SetErr(g.streams.Err)
	f := root.PersistentFlags()
	f.StringVarP(&g.output, "output", "o", string(report.Text), `output format, "text" or "json"`)
	completeWords(root, "output", string(report.Text), string(report.JSON))
	f.StringVar(&g.color, "color", "auto", `colour: "auto" (on a terminal, unless NO_COLOR is set), "always" or "never"`)
	completeWords(root, "color", "auto", "always", "never")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		if words := c.Flags().Args(); c == root && len(words) > 0 {
			return unknownCommand(c, words[0]) // its flags cannot be known either
		}
		return misused("%s", err).WithHint("`%s --help` lists the flags", c.CommandPath())
	})
	root.SetGlobalNormalizationFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "filename" || name == "file" { // as kubectl and others call it
			name = "config"
		}
		return pflag.NormalizedName(name)
	})
	root.AddCommand(newPlan(g), newApply(g), newJoin(g), newPreflight(g), newPhase(g), newShow(g), newConfig(g), newVersion(g), newCompletion(g))
	root.SetHelpCommand(newHelp())
	return root
}

// wantsJSON looks for --output where the flags before it could not be parsed.
func wantsJSON(args []string) bool {
	for i, a := range args {
		switch a {
		case "--":
			return false
		case "-o", "--output":
			if i+1 < len(args) && args[i+1] == string(report.JSON) {
				return true
			}
		case "-ojson", "-o=json", "--output=json":
			return true
		}
	}
	return false
}

func unknownCommand(c *cobra.Command, name string) error {
	e := misused("unknown command %q", name).WithHint("`kubejoin --help` lists the commands")
	if s := c.SuggestionsFor(name); len(s) > 0 {
		return e.WithHint("did you mean %q?", strings.Join(s, " or "))
	}
	return e
}

func (g *globals) check() error {
	switch report.Format(g.output) {
	case report.Text, report.JSON:
	default:
		return misused("--output: %q is not a format", g.output).WithHint(`use "text" or "json"`)
	}
	switch g.color {
	case "auto", "always", "never":
	default:
		return misused("--color: %q is not a choice", g.color).WithHint(`use "auto", "always" or "never"`)
	}
	return nil
}

// printer is the one printer of the run. The flags must have been parsed and
// checked.
func (g *globals) printer() *report.Printer {
	if g.shared == nil {
		g.shared = report.New(report.Options{
			Format:   report.Format(g.output),
			Out:      g.streams.Out,
			Err:      g.streams.Err,
			ColorOut: g.colored(g.streams.Out),
			ColorErr: g.colored(g.streams.Err),
			Hide:     g.hide,
		})
	}
	return g.shared
}

func (g *globals) colored(w io.Writer) bool {
	switch g.color {
	case "always":
		return true
	case "never":
		return false
	}
	f, ok := w.(*os.File)
	return ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

// note is a report.Printer's remark as a plain function.
func note(p *report.Printer) func(reconcile.Severity, string) {
	return func(s reconcile.Severity, msg string) { p.Note(s, "%s", msg) }
}
