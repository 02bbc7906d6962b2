package cluster

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
)

// State is what was learnt of the cluster: plain data.
type State struct {
	// Source says where trust came from: "token discovery", "file discovery",
	// "node credential" or "cluster file" (plan --cluster).
	Source string
	// Server is the API server's URL as cluster-info or the node's kubeconfig has it.
	Server string
	// CA is the PEM bundle of the cluster's CA certificates.
	CA []byte
	// Configuration is nil when it could not be read (see Unseen).
	Configuration *kubeadm.ClusterConfiguration
	// KubeletConfig is the KubeletConfiguration document of the kubelet-config
	// ConfigMap, as published; nil when it could not be read.
	KubeletConfig []byte
	// Node is the Node object of this machine's name; nil if there is none.
	Node *NodeInfo
	// NodeSeen says that Node was asked for and answered, so that nil means absent.
	NodeSeen bool
	// Bootstrap is the kubeconfig, as YAML, with which a kubelet without a
	// certificate can ask for one. Secret. Nil if this run has no such credential.
	Bootstrap []byte `json:"-"`
	// TokenID is the public half of the bootstrap token in Bootstrap; may be empty.
	TokenID string
	// CredentialRefused says why the API server does not accept the node's own
	// credential, although it looks valid; the node then needs a new one. Empty
	// if it was accepted or not tried.
	CredentialRefused string
	// Clock is the API server's.
	Clock Clock
	// Unseen lists what could not be read and why.
	Unseen []Unseen
	// Warnings are things worth telling, such as an ignored field in a ConfigMap.
	Warnings []string
}

// Unseen is something of the cluster that could not be read.
type Unseen struct {
	What string // "kubelet-config", "node w1"
	Why  string
}

// NodeInfo is the part of a Node that decides whether it is this machine and
// whether it is ready.
type NodeInfo struct {
	Name           string
	UID            string
	MachineID      string
	SystemUUID     string
	BootID         string
	KubeletVersion string
	Ready          bool
	// ReadyKnown is false while the Ready condition is Unknown or absent.
	ReadyKnown bool
	// NotReadyReason is the Ready condition's message when it is not true.
	NotReadyReason string
	Addresses      []string
	Created        time.Time
	Marks          NodeMarks
}

// NodeMarks are what says which role a Node has and what may run on it.
type NodeMarks struct {
	// ResourceVersion is the state of the whole Node that was read.
	ResourceVersion string
	Labels          map[string]string
	Taints          []corev1.Taint
	// Managed are the marks that kubejoin set, as the Node itself records it.
	Managed ManagedMarks
}

// ManagedMarks are the keys of marks. It is the annotation ManagedAnnotation.
type ManagedMarks struct {
	Labels []string `json:"labels,omitempty"`
	// Taints in the form key:effect; a Node has at most one of each.
	Taints []string `json:"taints,omitempty"`
}

// MarksPatch is a change of a Node's marks.
type MarksPatch struct {
	// ResourceVersion that the patch was computed for.
	ResourceVersion string
	// Labels to set; nil removes one.
	Labels map[string]*string
	// Taints, if not nil, is the complete list.
	Taints *[]corev1.Taint
	// Managed is recorded on the Node.
	Managed ManagedMarks
}

// EtcdEndpoint is where one member of the cluster's etcd serves.
type EtcdEndpoint struct {
	Node      string
	PodName   string
	ClientURL string
	Image     string // of the container
}

// RBACGap is something that a control plane may not do in this cluster, because
// an older release made it.
type RBACGap struct {
	Seen string
	// Command mends it.
	Command string
}

// CredentialState is what a kubelet.conf is worth.
type CredentialState string

// The credential states.
const (
	CredentialAbsent CredentialState = "absent"
	// CredentialUnreadable: this user may not read it.
	CredentialUnreadable CredentialState = "unreadable"
	// CredentialBroken: the file does not parse, or its certificate and key
	// do not belong together.
	CredentialBroken CredentialState = "broken"
	// CredentialPending: the kubelet wrote the file, but has no certificate yet
	// (its client certificate file does not exist).
	CredentialPending CredentialState = "pending"
	CredentialExpired CredentialState = "expired"
	CredentialValid   CredentialState = "valid"
)

// Credential is the node's own credential as found on the machine.
type Credential struct {
	State CredentialState
	// Why explains any state but valid.
	Why string
	// Server, CA (PEM) and ClusterName are those of the file.
	Server      string
	CA          []byte
	ClusterName string
	// CommonName of the client certificate: "system:node:<name>".
	CommonName string
	// NotAfter is the client certificate's expiry.
	NotAfter time.Time
	// Serial of the client certificate in hex, to tell a renewed one.
	Serial string
	// Paths of the files it is made of, kubelet.conf first.
	Paths []string
	// BrokenFile is the one whose certificate and key are not a pair, if that
	// is why the credential is broken.
	BrokenFile string

	// kubeconfig with all referenced files embedded; secret.
	kubeconfig []byte
}

// String leaves the secret part out.
func (c Credential) String() string {
	return fmt.Sprintf("%s credential %q for %s", c.State, c.CommonName, c.Server)
}

// GoString leaves the secret part out.
func (c Credential) GoString() string { return "cluster.Credential{" + c.String() + "}" }

// String leaves the secret part out.
func (s State) String() string { return fmt.Sprintf("cluster at %s by %s", s.Server, s.Source) }

// GoString leaves the secret part out.
func (s State) GoString() string { return "cluster.State{" + s.String() + "}" }

// CSRState is how far a certificate signing request has come.
type CSRState string

// The states of a certificate signing request.
const (
	CSRPending  CSRState = "pending"
	CSRApproved CSRState = "approved" // but not yet signed
	CSRDenied   CSRState = "denied"
	CSRFailed   CSRState = "failed" // approved, and the signer could not sign it
	CSRIssued   CSRState = "issued"
)

// CSRInfo is one request of a kubelet for its client certificate.
type CSRInfo struct {
	Name    string
	Created time.Time
	// Requestor is the user that made it, such as "system:bootstrap:abcdef".
	Requestor string
	State     CSRState
	// Message is the reason and message of a denial or failure.
	Message string
}

// Waiting says what a read waits for. It holds no secret.
type Waiting struct {
	What    string        // "cluster-info from 10.0.0.1:6443"
	Err     string        // why the last attempt failed
	Attempt int           // attempts made so far
	Left    time.Duration // until the read gives up; 0 if it waits until its context ends
}
