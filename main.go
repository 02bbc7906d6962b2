// Command kubejoin makes a machine a node of a Kubernetes cluster, and keeps it
// that node.
package main

import (
	"os"
	"runtime/debug"

	"github.com/kubejoin/kubejoin/cli"
)

func main() {
	// Most runs are over before they have allocated as much as the libraries have
	// at their start: to collect that costs more memory than it gives back.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
	os.Exit(cli.Main(os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
