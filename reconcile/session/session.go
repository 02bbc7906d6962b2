package session

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/apis/load"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
	"github.com/kubejoin/kubejoin/reconcile/host"
	"github.com/kubejoin/kubejoin/reconcile/node"
	"github.com/kubejoin/kubejoin/reconcile/patch"
	"github.com/kubejoin/kubejoin/reconcile/pki"
	"github.com/kubejoin/kubejoin/reconcile/preflight"
)

// Options are what a run is given.
type Options struct {
	Join *load.Join
	// BaseDir is where relative paths of the configuration start: the folder of
	// the configuration file, or the working directory for flags.
	BaseDir string
	// Root is --rootfs; empty for the live machine.
	Root string
	// ClusterFile is the content of plan's --cluster file; nil to ask the cluster.
	ClusterFile []byte
	// ReadOnly is a plan: it gives up on an unreachable cluster sooner and
	// goes on with what it can see.
	ReadOnly bool
	// Phases and Targets leave everything else out; see node.Selection.
	Phases, Targets []string
	Wait            node.Wait
	// Listing says that only the plan's addresses are asked for, which do not depend
	// on the container runtime.
	Listing bool
	// RenewBefore is the remaining lifetime at which a certificate is made anew;
	// nil is DefaultRenewBefore, 0 when it has expired. None is while more than a
	// third of its lifetime is left.
	RenewBefore *time.Duration
	// UserAgent is how the cluster's audit log knows this program.
	UserAgent string
	// Waiting is told what is waited for before there is a plan.
	Waiting func(cluster.Waiting)
	// Note is told remarks about the input.
	Note func(reconcile.Severity, string)
}

// planPatience is how long a plan waits for a cluster that does not answer,
// where apply waits as long as the configuration's timeouts say.
const planPatience = 10 * time.Second

// DefaultRenewBefore is Options.RenewBefore if that is not given.
const DefaultRenewBefore = pki.DefaultRenewBefore

// maxDiscoveryFile bounds a discovery kubeconfig, which has a few KiB.
const maxDiscoveryFile = 1 << 20

// Run is one observed machine and cluster, and the plan that follows.
type Run struct {
	Plan *reconcile.Plan

	o        Options
	machine  *host.Host
	client   *cluster.Client
	set      *reconcile.Set
	computed *reconcile.Computed
	// selection is what is managed.
	selection node.Selection
	resources []reconcile.Resource
	// bootstrapping says that client uses the bootstrap credential.
	bootstrapping bool
	serial        string // of the node's certificate that the cluster was asked with
	// admin is the API as an administrator sees it, for a control plane; nil if
	// this run has no such credential.
	admin *cluster.Client
	// etcdInput is what this machine's membership in etcd follows from; nil if
	// etcd is not asked.
	etcdInput *node.EtcdInput
	// asAdministrator says that client uses admin.conf.
	asAdministrator bool
	// uploaded is when the Secret with the shared files was written; zero if it was
	// not read.
	uploaded time.Time
	// undecided are the container runtimes that answer where nobody has chosen one
	// of several. The configuration has the first of them then.
	undecided []string
	closers   []func() error
	// held compares with a saved plan: see Hold. It is nil without one.
	held func(*reconcile.Computed) error
}

// Open observes the machine and the cluster and computes the plan. It only
// reads. The caller closes the run.
//
// Where all that stands in the way of an apply are members of etcd that do not
// serve at the moment, it waits for them: only then it is known what is to do.
func Open(ctx context.Context, o Options) (*Run, error) {
	r, err := compute(ctx, o)
	if err != nil || o.ReadOnly || r.etcdInput == nil || !onlyEtcd(r.Plan.Findings) {
		return r, err
	}
	settled, err := node.EtcdSettle(ctx, *r.etcdInput, func(reason string, left time.Duration) {
		if o.Waiting != nil {
			o.Waiting(cluster.Waiting{What: "etcd", Err: reason, Left: left})
		}
	})
	if err == nil && !settled {
		return r, nil
	}
	r.Close()
	if err != nil {
		return nil, err
	}
	return compute(ctx, o)
}

// onlyEtcd tells whether the only errors are about this machine's membership.
func onlyEtcd(findings []reconcile.Finding) bool {
	found := false
	for _, f := range findings {
		if f.Severity == reconcile.SeverityError && !f.Waived {
			if f.Name != node.FindingEtcdMembership {
				return false
			}
			found = true
		}
	}
	return found
}

func compute(ctx context.Context, o Options) (_ *Run, err error) {
	cfg := o.Join.Config
	machine, err := host.Open(o.Root)
	if err != nil {
		return nil, err
	}
	r := &Run{o: o, machine: machine}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	if o.ClusterFile != nil && !o.ReadOnly && machine.Live() {
		return nil, fault.New(fault.InvalidConfig, "a cluster file is not enough to join the running machine").At("--cluster").
			WithHint("leave --cluster out, or give the --rootfs of an image")
	}
	facts, err := machine.Facts(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.dynamicDefaults(cfg, facts); err != nil {
		return nil, err
	}
	if err := r.advertiseAddress(cfg, facts); err != nil {
		return nil, err
	}
	if err := o.Join.Validate(); err != nil {
		return nil, err
	}
	if err := r.checkWaivers(cfg); err != nil {
		return nil, err
	}
	r.selection = node.Selection{Skip: cfg.SkipPhases, Only: o.Phases, Targets: o.Targets, ControlPlane: cfg.ControlPlane != nil}
	if err := r.selection.Idle(); err != nil {
		return nil, err
	}
	if len(r.undecided) > 0 && r.selection.Runtime() && !o.Listing {
		return nil, kubeadm.Undecided(r.undecided)
	}
	patches, err := r.patches(cfg)
	if err != nil {
		return nil, err
	}
	state, err := r.connect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	desired, findings, err := node.Compute(node.Input{Config: cfg, Cluster: state, Facts: facts, Patches: patches})
	if err != nil {
		return nil, err
	}
	findings = append(findings, node.ExpiredCA(cfg.CACertPath, state.CA, time.Now())...)
	controlPlane, more, err := r.controlPlane(ctx, cfg, state, facts, patches)
	if err != nil {
		return nil, err
	}
	findings = append(findings, more...)
	ports := r.ports(ctx)
	resources, more, err := node.Resources(desired, controlPlane, cfg, state, facts, node.Options{
		Wait:      o.Wait,
		FilesOnly: !machine.Live(),
		Serial:    r.serial,
		// Who builds an image without being root cannot give files to root.
		AnyOwner:    r.anyOwner(facts),
		NoHealth:    !r.selection.Health(),
		BeginAnyway: !r.selection.CheckEtcd(),
	}, ports)
	if err != nil {
		return nil, err
	}
	findings = append(findings, more...)
	resources, skipped, err := node.Select(resources, r.selection)
	if err != nil {
		return nil, err
	}
	r.resources = resources
	if r.set, err = reconcile.NewSet(resources...); err != nil {
		return nil, err
	}
	if r.computed, err = r.set.Compute(ctx); err != nil {
		return nil, err
	}
	r.Plan = &reconcile.Plan{
		Subject:  subject(desired, state, machine),
		Changes:  r.computed.Changes,
		Findings: slices.Concat(r.clusterFindings(state), findings, skipped, r.selection.SkippedChecks(), r.selection.Judge(resources, r.computed), r.checks(ctx, facts, state, desired, resources)),
		Unseen:   len(state.Unseen) > 0 && machine.Live(),
		Partial:  len(skipped) > 0,
	}
	preflight.Explain(r.Plan.Findings)
	r.Plan.Findings = append(r.Plan.Findings, preflight.Waive(r.Plan.Findings, cfg.NodeRegistration.IgnorePreflightErrors)...)
	r.Plan.Incomplete = slices.ContainsFunc(r.Plan.Findings, func(f reconcile.Finding) bool {
		// An error at an address is something in the way of comparing it.
		return f.Name == node.FindingNotCompared || f.Severity == reconcile.SeverityError && f.Address != "" && !f.Waived
	})
	return r, nil
}

func subject(d *node.Desired, state *cluster.State, machine *host.Host) reconcile.Subject {
	s := reconcile.Subject{
		Node:      d.NodeName,
		Server:    state.Server,
		ClusterCA: strings.Join(cluster.SPKIPins(state.CA), ","),
		Root:      machine.Root(),
	}
	if c := state.Configuration; c != nil {
		s.Cluster, s.KubernetesVersion = c.ClusterName, c.KubernetesVersion
	}
	return s
}

// checks are what this machine needs before its plan can be applied. One that
// has nothing to do needs nothing.
func (r *Run) checks(ctx context.Context, facts host.Facts, state *cluster.State, desired *node.Desired, resources []reconcile.Resource) []reconcile.Finding {
	if !r.machine.Live() {
		return []reconcile.Finding{{Severity: reconcile.SeverityInfo, Name: "FilesOnly",
			Seen: "the kubelet's service, its credential and the Node need the running machine and are left out below --rootfs"}}
	}
	if len(r.computed.Changes) == 0 && !r.selection.PreflightAsked() || !r.selection.Preflight() {
		return nil
	}
	return preflight.Run(ctx, r.preflightInput(facts, state, kubeletConfig(desired, state), addresses(resources)))
}

// Close gives back what the run holds.
func (r *Run) Close() {
	for _, c := range r.closers {
		_ = c() // connections that were only asked
	}
	_ = r.machine.Close() // a folder handle that was only read
}

func (r *Run) onClose(f func() error) { r.closers = append(r.closers, f) }

// Requests is how many requests the API server was sent.
func (r *Run) Requests() int {
	if r.client == nil {
		return 0
	}
	return r.client.Requests()
}

// Apply makes the plan's changes and then observes again. It does nothing at
// all, and takes no lock, when the plan is empty; it fails if a finding is in the
// way.
func (r *Run) Apply(ctx context.Context, allow []string, tell func(reconcile.Event)) error {
	if err := reconcile.Refused(r.computed.Changes, allow); err != nil {
		return err
	}
	// Also without a change: what cannot be put right is not "in sync".
	if err := preflight.Blocking(r.Plan.Findings); err != nil {
		return err
	}
	if r.Plan.Empty() {
		return uncompared(r.Plan)
	}
	release, err := r.machine.Lock()
	if err != nil {
		return err
	}
	defer release()
	// Another run may have been at work between the plan and the lock.
	computed, err := r.set.Compute(ctx)
	if err != nil {
		return err
	}
	if r.held != nil {
		if err := r.held(computed); err != nil {
			return err
		}
	}
	if err := reconcile.Unshown(r.computed.Changes, computed.Changes); err != nil {
		return err
	}
	if err := r.set.Apply(ctx, computed, allow, tell); err != nil {
		return r.atRest(err)
	}
	return r.set.Converged(ctx)
}

// uncompared is the error of an apply that found nothing to do because it could
// not look everywhere.
func uncompared(p *reconcile.Plan) error {
	var what []string
	for _, f := range p.Findings {
		if f.Name == node.FindingNotCompared && f.Address != "" {
			what = append(what, string(f.Address))
		}
	}
	if len(what) == 0 {
		return nil
	}
	return fault.New(fault.Preflight, "not everything could be compared: %s", strings.Join(what, ", ")).
		WithHint("run as root; `kubejoin plan` says why for each")
}

func (r *Run) dynamicDefaults(cfg *kubeadm.JoinConfiguration, facts host.Facts) error {
	if cfg.NodeRegistration.Name == "" {
		r.o.Join.Detected("nodeRegistration.name", "the machine's host name")
	}
	sockets := facts.CRISockets
	if cfg.NodeRegistration.CRISocket == "" {
		// A joined node stays with its runtime: detection must not flip to
		// another one while that runtime happens to be down.
		if s := r.currentSocket(); s != "" {
			sockets = []string{s}
		}
	}
	if cfg.NodeRegistration.CRISocket == "" && len(sockets) > 1 {
		// Only who needs one fails for it.
		r.undecided, sockets = sockets, sockets[:1]
	}
	return kubeadm.SetDynamicDefaults(cfg, kubeadm.Machine{Hostname: facts.Hostname, CRISockets: sockets})
}

// currentSocket is the runtime endpoint that this node was joined with. Two
// files record it, and the one that says something else was changed since: then
// neither is believed.
func (r *Run) currentSocket() string {
	current := ""
	for _, path := range []string{node.InstanceConfigPath, node.KubeletConfigPath} {
		data, _, err := r.machine.ReadFile(path, 1<<20)
		if err != nil {
			continue
		}
		var recorded struct {
			ContainerRuntimeEndpoint string `json:"containerRuntimeEndpoint"`
		}
		if yaml.Unmarshal(data, &recorded) != nil || recorded.ContainerRuntimeEndpoint == "" {
			continue
		}
		if current != "" && current != recorded.ContainerRuntimeEndpoint {
			return ""
		}
		current = recorded.ContainerRuntimeEndpoint
	}
	return current
}

// patches reads the patch directory. An absolute path is the machine's and
// lies below --rootfs; a relative one belongs to the configuration file.
func (r *Run) patches(cfg *kubeadm.JoinConfiguration) (*patch.Set, error) {
	if cfg.Patches == nil || cfg.Patches.Directory == "" {
		return nil, nil
	}
	dir := cfg.Patches.Directory
	var fsys fs.FS
	var err error
	if filepath.IsAbs(dir) {
		fsys, err = r.machine.Dir(dir)
	} else {
		fsys, err = r.local().Dir(dir)
	}
	if err != nil {
		return nil, fault.New(fault.InvalidConfig, "%w", err).At(r.position("patches.directory"))
	}
	return patch.Load(fsys, dir)
}

// position names a field of the configuration, with its place in the file if it
// came from there, or the flag that set it.
func (r *Run) position(field string) string {
	if pos, ok := r.o.Join.Position(field); ok {
		return pos.String() + ": " + field
	}
	if by := r.o.Join.SetBy(field); by != "" {
		return by
	}
	return field
}

func (r *Run) local() host.Local { return host.Local{Base: r.o.BaseDir} }

func (r *Run) connect(ctx context.Context, cfg *kubeadm.JoinConfiguration) (*cluster.State, error) {
	co := cluster.Options{
		Join:                       cfg,
		NodeName:                   kubeadm.EffectiveNodeName(cfg),
		Files:                      r.machine,
		LocalFiles:                 func(path string) ([]byte, error) { return r.local().ReadFile(path, maxDiscoveryFile) },
		AllowUnseen:                r.o.ReadOnly,
		Wait:                       r.o.Waiting,
		UserAgent:                  r.o.UserAgent,
		DecodeClusterConfiguration: load.ClusterConfiguration,
	}
	co.NoPlugins = !r.machine.Live()
	if r.o.ReadOnly {
		co.ReadTimeout = planPatience
	}
	if r.o.ClusterFile != nil {
		return cluster.FromFile(r.o.ClusterFile, co)
	}
	if r.machine.Live() {
		co.Credential = r.credential()
	}
	if serves, err := ours(co.Credential, co.NodeName, cfg); err != nil {
		return nil, err
	} else if !serves {
		co.Credential = cluster.Credential{State: cluster.CredentialAbsent}
	}
	r.serial = co.Credential.Serial
	co.Credential, co.Alternative = r.credentials(cfg, co.Credential)
	client, state, err := cluster.Connect(ctx, co)
	if err != nil && r.o.ReadOnly && joined(co.Credential) && ctx.Err() == nil && unseen(err) {
		// A node that this run has no credential for: its own may not be read by
		// this user, or does not serve any more, and the token has expired. The
		// plan still compares the machine.
		return &cluster.State{Unseen: []cluster.Unseen{{What: "the cluster", Why: withHint(err)}}}, nil
	}
	if err != nil {
		return nil, err
	}
	r.client = client
	r.bootstrapping = len(state.Bootstrap) > 0
	r.asAdministrator = state.Server == co.Credential.Server && len(co.Credential.Paths) > 0 && co.Credential.Paths[0] == adminPath && !r.bootstrapping
	return state, nil
}

// unseen tells whether the cluster could not be read, as opposed to being
// another one than it should be.
func unseen(err error) bool {
	c := fault.ClassOf(err)
	return c == fault.Unreachable || c == fault.Denied
}

func joined(c cluster.Credential) bool {
	return c.State != "" && c.State != cluster.CredentialAbsent && c.State != cluster.CredentialPending
}

func withHint(err error) string {
	if h := fault.HintOf(err); h != "" {
		return err.Error() + " (" + h + ")"
	}
	return err.Error()
}

// ours tells whether the node's credential is that of the node and cluster
// that the configuration names, as far as the configuration says so.
func ours(c cluster.Credential, name string, cfg *kubeadm.JoinConfiguration) (bool, error) {
	if c.State != cluster.CredentialValid {
		return true, nil
	}
	if c.CommonName != "" && c.CommonName != "system:node:"+name {
		return false, nil
	}
	if t := cfg.Discovery.BootstrapToken; t != nil && len(t.CACertHashes) > 0 {
		pins, err := cluster.ParsePins(t.CACertHashes)
		if err != nil {
			return false, err
		}
		return pins.MatchPEM(c.CA), nil
	}
	return true, nil
}

func (r *Run) credential() cluster.Credential {
	return cluster.ReadCredential(r.machine, node.KubeletKubeconfigPath, time.Now())
}

func (r *Run) ports(ctx context.Context) node.Ports {
	p := node.Ports{
		Files:          r.machine,
		Services:       r.machine.Services(ctx),
		ReadCredential: r.credential,
		ReadCertificate: func() *cluster.Certificate {
			return cluster.ReadCertificate(r.machine, node.KubeletCertificatePath, time.Now())
		},
		Healthz: cluster.Healthz,
		Now:     time.Now,
		As: func(c cluster.Credential) (node.API, error) {
			if r.client == nil {
				return nil, fmt.Errorf("no connection to the cluster")
			}
			return r.client.WithCredential(c)
		},
		Marker: func() (node.NodeMarker, error) {
			if r.client == nil {
				return nil, nil
			}
			user, ok := r.client.DiscoveryFileUser()
			if !ok {
				return nil, nil
			}
			return user, nil
		},
	}
	if r.bootstrapping {
		p.Bootstrap = r.client
	}
	return p
}

func (r *Run) clusterFindings(s *cluster.State) []reconcile.Finding {
	var out []reconcile.Finding
	for _, u := range s.Unseen {
		if !s.NodeSeen && strings.HasPrefix(u.What, "node ") {
			continue // the Node's own resource says so, where it is managed
		}
		out = append(out, reconcile.Finding{Severity: reconcile.SeverityWarning, Name: node.FindingNotCompared,
			Seen: u.What + ": " + u.Why})
	}
	for _, w := range s.Warnings {
		out = append(out, reconcile.Finding{Severity: reconcile.SeverityWarning, Name: "Cluster", Seen: w})
	}
	return out
}

// ReadConfiguration reads a configuration or cluster file, "-" being standard input, and
// refuses one that the loader would not accept for its size.
//
// A pipe or a terminal may never end: the reading is left behind when ctx ends.
func ReadConfiguration(ctx context.Context, path string, stdin io.Reader) (name string, data []byte, err error) {
	name = path
	read := func() ([]byte, error) { return host.Local{}.ReadFile(path, load.MaxBytes) }
	if path == "-" {
		name = "<stdin>"
		read = func() ([]byte, error) { return host.ReadLimited(stdin, load.MaxBytes) }
	}
	type result struct {
		data []byte
		err  error
	}
	done := make(chan result, 1)
	go func() {
		data, err := read()
		done <- result{data, err}
	}()
	select {
	case r := <-done:
		data, err = r.data, r.err
	case <-ctx.Done():
		return name, nil, fault.New(fault.Interrupted, "reading it did not end").At(name)
	}
	if err != nil {
		return name, nil, fault.New(fault.InvalidConfig, "%w", err).At(name).WithHint("give an existing file, or - for standard input")
	}
	return name, data, nil
}

// DryRun tells whether the configuration asks to change nothing.
func (r *Run) DryRun() bool { return r.o.Join.Config.DryRun }
