package host

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"

	"github.com/kubejoin/kubejoin/fault"
)

// criSockets are the known container runtimes' in kubeadm's order (behaviour
// catalogue §2.2).
var criSockets = []string{
	"/var/run/containerd/containerd.sock",
	"/var/run/crio/crio.sock",
	"/var/run/cri-dockerd.sock",
}

// binaryDirs are where packages and installers put the kubelet, the local ones
// first, as in PATH. PATH itself is not asked: under sudo it is another one.
var binaryDirs = []string{
	"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/opt/bin",
}

// criDialTimeout bounds a connection to a local socket: it fails at once unless
// the runtime hangs with a full backlog, or the machine is busy.
const criDialTimeout = 2 * time.Second

// smallFile is more than any of the files with facts has, in bytes.
const smallFile = 64 << 10

// Facts reads what this machine is. A fact that this user may not read is empty;
// the error is only for the unexpected.
//
// Below a root directory nothing runs that could be asked: a runtime counts if
// its socket exists, and systemd-resolved if its resolv.conf does.
func (h *Host) Facts(ctx context.Context) (Facts, error) {
	f := Facts{EffectiveUID: os.Geteuid(), InitSystem: h.initSystem()}
	var wg sync.WaitGroup
	wg.Go(func() { f.ResolvedActive = h.resolvedActive(ctx, f.InitSystem) })
	wg.Go(func() { f.CRISockets = h.reachableSockets(ctx) })
	var err error
	f.Hostname, err = h.hostname()
	if err == nil {
		f.MachineID, err = h.MachineID()
	}
	if err == nil && h.live {
		var id []byte
		id, _, err = h.ReadFile("/proc/sys/kernel/random/boot_id", smallFile)
		f.BootID = string(bytes.TrimSpace(id))
	}
	if err == nil {
		f.KubeletPath, err = h.find("kubelet")
	}
	if h.live {
		f.Addresses = interfaceAddresses()
	}
	f.ProxyEnv = proxyEnv(os.Environ())
	for _, dir := range CACandidates() {
		if s, statErr := h.Stat(dir); statErr == nil && s.Kind == Dir {
			f.CADirs = append(f.CADirs, dir)
		}
	}
	wg.Wait()
	return f, errors.Join(err, ctx.Err())
}

// interfaceAddresses is empty if the kernel does not tell.
func interfaceAddresses() []netip.Addr {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var out []netip.Addr
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok {
			if addr, ok := netip.AddrFromSlice(n.IP); ok {
				out = append(out, addr.Unmap())
			}
		}
	}
	return out
}

func proxyEnv(environ []string) []string {
	var out []string
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		if strings.HasSuffix(strings.ToLower(name), "_proxy") && value != "" {
			out = append(out, e)
		}
	}
	slices.Sort(out)
	return out
}

// DefaultAddress is the address that others reach this machine at: the first
// global unicast one of the default route's interface. An address of version 6
// is preferred only where prefer is one. Behaviour catalogue §2.2.
//
// Below a root directory there is none. Errors are of class InvalidConfig: it is
// for the configuration to give what the machine does not show.
func (h *Host) DefaultAddress(prefer netip.Addr) (netip.Addr, error) {
	if !h.live {
		return netip.Addr{}, fault.New(fault.InvalidConfig, "only the running machine has a default route")
	}
	unspecified := net.IPv4zero
	if prefer.Is6() {
		unspecified = net.IPv6unspecified
	}
	ip, err := utilnet.ResolveBindAddress(unspecified)
	if utilnet.IsNoRoutesError(err) {
		return netip.Addr{}, fault.New(fault.InvalidConfig, "the machine has no default route")
	}
	if err != nil {
		return netip.Addr{}, fault.New(fault.InvalidConfig, "the machine has no default address: %w", err)
	}
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap(), nil
}

// LoopbackAddress is a global unicast address of the loopback interface, which
// routers that know this machine by several ways lead to: prefer if it is one,
// or else the first, of version 4 if there is one. Behaviour catalogue §2.2.
// Errors are as those of DefaultAddress.
func (h *Host) LoopbackAddress(prefer netip.Addr) (netip.Addr, error) {
	if !h.live {
		return netip.Addr{}, fault.New(fault.InvalidConfig, "only the running machine has interfaces")
	}
	interfaces, err := h.Interfaces()
	if err != nil {
		return netip.Addr{}, err
	}
	if address := loopbackAddress(interfaces, prefer); address.IsValid() {
		return address, nil
	}
	return netip.Addr{}, fault.New(fault.InvalidConfig, "the loopback interface has only loopback addresses")
}

func loopbackAddress(interfaces []Interface, prefer netip.Addr) netip.Addr {
	var best netip.Addr
	for _, i := range interfaces {
		for _, a := range i.Addresses {
			switch a := a.Addr(); {
			case !i.Loopback || !i.Up || !a.IsGlobalUnicast():
			case a == prefer:
				return a
			case !best.IsValid(), a.Is4() && !best.Is4():
				best = a
			}
		}
	}
	return best
}

func (h *Host) hostname() (string, error) {
	if h.live {
		return os.Hostname()
	}
	data, _, err := h.ReadFile("/etc/hostname", smallFile)
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") { // hostname(5)
			return line, err
		}
	}
	return "", err
}

// MachineID takes the first of the files that exists, even if it is empty: so
// does the kubelet (cAdvisor's machine ID files).
func (h *Host) MachineID() (string, error) {
	for _, path := range []string{"/etc/machine-id", "/var/lib/dbus/machine-id"} {
		data, _, err := h.ReadFile(path, smallFile)
		if err != nil || data != nil {
			return string(bytes.TrimSpace(data)), err
		}
	}
	return "", nil
}

// find looks for a program in the usual directories; "" if it is in none.
func (h *Host) find(program string) (string, error) {
	for _, dir := range binaryDirs {
		path := dir + "/" + program
		s, err := h.Stat(path)
		if err != nil {
			return "", err
		}
		if s.Kind == File && s.Mode&0o111 != 0 {
			return path, nil
		}
	}
	return "", nil
}

func (h *Host) reachableSockets(ctx context.Context) []string {
	found := make([]bool, len(criSockets))
	var wg sync.WaitGroup
	for i, path := range criSockets {
		wg.Go(func() {
			if h.live {
				found[i] = accepts(ctx, path)
				return
			}
			p, err := h.resolve(path)
			found[i] = err == nil && p.info != nil && p.info.Mode()&fs.ModeSocket != 0
		})
	}
	wg.Wait()
	var endpoints []string
	for i, path := range criSockets {
		if found[i] {
			endpoints = append(endpoints, "unix://"+path)
		}
	}
	return endpoints
}

// accepts tells whether somebody listens on a socket. One that refuses this user
// counts: root would reach it, and a plan without root is to find what apply finds.
func accepts(ctx context.Context, path string) bool {
	d := net.Dialer{Timeout: criDialTimeout}
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return errors.Is(err, syscall.EACCES)
	}
	_ = conn.Close() // it was only a knock
	return true
}

// initSystem says what manages services, by the marks that sd_booted(3) and
// OpenRC leave in /run.
func (h *Host) initSystem() string {
	if !h.live {
		return ""
	}
	if s, err := h.Stat("/run/systemd/system"); err == nil && s.Kind == Dir {
		return "systemd"
	}
	if s, err := h.Stat("/run/openrc"); err == nil && s.Kind == Dir {
		return "openrc"
	}
	for _, program := range []string{"openrc", "rc-service"} {
		if _, err := exec.LookPath(program); err != nil {
			return ""
		}
	}
	return "openrc"
}

func (h *Host) resolvedActive(ctx context.Context, initSystem string) bool {
	if initSystem == "systemd" {
		s, err := h.Services(ctx).State(ctx, "systemd-resolved")
		if err == nil && s.Unknown == "" {
			return strings.HasPrefix(s.State, "active/")
		}
		// Nobody to ask: judge by the file, as below a root directory.
	} else if h.live {
		return false
	}
	s, err := h.Stat("/run/systemd/resolve/resolv.conf")
	return err == nil && s.Kind == File
}
