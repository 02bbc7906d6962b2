package cli

import (
	"github.com/spf13/cobra"
)

// withoutEffect adds flags of kubeadm's that its users have in their scripts: here
// every version is read anyway.
func withoutEffect(c *cobra.Command, names ...string) {
	for _, name := range names {
		c.Flags().Bool(name, false, "without effect: kubeadm has it")
		_ = c.Flags().MarkHidden(name) // it is there
	}
}

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
