package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	kubeproxyv1alpha1 "k8s.io/kube-proxy/config/v1alpha1"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	"sigs.k8s.io/yaml"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/apis/load"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
	"github.com/kubejoin/kubejoin/reconcile/node"
	"github.com/kubejoin/kubejoin/reconcile/report"
	"github.com/kubejoin/kubejoin/reconcile/session"
)

func newConfigPrint(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "print",
		Short: "Print default configurations, or the effective one of a file",
		Long: `Print default configurations, to begin a file with, or the configuration that a
file has the effect of.`,
		Example: `  kubejoin config print join-defaults > join.yaml
  kubejoin config print effective -f join.yaml`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(c, args[0])
			}
			return c.Help()
		},
	}
	c.AddCommand(
		printDefaults(g, "join-defaults", "Print a default JoinConfiguration", "JoinConfiguration"),
		printDefaults(g, "init-defaults", "Print a default InitConfiguration and ClusterConfiguration", "InitConfiguration", "ClusterConfiguration"),
		printDefaults(g, "reset-defaults", "Print a default ResetConfiguration", "ResetConfiguration"),
		printDefaults(g, "upgrade-defaults", "Print a default UpgradeConfiguration", "UpgradeConfiguration"),
		newConfigPrintEffective(g),
	)
	return c
}

func printDefaults(g *globals, name, short string, kinds ...string) *cobra.Command {
	var version string
	var components []string
	c := &cobra.Command{
		Use:   name,
		Short: short,
		Long: short + `, as kubeadm does: with a token and addresses that
stand for your own.`,
		Example: "  kubejoin config print " + name + "\n  kubejoin config print " + name + " --version " + currentVersion + " -o json",
		Args:    noArgs,
	}
	c.Flags().StringVar(&version, "version", currentVersion, "version of the configuration")
	if slices.Contains(kinds, "ClusterConfiguration") {
		c.Flags().StringSliceVar(&components, "component-configs", nil,
			"also print the default configuration of these components: "+strings.Join(componentKinds, ", "))
	}
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := checkComponents(components); err != nil {
			return err
		}
		hostname, err := session.Hostname(c.Context())
		if err != nil {
			return err
		}
		content := placeholders(strings.ToLower(hostname))
		var documents [][]byte
		for _, kind := range kinds {
			document, err := load.Sample(version, kind, content[kind])
			if err != nil {
				return quoting(err)
			}
			documents = append(documents, document)
		}
		for _, kind := range components {
			document, err := componentDefaults(kind)
			if err != nil {
				return err
			}
			documents = append(documents, document)
		}
		if report.Format(g.output) != report.JSON {
			g.printer().Document(bytes.Join(documents, []byte("---\n")))
			return nil
		}
		list := make([]json.RawMessage, len(documents))
		for i, document := range documents {
			if list[i], err = yaml.YAMLToJSON(document); err != nil {
				return err
			}
		}
		g.printer().Object("defaults", map[string]any{"documents": list})
		return nil
	}
	return c
}

// placeholders are what kubeadm prints where there is no default, by kind:
// behaviour catalogue §1.5. The fields are in all versions.
func placeholders(hostname string) map[string]string {
	return map[string]string{
		"JoinConfiguration": fmt.Sprintf(`
discovery:
  bootstrapToken: {token: %q, apiServerEndpoint: "kube-apiserver:6443", unsafeSkipCAVerification: true}
nodeRegistration: {name: %q, criSocket: %q}
`, load.PlaceholderToken, hostname, kubeadm.DefaultCRISocket),
		"InitConfiguration": fmt.Sprintf(`
bootstrapTokens: [{token: %q}]
localAPIEndpoint: {advertiseAddress: 1.2.3.4}
nodeRegistration: {name: node, criSocket: %q}
`, load.PlaceholderToken, kubeadm.DefaultCRISocket),
		"ClusterConfiguration": "kubernetesVersion: 1.37.0\n",
		"ResetConfiguration":   fmt.Sprintf("criSocket: %q\n", kubeadm.DefaultCRISocket),
	}
}

// componentKinds are the components' configurations that kubeadm knows.
var componentKinds = []string{"KubeletConfiguration", "KubeProxyConfiguration"}

func checkComponents(kinds []string) error {
	for _, kind := range kinds {
		if slices.Contains(componentKinds, kind) {
			continue
		}
		e := misused("--component-configs: there is no %q", kind)
		if near := nearest(kind, componentKinds); near != "" {
			return e.WithHint("did you mean %q?", near)
		}
		return e.WithHint("use %s", strings.Join(componentKinds, ", "))
	}
	return nil
}

// componentDefaults is what kubeadm gives a component of a cluster that
// configures nothing.
func componentDefaults(kind string) ([]byte, error) {
	if kind == "KubeletConfiguration" {
		return kubeletDefaults()
	}
	proxy := kubeproxyv1alpha1.KubeProxyConfiguration{BindAddress: "0.0.0.0", Mode: "iptables"}
	proxy.APIVersion, proxy.Kind = kubeproxyv1alpha1.SchemeGroupVersion.String(), kind
	proxy.ClientConnection.Kubeconfig = "/var/lib/kube-proxy/kubeconfig.conf"
	return yaml.Marshal(proxy)
}

// kubeletDefaults is what a node of a cluster with an empty kubelet-config gets,
// without the node's own part.
func kubeletDefaults() ([]byte, error) {
	document, err := load.Sample(currentVersion, "ClusterConfiguration", "")
	if err != nil {
		return nil, err
	}
	configuration, _, err := load.ClusterConfiguration("defaults", document)
	if err != nil {
		return nil, err
	}
	var join kubeadm.JoinConfiguration
	join.NodeRegistration.CRISocket = kubeadm.DefaultCRISocket
	desired, _, err := node.Compute(node.Input{Config: &join, Cluster: &cluster.State{
		Configuration: configuration,
		KubeletConfig: fmt.Appendf(nil, "apiVersion: %s\nkind: KubeletConfiguration\n", kubeletv1beta1.SchemeGroupVersion),
	}})
	if err != nil {
		return nil, err
	}
	var kubelet kubeletv1beta1.KubeletConfiguration
	for _, f := range desired.Files {
		if f.Path != node.KubeletConfigPath {
			continue
		}
		if err := yaml.Unmarshal(f.Content, &kubelet); err != nil {
			return nil, err
		}
	}
	kubelet.ContainerRuntimeEndpoint = ""
	return yaml.Marshal(kubelet)
}
