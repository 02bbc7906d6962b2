package cli

import (
	"runtime"

	"github.com/spf13/cobra"

	"github.com/kubejoin/kubejoin/reconcile/report"
)

// version is set when the binary is linked; see the Makefile.
var version = "devel"

func userAgent() string { return "kubejoin/" + version }

func newVersion(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			p := g.printer()
			if report.Format(g.output) == report.JSON {
				p.Object("version", map[string]any{
					"version": version, "goVersion": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
				})
				return nil
			}
			p.Line("kubejoin %s (%s, %s/%s)", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
}
