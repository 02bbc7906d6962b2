package pki

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	certutil "k8s.io/client-go/util/cert"
	netutils "k8s.io/utils/net"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
)

// The users of the kubeconfigs. Behaviour catalogue §5.4.
const (
	UserAdmin             = "kubernetes-admin"
	UserControllerManager = "system:kube-controller-manager"
	UserScheduler         = "system:kube-scheduler"
)

// Where the kubeconfigs are: not below certificatesDir.
const (
	AdminConf             = "/etc/kubernetes/admin.conf"
	ControllerManagerConf = "/etc/kubernetes/controller-manager.conf"
	SchedulerConf         = "/etc/kubernetes/scheduler.conf"
)

// Kubeconfig is what one kubeconfig of this machine must be.
type Kubeconfig struct {
	Identity    // the CommonName is the user's name
	Path        string
	Server      string
	ClusterName string
	// ReadBy is the component that reads it when it starts, and not again; empty
	// if people read it.
	ReadBy string
}

// Kubeconfigs are those that a joining control plane gets. Only people go
// through the controlPlaneEndpoint, the components ask the API server beside
// them (behaviour catalogue §11 #27).
func Kubeconfigs(in Input) []Kubeconfig {
	port := portString(in.Endpoint.BindPort)
	local := "https://" + hostPort(in.Endpoint.AdvertiseAddress, port)
	public := local
	if in.Cluster.ControlPlaneEndpoint != "" {
		host, p := splitEndpoint(in.Cluster.ControlPlaneEndpoint)
		// Its port is not this node's: behaviour catalogue §11 #68.
		public = "https://" + hostPort(host, cmp.Or(p, portString(kubeadm.DefaultBindPort)))
	}
	name := cmp.Or(in.Cluster.ClusterName, kubeadm.DefaultClusterName)
	config := func(path, user, server, readBy string, organization ...string) Kubeconfig {
		k := Kubeconfig{Path: path, Server: server, ClusterName: name, ReadBy: readBy,
			Identity: Identity{CommonName: user, Organization: organization, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}}
		if o, ok := in.Organizations[user]; ok {
			k.Organization = o
		}
		return k
	}
	admin := config(AdminConf, UserAdmin, public, "", GroupClusterAdmins)
	admin.Accepted = [][]string{{GroupClusterAdmins}, {GroupMasters}} // the latter up to 1.28
	return []Kubeconfig{
		admin,
		config(ControllerManagerConf, UserControllerManager, local, "kube-controller-manager"),
		config(SchedulerConf, UserScheduler, local, "kube-scheduler"),
	}
}

// IssueKubeconfig makes a kubeconfig as kubeadm does, everything embedded. Its
// certificate begins when the CA does, unlike those in files: behaviour
// catalogue §11 #16.
func IssueKubeconfig(k Kubeconfig, ca *CA, algorithm string, now time.Time, validity time.Duration) ([]byte, error) {
	key, err := NewKey(algorithm)
	if err != nil {
		return nil, err
	}
	from := now.Add(-backdate)
	if ca != nil && len(ca.Certificates) > 0 {
		from = ca.Certificates[0].NotBefore
	}
	cert, keyPEM, err := sign(k.Identity, ca, key, from, now.Add(validity))
	if err != nil {
		return nil, err
	}
	trusted, err := certutil.EncodeCertificates(ca.Certificates...)
	if err != nil {
		return nil, err
	}
	c := clientcmdapi.NewConfig()
	name := k.CommonName + "@" + k.ClusterName
	c.Clusters[k.ClusterName] = &clientcmdapi.Cluster{Server: k.Server, CertificateAuthorityData: trusted}
	c.AuthInfos[k.CommonName] = &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: keyPEM}
	c.Contexts[name] = &clientcmdapi.Context{Cluster: k.ClusterName, AuthInfo: k.CommonName}
	c.CurrentContext = name
	return clientcmd.Write(*c)
}

// current is the cluster and the user of a kubeconfig's current context; text
// says what is wrong with it otherwise, and repeats nothing.
func current(content []byte) (cluster *clientcmdapi.Cluster, user *clientcmdapi.AuthInfo, text string) {
	if len(bytes.TrimSpace(content)) == 0 {
		return nil, nil, "is empty"
	}
	c, err := clientcmd.Load(content)
	if err != nil {
		return nil, nil, "is not a kubeconfig"
	}
	context := c.Contexts[c.CurrentContext]
	if context == nil {
		return nil, nil, "has no current context"
	}
	cluster, user = c.Clusters[context.Cluster], c.AuthInfos[context.AuthInfo]
	switch {
	case cluster == nil:
		return nil, nil, "lacks the cluster of its current context"
	case user == nil:
		return nil, nil, "lacks the user of its current context"
	}
	return cluster, user, ""
}

// References are the files that a kubeconfig's current context names instead of
// embedding them. InspectKubeconfig wants their contents.
func References(kubeconfig Kubeconfig, content []byte) []string {
	cluster, user, text := current(content)
	if text != "" {
		return nil
	}
	var out []string
	add := func(data []byte, name string) {
		if len(data) == 0 && name != "" {
			out = append(out, kubeconfig.resolve(name))
		}
	}
	add(cluster.CertificateAuthorityData, cluster.CertificateAuthority)
	add(user.ClientCertificateData, user.ClientCertificate)
	add(user.ClientKeyData, user.ClientKey)
	return out
}

func (k Kubeconfig) resolve(name string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(filepath.Dir(k.Path), name)
}

// InspectKubeconfig tells in which respects a kubeconfig is not what it must be;
// none if it can stay. The names of its clusters and contexts do not count
// (behaviour catalogue, appendix B 8). With a nil ca the issuers are not compared.
func InspectKubeconfig(k Kubeconfig, content []byte, referenced map[string][]byte, ca *CA, now time.Time, threshold time.Duration) []Mismatch {
	cluster, user, text := current(content)
	if text != "" {
		return []Mismatch{{Field: "kubeconfig", Text: text}}
	}
	data := func(inline []byte, name string) []byte {
		if len(inline) == 0 && name != "" {
			inline = referenced[k.resolve(name)]
		}
		if inline == nil {
			inline = []byte{} // absent, which is not the same as unreadable
		}
		return inline
	}
	var out []Mismatch
	if !sameServer(cluster.Server, k.Server) {
		m := Mismatch{Field: "server", Before: shownServer(cluster.Server), After: k.Server, Intent: true}
		m.Text = "points to " + m.Before + " instead of " + k.Server
		out = append(out, m)
	}
	if cluster.InsecureSkipTLSVerify {
		out = append(out, Mismatch{Field: "insecureSkipTLSVerify", Before: "true", Text: "does not verify the server"})
	} else if trusted, err := parseCertificates(data(cluster.CertificateAuthorityData, cluster.CertificateAuthority)); err != nil {
		out = append(out, Mismatch{Field: "certificateAuthority", Text: "its CA " + err.Error()})
	} else if ca != nil && len(ca.Certificates) > 0 && !containsSPKI(trusted, ca.Certificates[0]) {
		// Further CAs beside the one that signs may stay: a rotation.
		out = append(out, Mismatch{Field: "certificateAuthority", Before: pin(trusted[0]), After: pin(ca.Certificates[0]),
			Text: "trusts another CA than the cluster's"})
	}
	cert, key := data(user.ClientCertificateData, user.ClientCertificate), data(user.ClientKeyData, user.ClientKey)
	if len(cert) == 0 {
		return append(out, Mismatch{Field: "certificate", Text: "holds no client certificate"})
	}
	for _, m := range Inspect(k.Identity, cert, key, ca, now, threshold) {
		if m.Text = "its client certificate " + m.Text; m.Field == "key" {
			m.Text = "its client certificate and key are not a pair"
		}
		out = append(out, m)
	}
	return out
}

func sameServer(a, b string) bool {
	x, okA := normalServer(a)
	y, okB := normalServer(b)
	return okA && okB && x == y
}

func normalServer(server string) (string, bool) {
	u, err := url.Parse(server)
	if err != nil || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/") != "" {
		return "", false
	}
	host := strings.ToLower(u.Hostname())
	if ip := netutils.ParseIPSloppy(host); ip != nil {
		host = ip.String()
	}
	return u.Scheme + "://" + net.JoinHostPort(host, cmp.Or(u.Port(), "443")), true
}

// shownServer is a server without what may be a secret in it.
func shownServer(server string) string {
	u, err := url.Parse(server)
	if err != nil || u.Host == "" {
		return "no URL"
	}
	if u.User != nil {
		return u.Scheme + "://(sensitive)@" + u.Host
	}
	return u.Scheme + "://" + u.Host
}
