// Command man writes a man page for each command of kubejoin, made from the same
// text as its --help. It is not part of the program, which would grow by what
// makes the pages.
package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"

	"github.com/kubejoin/kubejoin/cli"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: man DIRECTORY")
		os.Exit(3)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root := cli.Command()
	root.DisableAutoGenTag = true
	escape(root)
	return doc.GenManTree(root, &doc.GenManHeader{Section: "8", Source: "kubejoin", Manual: "Kubernetes nodes"}, dir)
}

// escape keeps "<hex>" in the text of a page: the pages are made by way of
// Markdown, where that is HTML and is dropped. Examples are code there.
func escape(c *cobra.Command) {
	text := func(s string) string { return strings.ReplaceAll(s, "<", `\<`) }
	c.Short, c.Long = text(c.Short), text(c.Long)
	for _, flags := range []*pflag.FlagSet{c.LocalNonPersistentFlags(), c.PersistentFlags()} {
		flags.VisitAll(func(f *pflag.Flag) { f.Usage = text(f.Usage) })
	}
	for _, sub := range c.Commands() {
		escape(sub)
	}
}
