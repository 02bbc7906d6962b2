package cli

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/kubejoin/kubejoin/apis/load"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/host"
	"github.com/kubejoin/kubejoin/reconcile/patch"
	"github.com/kubejoin/kubejoin/reconcile/preflight"
	"github.com/kubejoin/kubejoin/reconcile/report"
	"github.com/kubejoin/kubejoin/reconcile/session"
)

func newConfigValidate(g *globals) *cobra.Command {
	var config string
	c := &cobra.Command{
		Use:   "validate -f join.yaml",
		Short: "Say everything that is wrong with a configuration file",
		Long: `Say everything that is wrong with a configuration file, each with its line and
column: with all documents of kubeadm in all their versions, and those of the
kubelet and kube-proxy.

The patches and the discovery file that it names are looked at, too. A relative path
starts at the configuration file; what an absolute one names may be missing, as the
file may be meant for another machine. Nothing else of the machine matters, and
there is no network.`,
		Example: `  kubejoin config validate -f join.yaml
  kubejoin config validate -f - -o json < join.yaml`,
		Args: noArgs,
	}
	c.Flags().VarP(&oneFile{name: &config}, "config", "f", `file to look at; "-" is standard input`)
	withoutEffect(c, "allow-experimental-api", "allow-deprecated-api")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if config == "" {
			return fault.New(fault.InvalidConfig, "there is no configuration to look at").WithHint("give a file with -f join.yaml")
		}
		name, data, err := session.ReadConfiguration(c.Context(), config, c.InOrStdin())
		if err != nil {
			return err
		}
		base := ""
		if config != "-" {
			base = filepath.Dir(config)
		}
		file, _ := load.Load(name, data) // Validate repeats the error
		for _, r := range file.References() {
			lookAt(file, r, host.Local{Base: base})
		}
		for _, w := range file.Waivers() {
			if _, err := preflight.CheckNames([]string{w.Name}); err != nil {
				file.Fail(w.Place, err.Error(), fault.HintOf(err))
			}
		}
		return g.validated(file)
	}
	return c
}

// validated prints what is to be said about a file.
func (g *globals) validated(file *load.File) error {
	p := g.printer()
	for _, note := range file.Notes {
		p.Note(reconcile.SeverityInfo, "%s", note)
	}
	for _, w := range file.Warnings() {
		p.Note(reconcile.SeverityWarning, "%s", w)
	}
	if err := file.Validate(); err != nil {
		return err
	}
	if report.Format(g.output) == report.JSON {
		p.Object("valid", map[string]any{"file": file.Name, "documents": len(file.Documents)})
		return nil
	}
	p.Line("ok")
	return nil
}

// maxKubeconfig is the size in bytes of a discovery file that nobody exceeds by
// intention.
const maxKubeconfig = 1 << 20

// lookAt adds what is wrong with a file or directory that a configuration names.
func lookAt(file *load.File, r load.Reference, local host.Local) {
	var fsys fs.FS
	var err error
	if r.Patches {
		fsys, err = local.Dir(r.Path)
	} else {
		_, err = local.ReadFile(r.Path, maxKubeconfig)
	}
	elsewhere := filepath.IsAbs(r.Path) && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission))
	switch {
	case elsewhere:
		file.Warn(r.Place, "cannot be looked at here: "+err.Error(), "it has to be there when the configuration is used")
	case err != nil && filepath.IsAbs(r.Path):
		file.Fail(r.Place, err.Error(), "")
	case err != nil:
		file.Fail(r.Place, err.Error(), "the path starts at the configuration file")
	case r.Patches:
		for _, err := range patch.Check(fsys, r.Path) {
			file.Fail(r.Place, err.Error(), fault.HintOf(err))
		}
	}
}
