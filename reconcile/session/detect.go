package session

import (
	"context"

	"github.com/kubejoin/kubejoin/apis/load"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

// Detect sets the dynamic defaults of a configuration as Open does, and says, by
// path, what of the machine they were taken from. It only reads. root is as in
// Options.
func Detect(ctx context.Context, join *load.Join, root string) (detected map[string]string, err error) {
	machine, err := host.Open(root)
	if err != nil {
		return nil, err
	}
	r := &Run{machine: machine}
	defer r.Close()
	facts, err := machine.Facts(ctx)
	if err != nil {
		return nil, err
	}
	detected = map[string]string{}
	node := join.Config.NodeRegistration
	if node.Name == "" {
		detected["nodeRegistration.name"] = "hostname"
	}
	switch {
	case node.CRISocket != "":
	case r.currentSocket() != "":
		detected["nodeRegistration.criSocket"] = "the runtime that the kubelet uses"
	case len(facts.CRISockets) == 1:
		detected["nodeRegistration.criSocket"] = "the runtime that answers"
	}
	return detected, r.dynamicDefaults(join.Config, facts)
}

// Hostname is what the machine calls itself.
func Hostname(ctx context.Context) (string, error) {
	machine, err := host.Open("")
	if err != nil {
		return "", err
	}
	defer func() { _ = machine.Close() }() // it was only read
	facts, err := machine.Facts(ctx)
	return facts.Hostname, err
}
