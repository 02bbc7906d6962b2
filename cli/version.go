package cli

import (
	"runtime"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kubejoin/kubejoin/apis/load"
	"github.com/kubejoin/kubejoin/reconcile/report"
	"github.com/kubejoin/kubejoin/reconcile/staticpod"
)

// version is set when the binary is linked; see the Makefile.
var version = "devel"

func userAgent() string { return "kubejoin/" + version }

func newVersion(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version, and with -o json what it supports",
		Long: `Print the version. With -o json also the minor versions of Kubernetes whose clusters
it joins control planes to, and the versions of kubeadm's configuration that it reads.`,
		Example: `  kubejoin version
  kubejoin version -o json`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			p := g.printer()
			if report.Format(g.output) == report.JSON {
				p.Object("version", map[string]any{
					"version": version, "goVersion": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
					"kubernetes": staticpod.Supported(), "configurations": configurations(),
				})
				return nil
			}
			p.Line("kubejoin %s (%s, %s/%s)", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
}

// configurations are the versions of kubeadm's configuration that can be read.
func configurations() []string {
	var out []string
	for _, k := range load.Kinds() {
		if !slices.Contains(out, k.APIVersion) {
			out = append(out, k.APIVersion)
		}
	}
	return out
}
