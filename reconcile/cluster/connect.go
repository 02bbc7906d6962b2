package cluster

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/fault"
)

// Options are what Connect and FromFile need.
type Options struct {
	// Join gives discovery and timeouts. It has been validated.
	Join *kubeadm.JoinConfiguration
	// NodeName is the Node that this machine is, or is to be.
	NodeName string
	// Credential is the node's own. If it is valid, it is used instead of discovery.
	Credential Credential
	// Alternative is a second credential of this machine, with another server: a
	// control plane's kubelet asks its own API server, its admin.conf the
	// cluster's endpoint. It is tried if the first one's server does not answer or
	// refuses it.
	Alternative Credential
	// Files reads discovery files with an absolute path, and what they refer to.
	Files Files
	// LocalFiles reads discovery files with a relative path; the caller decides
	// what they are relative to. Nil means that there may be none.
	LocalFiles func(path string) ([]byte, error)
	// NoPlugins refuses discovery files whose credential comes from a program:
	// those of an image would run on the machine that builds it.
	NoPlugins bool
	// ReadTimeout, if positive, caps the budget of every read.
	ReadTimeout time.Duration
	// AllowUnseen makes what the node's credential cannot read an entry in
	// State.Unseen and not an error. A server that is not the cluster's, and a
	// context that ended, stay errors.
	AllowUnseen bool
	// Wait is told before each pause between attempts; one call at a time.
	Wait func(Waiting)
	// UserAgent of all requests.
	UserAgent string
	// DecodeClusterConfiguration reads the document in kubeadm-config; its
	// strings are warnings. Required.
	DecodeClusterConfiguration func(name string, data []byte) (*kubeadm.ClusterConfiguration, []string, error)

	limits limits // for tests; zero means defaultLimits
}

// Connect finds the cluster and reads what a join needs of it. With a valid
// node credential these are three requests on one connection; otherwise trust
// comes from discovery.
//
// Errors: fault.InvalidConfig before any network access, fault.Untrusted for a
// server that is not the pinned cluster, fault.Conflict for a machine of another
// cluster, fault.Denied for a refused credential, fault.Unreachable for a
// server that did not answer within its timeout, fault.Timeout and
// fault.Interrupted when ctx ends first.
func Connect(ctx context.Context, o Options) (*Client, *State, error) {
	if o.NodeName == "" {
		return nil, nil, fault.New(fault.Internal, "the node has no name")
	}
	r := newRun(o)
	d, err := r.discovery()
	if err != nil {
		return nil, nil, err
	}
	refused := ""
	second := o.Alternative.State == CredentialValid
	if o.Credential.State == CredentialValid {
		c, st, err := r.asNode(ctx, d, o.Credential, second)
		if second && (status(err) == http.StatusUnauthorized || fault.ClassOf(err) == fault.Unreachable) {
			first := err
			if c, st, err = r.asNode(ctx, d, o.Alternative, false); err == nil {
				st.Warnings = append(st.Warnings, "asked "+c.address+" instead: "+r.explain("", first).Error())
			}
		}
		if err == nil || status(err) != http.StatusUnauthorized {
			return c, st, err
		}
		refused = r.explain(c.address, err).Error()
	}
	c, st, err := r.asBootstrapper(ctx, d)
	if err != nil {
		if refused == "" {
			return nil, nil, err
		}
		f := r.explain("", err)
		return nil, nil, fault.New(f.Class, "%w (before, the node's own credential was refused: %s)", err, refused).WithHint("%s", f.Hint)
	}
	if refused != "" {
		st.CredentialRefused = refused
		st.Warnings = append(st.Warnings, "the node's own credential was refused, discovery is used instead: "+refused)
	}
	return c, st, nil
}

// alternativeAfter is how long the first of two credentials' server may take.
const alternativeAfter = 5 * time.Second

// asNode reads with one of the machine's own credentials; more says that there
// is another to try. The error of a refused one is a *statusError of 401, and
// the client is given with it.
func (r *run) asNode(ctx context.Context, d *discovery, own Credential, more bool) (*Client, *State, error) {
	if err := d.checkOwner(own); err != nil {
		return nil, nil, err
	}
	c, err := r.clientOf(own)
	if err != nil {
		return nil, nil, err
	}
	st := &State{Source: "node credential", Server: own.Server, CA: own.CA}
	budget := r.o.Join.Timeouts.KubernetesAPICall
	if more {
		budget = min(budget, alternativeAfter)
	}
	for _, read := range c.readCluster(ctx, st, budget) {
		if read.err == nil {
			continue
		}
		if status(read.err) == http.StatusUnauthorized {
			return c, nil, read.err
		}
		f := c.explainRead(read, "the node's credential")
		switch {
		case f.Class == fault.Untrusted, f.Class == fault.Interrupted, f.Class == fault.Timeout:
			return nil, nil, f
		case r.o.AllowUnseen && (f.Class != fault.Unreachable || !more),
			// A node may read its own Node only, and this may be another's
			// credential. The planner, who sees both names, says it better.
			read.object == theNode && status(read.err) == http.StatusForbidden:
			st.Unseen = append(st.Unseen, Unseen{What: read.what, Why: f.Error()})
		default:
			return nil, nil, f
		}
	}
	return c, st, nil
}

// asBootstrapper discovers the cluster and reads with the bootstrap credential.
func (r *run) asBootstrapper(ctx context.Context, d *discovery) (*Client, *State, error) {
	found, err := d.find(ctx)
	if err != nil {
		return nil, nil, err
	}
	c, err := r.client(found.access)
	if err != nil {
		return nil, nil, err
	}
	st := found.state()
	who := "the discovery file's credential"
	if found.tokenID != "" {
		who = "the bootstrap token " + found.tokenID
	}
	c.who = who
	for _, read := range c.readCluster(ctx, st, r.o.Join.Timeouts.KubernetesAPICall) {
		if read.err == nil {
			continue
		}
		f := c.explainRead(read, who)
		if read.object != theNode || f.Class != fault.Denied || !r.o.AllowUnseen {
			return nil, nil, f
		}
		st.Unseen = append(st.Unseen, Unseen{What: read.what, Why: f.Error()})
	}
	found.access = r.forKubelet(found.access)
	if err := found.addBootstrap(st); err != nil {
		return nil, nil, err
	}
	r.mu.Lock()
	st.Warnings = append(st.Warnings, r.warnings...)
	r.mu.Unlock()
	return c, st, nil
}

// object is one of the three that a join reads.
type object int

const (
	kubeadmConfig object = iota
	kubeletConfig
	theNode
)

// read is the outcome of reading one of them.
type read struct {
	object object
	what   string
	err    error // as retry gives it
}

// readCluster reads all three, side by side on one connection: the second and
// third start when the first has been sent. If the first never got that far,
// they share its error.
func (c *Client) readCluster(ctx context.Context, st *State, budget time.Duration) []read {
	node := "node " + c.run.o.NodeName
	reads := []read{{object: kubeadmConfig, what: "kubeadm-config"}, {object: kubeletConfig, what: "kubelet-config"}, {object: theNode, what: node}}
	try := func(ctx context.Context, i int, f func(context.Context) error) {
		reads[i].err = c.run.retry(ctx, reads[i].what+" from "+c.address, c.address, budget, f)
	}

	sent := make(chan struct{})
	first := make(chan struct{})
	once := sync.OnceFunc(func() { close(sent) })
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteRequest: func(i httptrace.WroteRequestInfo) {
		if i.Err == nil {
			once()
		}
	}})
	go func() {
		defer close(first)
		try(traced, 0, func(ctx context.Context) error { return c.readKubeadmConfig(ctx, st) })
	}()
	select {
	case <-sent:
	case <-first:
		select {
		case <-sent: // and it was answered very soon
		default:
			reads[1].err, reads[2].err = reads[0].err, reads[0].err
			return reads
		}
	}
	var others sync.WaitGroup
	others.Go(func() { try(ctx, 1, func(ctx context.Context) error { return c.readKubeletConfig(ctx, st) }) })
	others.Go(func() { try(ctx, 2, func(ctx context.Context) error { return c.readNode(ctx, c.run.o.NodeName, st) }) })
	others.Wait()
	<-first
	st.Clock = c.run.clock.seen()
	return reads
}

// errNoKey is a ConfigMap without the key that it is made for.
var errNoKey = errors.New("the ConfigMap does not hold what it is made for")

// Each of these sets its own fields of the state: they run at the same time.

func (c *Client) readKubeadmConfig(ctx context.Context, st *State) error {
	cm, err := c.configMap(ctx, "kube-system", "kubeadm-config")
	if err != nil {
		return err
	}
	return c.run.decodeKubeadmConfig(cm, st)
}

func (r *run) decodeKubeadmConfig(cm *corev1.ConfigMap, st *State) error {
	document := cm.Data["ClusterConfiguration"]
	if document == "" {
		return fault.New(fault.Denied, "ClusterConfiguration: %w", errNoKey)
	}
	configuration, warnings, err := r.o.DecodeClusterConfiguration("configmap kube-system/kubeadm-config", []byte(document))
	if err != nil {
		return fault.New(fault.ClassOf(err), "the ClusterConfiguration that the cluster publishes cannot be used: %w", err).
			WithHint("the cluster may be of a newer kubeadm than this program knows")
	}
	st.Configuration = configuration
	st.Warnings = append(st.Warnings, warnings...)
	return nil
}

func (c *Client) readKubeletConfig(ctx context.Context, st *State) error {
	cm, err := c.configMap(ctx, "kube-system", "kubelet-config")
	if err != nil {
		return err
	}
	return decodeKubeletConfig(cm, st)
}

func decodeKubeletConfig(cm *corev1.ConfigMap, st *State) error {
	document := cm.Data["kubelet"]
	if document == "" {
		return fault.New(fault.Denied, "kubelet: %w", errNoKey)
	}
	st.KubeletConfig = []byte(document)
	return nil
}

func (c *Client) readNode(ctx context.Context, name string, st *State) error {
	var node corev1.Node
	err := c.get(ctx, "/api/v1/nodes/"+url.PathEscape(name), &node)
	switch {
	case err == nil:
		st.Node = nodeInfo(&node)
	case status(err) != http.StatusNotFound:
		return err
	}
	st.NodeSeen = true
	return nil
}

// explainRead names what is missing in the cluster: behaviour catalogue §4.6.
func (c *Client) explainRead(read read, who string) *fault.Error {
	rules := [...]struct{ rbac, upload string }{
		kubeadmConfig: {"Role and RoleBinding kube-system/kubeadm:nodes-kubeadm-config", "kubeadm init phase upload-config kubeadm"},
		kubeletConfig: {"Role and RoleBinding kube-system/kubeadm:kubelet-config", "kubeadm init phase upload-config kubelet"},
		theNode:       {"ClusterRole and ClusterRoleBinding kubeadm:get-nodes", ""},
	}[read.object]
	var s *statusError
	if !errors.As(read.err, &s) {
		f := c.run.explain(c.address, read.err)
		if errors.Is(f, errNoKey) {
			return fault.New(fault.Denied, "%s has no %w", read.what, f.Err).At(c.address).
				WithHint("on a control plane: %s", rules.upload)
		}
		return f
	}
	switch s.code {
	case http.StatusUnauthorized:
		return fault.New(fault.Denied, "%s is not accepted: %w", who, s).At(c.address).WithHint("%s", newTokenHint)
	case http.StatusForbidden:
		return fault.New(fault.Denied, "%s may not read %s: %w", who, read.what, s).At(c.address).
			WithHint("the cluster needs %s for the groups of this credential", rules.rbac)
	case http.StatusNotFound:
		return fault.New(fault.Denied, "the cluster has no %s: %w", read.what, s).At(c.address).
			WithHint("was it made by kubeadm? on a control plane: %s (it makes %s too)", rules.upload, rules.rbac)
	}
	f := c.run.explain(c.address, s)
	return fault.New(f.Class, "reading %s: %w", read.what, s).At(c.address).WithHint("%s", f.Hint)
}

func nodeInfo(n *corev1.Node) *NodeInfo {
	info := &NodeInfo{
		Name:           n.Name,
		UID:            string(n.UID),
		MachineID:      n.Status.NodeInfo.MachineID,
		SystemUUID:     n.Status.NodeInfo.SystemUUID,
		BootID:         n.Status.NodeInfo.BootID,
		KubeletVersion: n.Status.NodeInfo.KubeletVersion,
		Created:        n.CreationTimestamp.Time,
		NotReadyReason: "the kubelet has not reported its state yet",
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			info.Ready = c.Status == corev1.ConditionTrue
			info.ReadyKnown = c.Status != corev1.ConditionUnknown
			info.NotReadyReason = c.Message
		}
	}
	if info.Ready {
		info.NotReadyReason = ""
	}
	for _, a := range n.Status.Addresses {
		info.Addresses = append(info.Addresses, a.Address)
	}
	info.Marks = nodeMarks(n)
	return info
}
