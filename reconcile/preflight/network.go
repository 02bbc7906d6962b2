package preflight

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

// checkHostname only warns, as kubeadm: a kubelet works without a name server
// that knows its machine.
func checkHostname(ctx context.Context, p *pass) []reconcile.Finding {
	name := p.Config.NodeRegistration.Name
	if problems := validation.IsQualifiedName(name); len(problems) > 0 {
		return []reconcile.Finding{{Severity: reconcile.SeverityWarning, Seen: fmt.Sprintf("the name %q is none that a label can have: %s", name, strings.Join(problems, ", ")),
			Wanted: "letters, digits, - and .", Hint: "set nodeRegistration.name"}}
	}
	if p.Lookup == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	if _, err := p.Lookup(ctx, name); err != nil {
		return []reconcile.Finding{{Severity: reconcile.SeverityWarning, Seen: fmt.Sprintf("the node's name does not resolve: %v", err),
			Wanted: "an address of " + name, Hint: "add it to /etc/hosts or to the name server"}}
	}
	return nil
}

// endpoint is where something of the cluster is.
type endpoint struct {
	url  string // scheme, host and port: the rest of a discovery file's URL may be a credential
	told string // what says so
}

// endpoints are those that this machine talks to, each once.
func (p *pass) endpoints() []endpoint {
	var list []endpoint
	add := func(hostPort, told string) {
		u := hostPort
		if !strings.Contains(u, "://") {
			u = "https://" + u
		}
		parsed, err := url.Parse(u)
		if hostPort == "" || err != nil {
			return // validation tells
		}
		u = (&url.URL{Scheme: parsed.Scheme, Host: parsed.Host}).String()
		if !slices.ContainsFunc(list, func(e endpoint) bool { return e.url == u }) {
			list = append(list, endpoint{u, told})
		}
	}
	if t := p.Config.Discovery.BootstrapToken; t != nil {
		add(t.APIServerEndpoint, "discovery.bootstrapToken.apiServerEndpoint")
	}
	if f := p.Config.Discovery.File; f != nil && strings.HasPrefix(f.KubeConfigPath, "https://") {
		add(f.KubeConfigPath, "discovery.file.kubeConfigPath")
	}
	if p.Cluster != nil {
		add(p.Cluster.Server, "the server that the cluster names")
	}
	if p.controlPlane() && p.clusterKnown() {
		if e := p.Cluster.Configuration.ControlPlaneEndpoint; e != "" {
			if _, _, err := net.SplitHostPort(e); err != nil {
				e = net.JoinHostPort(strings.Trim(e, "[]"), fmt.Sprint(kubeadm.DefaultBindPort)) // behaviour catalogue §11 #68
			}
			add(e, "controlPlaneEndpoint of the cluster")
		}
	}
	return list
}

func (e endpoint) host() string {
	u, err := url.Parse(e.url)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

func checkEndpointDNS(ctx context.Context, p *pass) []reconcile.Finding {
	if p.Lookup == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	var out []reconcile.Finding
	seen := map[string]bool{}
	for _, e := range p.endpoints() {
		name := e.host()
		if _, err := netip.ParseAddr(name); err == nil || name == "" || seen[name] {
			continue
		}
		seen[name] = true
		if _, err := p.Lookup(ctx, name); err != nil {
			f := reconcile.Finding{Severity: reconcile.SeverityError, Wanted: "an address of " + name,
				Seen: fmt.Sprintf("%s (%s) does not resolve: %v", name, e.told, err)}
			if p.Alone || p.proxy(e.url) != "" { // there may be no cluster yet; a proxy resolves names itself
				f.Severity = reconcile.SeverityWarning
			}
			out = append(out, f)
		}
	}
	return out
}

// proxy is the proxy for a URL, without its password; "" if there is none.
func (p *pass) proxy(target string) string {
	u, err := url.Parse(target)
	if err != nil || p.Proxy == nil {
		return ""
	}
	proxy, err := p.Proxy(u)
	if err != nil || proxy == nil {
		return ""
	}
	return (&url.URL{Scheme: proxy.Scheme, Host: proxy.Host}).String()
}

func checkProxy(_ context.Context, p *pass) []reconcile.Finding {
	var out []reconcile.Finding
	list := p.endpoints()
	if p.controlPlane() {
		if own := p.Config.ControlPlane.LocalAPIEndpoint; own.AdvertiseAddress != "" {
			list = append(list, endpoint{"https://" + net.JoinHostPort(own.AdvertiseAddress, fmt.Sprint(own.BindPort)),
				"controlPlane.localAPIEndpoint.advertiseAddress"})
		}
	}
	for _, e := range list {
		if proxy := p.proxy(e.url); proxy != "" {
			out = append(out, reconcile.Finding{Severity: reconcile.SeverityWarning,
				Seen:   fmt.Sprintf("connections to %s (%s) go through the proxy %s", e.url, e.told, proxy),
				Wanted: "a direct connection",
				Hint:   "add " + e.host() + " to NO_PROXY"})
		}
	}
	return out
}

func checkProxyCIDR(_ context.Context, p *pass) []reconcile.Finding {
	var out []reconcile.Finding
	for _, c := range p.subnets() {
		target := "https://" + net.JoinHostPort(c.prefix.Masked().Addr().Next().String(), "443")
		if proxy := p.proxy(target); proxy != "" {
			out = append(out, reconcile.Finding{Severity: reconcile.SeverityWarning,
				Seen:   fmt.Sprintf("connections to the %s subnet %s go through the proxy %s", c.kind, c.prefix, proxy),
				Wanted: "direct connections", Hint: "add " + c.prefix.String() + " to NO_PROXY"})
		}
	}
	return out
}

// subnet is one of the cluster's address ranges.
type subnet struct {
	kind   string // "service" or "pod"
	prefix netip.Prefix
}

// subnets are the cluster's that parse; the first of a kind says its main family.
func (p *pass) subnets() []subnet {
	if !p.clusterKnown() {
		return nil
	}
	var out []subnet
	n := p.Cluster.Configuration.Networking
	for _, of := range [][2]string{{"service", n.ServiceSubnet}, {"pod", n.PodSubnet}} {
		for text := range strings.SplitSeq(of[1], ",") {
			if prefix, err := netip.ParsePrefix(strings.TrimSpace(text)); err == nil {
				out = append(out, subnet{of[0], prefix})
			}
		}
	}
	return out
}

// families are those of the cluster, as far as it is known.
func (p *pass) families() (v4, v6 bool) {
	for _, s := range p.subnets() {
		v4, v6 = v4 || s.prefix.Addr().Is4(), v6 || s.prefix.Addr().Is6()
	}
	return v4, v6
}

// The parameters are named as kubeadm names their checks.
const (
	forwardV4 = "net/ipv4/ip_forward"
	forwardV6 = "net/ipv6/conf/default/forwarding"
)

// checkForwarding looks for every join, where kubeadm does only if the endpoint
// is a literal address (behaviour catalogue §11 #51).
func checkForwarding(_ context.Context, p *pass) []reconcile.Finding {
	v4, v6 := p.families()
	for _, e := range p.endpoints() {
		if a, err := netip.ParseAddr(e.host()); err == nil && a.Is6() {
			v6 = true
		}
	}
	if ip, given := p.kubeletArg("node-ip"); given && strings.Contains(ip, ":") {
		v6 = true
	}
	var parameters []string
	if v4 || !v6 {
		parameters = append(parameters, forwardV4)
	}
	if v6 {
		parameters = append(parameters, forwardV6)
	}
	var out []reconcile.Finding
	for _, name := range parameters {
		value, err := p.Machine.Sysctl(name)
		finding := "FileContent--proc-sys-" + strings.ReplaceAll(name, "/", "-")
		dotted := strings.ReplaceAll(name, "/", ".")
		switch {
		case err != nil:
			out = append(out, unseen(finding, err)...)
		case value == "":
			out = append(out, reconcile.Finding{Severity: reconcile.SeverityError, Name: finding, Seen: "/proc/sys/" + name + " is not there", Wanted: "1",
				Hint: "boot a kernel with this protocol (without ipv6.disable=1, for instance)"})
		case !strings.HasPrefix(value, "1"):
			out = append(out, reconcile.Finding{Severity: reconcile.SeverityError, Name: finding, Seen: "/proc/sys/" + name + " is " + value, Wanted: "1",
				// A file for each: the advice for the second must not undo the first.
				Hint: fmt.Sprintf("sysctl -w %[1]s=1, and for the next boot: echo '%[1]s = 1' > /etc/sysctl.d/50-%[2]s.conf", dotted, strings.ReplaceAll(dotted, ".", "-"))})
		}
	}
	return out
}

func checkDefaultRoute(_ context.Context, p *pass) []reconcile.Finding {
	routes, err := p.Machine.DefaultRoutes()
	if err != nil {
		return unseen("DefaultRoute", err)
	}
	if len(routes) > 0 {
		return nil
	}
	if ip, given := p.kubeletArg("node-ip"); given && ip != "" {
		return nil
	}
	return []reconcile.Finding{{Severity: reconcile.SeverityWarning, Seen: "the machine has no default route", Wanted: "one, or the kubelet's argument node-ip"}}
}

// minMTU is what IPv6 needs (RFC 8200, 5).
const minMTU = 1280

// uplinks are the interfaces with a default route.
func (p *pass) uplinks() ([]host.Interface, error) {
	routes, err := p.Machine.DefaultRoutes()
	if err != nil {
		return nil, err
	}
	interfaces, err := p.interfaces()
	return slices.DeleteFunc(slices.Clone(interfaces), func(i host.Interface) bool {
		return !slices.ContainsFunc(routes, func(r host.DefaultRoute) bool { return r.Interface == i.Name })
	}), err
}

func checkMTU(_ context.Context, p *pass) []reconcile.Finding {
	uplinks, err := p.uplinks()
	if err != nil {
		return unseen("MTU", err)
	}
	return judgeMTU(uplinks)
}

func judgeMTU(uplinks []host.Interface) []reconcile.Finding {
	var out []reconcile.Finding
	for _, i := range uplinks {
		if i.MTU < minMTU {
			out = append(out, reconcile.Finding{Severity: reconcile.SeverityWarning,
				Seen:   fmt.Sprintf("packets on %s have at most %d bytes", i.Name, i.MTU),
				Wanted: fmt.Sprintf("at least %d", minMTU), Hint: fmt.Sprintf("ip link set %s mtu 1500, if the network carries that", i.Name)})
		}
	}
	return out
}

func checkAddressFamily(_ context.Context, p *pass) []reconcile.Finding {
	interfaces, err := p.interfaces()
	if err != nil {
		return unseen("AddressFamily", err)
	}
	return judgeFamilies(p.subnets(), interfaces)
}

func judgeFamilies(subnets []subnet, interfaces []host.Interface) []reconcile.Finding {
	var has4, has6 bool
	for _, i := range interfaces {
		for _, a := range i.Addresses {
			if i.Up && !i.Loopback && a.Addr().IsGlobalUnicast() {
				has4, has6 = has4 || a.Addr().Is4(), has6 || a.Addr().Is6()
			}
		}
	}
	var out []reconcile.Finding
	lacks := func(family string, of []string) {
		if len(of) > 0 {
			out = append(out, reconcile.Finding{Severity: reconcile.SeverityWarning,
				Seen:   "the cluster has " + strings.Join(of, " and ") + ", this machine no address of " + family,
				Wanted: "an address of " + family, Hint: "give an interface one, and see that net.ipv6.conf.all.disable_ipv6 is 0 for IPv6"})
		}
	}
	var of4, of6 []string
	for _, s := range subnets {
		text := "the " + s.kind + " subnet " + s.prefix.String()
		if s.prefix.Addr().Is4() && !has4 {
			of4 = append(of4, text)
		} else if s.prefix.Addr().Is6() && !has6 {
			of6 = append(of6, text)
		}
	}
	lacks("IPv4", of4)
	lacks("IPv6", of6)
	return out
}

func checkOverlap(_ context.Context, p *pass) []reconcile.Finding {
	uplinks, err := p.uplinks()
	if err != nil {
		return unseen("AddressOverlap", err)
	}
	return judgeOverlap(p.subnets(), uplinks)
}

func judgeOverlap(subnets []subnet, uplinks []host.Interface) []reconcile.Finding {
	var out []reconcile.Finding
	for _, i := range uplinks {
		for _, a := range i.Addresses {
			for _, s := range subnets {
				if s.prefix.Contains(a.Addr()) {
					out = append(out, reconcile.Finding{Severity: reconcile.SeverityWarning,
						Seen:   fmt.Sprintf("the address %s of %s is in the cluster's %s subnet %s", a.Addr(), i.Name, s.kind, s.prefix),
						Wanted: "a network of its own", Hint: "give the machine another address"})
				}
			}
		}
	}
	return out
}

// checkAdvertiseAddress is for a machine without a plan, which says the same.
func checkAdvertiseAddress(_ context.Context, p *pass) []reconcile.Finding {
	const field = "controlPlane.localAPIEndpoint.advertiseAddress"
	address, ok := kubeadm.ParseAddress(p.Config.ControlPlane.LocalAPIEndpoint.AdvertiseAddress)
	if !ok || !p.Alone {
		return nil // it is told why there is none
	}
	var out []reconcile.Finding
	if p.Machine.Live() {
		if on, err := p.hasAddress(address); err != nil {
			out = unseen("AdvertiseAddress", err)
		} else if !on {
			out = append(out, reconcile.Finding{Severity: reconcile.SeverityError, Seen: "no interface of this machine has the address " + address.String(),
				Wanted: "one of " + p.ownAddresses(), Hint: "correct " + field})
		}
	}
	if subnets := p.subnets(); len(subnets) > 0 && subnets[0].kind == "service" && subnets[0].prefix.Addr().Is4() != address.Is4() {
		out = append(out, reconcile.Finding{Severity: reconcile.SeverityError, Seen: fmt.Sprintf("%s is not of the family of the cluster's services, %s", address, subnets[0].prefix),
			Wanted: "an address of that family", Why: "kube-apiserver does not start", Hint: "correct " + field})
	}
	return out
}

func checkFirewalld(ctx context.Context, p *pass) []reconcile.Finding {
	if p.Facts.InitSystem != "systemd" {
		return nil // asking another one starts programs
	}
	s, err := p.Machine.Services(ctx).State(ctx, "firewalld")
	if err != nil || !s.Active {
		return nil
	}
	ports := []string{fmt.Sprint(kubeletPort)}
	if c := p.Config.ControlPlane; c != nil {
		ports = append([]string{fmt.Sprint(c.LocalAPIEndpoint.BindPort)}, ports...)
	}
	return []reconcile.Finding{{Severity: reconcile.SeverityWarning, Seen: "firewalld is active", Wanted: "open ports " + strings.Join(ports, ", "),
		Hint: "firewall-cmd --permanent --add-port=" + strings.Join(ports, "/tcp --add-port=") + "/tcp && firewall-cmd --reload"}}
}
