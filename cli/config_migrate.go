package cli

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"

	textdiff "github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/kubejoin/kubejoin/apis/load"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/migrate"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/host"
	"github.com/kubejoin/kubejoin/reconcile/report"
	"github.com/kubejoin/kubejoin/reconcile/session"
)

// migrateFlags are those of config migrate; the first two are kubeadm's.
type migrateFlags struct {
	oldConfig, newConfig, config, to string
	write, diff                      bool
}

func newConfigMigrate(g *globals) *cobra.Command {
	f := &migrateFlags{}
	c := &cobra.Command{
		Use:   "migrate -f join.yaml",
		Short: "Bring a configuration file to another version, and keep its comments",
		Long: `Bring every kubeadm document of a file to another version, and print the file.

Only what the version changes is edited: comments, blank lines, order, quoting,
anchors and all other documents stay byte for byte. No default and nothing of this
machine gets in. Every change and every loss is listed on standard error; what
a newer version has no place for stays as a comment. An older version is refused
where it would lose something, and so is a file that its own version cannot read:
with unknown or duplicate fields, for example, or two documents of a kind.`,
		Example: `  kubejoin config migrate -f join.yaml --diff
  kubejoin config migrate -f join.yaml -w
  kubejoin config migrate --old-config old.yaml --new-config new.yaml
  kubejoin config migrate -f - --to v1beta3 < join.yaml`,
		Args: noArgs,
	}
	fs := c.Flags()
	fs.VarP(&oneFile{name: &f.config}, "config", "f", `file to migrate; "-" is standard input`)
	fs.Var(&oneFile{name: &f.oldConfig}, "old-config", "the same, as kubeadm calls it")
	fs.Var(&oneFile{name: &f.newConfig}, "new-config", `file to write (default: standard output, "-")`)
	fs.BoolVarP(&f.write, "write", "w", false, "write the file in place; it keeps its mode and owner")
	fs.StringVar(&f.to, "to", migrate.Default, "version to migrate to: "+strings.Join(migrate.Versions(), ", "))
	fs.BoolVar(&f.diff, "diff", false, "print the difference, with secrets hidden, instead of the file")
	fs.SortFlags = false
	withoutEffect(c, "allow-experimental-api")
	c.RunE = func(c *cobra.Command, _ []string) error { return f.run(g, c) }
	return c
}

// check gives the file to read and the one to write; "" is standard output.
func (f *migrateFlags) check() (from, into string, err error) {
	from, into = f.config, f.newConfig
	if from == "" {
		from = f.oldConfig
	}
	wrong := func(format string, args ...any) (string, string, error) {
		return "", "", fault.New(fault.InvalidConfig, format, args...)
	}
	switch {
	case from == "":
		return "", "", fault.New(fault.InvalidConfig, "there is no configuration").WithHint("give a file with -f, or - for standard input")
	case f.config != "" && f.oldConfig != "":
		return wrong("--config and --old-config are the same: give one of them")
	case f.write && f.newConfig != "":
		return wrong("--write and --new-config exclude each other")
	case f.write && from == "-":
		return wrong("--write: standard input cannot be written in place")
	case f.write:
		into = from
	case into == "-":
		into = ""
	}
	return from, into, nil
}

func (f *migrateFlags) run(g *globals, c *cobra.Command) error {
	from, into, err := f.check()
	if err != nil {
		return err
	}
	to, err := migrate.Version(f.to)
	if err != nil {
		return quoting(err)
	}
	name, data, err := session.ReadConfiguration(c.Context(), from, c.InOrStdin())
	if err != nil {
		return err
	}
	result, err := migrate.Migrate(name, data, to)
	if err != nil {
		return err
	}
	difference := ""
	if f.diff {
		difference = diff(name, result.Parts)
	}
	if into != "" && (!f.write || len(result.Changes)+len(result.Losses) > 0) {
		if err := (host.Local{}).WriteFile(into, result.Data); err != nil {
			return fault.New(fault.Preflight, "cannot write: %w", err).At(into).WithHint("the file is as it was; look at its permissions and those of its directory")
		}
	}
	p := g.printer()
	if report.Format(g.output) == report.JSON {
		fields := map[string]any{
			"file": name, "to": migrate.Group + "/" + to, "documents": result.Documents,
			"changes": items(result.Changes), "losses": items(result.Losses), "left": lefts(result.Left),
		}
		if f.diff {
			fields["diff"] = difference
		}
		p.Object("migration", fields)
		return nil
	}
	switch {
	case f.diff:
		p.Document([]byte(difference))
	case into == "":
		p.Document(result.Data)
	}
	f.summarize(p, name, to, result)
	return nil
}

// summarize lists what was done on standard error.
func (f *migrateFlags) summarize(p *report.Printer, name, to string, result *migrate.Result) {
	for _, change := range result.Changes {
		p.Note(reconcile.SeverityInfo, "%s", change)
	}
	for _, left := range result.Left {
		p.Note(reconcile.SeverityWarning, "%s", left)
	}
	for _, loss := range result.Losses {
		p.Note(reconcile.SeverityWarning, "lost: %s", loss)
	}
	if to == "v1" && result.Documents > 0 {
		p.Note(reconcile.SeverityWarning, "%s: kubeadm 1.37 calls v1 experimental, and its join refuses it", name)
	}
	switch {
	case result.Documents == 0:
		p.Note(reconcile.SeverityInfo, "%s: nothing to migrate: there is no document of %s", name, migrate.Group)
	case len(result.Changes)+len(result.Losses) == 0:
		p.Note(reconcile.SeverityInfo, "%s: nothing to migrate: it is %s", name, to)
	}
}

// item is a change or a loss in JSON.
type item struct {
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
}

func items[T migrate.Change | migrate.Loss](list []T) []item {
	out := make([]item, len(list))
	for i, element := range list {
		c := migrate.Change(element)
		out[i] = item{c.Pos.Line, c.Pos.Column, c.Path, c.Text}
	}
	return out
}

func lefts(list []load.Problem) []item {
	out := make([]item, len(list))
	for i, p := range list {
		out[i] = item{p.Pos.Line, p.Pos.Column, p.Path, p.Message}
	}
	return out
}

// diff shows what changed, without secrets and without characters that drive a
// terminal. Its time is linear but for a logarithm.
func diff(name string, parts []migrate.Part) string {
	// Lines of different documents are never held against each other, nor are those
	// of one that did not change: each is told from the others by a mark at its end.
	var before, after bytes.Buffer
	for i, p := range parts {
		same := bytes.Equal(p.Before, p.After)
		shownBefore, shownAfter := p.Shown()
		mark := func(to *bytes.Buffer, text []byte) {
			line := 0
			for text := range bytes.Lines(text) {
				text, ended := bytes.CutSuffix(text, []byte("\n"))
				to.Write(bytes.TrimSuffix(text, []byte("\r")))
				if !ended {
					continue // cut at another line break
				}
				if same {
					line++
				}
				fmt.Fprintf(to, "\x00%d.%d\n", i, line)
			}
		}
		mark(&before, shownBefore)
		mark(&after, shownAfter)
	}
	hunks := textdiff.Diff(name, before.Bytes(), name, after.Bytes())
	_, hunks, _ = bytes.Cut(hunks, []byte("\n")) // the command line
	lines := strings.Split(string(hunks), "\n")
	// What a line is, "+" for instance, could pass for a part of a secret.
	signs := make([]string, len(lines))
	for i, line := range lines {
		if end := strings.LastIndexByte(line, 0); end >= 0 {
			line = line[:end]
		}
		end := min(1, len(line))
		signs[i], lines[i] = line[:end], line[end:]
	}
	lines = strings.Split(migrate.Redact(strings.Join(lines, "\n")), "\n")
	for i, line := range lines {
		lines[i] = signs[i] + strings.Map(printable, line)
	}
	return strings.Join(lines, "\n")
}

func printable(r rune) rune {
	if r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
		return '\uFFFD'
	}
	return r
}
