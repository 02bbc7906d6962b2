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

// The network of a lab. Every lab has it to itself, in a network namespace of its own.
const gateway = "10.77.0.1"

// address returns the address of a machine: names and addresses are fixed, so that /etc/hosts is the
// same everywhere from the beginning and never written again.
func address(name string) (string, error) {
	for kind, first := range map[string]int{"cp": 10, "w": 100} {
		var n int
		if _, err := fmt.Sscanf(name, kind+"%d", &n); err == nil && name == fmt.Sprint(kind, n) && n > 0 && n < 90 {
			return fmt.Sprintf("10.77.0.%d", first+n), nil
		}
	}
	return "", fmt.Errorf("machine %q: machines are named cp1 to cp89 and w1 to w89", name)
}

// hosts is /etc/hosts of every machine.
func hosts() string {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n::1 localhost ip6-localhost\n")
	for n := 1; n < 90; n++ {
		fmt.Fprintf(&b, "10.77.0.%d cp%d\n", 10+n, n)
	}
	for n := 1; n < 90; n++ {
		fmt.Fprintf(&b, "10.77.0.%d w%d\n", 100+n, n)
	}
	return b.String()
}

// Lab is the machines of one run and their network.
type Lab struct {
	// Canary holds every secret the lab knows of and every output it saw.
	Canary Canary

	base     *Base
	run      string // directory
	netns    string // name
	layers   []string
	mu       sync.Mutex
	machines map[string]*Machine
}

// New makes the network of a lab. The process must have been started by Main, which
// also takes the lab down.
func New(ctx context.Context, base *Base) (*Lab, error) {
	run := os.Getenv(envRun)
	if run == "" {
		return nil, errors.New("not started by lab.Main: nothing would take the lab down")
	}
	l := &Lab{base: base, run: run, netns: prefix(run), layers: base.layers, machines: map[string]*Machine{}}
	for _, args := range [][]string{
		{"netns", "add", l.netns},
		{"-n", l.netns, "link", "set", "lo", "up"},
		{"-n", l.netns, "link", "add", "br0", "type", "bridge"},
		{"-n", l.netns, "address", "add", gateway + "/24", "dev", "br0"},
		{"-n", l.netns, "link", "set", "br0", "up"},
	} {
		if _, err := host(ctx, "ip", args...); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// InstallKubejoin builds the program under test from its checkout. Machines booted later
// have it as /usr/local/bin/kubejoin.
func (l *Lab) InstallKubejoin(ctx context.Context, checkout string) error {
	layer := filepath.Join(l.run, "kubejoin")
	bin := filepath.Join(layer, "usr/local/bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	l.layers = append([]string{layer}, l.base.layers...)
	return buildKubejoin(ctx, checkout, bin)
}
