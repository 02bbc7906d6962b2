package preflight

import (
	"context"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	"sigs.k8s.io/yaml"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

// Input is what the checks judge.
type Input struct {
	Config  *kubeadm.JoinConfiguration // with its dynamic defaults
	Facts   host.Facts
	Machine *host.Host
	// Cluster is nil, or has no Configuration, where it could not be read.
	Cluster *cluster.State
	// KubeletConfig is the document that the kubelet will read, with patches; nil
	// if it is not known.
	KubeletConfig []byte
	// Managed are the addresses of the plan's resources. What they keep is theirs
	// to judge.
	Managed []reconcile.Address
	// Undecided are the container runtimes that answer where nobody has chosen one
	// of several; Config has the first of them.
	Undecided []string
	// Joined says that the kubelet has a certificate: what would keep the machine
	// from joining does not keep it from being mended.
	Joined bool
	// Alone says that there is no plan, only the checks.
	Alone bool
	Now   time.Time

	// Runtime asks the container runtime; nil if nobody is to be asked.
	Runtime func(context.Context) (Runtime, error)
	// Lookup resolves a host name as this program does; nil if no name is to be.
	Lookup func(ctx context.Context, name string) ([]netip.Addr, error)
	// Proxy tells the proxy that the environment wants for a URL; nil if none.
	Proxy func(*url.URL) (*url.URL, error)
	// API asks the cluster about the credential that joins; nil without one.
	API API
}

// Runtime is what a container runtime says of itself.
type Runtime struct {
	Name, Version string
	// NotReady says why the runtime is not ready; empty if it is.
	NotReady string
	// CgroupDriver is "systemd", "cgroupfs", or empty if the runtime does not tell.
	CgroupDriver string
	// SandboxImage is what each pod starts with; empty if it is not known.
	SandboxImage string
}

// API is what the checks ask of the cluster. It only reads.
type API interface {
	// TokenExpiry is when a bootstrap token ends; seen is false if this
	// credential may not know.
	TokenExpiry(ctx context.Context, id string) (expires time.Time, seen bool, err error)
	// Allowed tells whether the credential may do something.
	Allowed(ctx context.Context, a cluster.Access) (bool, error)
}

// timeout bounds a check that asks somebody of this machine, lookupTimeout one
// that asks a name server: who does not answer is a finding, not a wait.
const (
	timeout       = 5 * time.Second
	lookupTimeout = 2 * time.Second
)

// runtimeTimeout bounds the questions to the container runtime, of which there
// are some: on a busy machine each takes its time.
const runtimeTimeout = 15 * time.Second

// pass is one run of the checks: what several of them need is read once.
type pass struct {
	Input
	kubelet *kubeletv1beta1.KubeletConfiguration // nil if it is not known

	version    func() (kubeletVersion, error)
	runtime    func() (Runtime, error)
	listeners  func() ([]host.Listener, error)
	interfaces func() ([]host.Interface, error)
	unit       func() (host.ServiceState, error)
}

func newPass(ctx context.Context, in Input) *pass {
	p := &pass{Input: in}
	if in.KubeletConfig != nil {
		cfg := &kubeletv1beta1.KubeletConfiguration{}
		if yaml.Unmarshal(in.KubeletConfig, cfg) == nil {
			p.kubelet = cfg
		}
	}
	p.version = sync.OnceValues(func() (kubeletVersion, error) { return p.askKubelet(ctx) })
	p.runtime = sync.OnceValues(func() (Runtime, error) {
		ctx, cancel := context.WithTimeout(ctx, runtimeTimeout)
		defer cancel()
		return in.Runtime(ctx)
	})
	p.listeners = sync.OnceValues(in.Machine.Listeners)
	p.interfaces = sync.OnceValues(in.Machine.Interfaces)
	p.unit = sync.OnceValues(func() (host.ServiceState, error) { return in.Machine.Services(ctx).State(ctx, "kubelet") })
	return p
}

// Run makes all checks that apply, side by side. The findings come in the order
// of the table, and those of one check in its own.
func Run(ctx context.Context, in Input) []reconcile.Finding {
	if in.Now.IsZero() {
		in.Now = time.Now()
	}
	p := newPass(ctx, in)
	checks := Checks()
	found := make([][]reconcile.Finding, len(checks))
	var unlive, unclustered []string
	var wg sync.WaitGroup
	for i, c := range checks {
		switch {
		case c.run == nil || !c.applies(in.Config):
		case c.live && !in.Machine.Live():
			unlive = append(unlive, c.Name)
		case c.cluster && !p.clusterKnown():
			unclustered = append(unclustered, c.Name)
		default:
			wg.Go(func() { found[i] = c.explained(c.run(ctx, p), in.Joined) })
		}
	}
	wg.Wait()
	out := slices.Concat(found...)
	if in.Alone {
		out = append(out, p.told()...)
		out = append(out, unmade(unlive, "need the running machine")...)
		out = append(out, unmade(unclustered, "need the cluster, which could not be read")...)
	}
	return out
}

// Made is how many checks Run makes of an input.
func Made(in Input) int {
	p := &pass{Input: in}
	n := 0
	for _, c := range Checks() {
		if c.run != nil && c.applies(in.Config) && (!c.live || in.Machine.Live()) && (!c.cluster || p.clusterKnown()) {
			n++
		}
	}
	return n
}

func (p *pass) clusterKnown() bool { return p.Cluster != nil && p.Cluster.Configuration != nil }

// manages tells whether a resource of the plan keeps something.
func (p *pass) manages(a reconcile.Address) bool { return slices.Contains(p.Managed, a) }

// managesKind tells whether the plan has a resource of a kind.
func (p *pass) managesKind(kind string) bool {
	return slices.ContainsFunc(p.Managed, func(a reconcile.Address) bool { return a.Kind() == kind })
}

func (p *pass) controlPlane() bool { return p.Config.ControlPlane != nil }

// kubeletArg is the last of the kubelet's extra arguments of a name.
func (p *pass) kubeletArg(name string) (value string, given bool) {
	for _, a := range p.Config.NodeRegistration.KubeletExtraArgs {
		if a.Name == name {
			value, given = a.Value, true
		}
	}
	return value, given
}

// unseen is a check that could not look.
func unseen(name string, err error) []reconcile.Finding {
	return []reconcile.Finding{{Severity: reconcile.SeverityWarning, Name: name, Seen: "could not be checked: " + err.Error(),
		Hint: "run as root, or check it by hand"}}
}
