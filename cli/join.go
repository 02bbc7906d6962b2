package cli

import (
	"net"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kubejoin/kubejoin/fault"
)

func newJoin(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "join [HOST:PORT]",
		Short: "apply, from kubeadm join's own flags",
		Long: `Make this machine a node, with the flags that kubeadm join has.

It is apply: run twice, the second run does nothing. With --config the flags
override what the file says.

` + helpSecrets,
		Example: `  kubejoin join 1.2.3.4:6443 --token abcdef.1234567890abcdef --discovery-token-ca-cert-hash sha256:1234..cdef
  kubejoin join 1.2.3.4:6443 --token-file token --discovery-token-ca-cert-hash sha256:1234..cdef
  kubejoin join 1.2.3.4:6443 --token-file token --discovery-token-ca-cert-hash sha256:1234..cdef --control-plane --certificate-key-file key
  kubejoin join --discovery-file path/to/file.conf --tls-bootstrap-token abcdef.1234567890abcdef
  kubejoin join --config join.yaml --node-name worker-7`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return tooMany(len(args))
			}
			return nil // what is no HOST:PORT is told with everything else that is wrong
		},
	}
	f := addJoinFlags(c)
	f.addSelection()
	f.addWait()
	f.addAllow()
	f.namesEndpoint = true
	c.RunE = func(c *cobra.Command, args []string) error {
		f.takeEndpoint(args)
		return f.apply(c, g.printer(), nil)
	}
	c.AddCommand(newJoinPhase(g))
	return c
}

// takeEndpoint takes HOST:PORT from the arguments.
func (f *joinFlags) takeEndpoint(args []string) {
	if len(args) > 0 {
		f.endpoint = args[0]
	}
}

// endpointOnly checks the arguments of a command that takes HOST:PORT at most.
func endpointOnly(c *cobra.Command, args []string) error {
	for _, arg := range args {
		if !isEndpoint(arg) {
			return misused("unexpected argument %q", arg).
				WithHint("`%s --help` shows how it is called; the configuration is given with -f, and HOST:PORT needs its port", c.CommandPath())
		}
	}
	if len(args) > 1 {
		return tooMany(len(args))
	}
	return nil
}

func tooMany(endpoints int) error {
	return fault.New(fault.InvalidConfig, "only one API server endpoint can be given, not %d", endpoints).
		WithHint("give one HOST:PORT; discovery finds the others")
}

// isEndpoint tells HOST:PORT from the name of a file.
func isEndpoint(arg string) bool {
	_, port, err := net.SplitHostPort(arg)
	return err == nil && port != "" && !strings.Contains(arg, "/")
}
