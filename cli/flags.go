package cli

import (
	"cmp"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta4"
	"github.com/kubejoin/kubejoin/apis/load"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/node"
	"github.com/kubejoin/kubejoin/reconcile/report"
	"github.com/kubejoin/kubejoin/reconcile/session"
)

// joinFlags are kubeadm join's flags, under its names, and ours.
type joinFlags struct {
	cmd    *cobra.Command
	config string
	rootfs string

	nodeName, criSocket, patches      string
	discoveryFile                     string
	caCertHashes                      []string
	unsafeSkipCA, dryRun              bool
	ignorePreflightErrors, skipPhases []string
	controlPlane                      bool
	advertiseAddress                  string
	bindPort                          int32
	cluster, wait                     string
	renewBefore                       time.Duration
	allow, phases, targets            []string
	detailedExitCode                  bool
	out                               string
	planFile                          string // the argument of apply that is no endpoint
	endpoint                          string // the argument HOST:PORT
	listing                           bool   // only the addresses are asked for
	namesEndpoint                     bool   // whoever calls it without a configuration means to give HOST:PORT

	// amend says what neither file nor flags do; nil if nobody else knows.
	amend func(*kubeadm.JoinConfiguration)

	secretFlags
}

func addJoinFlags(c *cobra.Command) *joinFlags {
	f := &joinFlags{cmd: c}
	fs := c.Flags()
	fs.SortFlags = false
	fs.VarP(&oneFile{name: &f.config}, "config", "f", `file with a JoinConfiguration; "-" is standard input`)
	fs.StringVar(&f.rootfs, "rootfs", "", "directory that is the machine's root file system; all paths of the machine lie below it")
	fs.StringVar(&f.nodeName, "node-name", "", "name of the Node (default: the hostname)")
	fs.StringVar(&f.criSocket, "cri-socket", "", "socket of the container runtime (default: the one that answers)")
	fs.StringVar(&f.patches, "patches", "", `directory with files named "target[suffix][+patchtype].extension"`)
	f.addTokens(fs)
	fs.StringVar(&f.discoveryFile, "discovery-file", "", "file or https URL of a kubeconfig that says where the cluster is")
	fs.StringSliceVar(&f.caCertHashes, "discovery-token-ca-cert-hash", nil, `accept only a cluster whose CA has this public key ("sha256:<hex>"); may be repeated`)
	fs.BoolVar(&f.unsafeSkipCA, "discovery-token-unsafe-skip-ca-verification", false, "accept any CA that the token signs for")
	fs.BoolVar(&f.controlPlane, "control-plane", false, "make this machine a control plane")
	fs.StringVar(&f.advertiseAddress, "apiserver-advertise-address", "", "address that a control plane's API server is reached at (default: that of the default route)")
	fs.Int32Var(&f.bindPort, "apiserver-bind-port", kubeadm.DefaultBindPort, "port that a control plane's API server listens on")
	f.addCertificateKey(fs)
	fs.StringSliceVar(&f.ignorePreflightErrors, "ignore-preflight-errors", nil, `checks whose errors do not stop apply, or "all"; in addition to those of the file`)
	fs.StringSliceVar(&f.skipPhases, "skip-phases", nil, "phases whose resources are not managed; instead of those of the file")
	fs.Int32P(verbosity, verbosity, 0, "kubeadm's verbosity of logs, of which there are none here")
	_ = fs.MarkHidden(verbosity) // the error is for a flag that is not there
	fs.BoolVar(&f.dryRun, "dry-run", false, "print the plan and change nothing")
	f.complete()
	return f
}

// verbosity is a flag that people's scripts give to kubeadm join.
const verbosity = "v"

func (f *joinFlags) addWait() {
	f.cmd.Flags().StringVar(&f.wait, "wait", string(node.WaitRegistered), `when apply is done: "registered" (the Node exists) or "ready" (it is Ready)`)
	f.completeWords("wait", string(node.WaitRegistered), string(node.WaitReady))
	f.cmd.Flags().DurationVar(&f.renewBefore, "renew-before", session.DefaultRenewBefore, "remaining lifetime at which a control plane's certificates are made anew; 0: when they have expired")
}

func (f *joinFlags) addAllow() {
	f.cmd.Flags().StringSliceVar(&f.allow, "allow", nil, "destructive changes to make nevertheless, by the name that the plan gives them: "+strings.Join(node.AllowNames(), ", "))
	completeLater(f.cmd, "allow", node.AllowNames)
}

// load reads the configuration: the file with the flags on top, or the flags alone.
// The second result is where the relative paths of the configuration start.
func (f *joinFlags) load(p *report.Printer) (*load.Join, string, error) {
	if err := f.oneReader(); err != nil {
		return nil, "", err
	}
	if f.config == "" && f.endpoint == "" && f.discoveryFile == "" {
		return nil, "", f.nowhere()
	}
	if err := f.resolve(f.cmd); err != nil {
		return nil, "", err
	}
	base := "."
	if f.config != "" && f.config != "-" {
		base = filepath.Dir(f.config)
	}
	base, err := filepath.Abs(base)
	if err != nil {
		return nil, "", err
	}
	override := &load.Override{Apply: func(c *kubeadm.JoinConfiguration) { f.override(c, base) }}
	var join *load.Join
	override.Setter = func(path string) string { return f.flagOf(path, join) }
	if f.config == "" {
		join = load.FromObject(&v1beta4.JoinConfiguration{}, override)
	} else {
		name, data, err := session.ReadConfiguration(f.cmd.Context(), f.config, f.cmd.InOrStdin())
		if err != nil {
			return nil, "", err
		}
		if join, err = load.JoinConfiguration(name, data, override); err != nil {
			return nil, "", err
		}
	}
	for _, n := range join.Notes {
		note(p)(reconcile.SeverityInfo, n)
	}
	if f.cmd.Flags().Changed(verbosity) {
		p.Note(reconcile.SeverityInfo, "-v changes nothing: there is no log, and what is done and waited for is always told")
	}
	return join, base, f.misplaced(join.Config, p)
}

// nowhere is the error of a command line that says nothing of a cluster.
func (f *joinFlags) nowhere() error {
	if f.namesEndpoint {
		return fault.New(fault.InvalidConfig, "HOST:PORT is missing, and there is neither --discovery-file nor a configuration").WithHint(printJoin)
	}
	return fault.New(fault.InvalidConfig, "there is no configuration").WithHint("give a file with -f join.yaml, or HOST:PORT or --discovery-file as for kubeadm join")
}

// misplaced is about flags that change nothing because of what the others say.
// kubeadm warns of them, or is silent. A certificate key is an error: who gives
// one does not want the worker that would come of it.
func (f *joinFlags) misplaced(c *kubeadm.JoinConfiguration, p *report.Printer) error {
	idle := func(without string, names ...string) {
		for _, name := range names {
			if f.cmd.Flags().Changed(name) {
				p.Note(reconcile.SeverityWarning, "--%s changes nothing without %s", name, without)
			}
		}
	}
	if c.Discovery.BootstrapToken == nil {
		idle("HOST:PORT", "discovery-token", "discovery-token-ca-cert-hash", "discovery-token-unsafe-skip-ca-verification")
	}
	if c.ControlPlane != nil {
		return nil
	}
	if from := f.certificateKey.from; strings.HasPrefix(from, "--") {
		return fault.New(fault.InvalidConfig, "only a control plane has a certificate key").At(from).
			WithHint("add --control-plane, or leave %s out to join this machine as a worker", from)
	}
	idle("--control-plane", "apiserver-advertise-address", "apiserver-bind-port")
	return nil
}

// flagPath is a path given by a flag as one of the configuration: a relative
// path of a flag starts in the working directory, one of the configuration in
// base. Absolute ones are the machine's, and lie below --rootfs.
func (f *joinFlags) flagPath(path, base string) string {
	path = strings.TrimPrefix(path, "file://")
	if path == "" || filepath.IsAbs(path) || strings.Contains(path, "://") {
		return path
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	if f.rootfs == "" {
		return abs
	}
	if rel, err := filepath.Rel(base, abs); err == nil {
		return rel
	}
	return path
}

// override lays the flags over a configuration. A flag that was not given
// changes nothing.
func (f *joinFlags) override(c *kubeadm.JoinConfiguration, base string) {
	given := f.cmd.Flags().Changed
	set := func(name string, to *string, value string) {
		if given(name) {
			*to = value
		}
	}
	f.overrideDiscovery(&c.Discovery, base)
	r := &c.NodeRegistration
	set("node-name", &r.Name, f.nodeName)
	set("cri-socket", &r.CRISocket, f.criSocket)
	r.IgnorePreflightErrors = append(r.IgnorePreflightErrors, f.ignorePreflightErrors...)
	if given("patches") {
		c.Patches = &kubeadm.Patches{Directory: f.flagPath(f.patches, base)}
	}
	if len(f.skipPhases) > 0 {
		c.SkipPhases = f.skipPhases
	}
	if given("dry-run") {
		c.DryRun = f.dryRun
	}
	switch {
	case !given("control-plane"):
	case !f.controlPlane:
		c.ControlPlane = nil
	case c.ControlPlane == nil:
		c.ControlPlane = &kubeadm.JoinControlPlane{LocalAPIEndpoint: kubeadm.APIEndpoint{BindPort: kubeadm.DefaultBindPort}}
	}
	if f.amend != nil {
		f.amend(c)
	}
	if cp := c.ControlPlane; cp != nil {
		set("apiserver-advertise-address", &cp.LocalAPIEndpoint.AdvertiseAddress, f.advertiseAddress)
		if given("apiserver-bind-port") {
			cp.LocalAPIEndpoint.BindPort = cmp.Or(f.bindPort, kubeadm.DefaultBindPort) // as the file's zero
		}
		f.certificateKey.set(&cp.CertificateKey)
	}
}

func (f *joinFlags) overrideDiscovery(d *kubeadm.Discovery, base string) {
	if f.discoveryFile != "" {
		d.File = &kubeadm.FileDiscovery{KubeConfigPath: f.flagPath(f.discoveryFile, base)}
		if f.endpoint == "" {
			d.BootstrapToken = nil
		}
	}
	if f.endpoint != "" && d.BootstrapToken == nil {
		d.BootstrapToken = &kubeadm.BootstrapTokenDiscovery{}
		if f.discoveryFile == "" {
			d.File = nil
		}
	}
	if t := d.BootstrapToken; t != nil {
		if f.endpoint != "" {
			t.APIServerEndpoint = f.endpoint
		}
		before := t.Token
		f.token.set(&t.Token)
		f.discoveryToken.set(&t.Token)
		if t.Token != before && (d.TLSBootstrapToken == "" || d.TLSBootstrapToken == before) {
			d.TLSBootstrapToken = t.Token
		}
		if f.cmd.Flags().Changed("discovery-token-ca-cert-hash") {
			t.CACertHashes = f.caCertHashes
		}
		if f.cmd.Flags().Changed("discovery-token-unsafe-skip-ca-verification") {
			t.UnsafeSkipCAVerification = f.unsafeSkipCA
		}
	}
	f.token.set(&d.TLSBootstrapToken)
	f.tlsToken.set(&d.TLSBootstrapToken)
}
