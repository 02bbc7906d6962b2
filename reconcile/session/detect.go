package session

import (
	"context"
	"net/netip"
	"slices"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/apis/load"
	"github.com/kubejoin/kubejoin/reconcile/host"
	"github.com/kubejoin/kubejoin/reconcile/node"
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
	r := &Run{o: Options{Join: join}, machine: machine}
	defer r.Close()
	facts, err := machine.Facts(ctx)
	if err != nil {
		return nil, nil, err
	}
	detected = map[string]string{}
	registration := join.Config.NodeRegistration
	if registration.Name == "" {
		detected["nodeRegistration.name"] = "hostname"
	}
	switch {
	case registration.CRISocket != "":
	case r.currentSocket() != "":
		detected["nodeRegistration.criSocket"] = "the runtime that the kubelet uses"
	case len(facts.CRISockets) == 1:
		detected["nodeRegistration.criSocket"] = "the runtime that answers"
	}
	if from, why := r.settleAddress(join.Config, facts); why != nil {
		detected[advertiseField] = why.Error()
	} else if from != "" {
		detected[advertiseField] = from
	}
	err = r.dynamicDefaults(join.Config, facts)
	if len(r.undecided) > 0 {
		join.Config.NodeRegistration.CRISocket = ""
		detected["nodeRegistration.criSocket"] = kubeadm.Undecided(r.undecided).Err.Error()
	}
	return detected, facts.ProxyEnv, err
}

const advertiseField = "controlPlane.localAPIEndpoint.advertiseAddress"

// settleAddress gives a control plane's advertise address as the node is to have
// it (behaviour catalogue §2.2): in the form that kubeadm writes, as it is a
// member's identity in etcd, as text; and a real one where the configuration
// leaves it to the machine. A loopback address stands for a global one of the
// loopback interface, the unspecified one or none for that of the default route.
// One that has joined stays with the address that it joined with: its default
// route may change, its place in etcd does not.
//
// from says what of the machine the address was taken from; empty if it was
// given, or is none, which is for validation to tell. With an error there is no
// address, and the field is empty.
func (r *Run) settleAddress(cfg *kubeadm.JoinConfiguration, facts host.Facts) (from string, err error) {
	if cfg.ControlPlane == nil {
		return "", nil
	}
	address := &cfg.ControlPlane.LocalAPIEndpoint.AdvertiseAddress
	given, ok := kubeadm.ParseAddress(*address)
	switch {
	case *address != "" && !ok:
		return "", nil
	case ok && !given.IsUnspecified() && !given.IsLoopback():
		*address = given.String()
		return "", nil
	}
	recorded, ok := kubeadm.ParseAddress(node.RecordedAddress(r.machine))
	if ok = ok && !recorded.IsLoopback(); !ok {
		recorded = netip.Addr{}
	}
	var found netip.Addr
	switch {
	case ok && (!r.machine.Live() || !given.IsLoopback() && slices.Contains(facts.Addresses, recorded)):
		from, found = "the address that this machine joined with", recorded
	case given.IsLoopback():
		from = "loopback interface"
		found, err = r.machine.LoopbackAddress(recorded)
	default:
		from = "default route"
		found, err = r.machine.DefaultAddress(given)
	}
	if err != nil {
		*address = ""
		return "", err
	}
	*address = found.String()
	return from, nil
}

// unsettled says that a machine does not show the address that a configuration
// leaves to it.
func unsettled(given string, why error) string {
	if address, ok := kubeadm.ParseAddress(given); ok && address.IsLoopback() {
		return given + " stands for a global address of the loopback interface, and there is none to be found: " + why.Error()
	}
	return "is not given, and not to be found out: " + why.Error()
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
