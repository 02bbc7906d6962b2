package cli

import (
	"github.com/spf13/cobra"

	"github.com/kubejoin/kubejoin/fault"
)

func newJoin(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "join [HOST:PORT]",
		Short: "apply, from kubeadm join's own flags",
		Long: `Make this machine a node, with the flags that kubeadm join has.

It is apply: run twice, the second run does nothing. With --config the flags
override what the file says.`,
		Example: `  kubejoin join 1.2.3.4:6443 --token abcdef.1234567890abcdef --discovery-token-ca-cert-hash sha256:1234..cdef
  kubejoin join --discovery-file path/to/file.conf --tls-bootstrap-token abcdef.1234567890abcdef
  kubejoin join --config join.yaml`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fault.New(fault.InvalidConfig, "only one API server endpoint can be given, not %d", len(args)).
					WithHint("`kubejoin join HOST:PORT`; discovery finds the others")
			}
			return nil
		},
	}
	f := addJoinFlags(c)
	f.addApplyFlags()
	f.takesEndpoint = true
	c.RunE = func(c *cobra.Command, args []string) error {
		if len(args) == 1 {
			f.endpoint = args[0]
		}
		return f.apply(c, g.printer())
	}
	return c
}
