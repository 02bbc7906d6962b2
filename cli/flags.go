package cli

import (
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta4"
	"github.com/kubejoin/kubejoin/apis/load"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile/node"
	"github.com/kubejoin/kubejoin/reconcile/report"
	"github.com/kubejoin/kubejoin/reconcile/session"
)

// joinFlags are kubeadm join's flags for a worker, under its names, and ours.
type joinFlags struct {
	cmd    *cobra.Command
	config string
	rootfs string

	nodeName, criSocket, patches      string
	token, discoveryToken, tlsToken   string
	discoveryFile                     string
	caCertHashes                      []string
	unsafeSkipCA, dryRun              bool
	ignorePreflightErrors, skipPhases []string
	cluster, wait                     string
	allow                             []string
	detailedExitCode                  bool
	endpoint                          string
	takesEndpoint                     bool // as an argument
}

func addJoinFlags(c *cobra.Command) *joinFlags {
	f := &joinFlags{cmd: c}
	fs := c.Flags()
	fs.StringVarP(&f.config, "config", "f", "", `file with a JoinConfiguration; "-" is standard input`)
	fs.StringVar(&f.rootfs, "rootfs", "", "directory that is the machine's root file system; all paths of the machine lie below it")
	fs.StringVar(&f.nodeName, "node-name", "", "name of the Node (default: the hostname)")
	fs.StringVar(&f.criSocket, "cri-socket", "", "socket of the container runtime (default: the one that answers)")
	fs.StringVar(&f.patches, "patches", "", `directory with files named "target[suffix][+patchtype].extension"`)
	fs.StringVar(&f.token, "token", "", "token for both discovery and TLS bootstrap, where those are not given")
	fs.StringVar(&f.discoveryToken, "discovery-token", "", "token that validates the cluster's information")
	fs.StringVar(&f.tlsToken, "tls-bootstrap-token", "", "token that the kubelet asks for its certificate with")
	fs.StringVar(&f.discoveryFile, "discovery-file", "", "file or https URL of a kubeconfig that says where the cluster is")
	fs.StringSliceVar(&f.caCertHashes, "discovery-token-ca-cert-hash", nil, `accept only a cluster whose CA has this public key ("sha256:<hex>"); may be repeated`)
	fs.BoolVar(&f.unsafeSkipCA, "discovery-token-unsafe-skip-ca-verification", false, "accept any CA that the token signs for")
	fs.StringSliceVar(&f.ignorePreflightErrors, "ignore-preflight-errors", nil, `checks whose errors do not stop apply, or "all"`)
	fs.StringSliceVar(&f.skipPhases, "skip-phases", nil, "phases whose resources are not managed")
	fs.SortFlags = false
	return f
}

func (f *joinFlags) addApplyFlags() {
	fs := f.cmd.Flags()
	fs.StringSliceVar(&f.allow, "allow", nil, "destructive changes to make nevertheless, by the name that the plan gives them: "+strings.Join(node.AllowNames(), ", "))
	fs.StringVar(&f.wait, "wait", string(node.WaitRegistered), `when it is done: "registered" (the Node exists) or "ready" (it is Ready)`)
	fs.BoolVar(&f.dryRun, "dry-run", false, "print the plan and change nothing")
}

// load reads the configuration: the file with the flags on top, or the flags alone.
// The second result is where the relative paths of the configuration start.
func (f *joinFlags) load(p *report.Printer) (*load.Join, string, error) {
	base := "."
	if f.config != "" && f.config != "-" {
		base = filepath.Dir(f.config)
	}
	base, err := filepath.Abs(base)
	if err != nil {
		return nil, "", err
	}
	override := func(c *kubeadm.JoinConfiguration) { f.override(c, base) }
	if f.config == "" {
		join, err := load.FromObject(&v1beta4.JoinConfiguration{})
		if err != nil {
			return nil, "", err
		}
		if f.endpoint == "" && f.discoveryFile == "" {
			return nil, "", f.nowhere()
		}
		override(join.Config)
		return join, base, nil
	}
	name, data, err := session.ReadConfiguration(f.cmd.Context(), f.config, f.cmd.InOrStdin())
	if err != nil {
		return nil, "", err
	}
	join, err := load.JoinConfiguration(name, data, override)
	if err != nil {
		return nil, "", err
	}
	for _, n := range join.Notes {
		note(p)("info", n)
	}
	return join, base, nil
}

// nowhere is the error of a command line that says nothing of a cluster.
func (f *joinFlags) nowhere() error {
	if f.takesEndpoint {
		return fault.New(fault.InvalidConfig, "HOST:PORT is missing, and there is neither --discovery-file nor a configuration").WithHint(printJoin)
	}
	return fault.New(fault.InvalidConfig, "there is no configuration").WithHint("give a file with -f join.yaml, or --discovery-file")
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
	d := &c.Discovery
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
		set("token", &t.Token, f.token)
		set("discovery-token", &t.Token, f.discoveryToken)
		if t.Token != before && (d.TLSBootstrapToken == "" || d.TLSBootstrapToken == before) {
			d.TLSBootstrapToken = t.Token
		}
		if given("discovery-token-ca-cert-hash") {
			t.CACertHashes = f.caCertHashes
		}
		if given("discovery-token-unsafe-skip-ca-verification") {
			t.UnsafeSkipCAVerification = f.unsafeSkipCA
		}
	}
	set("token", &d.TLSBootstrapToken, f.token)
	set("tls-bootstrap-token", &d.TLSBootstrapToken, f.tlsToken)

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
	if f.cmd.Flags().Lookup("dry-run") != nil && given("dry-run") {
		c.DryRun = f.dryRun
	}
}
