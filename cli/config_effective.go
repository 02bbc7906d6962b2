package cli

import (
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kubejoin/kubejoin/apis/load"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile/explain"
	"github.com/kubejoin/kubejoin/reconcile/report"
	"github.com/kubejoin/kubejoin/reconcile/session"
)

func newConfigPrintEffective(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "effective -f join.yaml",
		Short: "Print a configuration after its defaults, with the source of each value",
		Long: `Print a configuration as plan and apply use it: after defaults, detection and
flags, each value with its source as a comment. Secrets are masked. Nothing is
validated; kubejoin config validate does that.`,
		Example: `  kubejoin config print effective -f join.yaml
  kubejoin config print effective -f join.yaml --node-name worker-7 -o json`,
		Args: noArgs,
	}
	f := addJoinFlags(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if f.config == "" {
			return fault.New(fault.InvalidConfig, "there is no configuration to print").WithHint("give a file with -f join.yaml")
		}
		p := g.printer()
		join, _, err := f.load(p)
		if err != nil {
			return err
		}
		detected, err := session.Detect(c.Context(), join, f.rootfs)
		if err != nil {
			return err
		}
		e := explain.Join(explain.Input{
			Join:     join,
			Flag:     func(path string) string { return f.flagOf(path, join) },
			Detected: detected,
		})
		if report.Format(g.output) == report.JSON {
			p.Object("configuration", map[string]any{"apiVersion": e.APIVersion, "kind": e.Kind, "values": jsonValues(e.Values)})
			return nil
		}
		text, err := e.YAML()
		if err != nil {
			return err
		}
		p.Document(text)
		return nil
	}
	return c
}

// flagOf names the flag that set a field; empty if none did.
func (f *joinFlags) flagOf(path string, join *load.Join) string {
	given := func(names ...string) string {
		for _, name := range names {
			if f.cmd.Flags().Changed(name) {
				return "--" + name
			}
		}
		return ""
	}
	switch field, rest, _ := strings.Cut(path, "["); field {
	case "discovery.file.kubeConfigPath":
		return given("discovery-file")
	case "discovery.bootstrapToken.token":
		return given("discovery-token", "token")
	case "discovery.bootstrapToken.caCertHashes":
		return given("discovery-token-ca-cert-hash")
	case "discovery.bootstrapToken.unsafeSkipCAVerification":
		return given("discovery-token-unsafe-skip-ca-verification")
	case "discovery.tlsBootstrapToken":
		return given("tls-bootstrap-token", "token", "discovery-token")
	case "nodeRegistration.name":
		return given("node-name")
	case "nodeRegistration.criSocket":
		return given("cri-socket")
	case "nodeRegistration.ignorePreflightErrors":
		// The flag's names stand behind those of the file.
		all, own := len(join.Config.NodeRegistration.IgnorePreflightErrors), len(f.ignorePreflightErrors)
		if i, err := strconv.Atoi(strings.TrimSuffix(rest, "]")); err == nil && i < all-own {
			return ""
		}
		return given("ignore-preflight-errors")
	case "patches.directory":
		return given("patches")
	case "skipPhases":
		return given("skip-phases")
	}
	return ""
}

// jsonValue is one value of `config print effective -o json`.
type jsonValue struct {
	Path   string     `json:"path"`
	Value  any        `json:"value"`
	Source jsonSource `json:"source"`
}

type jsonSource struct {
	Origin explain.Origin `json:"origin"`
	File   string         `json:"file,omitempty"`
	Line   int            `json:"line,omitempty"`
	Column int            `json:"column,omitempty"`
	From   string         `json:"from,omitempty"`
}

func jsonValues(values []explain.Value) []jsonValue {
	list := make([]jsonValue, len(values))
	for i, v := range values {
		s := v.Source
		list[i] = jsonValue{v.Path, v.Value, jsonSource{s.Origin, s.Position.File, s.Position.Line, s.Position.Column, s.From}}
	}
	return list
}
