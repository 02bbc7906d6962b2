package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// network is one of a lab. Every lab has its networks to itself, in a network namespace of its own.
type network struct {
	gateway string
	bits    int    // of the prefix
	host    string // format of a machine's address
	// forwarding are the kernel parameters that let a machine forward.
	forwarding string
}

var (
	network4 = network{"10.77.0.1", 24, "10.77.0.%d", "net.ipv4.ip_forward=1"}
	network6 = network{"fd00:77::1", 64, "fd00:77::%x", "net.ipv4.ip_forward=1 net.ipv6.conf.default.forwarding=1"}
)

// kinds of machines by what their names begin with: how many there can be, and what is added to a machine's number to be the
// last byte of its address.
var kinds = []struct {
	name        string
	most, first int
}{{"cp", 89, 10}, {"w", 149, 100}}

// address returns the address of a machine: names and addresses are fixed, so that /etc/hosts is the
// same everywhere from the beginning and never written again.
func (n network) address(name string) (string, error) {
	for _, k := range kinds {
		var number int
		if _, err := fmt.Sscanf(name, k.name+"%d", &number); err == nil && name == fmt.Sprint(k.name, number) && number > 0 && number <= k.most {
			return fmt.Sprintf(n.host, k.first+number), nil
		}
	}
	return "", fmt.Errorf("machine %q: machines are named cp1 to cp89 and w1 to w149", name)
}

// hosts is /etc/hosts of every machine. Only IPv4 has names.
func hosts() string {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n::1 localhost ip6-localhost\n")
	for _, k := range kinds {
		for n := 1; n <= k.most; n++ {
			fmt.Fprintf(&b, network4.host+" %s%d\n", k.first+n, k.name, n)
		}
	}
	return b.String()
}

// Lab is the machines of one run and their network.
type Lab struct {
	// Canary holds every secret the lab knows of and every output it saw.
	Canary *Canary

	base    *Base
	run     string // directory
	netns   string // name
	network network
	*inventory
}

// inventory is what the machines of all versions share.
type inventory struct {
	mu       sync.Mutex
	machines map[string]*Machine
	programs string // layer with the program under test; empty without it
}

// New makes the network of a lab. The process must have been started by Main, which
// also takes the lab down.
func New(ctx context.Context, base *Base) (*Lab, error) {
	run := os.Getenv(envRun)
	if run == "" {
		return nil, errors.New("not started by lab.Main: nothing would take the lab down")
	}
	l := &Lab{Canary: &Canary{}, base: base, run: run, netns: prefix(run), network: network4, inventory: &inventory{machines: map[string]*Machine{}}}
	for _, args := range [][]string{
		{"netns", "add", l.netns},
		{"-n", l.netns, "link", "set", "lo", "up"},
		{"-n", l.netns, "link", "add", "br0", "type", "bridge"},
		{"-n", l.netns, "address", "add", fmt.Sprintf("%s/%d", network4.gateway, network4.bits), "dev", "br0"},
		{"-n", l.netns, "address", "add", fmt.Sprintf("%s/%d", network6.gateway, network6.bits), "dev", "br0", "nodad"},
		{"-n", l.netns, "link", "set", "br0", "up"},
	} {
		if _, err := host(ctx, "ip", args...); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// Of returns the same lab for machines of another version of Kubernetes. They are in one network, so no two machines have
// the same name.
func (l *Lab) Of(base *Base) *Lab {
	other := *l
	other.base = base
	return &other
}

// IPv6 returns the same lab for machines that have no address but one of IPv6.
func (l *Lab) IPv6() *Lab {
	other := *l
	other.network = network6
	return &other
}

// InstallKubejoin builds the program under test from its checkout. Machines booted later have it as
// /usr/local/bin/kubejoin, and beside it kubejoin-stephook, which ends itself at the step that KUBEJOIN_STEP names.
func (l *Lab) InstallKubejoin(ctx context.Context, checkout string) error {
	layer := filepath.Join(l.run, "kubejoin")
	bin := filepath.Join(layer, "usr/local/bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	if err := buildKubejoin(ctx, checkout, bin, "kubejoin"); err != nil {
		return err
	}
	if err := buildKubejoin(ctx, checkout, bin, "kubejoin-stephook", "-tags", "stephook"); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.programs = layer
	return nil
}

// layers are those of a machine's root, topmost first.
func (l *Lab) layers() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.programs == "" {
		return l.base.layers
	}
	return append([]string{l.programs}, l.base.layers...)
}
