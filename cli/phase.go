package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/reconcile/node"
	"github.com/kubejoin/kubejoin/reconcile/session"
)

// addSelection adds the flags that leave everything else out.
func (f *joinFlags) addSelection() {
	fs := f.cmd.Flags()
	fs.StringSliceVar(&f.phases, "phases", nil, "only these phases; all other resources are not managed")
	fs.StringArrayVar(&f.targets, "target", nil, `only the resource at this address, such as "service:kubelet"; may be repeated`)
	completeLater(f.cmd, "phases", phaseWords)
	completeLater(f.cmd, "target", node.CommonAddresses)
}

// phaseWords are the phases with their descriptions, for completion.
func phaseWords() []string {
	var out []string
	for _, phase := range node.Phases() {
		out = append(out, cobra.CompletionWithDesc(phase.Name, phase.Short))
	}
	return out
}

// findPhase is the phase of a name that a user gave at a flag or argument.
func findPhase(at, name string) (node.Phase, error) {
	if p, ok := node.FindPhase(name); ok {
		return p, nil
	}
	e := misused("%s: there is no phase %q", at, name)
	if strings.ReplaceAll(name, " ", "/") == "control-plane-join/etcd" {
		return node.Phase{}, e.WithHint(`this phase is now called "etcd-join"`) // behaviour catalogue §0.6
	}
	var names []string
	for _, p := range node.Phases() {
		names = append(names, p.Name)
	}
	if near := nearest(name, names); near != "" {
		return node.Phase{}, e.WithHint("did you mean %q?", near)
	}
	return node.Phase{}, e.WithHint("`kubejoin phase list` lists them")
}

// only are the phases of --phases, by their names here.
func (f *joinFlags) only() ([]string, error) {
	var out []string
	for _, name := range f.phases {
		p, err := findPhase("--phases", name)
		if err != nil {
			return nil, err
		}
		out = append(out, p.Name)
	}
	return out, nil
}

func newJoinPhase(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "phase [NAME] [HOST:PORT]",
		Short: "Do one phase of a join, and no more",
		Long: `Do one phase of a join, on a worker or a control plane: what its resources lack, as
apply does it, and nothing else. What it needs of other phases and does not find is a
warning. The same phase again does nothing.

On a machine that has joined no discovery is needed: without HOST:PORT and
configuration the node's own kubeconfig says where the cluster is, and what the
node is.

Names are kubeadm's, with spaces or slashes; a parent does all of its children.
Without a name it lists them.`,
		Example: `  kubejoin join phase
  kubejoin join phase kubelet-start cp1:6443 --token-file token --discovery-token-ca-cert-hash sha256:1234..cdef
  kubejoin join phase control-plane-prepare all -f join.yaml
  kubejoin join phase control-plane-join mark-control-plane`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				printPhases(g.printer(), g.output, nil)
				return nil
			}
			if isEndpoint(args[0]) {
				return misused("%s: the name of a phase comes before HOST:PORT", c.CommandPath()).WithHint("`kubejoin phase list` lists them")
			}
			if _, err := findPhase(c.CommandPath(), strings.Join(slices.DeleteFunc(args, isEndpoint), " ")); err != nil {
				return err
			}
			return misused("%s: unexpected arguments %q", c.CommandPath(), args).WithHint("give the name of one phase, and then HOST:PORT")
		},
	}
	if g.withoutPhases {
		return c
	}
	for _, p := range node.Phases() {
		if strings.Contains(p.Name, "/") {
			hidden := newOnePhase(g, p, p.Name) // kubeadm's name of it in lists
			hidden.Hidden = true
			c.AddCommand(hidden)
			continue
		}
		one := newOnePhase(g, p, p.Name)
		for _, child := range node.Children(p.Name) {
			one.AddCommand(newOnePhase(g, child, strings.TrimPrefix(child.Name, p.Name+"/")))
		}
		if one.HasSubCommands() {
			all := newOnePhase(g, p, "all")
			all.Short = "All of " + p.Name
			hidden := newOnePhase(g, p, p.Name+"/all")
			hidden.Hidden = true
			one.AddCommand(all)
			c.AddCommand(hidden)
		}
		c.AddCommand(one)
	}
	return c
}

// newOnePhase is the command for one phase.
func newOnePhase(g *globals, p node.Phase, use string) *cobra.Command {
	c := &cobra.Command{
		Use:   use + " [HOST:PORT]",
		Short: strings.ToUpper(p.Short[:1]) + p.Short[1:],
		Long:  phaseHelp(p),
		Args: func(c *cobra.Command, args []string) error {
			if len(args) > 0 && c.HasSubCommands() && !isEndpoint(args[0]) {
				_, err := findPhase("kubejoin join phase", p.Name+"/"+args[0])
				return err
			}
			return endpointOnly(c, args)
		},
	}
	f := addJoinFlags(c)
	f.addWait()
	f.addAllow()
	f.phases = []string{p.Name}
	f.namesEndpoint = true
	c.RunE = func(c *cobra.Command, args []string) error {
		f.takeEndpoint(args)
		if f.config == "" {
			if err := f.askMachine(p); err != nil {
				return err
			}
		}
		return f.apply(c, g.printer(), nil)
	}
	path := "kubejoin join phase " + strings.ReplaceAll(p.Name, "/", " ")
	if use == "all" {
		path += " all"
	}
	c.Example = fmt.Sprintf("  %[1]s -f join.yaml\n  %[1]s -f join.yaml --dry-run", path)
	return c
}

func phaseHelp(p node.Phase) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s, and nothing else.\n", strings.ToUpper(p.Short[:1]), p.Short[1:])
	var holds []string
	for _, x := range append([]node.Phase{p}, node.Children(p.Name)...) {
		holds = append(holds, x.Resources...)
	}
	if len(holds) > 0 {
		fmt.Fprintf(&b, "\nIts resources:\n  %s\n", strings.Join(holds, "\n  "))
	}
	if !p.OnWorkers() {
		b.WriteString("\nOnly control planes have it: without a configuration this one is taken for one.\n")
	}
	b.WriteString("\n" + helpSecrets)
	return b.String()
}

// askMachine lets the machine say what no configuration does: where its cluster
// is, what its node is called, and whether that is a control plane. What a flag
// says counts.
func (f *joinFlags) askMachine(p node.Phase) error {
	known, err := session.Know(f.rootfs)
	if err != nil {
		return err
	}
	if f.endpoint == "" && f.discoveryFile == "" {
		f.discoveryFile = known.Kubeconfig
	}
	f.amend = func(c *kubeadm.JoinConfiguration) {
		r := &c.NodeRegistration
		r.Name = cmp.Or(r.Name, known.NodeName)
		controlPlane := known.ControlPlane || !p.OnWorkers() || p.Name == "control-plane-join" || strings.HasPrefix(p.Name, "control-plane-join/")
		if c.ControlPlane == nil && controlPlane && !f.cmd.Flags().Changed("control-plane") {
			c.ControlPlane = &kubeadm.JoinControlPlane{LocalAPIEndpoint: kubeadm.APIEndpoint{BindPort: kubeadm.DefaultBindPort}}
		}
	}
	return nil
}
