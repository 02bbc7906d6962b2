package session

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
	"github.com/kubejoin/kubejoin/reconcile/host"
	"github.com/kubejoin/kubejoin/reconcile/host/cri"
	"github.com/kubejoin/kubejoin/reconcile/node"
	"github.com/kubejoin/kubejoin/reconcile/patch"
	"github.com/kubejoin/kubejoin/reconcile/preflight"
)

// checkPatience is how long the checks by themselves wait for a cluster: there
// may be none yet.
const checkPatience = 4 * time.Second

// Checked is what the checks alone found.
type Checked struct {
	Subject  reconcile.Subject
	Findings []reconcile.Finding
	Made     int // checks
	Elapsed  time.Duration
}

// Check makes the checks without a plan. It only reads. What needs the cluster
// is checked if the cluster answers, or is given by a cluster file.
func Check(ctx context.Context, o Options) (*Checked, error) {
	begin := time.Now()
	o.ReadOnly = true
	if tell := o.Waiting; tell != nil {
		o.Waiting = func(w cluster.Waiting) {
			w.Left = min(w.Left, checkPatience-time.Since(begin)) // it ends sooner than the read knows
			tell(w)
		}
	}
	machine, err := host.Open(o.Root)
	if err != nil {
		return nil, err
	}
	r := &Run{o: o, machine: machine}
	defer r.Close()
	cfg := o.Join.Config
	facts, err := machine.Facts(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.dynamicDefaults(cfg, facts); err != nil {
		return nil, err
	}
	given := ""
	if c := cfg.ControlPlane; c != nil {
		given = c.LocalAPIEndpoint.AdvertiseAddress
	}
	_, noAddress := r.settleAddress(cfg, facts)
	if err := o.Join.Validate(); err != nil {
		return nil, err
	}
	if err := r.checkWaivers(cfg); err != nil {
		return nil, err
	}
	patches, err := r.patches(cfg)
	if err != nil {
		return nil, err
	}
	state, findings, err := r.glance(ctx, cfg)
	if err != nil {
		return nil, err
	}
	in := r.preflightInput(facts, state, publishedKubelet(cfg, state, facts, patches), nil)
	in.Alone = true
	findings = slices.Concat(findings, preflight.Run(ctx, in))
	if !machine.Live() { // where nobody asks a runtime
		findings = append(findings, preflight.Undecided(r.undecided)...)
	}
	if noAddress != nil {
		findings = append(findings, r.withoutAddress(given, noAddress))
	}
	preflight.Explain(findings)
	findings = append(findings, preflight.Waive(findings, cfg.NodeRegistration.IgnorePreflightErrors)...)
	out := &Checked{Findings: findings, Made: preflight.Made(in), Elapsed: time.Since(begin)}
	out.Subject = reconcile.Subject{Node: kubeadm.EffectiveNodeName(cfg), Root: machine.Root()}
	if state != nil {
		out.Subject = subject(&node.Desired{NodeName: out.Subject.Node}, state, machine)
	}
	return out, ctx.Err()
}

// withoutAddress is what stops a plan. An image may get its address later.
func (r *Run) withoutAddress(given string, why error) reconcile.Finding {
	f := reconcile.Finding{Severity: reconcile.SeverityError, Name: "AdvertiseAddress", Seen: r.position(advertiseField) + ": " + unsettled(given, why),
		Wanted: "an address of this machine", Why: "a control plane is announced to etcd and to the cluster with it",
		Hint: "set it to the address that the other control planes reach this machine at"}
	if !r.machine.Live() {
		f.Severity = reconcile.SeverityWarning
	}
	return f
}

// glance reads the cluster if it answers soon; the state is nil otherwise, and a
// finding says why.
func (r *Run) glance(ctx context.Context, cfg *kubeadm.JoinConfiguration) (*cluster.State, []reconcile.Finding, error) {
	if !r.machine.Live() && r.o.ClusterFile == nil {
		return nil, nil, nil // the machine that builds an image need not see the cluster
	}
	short, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	state, err := r.connect(short, cfg)
	switch class := fault.ClassOf(err); {
	case err == nil:
		return state, r.clusterFindings(state), nil
	case ctx.Err() != nil, class == fault.InvalidConfig, r.o.ClusterFile != nil:
		return nil, nil, err
	case class == fault.Unreachable, short.Err() != nil:
		return nil, []reconcile.Finding{{Severity: reconcile.SeverityWarning, Name: "Discovery", Seen: "the cluster does not answer: " + err.Error(),
			Wanted: "an API server", Why: "apply cannot join a cluster that it does not find", Hint: fault.HintOf(err)}}, nil
	}
	return nil, []reconcile.Finding{{Severity: reconcile.SeverityError, Name: "Discovery", Seen: err.Error(),
		Wanted: "a cluster that can be joined with this configuration", Hint: fault.HintOf(err)}}, nil
}

// publishedKubelet is the kubelet's configuration with patches, as far as the
// cluster tells.
func publishedKubelet(cfg *kubeadm.JoinConfiguration, state *cluster.State, facts host.Facts, patches *patch.Set) []byte {
	if state == nil {
		return nil
	}
	desired, _, err := node.Compute(node.Input{Config: cfg, Cluster: state, Facts: facts, Patches: patches})
	if err != nil {
		return state.KubeletConfig // the plan tells why
	}
	return kubeletConfig(desired, state)
}

func kubeletConfig(d *node.Desired, state *cluster.State) []byte {
	for _, f := range d.Files {
		if f.Path == node.KubeletConfigPath {
			return f.Content
		}
	}
	return state.KubeletConfig
}

// preflightInput is what the checks judge.
func (r *Run) preflightInput(facts host.Facts, state *cluster.State, kubelet []byte, managed []reconcile.Address) preflight.Input {
	in := preflight.Input{
		Config:        r.o.Join.Config,
		Facts:         facts,
		Machine:       r.machine,
		Cluster:       state,
		KubeletConfig: kubelet,
		Managed:       managed,
		Undecided:     r.undecided,
		Now:           time.Now(),
	}
	if !r.machine.Live() {
		return in
	}
	in.Joined = r.isNode(r.o.Join.Config)
	in.Runtime = r.askRuntime
	in.Lookup = cluster.Lookup
	in.Proxy = cluster.ProxyFromEnvironment()
	if r.client != nil && r.bootstrapping {
		in.API = r.client
	}
	return in
}

// isNode tells whether this machine is the node already that the configuration
// wants; without root, whether it is any.
func (r *Run) isNode(cfg *kubeadm.JoinConfiguration) bool {
	c := r.credential()
	if c.State == cluster.CredentialUnreadable {
		return true
	}
	serves, err := ours(c, kubeadm.EffectiveNodeName(cfg), cfg)
	return err == nil && serves && c.State == cluster.CredentialValid
}

// askRuntime asks the container runtime once.
func (r *Run) askRuntime(ctx context.Context) (preflight.Runtime, error) {
	var out preflight.Runtime
	c, err := cri.Open(r.o.Join.Config.NodeRegistration.CRISocket, nil)
	if err != nil {
		return out, err
	}
	defer func() { _ = c.Close() }() // it was only asked
	v, err := c.Version(ctx)
	if err != nil {
		return out, err
	}
	out.Name, out.Version = v.Name, v.Version
	conditions, err := c.RuntimeStatus(ctx)
	if err != nil {
		return out, err
	}
	for _, x := range conditions {
		if x.Type == "RuntimeReady" && !x.Status {
			out.NotReady = x.Reason + " " + x.Message
		}
	}
	if out.CgroupDriver, err = c.RuntimeConfig(ctx); err != nil {
		return out, err
	}
	out.SandboxImage, err = c.SandboxImage(ctx)
	return out, err
}

// checkWaivers refuses names of checks that there are not.
func (r *Run) checkWaivers(cfg *kubeadm.JoinConfiguration) error {
	i, err := preflight.CheckNames(cfg.NodeRegistration.IgnorePreflightErrors)
	if err == nil {
		return nil
	}
	return fault.New(fault.InvalidConfig, "%w", err).At(r.position(fmt.Sprintf("nodeRegistration.ignorePreflightErrors[%d]", i)))
}

// addresses are those of a plan's resources.
func addresses(resources []reconcile.Resource) []reconcile.Address {
	out := make([]reconcile.Address, len(resources))
	for i, r := range resources {
		out[i] = r.Address()
	}
	return out
}
