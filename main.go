// Command kubejoin makes a machine a node of a Kubernetes cluster, and keeps it
// that node.
package main

import (
	"os"

	"github.com/kubejoin/kubejoin/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
