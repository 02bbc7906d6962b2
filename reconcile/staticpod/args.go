package staticpod

import (
	"cmp"
	"net"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/reconcile"
)

const (
	controllerManagerConf = "/etc/kubernetes/controller-manager.conf"
	schedulerConf         = "/etc/kubernetes/scheduler.conf"
)

// The arguments below are in the order of the behaviour catalogue (§5.5, §5.8);
// command sorts them.

func (in *Input) apiServerArgs() []kubeadm.Arg {
	c, pki := in.Cluster, in.Cluster.CertificatesDir
	args := []kubeadm.Arg{
		{Name: "advertise-address", Value: in.Endpoint.AdvertiseAddress},
		{Name: "allow-privileged", Value: "true"},
		{Name: "client-ca-file", Value: path.Join(pki, "ca.crt")},
		{Name: "enable-admission-plugins", Value: "NodeRestriction"},
		{Name: "enable-bootstrap-token-auth", Value: "true"},
		{Name: "kubelet-client-certificate", Value: path.Join(pki, "apiserver-kubelet-client.crt")},
		{Name: "kubelet-client-key", Value: path.Join(pki, "apiserver-kubelet-client.key")},
		{Name: "kubelet-preferred-address-types", Value: "InternalIP,ExternalIP,Hostname"},
		{Name: "proxy-client-cert-file", Value: path.Join(pki, "front-proxy-client.crt")},
		{Name: "proxy-client-key-file", Value: path.Join(pki, "front-proxy-client.key")},
		{Name: "requestheader-allowed-names", Value: "front-proxy-client"},
		{Name: "requestheader-client-ca-file", Value: path.Join(pki, "front-proxy-ca.crt")},
		{Name: "requestheader-extra-headers-prefix", Value: "X-Remote-Extra-"},
		{Name: "requestheader-group-headers", Value: "X-Remote-Group"},
		{Name: "requestheader-username-headers", Value: "X-Remote-User"},
		{Name: "secure-port", Value: strconv.Itoa(int(in.Endpoint.BindPort))},
		{Name: "service-account-issuer", Value: "https://kubernetes.default.svc." + c.Networking.DNSDomain},
		{Name: "service-account-key-file", Value: path.Join(pki, "sa.pub")},
		{Name: "service-account-signing-key-file", Value: path.Join(pki, "sa.key")},
		{Name: "service-cluster-ip-range", Value: c.Networking.ServiceSubnet},
		{Name: "tls-cert-file", Value: path.Join(pki, "apiserver.crt")},
		{Name: "tls-private-key-file", Value: path.Join(pki, "apiserver.key")},
	}
	if _, found := lastArg(c.APIServer.ExtraArgs, "authorization-config"); !found {
		args = append(args, kubeadm.Arg{Name: "authorization-mode", Value: "Node,RBAC"})
	}
	return append(args, in.apiServerEtcdArgs()...)
}

func (in *Input) apiServerEtcdArgs() []kubeadm.Arg {
	pki := in.Cluster.CertificatesDir
	if e := in.Cluster.Etcd.External; e != nil {
		args := []kubeadm.Arg{{Name: "etcd-servers", Value: strings.Join(e.Endpoints, ",")}}
		if e.CAFile != "" {
			args = append(args, kubeadm.Arg{Name: "etcd-cafile", Value: e.CAFile})
		}
		if e.CertFile != "" && e.KeyFile != "" {
			args = append(args, kubeadm.Arg{Name: "etcd-certfile", Value: e.CertFile}, kubeadm.Arg{Name: "etcd-keyfile", Value: e.KeyFile})
		}
		return args
	}
	args := []kubeadm.Arg{
		{Name: "etcd-cafile", Value: path.Join(pki, "etcd/ca.crt")},
		{Name: "etcd-certfile", Value: path.Join(pki, "apiserver-etcd-client.crt")},
		{Name: "etcd-keyfile", Value: path.Join(pki, "apiserver-etcd-client.key")},
		{Name: "etcd-servers", Value: "https://" + net.JoinHostPort(in.loopback(), "2379")},
	}
	// The API server follows where etcd says that it is to be found.
	if local := in.Cluster.Etcd.Local; local != nil {
		if a, found := lastArg(local.ExtraArgs, "advertise-client-urls"); found {
			a.Name = "etcd-servers"
			args, _ = kubeadm.MergeArgs(args, []kubeadm.Arg{a})
		}
	}
	return args
}

func (in *Input) controllerManagerArgs() []kubeadm.Arg {
	n, pki := in.Cluster.Networking, in.Cluster.CertificatesDir
	ca, signingCert, signingKey := path.Join(pki, "ca.crt"), path.Join(pki, "ca.crt"), path.Join(pki, "ca.key")
	if in.ExternalCA {
		signingCert, signingKey = "", ""
	}
	args := []kubeadm.Arg{
		{Name: "authentication-kubeconfig", Value: controllerManagerConf},
		{Name: "authorization-kubeconfig", Value: controllerManagerConf},
		{Name: "bind-address", Value: "127.0.0.1"},
		{Name: "client-ca-file", Value: ca},
		{Name: "cluster-signing-cert-file", Value: signingCert},
		{Name: "cluster-signing-key-file", Value: signingKey},
		{Name: "controllers", Value: "*,bootstrapsigner,tokencleaner"},
		{Name: "kubeconfig", Value: controllerManagerConf},
		{Name: "leader-elect", Value: "true"},
		{Name: "requestheader-client-ca-file", Value: path.Join(pki, "front-proxy-ca.crt")},
		{Name: "root-ca-file", Value: ca},
		{Name: "service-account-private-key-file", Value: path.Join(pki, "sa.key")},
		{Name: "use-service-account-credentials", Value: "true"},
	}
	if name := in.Cluster.ClusterName; name != "" {
		args = append(args, kubeadm.Arg{Name: "cluster-name", Value: name})
	}
	if n.PodSubnet != "" {
		args = append(args, kubeadm.Arg{Name: "allocate-node-cidrs", Value: "true"}, kubeadm.Arg{Name: "cluster-cidr", Value: n.PodSubnet})
		if n.ServiceSubnet != "" {
			args = append(args, kubeadm.Arg{Name: "service-cluster-ip-range", Value: n.ServiceSubnet})
		}
	}
	return args
}

func (in *Input) schedulerArgs() []kubeadm.Arg {
	return []kubeadm.Arg{
		{Name: "authentication-kubeconfig", Value: schedulerConf},
		{Name: "authorization-kubeconfig", Value: schedulerConf},
		{Name: "bind-address", Value: "127.0.0.1"},
		{Name: "kubeconfig", Value: schedulerConf},
		{Name: "leader-elect", Value: "true"},
	}
}

func (in *Input) etcdArgs(row Row, tag string) []kubeadm.Arg {
	pki := in.Cluster.CertificatesDir
	client, peer := "https://"+net.JoinHostPort(in.Endpoint.AdvertiseAddress, "2379"), PeerURL(in.Endpoint.AdvertiseAddress)
	args := []kubeadm.Arg{
		{Name: "advertise-client-urls", Value: client},
		{Name: "cert-file", Value: path.Join(pki, "etcd/server.crt")},
		{Name: "client-cert-auth", Value: "true"},
		{Name: "data-dir", Value: in.Cluster.Etcd.Local.DataDir},
		{Name: "initial-advertise-peer-urls", Value: peer},
		{Name: "key-file", Value: path.Join(pki, "etcd/server.key")},
		{Name: "listen-client-urls", Value: "https://" + net.JoinHostPort(in.loopback(), "2379") + "," + client},
		{Name: "listen-metrics-urls", Value: "http://" + net.JoinHostPort(in.loopback(), "2381")},
		{Name: "listen-peer-urls", Value: peer},
		{Name: "name", Value: in.NodeName},
		{Name: "peer-cert-file", Value: path.Join(pki, "etcd/peer.crt")},
		{Name: "peer-client-cert-auth", Value: "true"},
		{Name: "peer-key-file", Value: path.Join(pki, "etcd/peer.key")},
		{Name: "peer-trusted-ca-file", Value: path.Join(pki, "etcd/ca.crt")},
		{Name: "snapshot-count", Value: "10000"},
		{Name: "trusted-ca-file", Value: path.Join(pki, "etcd/ca.crt")},
	}
	if row.oldEtcd(tag) {
		args = append(args, kubeadm.Arg{Name: "experimental-initial-corrupt-check", Value: "true"},
			kubeadm.Arg{Name: "experimental-watch-progress-notify-interval", Value: "5s"})
	} else {
		args = append(args, kubeadm.Arg{Name: "feature-gates", Value: "InitialCorruptCheck=true"},
			kubeadm.Arg{Name: "watch-progress-notify-interval", Value: "5s"})
	}
	members, state := in.initialCluster()
	args = append(args, kubeadm.Arg{Name: "initial-cluster", Value: members})
	if state != "" {
		args = append(args, kubeadm.Arg{Name: "initial-cluster-state", Value: state})
	}
	return args
}

// initialCluster is what etcd is told of the cluster it joins. A member that
// has data never looks at it again (behaviour catalogue, appendix B 2), so that
// what is recorded stays until the members are given.
func (in *Input) initialCluster() (members, state string) {
	list, state := in.EtcdMembers, "existing"
	if list == nil {
		r, found := in.Recorded[Etcd]
		if !found || len(r.InitialCluster) == 0 {
			return reconcile.KnownAfterApply, state
		}
		list, state = r.InitialCluster, r.InitialClusterState
	}
	var out []string
	for _, m := range list {
		out = append(out, m.Name+"="+m.PeerURL)
	}
	return strings.Join(out, ","), state
}

// PeerURL is the URL by which a node's etcd member is known.
func PeerURL(advertiseAddress string) string {
	return "https://" + net.JoinHostPort(advertiseAddress, "2380")
}

// loopback is of the family of the advertised address.
func (in *Input) loopback() string {
	if isIPv6(in.Endpoint.AdvertiseAddress) {
		return "::1"
	}
	return "127.0.0.1"
}

func isIPv6(address string) bool {
	ip, err := netip.ParseAddr(address)
	return err == nil && ip.Is6()
}

// command is the program and its arguments: built-in ones sorted by name, then
// the extra ones in their order (behaviour catalogue §11 #60).
func command(name string, base, extra []kubeadm.Arg) (command, dropped []string) {
	slices.SortStableFunc(base, func(a, b kubeadm.Arg) int { return cmp.Compare(a.Name, b.Name) })
	args, dropped := kubeadm.MergeArgs(base, extra)
	command = []string{name}
	for _, a := range args {
		command = append(command, "--"+a.Name+"="+a.Value)
	}
	return command, dropped
}

// lastArg is the last argument of a name.
func lastArg(args []kubeadm.Arg, name string) (last kubeadm.Arg, found bool) {
	for _, a := range args {
		if a.Name == name {
			last, found = a, true
		}
	}
	return last, found
}
