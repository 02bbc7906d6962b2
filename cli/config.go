package cli

import (
	"github.com/spf13/cobra"
)

func newConfig(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Check, explain and update configuration files",
		Long: `Check, explain and update configuration files. Neither the cluster nor the
machine is changed.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(c, args[0])
			}
			return c.Help()
		},
	}
	c.AddCommand(newConfigValidate(g), newConfigMigrate(g), newConfigSchema(g), newConfigPrint(g))
	return c
}
