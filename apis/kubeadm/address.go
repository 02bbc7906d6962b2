package kubeadm

import (
	"net/netip"

	netutils "k8s.io/utils/net"
)

// ParseAddress reads an address as Kubernetes does: leading zeros of a part are
// ignored, and an address of version 4 in the form of version 6 is one of
// version 4. Its String is the form that is compared and written.
func ParseAddress(text string) (netip.Addr, bool) {
	address, ok := netip.AddrFromSlice(netutils.ParseIPSloppy(text))
	return address.Unmap(), ok
}
