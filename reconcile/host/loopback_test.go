package host

import (
	"net/netip"
	"testing"
)

func TestLoopbackAddress(t *testing.T) {
	lo := func(addresses ...string) Interface {
		i := Interface{Name: "lo", Up: true, Loopback: true}
		for _, a := range addresses {
			i.Addresses = append(i.Addresses, netip.MustParsePrefix(a))
		}
		return i
	}
	eth := Interface{Name: "eth0", Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.9/24")}}
	for _, tt := range []struct {
		of           Interface
		prefer, want string
	}{
		{lo("127.0.0.1/8", "::1/128"), "", "invalid IP"},
		{lo("127.0.0.1/8", "fd00::1/128", "10.1.1.1/32", "10.1.1.2/32"), "", "10.1.1.1"},
		{lo("127.0.0.1/8", "fd00::1/128", "10.1.1.1/32", "10.1.1.2/32"), "10.1.1.2", "10.1.1.2"},
		{lo("127.0.0.1/8", "::1/128", "fe80::1/64", "fd00::1/128"), "10.0.0.9", "fd00::1"},
	} {
		var prefer netip.Addr
		if tt.prefer != "" {
			prefer = netip.MustParseAddr(tt.prefer)
		}
		if got := loopbackAddress([]Interface{eth, tt.of}, prefer); got.String() != tt.want {
			t.Errorf("%v: got %s", tt, got)
		}
	}
}
