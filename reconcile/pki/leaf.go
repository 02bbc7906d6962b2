package pki

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	content "k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation"
	netutils "k8s.io/utils/net"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/fault"
)

// The names of the leaf certificates, as their files are called below
// certificatesDir without the ending. Behaviour catalogue §5.3.
const (
	APIServer              = "apiserver"
	APIServerKubeletClient = "apiserver-kubelet-client"
	FrontProxyClient       = "front-proxy-client"
	EtcdServer             = "etcd/server"
	EtcdPeer               = "etcd/peer"
	EtcdHealthcheckClient  = "etcd/healthcheck-client"
	APIServerEtcdClient    = "apiserver-etcd-client"
)

// The groups that kubeadm has put its administrators into.
const (
	GroupClusterAdmins = "kubeadm:cluster-admins"
	GroupMasters       = "system:masters"
)

// Identity is who a certificate is for.
type Identity struct {
	CommonName   string
	Organization []string
	// Accepted are organizations that an existing certificate may have instead.
	Accepted [][]string
	Usages   []x509.ExtKeyUsage
	// DNSNames are sorted, IPs in the order in which they were asked for.
	DNSNames []string
	IPs      []net.IP
}

// Leaf is what one certificate of this machine must be.
type Leaf struct {
	Identity
	Name      string // one of the constants above
	Authority Authority
	CertPath  string
	KeyPath   string
}

// Input is what the certificates and kubeconfigs of a machine depend on.
type Input struct {
	Cluster  *kubeadm.ClusterConfiguration
	NodeName string
	Endpoint kubeadm.APIEndpoint
	// Organizations are, by leaf name or kubeconfig user, what kubeadm of the
	// cluster's minor writes where that differs between versions: for
	// APIServerKubeletClient none since 1.36.3, GroupClusterAdmins before. Only an
	// entry that is there replaces what this package would write.
	Organizations map[string][]string
}

// Leaves are the certificates that this machine needs beside the shared files,
// and remarks on names that cannot be in a certificate and are left out.
func Leaves(in Input) ([]Leaf, []string, error) {
	var notes []string
	c := in.Cluster
	dir := cmp.Or(c.CertificatesDir, kubeadm.DefaultCertificatesDir)
	leaf := func(name string, a Authority, cn string, u []x509.ExtKeyUsage) Leaf {
		l := Leaf{Name: name, Authority: a, CertPath: path.Join(dir, name+".crt"), KeyPath: path.Join(dir, name+".key"),
			Identity: Identity{CommonName: cn, Usages: u}}
		if o, ok := in.Organizations[name]; ok {
			l.Organization = o
		}
		return l
	}
	names := func(l Leaf, field string, s *sans, extra []string) Leaf {
		for i, name := range extra {
			if !s.add(name) {
				notes = append(notes, fmt.Sprintf("%s[%d]: %q is neither a DNS name nor an IP address: left out", field, i, name))
			}
		}
		l.DNSNames, l.IPs = s.sorted()
		return l
	}
	server := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	client := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}

	service, err := serviceIP(c)
	if err != nil {
		return nil, nil, err
	}
	domain := cmp.Or(c.Networking.DNSDomain, kubeadm.DefaultDNSDomain)
	s := &sans{
		dns: []string{in.NodeName, "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + domain},
		ips: []net.IP{service},
	}
	s.add(in.Endpoint.AdvertiseAddress)
	if c.ControlPlaneEndpoint != "" {
		host, _ := splitEndpoint(c.ControlPlaneEndpoint)
		s.add(host)
	}
	kubelet := leaf(APIServerKubeletClient, ClusterCA, "kube-apiserver-kubelet-client", client)
	// Appendix B 7: older releases wrote these, and they serve.
	kubelet.Accepted = [][]string{nil, {GroupClusterAdmins}, {GroupMasters}}
	// Of these only kubeadm makes lower case; in others a capital is no DNS name.
	var lower []string
	for _, name := range c.APIServer.CertSANs {
		lower = append(lower, strings.ToLower(name))
	}
	out := []Leaf{
		names(leaf(APIServer, ClusterCA, "kube-apiserver", server), "apiServer.certSANs", s, lower),
		kubelet,
		leaf(FrontProxyClient, FrontProxyCA, "front-proxy-client", client),
	}
	if c.Etcd.External != nil {
		return out, notes, nil
	}
	local := c.Etcd.Local
	if local == nil {
		local = &kubeadm.LocalEtcd{}
	}
	etcd := func() *sans {
		s := &sans{dns: []string{in.NodeName, "localhost"}}
		s.add(in.Endpoint.AdvertiseAddress)
		s.add("127.0.0.1")
		s.add("::1")
		return s
	}
	return append(out,
		names(leaf(EtcdServer, EtcdCA, in.NodeName, both), "etcd.local.serverCertSANs", etcd(), local.ServerCertSANs),
		names(leaf(EtcdPeer, EtcdCA, in.NodeName, both), "etcd.local.peerCertSANs", etcd(), local.PeerCertSANs),
		leaf(EtcdHealthcheckClient, EtcdCA, "kube-etcd-healthcheck-client", client),
		leaf(APIServerEtcdClient, EtcdCA, "kube-apiserver-etcd-client", client),
	), notes, nil
}

// serviceIP is the first address of the first service range: that of the
// Service "kubernetes".
func serviceIP(c *kubeadm.ClusterConfiguration) (net.IP, error) {
	subnet := cmp.Or(c.Networking.ServiceSubnet, kubeadm.DefaultServiceSubnet)
	ranges, err := netutils.ParseCIDRs(strings.Split(subnet, ","))
	if err == nil {
		var ip net.IP
		if ip, err = netutils.GetIndexedIP(ranges[0], 1); err == nil {
			return ip, nil
		}
	}
	return nil, fault.New(fault.InvalidConfig, "the cluster's networking.serviceSubnet %q is not usable", subnet)
}

// splitEndpoint takes apart a controlPlaneEndpoint: a host, with or without a
// port; port is "" if it has none.
func splitEndpoint(value string) (host, port string) {
	if netutils.ParseIPSloppy(value) != nil {
		return value, ""
	}
	if h, p, err := net.SplitHostPort(value); err == nil {
		return h, p
	}
	return value, ""
}

// sans are the names in a certificate.
type sans struct {
	dns []string
	ips []net.IP
}

// add tells whether a name can be one.
func (s *sans) add(name string) bool {
	switch ip := netutils.ParseIPSloppy(name); {
	case ip != nil:
		s.ips = append(s.ips, ip)
	case len(content.IsDNS1123Subdomain(name)) == 0, len(validation.IsWildcardDNS1123Subdomain(name)) == 0:
		s.dns = append(s.dns, name)
	default:
		return false
	}
	return true
}

func (s *sans) sorted() ([]string, []net.IP) {
	slices.Sort(s.dns)
	var ips []net.IP
	for _, ip := range s.ips {
		if !slices.ContainsFunc(ips, ip.Equal) {
			ips = append(ips, ip)
		}
	}
	return slices.Compact(s.dns), ips
}

// hostPort joins a host and a port, an IPv6 address in brackets.
func hostPort(host, port string) string {
	if a, err := netip.ParseAddr(host); err == nil {
		host = a.String()
	}
	return net.JoinHostPort(host, port)
}

func portString(port int32) string {
	if port == 0 {
		port = kubeadm.DefaultBindPort
	}
	return strconv.Itoa(int(port))
}
