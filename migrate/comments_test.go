package migrate

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// TestCommentsStay writes comments wherever YAML allows them, each with a mark, and
// looks for the marks afterwards: every one is there once.
func TestCommentsStay(t *testing.T) {
	marks := regexp.MustCompile(`T\d\d\dT`)
	migrated := 0
	for seed := range uint64(1500) {
		g := &generator{Rand: rand.New(rand.NewPCG(seed, 0))}
		in, to := g.file()
		if seed%5 == 0 {
			in = strings.ReplaceAll(in, "\n", "\r\n")
		}
		if seed%7 == 0 {
			in = strings.TrimRight(in, "\r\n")
		}
		result, err := lenient("in.yaml", []byte(in), to)
		if err != nil {
			checkError(t, err)
			continue
		}
		migrated++
		before, after := marks.FindAllString(in, -1), marks.FindAllString(string(result.Data), -1)
		slices.Sort(before)
		slices.Sort(after)
		if !slices.Equal(before, after) {
			t.Fatalf("seed %d: comments %v became %v:\n%s\nto %s:\n%s", seed, before, after, in, to, result.Data)
		}
		checkTwice(t, result.Data, to)
		if t.Failed() {
			t.Fatalf("seed %d:\n%s", seed, in)
		}
	}
	if migrated < 1495 {
		t.Errorf("only %d files were migrated", migrated)
	}
}

// generator writes files with all that moves between the versions.
type generator struct {
	*rand.Rand
	marks   int
	density float64 // of the comments
	indent  string
	flow    float64 // how often a mapping has braces
	out     strings.Builder
}

// pair is one entry of a generated mapping; a value is a string, a []pair, or a
// [][]pair.
type pair struct {
	name  string
	value any
}

func (g *generator) chance(p float64) bool { return g.Float64() < p }

// mark is a comment, or nothing.
func (g *generator) mark(before string) string {
	if !g.chance(g.density) {
		return ""
	}
	g.marks++
	return fmt.Sprintf("%s# T%03dT", before, g.marks)
}

// file is a text and the version to migrate it to.
func (g *generator) file() (text, to string) {
	g.density = []float64{.2, .5, .9}[g.IntN(3)]
	g.indent = []string{"  ", "    ", "   "}[g.IntN(3)]
	g.flow = []float64{0, .15, .5}[g.IntN(3)]
	documents, to := g.older(), "v1beta4"
	if g.chance(.5) {
		documents, to = g.newer(), "v1beta3"
	}
	g.Shuffle(len(documents), func(i, j int) { documents[i], documents[j] = documents[j], documents[i] })
	for i, doc := range documents {
		if i > 0 {
			g.out.WriteString("---\n")
		}
		g.line("", g.mark(""))
		if g.chance(g.flow / 4) {
			g.out.WriteString(g.braces(doc, "") + g.mark(" ") + "\n")
		} else {
			g.mapping(g.mixed(doc), "")
		}
		g.line("", g.mark(""))
	}
	return g.out.String(), to
}

func (g *generator) mixed(fields []pair) []pair {
	fields = slices.Clone(fields)
	g.Shuffle(len(fields), func(i, j int) { fields[i], fields[j] = fields[j], fields[i] })
	return fields
}

// some leaves out each field with a chance of its own.
func (g *generator) some(p float64, fields ...pair) []pair {
	return slices.DeleteFunc(g.mixed(fields), func(pair) bool { return !g.chance(p) })
}

func (g *generator) older() [][]pair {
	version := []string{"v1beta1", "v1beta2", "v1beta3"}[g.IntN(3)]
	head := func(kind string) []pair { return []pair{{"apiVersion", Group + "/" + version}, {"kind", kind}} }
	args := g.some(.7, pair{"v", `"5"`}, pair{"node-ip", "10.0.0.7"}, pair{"feature-gates", `"A=true,B=false"`})
	token := []pair{{"token", "abcdef.0123456789abcdef"}, {"apiServerEndpoint", `"10.0.0.1:6443"`}, {"unsafeSkipCAVerification", "true"}}
	documents := [][]pair{append(head("JoinConfiguration"),
		pair{"discovery", append(g.some(.8, pair{"bootstrapToken", g.mixed(token)}), pair{"timeout", "3m0s"})},
		pair{"nodeRegistration", g.mixed([]pair{{"name", "a"}, {"kubeletExtraArgs", args}})})}
	if g.chance(.7) {
		cluster := append(head("ClusterConfiguration"), pair{"apiServer", g.some(.7,
			pair{"timeoutForControlPlane", []string{"4m0s", "6m"}[g.IntN(2)]}, pair{"extraArgs", args}, pair{"certSANs", "[a, b]"})})
		if version != "v1beta3" {
			cluster = append(cluster, g.some(.6, pair{"useHyperKubeImage", "true"},
				pair{"dns", append(g.some(.5, pair{"imageTag", `"1"`}), pair{"type", "CoreDNS"})})...)
		}
		documents = append(documents, cluster)
	}
	if g.chance(.6) {
		documents = append(documents, append(head("InitConfiguration"), pair{"nodeRegistration", []pair{{"name", "b"}}}))
	}
	if version != "v1beta3" && g.chance(.3) {
		documents = append(documents, append(head("ClusterStatus"), pair{"apiEndpoints", []pair{{"m1", []pair{{"advertiseAddress", "1.2.3.4"}}}}}))
	}
	return documents
}

func (g *generator) newer() [][]pair {
	version := []string{"v1beta4", "v1"}[g.IntN(2)]
	head := func(kind string) []pair { return []pair{{"apiVersion", Group + "/" + version}, {"kind", kind}} }
	args := func() (items [][]pair) {
		for _, name := range []string{"v", "node-ip", "feature-gates"} {
			item := []pair{{"name", name}, {"value", `"5"`}}
			if version == "v1" && g.chance(.4) {
				item = append(item, pair{"mergeMethod", "replace"})
			}
			items = append(items, g.mixed(item))
		}
		return items
	}
	documents := [][]pair{append(head("JoinConfiguration"),
		pair{"discovery", []pair{{"file", []pair{{"kubeConfigPath", "/x"}}}}},
		pair{"timeouts", append(g.some(.5, pair{"tlsBootstrap", "5m0s"}), pair{"discovery", "3m0s"})},
		pair{"nodeRegistration", g.mixed([]pair{{"name", "a"}, {"kubeletExtraArgs", args()}, {"imagePullSerial", "true"}})},
		pair{"dryRun", "false"})}
	if g.chance(.6) {
		documents = append(documents,
			append(head("ClusterConfiguration"), pair{"apiServer", g.some(.7, pair{"extraArgs", args()}, pair{"certSANs", "[a]"})}),
			append(head("InitConfiguration"), pair{"timeouts", []pair{{"controlPlaneComponentHealthCheck", "10m"}}}))
	}
	return documents
}

// line writes a line that is not empty.
func (g *generator) line(margin, text string) {
	if text != "" {
		g.out.WriteString(margin + text + "\n")
	}
}

// rest is what may stand on a line of its own above a field.
func (g *generator) rest(margin string) {
	for range g.IntN(3) {
		if g.chance(.3) {
			g.out.WriteString("\n")
		}
		g.line([]string{margin, margin, margin + " ", ""}[g.IntN(4)], g.mark(""))
	}
}

func (g *generator) mapping(fields []pair, margin string) {
	for i, f := range fields {
		if i > 0 || margin != "" {
			g.rest(margin)
		}
		g.field(f, margin, margin)
	}
}

func (g *generator) field(f pair, margin, inner string) {
	key := []string{f.name, f.name, `"` + f.name + `"`, "'" + f.name + "'"}[g.IntN(4)] + ":"
	switch value := f.value.(type) {
	case string:
		switch {
		case g.chance(.1): // on a line of its own
			g.out.WriteString(margin + key + g.mark(" ") + "\n")
			g.line(inner+g.indent, g.mark(""))
			g.out.WriteString(inner + g.indent + value + g.mark(" ") + "\n")
		case g.chance(.1) && (f.name == "value" || f.name == "v" || f.name == "node-ip"):
			g.out.WriteString(margin + key + " >-" + g.mark(" ") + "\n" + inner + g.indent + strings.Trim(value, `"`) + "\n")
		default:
			g.out.WriteString(margin + key + []string{" ", "  "}[g.IntN(2)] + value + g.mark(" ") + "\n")
		}
	case []pair:
		if len(value) == 0 || g.chance(g.flow) {
			g.out.WriteString(margin + key + " " + g.braces(value, inner) + g.mark(" ") + "\n")
			return
		}
		g.out.WriteString(margin + key + g.mark(" ") + "\n")
		g.mapping(value, inner+g.indent)
		g.line(inner+g.indent, g.mark(""))
	case [][]pair:
		g.out.WriteString(margin + key + g.mark(" ") + "\n")
		list := inner + []string{"", g.indent}[g.IntN(2)]
		for _, item := range value {
			g.line(list, g.mark(""))
			switch {
			case g.chance(g.flow):
				g.out.WriteString(list + "- " + g.braces(item, list+"  ") + g.mark(" ") + "\n")
			case g.chance(.2): // below the dash
				g.out.WriteString(list + "-" + g.mark(" ") + "\n")
				g.mapping(item, list+"  ")
			default:
				for i, f := range item {
					g.field(f, list+[]string{"  ", "- "}[min(1, max(0, 1-i))], list+"  ")
					g.line(list+"  ", g.mark(""))
				}
			}
		}
	}
}

// braces writes a mapping in flow style, perhaps over several lines.
func (g *generator) braces(fields []pair, margin string) string {
	var items []string
	for _, f := range fields {
		switch value := f.value.(type) {
		case []pair:
			items = append(items, f.name+": "+g.braces(value, margin+"  "))
		case [][]pair:
			var list []string
			for _, item := range value {
				list = append(list, g.braces(item, margin+"  "))
			}
			items = append(items, f.name+": ["+strings.Join(list, ", ")+"]")
		default:
			items = append(items, fmt.Sprint(f.name, ": ", value))
		}
	}
	if g.chance(.6) {
		return "{" + strings.Join(items, ", ") + "}"
	}
	text := "{" + g.mark(" ") + "\n"
	for i, item := range items {
		if comment := g.mark(""); comment != "" {
			text += margin + "  " + comment + "\n"
		}
		text += margin + "  " + item
		if i+1 < len(items) {
			text += ","
		}
		text += g.mark(" ") + "\n"
	}
	return text + margin + "}"
}

// TestCommentsOfCases: what the parser takes for a comment in the golden files is in
// the result, too.
func TestCommentsOfCases(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*/in.*")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, input := range inputs {
		data, err := os.ReadFile(input)
		if err != nil {
			t.Fatal(err)
		}
		for _, to := range Versions() {
			result, err := lenient("in.yaml", data, to)
			if err != nil {
				continue
			}
			seen += checkComments(t, data, result.Data)
		}
	}
	if seen < 100 {
		t.Errorf("only %d comments were seen", seen)
	}
}

// checkComments looks for all comments of a text in what became of it, and counts
// them.
func checkComments(t *testing.T, before, after []byte) int {
	t.Helper()
	list := commentsOf(before)
	for _, c := range list {
		if !bytes.Contains(after, []byte(c)) {
			t.Errorf("the comment %q is lost:\n%s\nbecame:\n%s", c, before, after)
		}
	}
	return len(list)
}

// commentsOf are those that the parser hands out, line by line.
func commentsOf(text []byte) []string {
	var list []string
	for _, c := range split(text) {
		root, problem := parse("", c)
		if problem != nil || root == nil {
			continue
		}
		var visit func(n *yaml.Node)
		visit = func(n *yaml.Node) {
			for line := range strings.Lines(n.HeadComment + "\n" + n.LineComment + "\n" + n.FootComment) {
				if line = strings.TrimSpace(line); strings.HasPrefix(line, "#") {
					list = append(list, line)
				}
			}
			for _, child := range n.Content {
				visit(child)
			}
		}
		visit(root)
	}
	return list
}
