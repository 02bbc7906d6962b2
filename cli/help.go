package cli

import (
	"bytes"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// Command is the whole command line, for what is generated from it, such as man
// pages. Main runs it.
func Command() *cobra.Command {
	return newRoot(&globals{})
}

func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Show how a command is used",
		Long:  "Show what a command does, its flags and examples; as --help does behind the command.",
		Example: `  kubejoin help
  kubejoin help join
  kubejoin help config migrate`,
		ValidArgsFunction: func(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
			at, rest, err := c.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var out []string
			for _, sub := range at.Commands() {
				if sub.IsAvailableCommand() && strings.HasPrefix(sub.Name(), begun) {
					out = append(out, cobra.CompletionWithDesc(sub.Name(), sub.Short))
				}
			}
			return out, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(c *cobra.Command, args []string) error {
			of, rest, err := c.Root().Find(args)
			if err != nil {
				return misused("%s", err)
			}
			if len(rest) > 0 {
				return unknownCommand(of, rest[0])
			}
			of.InitDefaultHelpFlag() // a part of its own --help, too
			return of.Help()
		},
	}
}

func newCompletion(g *globals) *cobra.Command {
	shells := map[string]func(*cobra.Command, *bytes.Buffer) error{
		"bash":       func(c *cobra.Command, b *bytes.Buffer) error { return c.GenBashCompletionV2(b, true) },
		"fish":       func(c *cobra.Command, b *bytes.Buffer) error { return c.GenFishCompletion(b, true) },
		"powershell": func(c *cobra.Command, b *bytes.Buffer) error { return c.GenPowerShellCompletionWithDesc(b) },
		"zsh":        func(c *cobra.Command, b *bytes.Buffer) error { return c.GenZshCompletion(b) },
	}
	names := []string{"bash", "fish", "powershell", "zsh"}
	return &cobra.Command{
		Use:   "completion bash|fish|powershell|zsh",
		Short: "Print a script that lets the shell complete commands, flags, phases and checks",
		Example: `  source <(kubejoin completion bash)
  kubejoin completion bash > /etc/bash_completion.d/kubejoin
  kubejoin completion zsh > "${fpath[1]}/_kubejoin"
  kubejoin completion fish > ~/.config/fish/completions/kubejoin.fish
  kubejoin completion powershell | Out-String | Invoke-Expression`,
		ValidArgs: names,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 1 && slices.Contains(names, args[0]) {
				return nil
			}
			return misused("one shell is needed").WithHint("use one of %s", strings.Join(names, ", "))
		},
		RunE: func(c *cobra.Command, args []string) error {
			var script bytes.Buffer
			if err := shells[args[0]](c.Root(), &script); err != nil {
				return err
			}
			g.printer().Document(script.Bytes())
			return nil
		},
	}
}
