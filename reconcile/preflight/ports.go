package preflight

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

// port is one that a component of this node is to listen on.
type port struct {
	number    int
	address   netip.Addr // the zero value stands for all
	component string     // "kubelet", or a static pod's name
	// told says what chose the address.
	told string
	// perhaps says that the component may be none of this machine.
	perhaps bool
}

// The ports that have no field of their own: behaviour catalogue §6.3.
const (
	kubeletPort    = 10250
	healthzPort    = 10248
	schedulerPort  = 10259
	managerPort    = 10257
	etcdPort       = 2379
	etcdPeerPort   = 2380
	manifestFolder = "/etc/kubernetes/manifests/"
)

func checkPorts(_ context.Context, p *pass) []reconcile.Finding {
	listeners, err := p.listeners()
	if err != nil {
		return unseen("Port-"+strconv.Itoa(kubeletPort), err)
	}
	var out []reconcile.Finding
	for _, want := range p.ports() {
		found := p.checkPort(want, listeners)
		if want.perhaps {
			doubt(found)
		}
		out = append(out, found...)
	}
	return out
}

// ports are those of the kubelet, and of a control plane's static pods.
func (p *pass) ports() []port {
	list := []port{{number: kubeletPort, component: "kubelet", told: "address of the kubelet's configuration"},
		{number: healthzPort, address: netip.AddrFrom4([4]byte{127, 0, 0, 1}), component: "kubelet", told: "healthzBindAddress"}}
	if k := p.kubelet; k != nil {
		if k.Port != 0 {
			list[0].number = int(k.Port)
		}
		list[0].address, _ = kubeadm.ParseAddress(k.Address)
		if k.HealthzPort != nil {
			list[1].number = int(*k.HealthzPort)
		}
		if a, ok := kubeadm.ParseAddress(k.HealthzBindAddress); ok {
			list[1].address = a
		}
	}
	for i, names := range [][2]string{{"port", "address"}, {"healthz-port", "healthz-bind-address"}} {
		if v, given := p.kubeletArg(names[0]); given {
			list[i].number, _ = strconv.Atoi(v)
		}
		if v, given := p.kubeletArg(names[1]); given {
			list[i].address, _ = kubeadm.ParseAddress(v)
		}
	}
	list = slices.DeleteFunc(list, func(p port) bool { return p.number == 0 }) // turned off
	if !p.controlPlane() {
		return list
	}
	var c kubeadm.ClusterConfiguration // of a cluster that is not known yet, what kubeadm init makes by default
	if p.clusterKnown() {
		c = *p.Cluster.Configuration
	}
	own := p.Config.ControlPlane.LocalAPIEndpoint
	bound := func(component string, number int, args []kubeadm.Arg, otherwise netip.Addr) {
		list = append(list, port{number: number, address: argAddress(args, "bind-address", otherwise), component: component, told: component + "'s bind-address"})
	}
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	bound("kube-apiserver", int(own.BindPort), c.APIServer.ExtraArgs, netip.Addr{})
	bound("kube-controller-manager", managerPort, c.ControllerManager.ExtraArgs, loopback)
	bound("kube-scheduler", schedulerPort, c.Scheduler.ExtraArgs, loopback)
	if etcd, sure := p.localEtcd(); etcd != nil {
		if address, ok := kubeadm.ParseAddress(own.AdvertiseAddress); ok {
			for _, number := range []int{etcdPort, etcdPeerPort} {
				list = append(list, port{number: number, address: address, component: "etcd",
					told: "controlPlane.localAPIEndpoint.advertiseAddress", perhaps: !sure})
			}
		}
	}
	return list
}

// argAddress is an argument's last value as an address, the zero value if that is
// none; otherwise if it is not given.
func argAddress(args []kubeadm.Arg, name string, otherwise netip.Addr) netip.Addr {
	address := otherwise
	for _, a := range args {
		if a.Name == name {
			address, _ = kubeadm.ParseAddress(a.Value)
		}
	}
	return address
}

func (p *pass) checkPort(want port, listeners []host.Listener) []reconcile.Finding {
	name := "Port-" + strconv.Itoa(want.number)
	if want.address.IsValid() && !want.address.IsUnspecified() && !want.address.IsLoopback() {
		if on, err := p.hasAddress(want.address); err != nil {
			return unseen(name, err)
		} else if !on && want.perhaps {
			return nil // AdvertiseAddress tells
		} else if !on {
			// Listening fails for this reason, whoever else listens.
			return []reconcile.Finding{{Severity: reconcile.SeverityError, Name: name,
				Seen:   fmt.Sprintf("no interface of this machine has the address %s that %s is to listen on", want.address, want.component),
				Wanted: "one of " + p.ownAddresses(),
				Why:    want.component + " cannot listen on an address of another machine, and ends",
				Hint:   "correct " + want.told}}
		}
	}
	var inodes []uint64
	var held []host.Listener
	for _, l := range listeners {
		if l.Port == want.number && collide(l.Address, want.address) {
			held, inodes = append(held, l), append(inodes, l.Inode)
		}
	}
	if len(held) == 0 {
		return nil
	}
	owners, err := p.Machine.SocketOwners(inodes...)
	if err != nil {
		return unseen(name, err)
	}
	var out []reconcile.Finding
	for _, l := range held {
		owner, known := owners[l.Inode]
		if known && p.ours(owner, want.component) {
			continue
		}
		if !known && p.closed(l) {
			continue // its process ended meanwhile
		}
		f := reconcile.Finding{Severity: reconcile.SeverityError, Name: name, Wanted: "nobody but " + want.component + " listening there"}
		switch {
		case known:
			f.Seen = fmt.Sprintf("%s (process %d) listens on %s", owner.Name, owner.PID, netip.AddrPortFrom(l.Address, uint16(l.Port)))
			f.Hint = fmt.Sprintf("stop %s, or let it listen elsewhere", owner.Name)
			if service := owner.Service(); service != "" {
				f.Hint = fmt.Sprintf("systemctl stop %s, or let it listen elsewhere", service)
			}
		case p.Facts.EffectiveUID == 0:
			f.Seen = fmt.Sprintf("a process that cannot be seen from here listens on %s", netip.AddrPortFrom(l.Address, uint16(l.Port)))
			f.Hint = fmt.Sprintf("find it with `ss -ltnp sport = :%d` on the host of this machine, and stop it", l.Port)
		case p.Joined:
			continue // whose it is cannot be seen, and most likely it is ours
		default:
			f.Severity = reconcile.SeverityWarning
			f.Seen = fmt.Sprintf("a process of another user listens on %s", netip.AddrPortFrom(l.Address, uint16(l.Port)))
			f.Hint = "run as root to see which"
		}
		out = append(out, f)
	}
	return out
}

// closed tells whether a socket does not listen any more.
func (p *pass) closed(l host.Listener) bool {
	now, err := p.Machine.Listeners()
	return err == nil && !slices.ContainsFunc(now, func(other host.Listener) bool { return other.Inode == l.Inode })
}

// collide tells whether two sockets of one port exclude each other. A socket that
// listens on all of IPv6 usually takes IPv4 as well (ipv6(7), bindv6only).
func collide(has, wants netip.Addr) bool {
	return !wants.IsValid() || has.IsUnspecified() && (has.Is6() || wants.Is4() || wants.IsUnspecified()) ||
		wants.IsUnspecified() && (wants.Is6() || has.Is4()) || has == wants
}

// ours tells whether a process is the component that is to have the port. The
// kernel cuts names after 15 bytes.
func (p *pass) ours(owner host.Process, component string) bool {
	if owner.Name != component[:min(len(component), 15)] {
		return false
	}
	if component == "kubelet" {
		if owner.InUnit("kubelet") {
			return true
		}
		s, err := p.unit()
		return err == nil && s.MainPID == owner.PID
	}
	if owner.InPod() {
		return true
	}
	s, err := p.Machine.Stat(manifestFolder + component + ".yaml")
	return err == nil && s.Exists()
}

func (p *pass) hasAddress(address netip.Addr) (bool, error) {
	interfaces, err := p.interfaces()
	if err != nil {
		return false, err
	}
	for _, i := range interfaces {
		if slices.ContainsFunc(i.Addresses, func(a netip.Prefix) bool { return a.Addr() == address }) {
			return true, nil
		}
	}
	foreign, err := p.Machine.Sysctl("net/ipv4/ip_nonlocal_bind")
	return foreign == "1", err
}

// ownAddresses lists what others may reach this machine at.
func (p *pass) ownAddresses() string {
	var list []string
	interfaces, _ := p.interfaces() // the caller has seen its error
	for _, i := range interfaces {
		for _, a := range i.Addresses {
			if i.Up && !i.Loopback && a.Addr().IsGlobalUnicast() {
				list = append(list, a.Addr().String()+" ("+i.Name+")")
			}
		}
	}
	if len(list) == 0 {
		return "its own addresses, of which it has none"
	}
	return strings.Join(list, ", ")
}
