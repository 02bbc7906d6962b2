package cluster

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	certutil "k8s.io/client-go/util/cert"

	"github.com/kubejoin/kubejoin/fault"
)

// owner is whose credential it is, for errors.
func (c Credential) owner() string {
	if len(c.Paths) == 0 || c.CommonName == "" || strings.HasPrefix(c.CommonName, nodeUser) {
		return "the node's credential"
	}
	return "the credential of " + c.Paths[0]
}

// nodeUser begins the user names of kubelets.
const nodeUser = "system:node:"

// WithServer is the same credential for another address of its cluster, such as
// that of the API server on this machine.
func (c Credential) WithServer(server string) (Credential, error) {
	if c.State != CredentialValid {
		return Credential{}, fault.New(fault.Internal, "%s is no credential to connect with", c)
	}
	if err := checkServer(server); err != nil {
		return Credential{}, fault.New(fault.Internal, "a credential for an address that %w", err)
	}
	config, err := parseKubeconfig(c.kubeconfig)
	if err != nil {
		return Credential{}, fault.New(fault.Internal, "the credential %w", err)
	}
	context := config.Contexts[config.CurrentContext]
	cluster := config.Clusters[context.Cluster]
	cluster.Server = server
	a := access{clusterName: context.Cluster, contextName: config.CurrentContext, userName: context.AuthInfo,
		cluster: *cluster, user: config.AuthInfos[context.AuthInfo]}
	if c.kubeconfig, err = a.kubeconfig(a.clusterName); err != nil {
		return Credential{}, fault.New(fault.Internal, "the credential cannot be rendered")
	}
	c.Server = server
	return c, nil
}

// WithClientCertificate is a client of the API server at a URL with a
// certificate that is in no file; all three are PEM.
func (c *Client) WithClientCertificate(server string, ca, cert, key []byte) (*Client, error) {
	if err := checkServer(server); err != nil {
		return nil, fault.New(fault.Internal, "a client for an address that %w", err)
	}
	if _, err := certutil.ParseCertsPEM(ca); err != nil {
		return nil, fault.New(fault.Internal, "a client without a CA to verify its server by").At(server)
	}
	user := &clientcmdapi.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
	if len(cert) == 0 || len(key) == 0 {
		return nil, fault.New(fault.Internal, "a client without a certificate").At(server)
	}
	admin, err := c.run.client(access{cluster: clientcmdapi.Cluster{Server: server, CertificateAuthorityData: ca}, user: user})
	if err != nil {
		return nil, err
	}
	admin.who = "the administrator's certificate"
	return admin, nil
}

// DiscoveryFileUser is a client with the credential of the discovery file, if
// discovery is by a file of this machine that can still be used. A node has no
// need of it but for what it may not do itself.
func (c *Client) DiscoveryFileUser() (user *Client, ok bool) {
	d, err := c.run.discovery()
	if err != nil || d.path == "" || isURL(d.path) {
		return nil, false
	}
	a, err := d.load()
	if err != nil || !a.hasCredential() || len(a.cluster.CertificateAuthorityData) == 0 || d.checkFile(a) != nil {
		return nil, false
	}
	if user, err = c.run.client(a); err != nil {
		return nil, false
	}
	user.who = "the discovery file's credential"
	return user, true
}

// Bootstrapper is a client with the credential that discovery gives, for a node
// that already has one of its own: it may read what a node may not, the Secret
// with the certificates. It discovers the cluster first, until ctx ends at the
// latest.
func (c *Client) Bootstrapper(ctx context.Context) (*Client, error) {
	d, err := c.run.discovery()
	if err != nil {
		return nil, err
	}
	found, err := d.find(ctx)
	if err != nil {
		return nil, err
	}
	b, err := c.run.client(found.access)
	if err != nil {
		return nil, err
	}
	b.who = "the discovery file's credential"
	if found.tokenID != "" {
		b.who = "the bootstrap token " + found.tokenID
	}
	return b, nil
}

// etcdURLsAnnotation of an etcd pod names where its member serves.
const etcdURLsAnnotation = "kubeadm.kubernetes.io/etcd.advertise-client-urls"

// EtcdEndpoints are where the members of a stacked etcd serve, by their static
// pods, sorted by Node; a member may be down. Missing are the pods that do not
// say where: kubeadm waits for one of them to its timeout (behaviour catalogue
// §11 #72). A node may not list pods: this takes an administrator.
func (c *Client) EtcdEndpoints(ctx context.Context) (endpoints []EtcdEndpoint, missing []string, err error) {
	var pods corev1.PodList
	err = c.persist(ctx, "the etcd pods", request{method: http.MethodGet, path: "/api/v1/namespaces/kube-system/pods",
		query: url.Values{"labelSelector": {"component=etcd,tier=control-plane"}}}, &pods)
	if err != nil {
		return nil, nil, c.refused(err, "list the pods of kube-system", clusterAdminsHint)
	}
	for _, pod := range pods.Items {
		found := false
		for at := range strings.SplitSeq(pod.Annotations[etcdURLsAnnotation], ",") {
			if at = strings.TrimSpace(at); checkServer(at) == nil {
				endpoints = append(endpoints, EtcdEndpoint{Node: pod.Spec.NodeName, PodName: pod.Name, ClientURL: at, Image: etcdImage(&pod)})
				found = true
			}
		}
		if !found {
			missing = append(missing, pod.Name)
		}
	}
	slices.SortFunc(endpoints, func(a, b EtcdEndpoint) int {
		return cmp.Or(strings.Compare(a.Node, b.Node), strings.Compare(a.ClientURL, b.ClientURL))
	})
	slices.Sort(missing)
	return endpoints, missing, nil
}

// Signers are the Nodes whose controller manager signs certificates of kubelets:
// one that has no key for it, as where the cluster's CA is external, is told an
// empty path. This takes an administrator.
func (c *Client) Signers(ctx context.Context) ([]string, error) {
	var pods corev1.PodList
	err := c.persist(ctx, "the controller managers", request{method: http.MethodGet, path: "/api/v1/namespaces/kube-system/pods",
		query: url.Values{"labelSelector": {"component=kube-controller-manager,tier=control-plane"}}}, &pods)
	if err != nil {
		return nil, c.refused(err, "list the pods of kube-system", clusterAdminsHint)
	}
	var nodes []string
	for _, pod := range pods.Items {
		for _, container := range pod.Spec.Containers {
			for _, arg := range slices.Concat(container.Command, container.Args) {
				name, value, _ := strings.Cut(arg, "=")
				signs := name == "--cluster-signing-key-file" || name == "--cluster-signing-kubelet-client-key-file"
				if signs && value != "" && !slices.Contains(nodes, pod.Spec.NodeName) {
					nodes = append(nodes, pod.Spec.NodeName)
				}
			}
		}
	}
	slices.Sort(nodes)
	return nodes, nil
}

// etcdImage is the image of a pod's container; empty if it has none.
func etcdImage(pod *corev1.Pod) string {
	for _, c := range pod.Spec.Containers {
		if c.Name == "etcd" {
			return c.Image
		}
	}
	return ""
}

// ErrChanged is in the chain of the error of a patch for a state of an object
// that is not the present one.
var ErrChanged = errors.New("the object has changed since it was read")
