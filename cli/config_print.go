package cli

import "github.com/spf13/cobra"

func newConfigPrint(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "print",
		Short: "Print default configurations, or an effective one",
		Args:  cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(c, args[0])
			}
			return c.Help()
		},
	}
	c.AddCommand(newConfigPrintEffective(g))
	return c
}
