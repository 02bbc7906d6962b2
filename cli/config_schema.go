package cli

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile/report"
	"github.com/kubejoin/kubejoin/schemas"
)

// currentVersion is what files are written in.
const currentVersion = "v1beta4"

func newConfigSchema(g *globals) *cobra.Command {
	var version string
	var list bool
	c := &cobra.Command{
		Use:   "schema [KIND]",
		Short: "Print the JSON Schema of a kind, for editors and other tools",
		Long: `Print the JSON Schema of a kind: JoinConfiguration, unless another one is named.

Save it, and name it in the first line of a configuration: editors then complete,
explain and check what is written.

  # yaml-language-server: $schema=join.schema.json`,
		Example: `  kubejoin config schema > join.schema.json
  kubejoin config schema ClusterConfiguration --version v1beta3
  kubejoin config schema --list`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fault.New(fault.InvalidConfig, "only one kind can be printed, not %d", len(args))
			}
			return nil
		},
	}
	c.Flags().StringVar(&version, "version", currentVersion, "version of the configuration")
	c.Flags().BoolVar(&list, "list", false, "list the versions and kinds that there are schemas for")
	c.RunE = func(_ *cobra.Command, args []string) error {
		if list {
			listSchemas(g)
			return nil
		}
		kind := "JoinConfiguration"
		if len(args) == 1 {
			kind = args[0]
		}
		name, err := schemaName(version, kind)
		if err != nil {
			return err
		}
		schema, _ := schemas.Get(name)
		if report.Format(g.output) == report.JSON {
			g.printer().Object("schema", map[string]any{"version": name.Version, "kind": name.Kind, "schema": json.RawMessage(schema)})
			return nil
		}
		g.printer().Document(schema)
		return nil
	}
	return c
}

func listSchemas(g *globals) {
	p := g.printer()
	if report.Format(g.output) == report.JSON {
		var names []map[string]string
		for _, n := range schemas.List() {
			names = append(names, map[string]string{"version": n.Version, "kind": n.Kind})
		}
		p.Object("schemas", map[string]any{"schemas": names})
		return
	}
	for _, n := range schemas.List() {
		p.Line("%s %s", n.Version, n.Kind)
	}
}

// schemaName finds a schema; a kind may be written in any case, and a version
// with its group.
func schemaName(version, kind string) (schemas.Name, error) {
	short := strings.TrimPrefix(version, "kubeadm.k8s.io/")
	var versions, kinds []string
	for _, n := range schemas.List() {
		if !slices.Contains(versions, n.Version) {
			versions = append(versions, n.Version)
		}
		if n.Version != short {
			continue
		}
		if strings.EqualFold(n.Kind, kind) {
			return n, nil
		}
		kinds = append(kinds, n.Kind)
	}
	if len(kinds) == 0 {
		return schemas.Name{}, misused("--version: there is no version %q", version).
			WithHint("use %s", strings.Join(versions, ", "))
	}
	return schemas.Name{}, misused("%s has no schema for the kind %q", short, kind).
		WithHint("it has %s", strings.Join(kinds, ", "))
}
