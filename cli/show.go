package cli

import (
	"errors"
	"io/fs"

	"github.com/spf13/cobra"
)

func newShow(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "show plan.json",
		Short: "Print a saved plan",
		Long: `Print a plan that plan --out saved, and what it was made from. It looks at neither
the machine nor the cluster: whether the plan still holds, apply --dry-run says.`,
		Example: `  kubejoin show plan.json
  kubejoin show plan.json -o json`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return misused("one saved plan is needed, not %d", len(args)).WithHint("`kubejoin plan -f join.yaml --out plan.json` saves one")
			}
			return nil
		},
		ValidArgsFunction: completeSaved,
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		saved, err := readSaved(c.Context(), args[0], c.InOrStdin())
		if err != nil {
			return quoting(err)
		}
		g.printer().Saved(saved)
		return nil
	}
	return c
}

// completeSaved completes the name of a saved plan.
func completeSaved(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return []string{"json"}, cobra.ShellCompDirectiveFilterFileExt
}

// savedOrWhat is the error of an argument that is no endpoint and cannot be read as
// a saved plan.
func savedOrWhat(c *cobra.Command, arg string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return misused("unexpected argument %q: there is no such file, and it is no HOST:PORT", arg).
			WithHint("`%s --help` shows how it is called; the configuration is given with -f", c.CommandPath())
	}
	return quoting(err)
}
