package cli

import (
	"github.com/spf13/cobra"

	"github.com/kubejoin/kubejoin/reconcile/explain"
	"github.com/kubejoin/kubejoin/reconcile/report"
	"github.com/kubejoin/kubejoin/reconcile/session"
)

func newConfigPrintEffective(g *globals) *cobra.Command {
	c := &cobra.Command{
		Use:   "effective [-f join.yaml] [HOST:PORT]",
		Short: "Print a configuration after its defaults, with the source of each value",
		Long: `Print a configuration as plan and apply use it: after defaults, detection and
flags, each value with its source as a comment. Secrets are masked. The proxies of
the environment, which a control plane's pods inherit, stand at the end. Nothing is
validated; kubejoin config validate does that.`,
		Example: `  kubejoin config print effective -f join.yaml
  kubejoin config print effective -f join.yaml --node-name worker-7 -o json
  kubejoin config print effective cp1:6443 --token-file token --discovery-token-unsafe-skip-ca-verification`,
		Args: endpointOnly,
	}
	f := addJoinFlags(c)
	c.RunE = func(c *cobra.Command, args []string) error {
		f.takeEndpoint(args)
		p := g.printer()
		join, _, err := f.load(p)
		if err != nil {
			return err
		}
		detected, proxies, err := session.Detect(c.Context(), join, f.rootfs)
		if err != nil {
			return err
		}
		e := explain.Join(explain.Input{
			Join:     join,
			Detected: detected,
			Proxies:  proxies,
		})
		if report.Format(g.output) == report.JSON {
			p.Object("configuration", map[string]any{"apiVersion": e.APIVersion, "kind": e.Kind, "values": jsonValues(e.Values), "proxies": e.Proxies})
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
