// Command lab keeps a lab up for trying things by hand.
//
//	lab build              build what the cache lacks, for all cases
//	lab up [cp1 w1 …]      boot machines, init the cluster on cp1, join none; runs until Ctrl-C
//	lab sh NAME COMMAND    run a shell command on a machine of the lab that is up
//	lab down               end the lab that is up
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/kubejoin/kubejoin/e2e/lab"
)

func main() {
	if len(os.Args) > 1 && (os.Args[1] == "sh" || os.Args[1] == "down") {
		os.Exit(report(attach(os.Args[1], os.Args[2:])))
	}
	os.Exit(lab.Main(func() int {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		return report(up(ctx))
	}))
}

func report(err error) int {
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		return 1
	}
	return 0
}

func attach(command string, args []string) error {
	run, err := lab.Running()
	if err != nil {
		return err
	}
	if command == "down" {
		return run.Down()
	}
	if len(args) < 2 {
		return fmt.Errorf("usage: lab sh NAME COMMAND")
	}
	return run.Exec(args[0], strings.Join(args[1:], " "))
}

func up(ctx context.Context) error {
	version := flag.String("kubernetes", lab.DefaultVersion, "version of Kubernetes")
	checkout := flag.String("kubejoin", "", "checkout to build kubejoin from; none if empty")
	flag.Parse()
	args := flag.Args()
	if len(args) == 1 && args[0] == "build" {
		return lab.PrepareAll(ctx)
	}
	if len(args) == 0 || args[0] != "up" {
		return fmt.Errorf("usage: lab [-kubernetes VERSION] [-kubejoin DIR] build | up [NAME…] | sh NAME COMMAND | down")
	}
	base, err := lab.Prepare(ctx, *version)
	if err != nil {
		return err
	}
	l, err := lab.New(ctx, base)
	if err != nil {
		return err
	}
	if *checkout != "" {
		if err := l.InstallKubejoin(ctx, *checkout); err != nil {
			return err
		}
	}
	cluster, err := l.Init(ctx, "cp1")
	if err != nil {
		return err
	}
	for _, name := range args[1:] {
		role := lab.Worker
		if strings.HasPrefix(name, "cp") {
			role = lab.ControlPlane
		}
		if name == "cp1" {
			continue
		}
		if _, err := l.Boot(ctx, name, role); err != nil {
			return err
		}
	}
	join, err := cluster.JoinCommand(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "lab: up; Ctrl-C ends it. To join a machine:\n%s\n", join)
	<-ctx.Done()
	return nil
}
