package cli

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kubejoin/kubejoin/reconcile/preflight"
)

// complete registers what the shell completes the values of flags to.
func (f *joinFlags) complete() {
	for name, extensions := range map[string][]string{"config": {"yaml", "yml", "json"}, "discovery-file": {"conf", "yaml", "kubeconfig"}} {
		_ = f.cmd.MarkFlagFilename(name, extensions...) // the error is for a flag that is not there
	}
	for _, name := range []string{"token-file", "certificate-key-file"} {
		_ = f.cmd.MarkFlagFilename(name)
	}
	for _, name := range []string{"rootfs", "patches"} {
		_ = f.cmd.MarkFlagDirname(name)
	}
	completeLater(f.cmd, "skip-phases", phaseWords)
	completeLater(f.cmd, "ignore-preflight-errors", func() []string { return append(preflight.Names(), "all") })
	for _, name := range []string{"node-name", "token", "discovery-token", "tls-bootstrap-token", "discovery-token-ca-cert-hash",
		"certificate-key", "apiserver-advertise-address", "apiserver-bind-port"} {
		f.completeWords(name) // nothing, and no files either
	}
}

func (f *joinFlags) completeWords(flag string, words ...string) { completeWords(f.cmd, flag, words...) }

// completeWords completes the value of a flag to one of several words, or to a
// list of them with commas in between if the flag takes one. A description may
// follow a word behind a tab.
func completeWords(c *cobra.Command, flag string, words ...string) {
	completeLater(c, flag, func() []string { return words })
}

// completeLater is completeWords for words that are made only when they are
// asked for: each command has its flags made at every start.
func completeLater(c *cobra.Command, flag string, words func() []string) {
	list := false
	if f := c.Flag(flag); f != nil {
		list = f.Value.Type() == "stringSlice"
	}
	_ = c.RegisterFlagCompletionFunc(flag, func(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		before, directive := "", cobra.ShellCompDirectiveNoFileComp
		if list {
			before = begun[:strings.LastIndexByte(begun, ',')+1]
			directive |= cobra.ShellCompDirectiveNoSpace
		}
		var out []string
		for _, w := range words() {
			word, _, _ := strings.Cut(w, "\t")
			if strings.HasPrefix(before+word, begun) && !slices.Contains(strings.Split(before, ","), word) {
				out = append(out, before+w)
			}
		}
		return out, directive
	})
}
