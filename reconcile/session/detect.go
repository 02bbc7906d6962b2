package session

import (
	"context"
	"net/netip"

	"github.com/kubejoin/kubejoin/apis/load"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

// Detect sets the dynamic defaults of a configuration as Open does, and says, by
// path, what of the machine they were taken from. A control plane's advertise
// address it detects too; where the machine shows none, that is empty and the
// path says why. The proxies are the environment's, as NAME=value. It only reads.
// root is as in Options.
func Detect(ctx context.Context, join *load.Join, root string) (detected map[string]string, proxies []string, err error) {
	machine, err := host.Open(root)
	if err != nil {
		return nil, nil, err
	}
	r := &Run{machine: machine}
	defer r.Close()
	facts, err := machine.Facts(ctx)
	if err != nil {
		return nil, nil, err
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
	if controlPlane := join.Config.ControlPlane; controlPlane != nil {
		detectAddress(machine, &controlPlane.LocalAPIEndpoint.AdvertiseAddress, detected)
	}
	return detected, facts.ProxyEnv, r.dynamicDefaults(join.Config, facts)
}

// detectAddress replaces an address that stands for any (behaviour catalogue
// §2.2). What is no address is for validation.
func detectAddress(machine *host.Host, address *string, detected map[string]string) {
	given, err := netip.ParseAddr(*address)
	if *address != "" && (err != nil || !given.IsUnspecified()) {
		return
	}
	const path = "controlPlane.localAPIEndpoint.advertiseAddress"
	found, err := machine.DefaultAddress(given)
	if err != nil {
		*address, detected[path] = "", err.Error()
		return
	}
	*address, detected[path] = found.String(), "default route"
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
