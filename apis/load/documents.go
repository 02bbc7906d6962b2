package load

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"
)

const (
	// maxDepth bounds nesting; the deepest field of any kind is at 8.
	maxDepth = 100
	// maxDocuments bounds the documents of one file. They are read one after the
	// other, so that many of them cost time and no memory.
	maxDocuments = 10_000
	// maxMarks bounds the characters in one document that can start a value, and
	// so the memory that the parser needs: about half a KiB for each of them.
	maxMarks = 250_000
	// maxAliased bounds the values that all aliases of a document expand to.
	maxAliased = 100_000
)

// document is one YAML document that is not empty.
type document struct {
	root       *yaml.Node
	apiVersion string
	kind       string
}

// group is the API group; "" is the core group.
func (d document) group() string {
	group, _, found := strings.Cut(d.apiVersion, "/")
	if !found {
		return ""
	}
	return group
}

// eachDocument parses a file and visits its documents. Those with nothing but
// comments are left out. It stops at the first syntax error, because what follows
// one is guesswork, and gives what is wrong with the documents that it could not
// visit.
func eachDocument(file string, data []byte, visit func(document)) Problems {
	return eachDocumentAfter(0, file, data, visit)
}

// Form says what keeps a part of a file from being read as documents that have an
// apiVersion and a kind; before is how many lines of the file are before it.
func Form(file string, before int, data []byte) Problems {
	problems := eachDocumentAfter(before, file, data, func(document) {})
	for i := range problems {
		if problems[i].Pos.Line > 0 {
			problems[i].Pos.Line += before
		}
	}
	return problems
}

// eachDocumentAfter is eachDocument for a part of a file. Positions are those in
// the part, but for the ones in texts.
func eachDocumentAfter(before int, file string, data []byte, visit func(document)) Problems {
	var problems Problems
	if isUTF16(data) {
		problems.add(Position{File: file}, "", "the file is UTF-16 text", "save it as UTF-8")
		return problems
	}
	if tooManyMarks(data) {
		problems.add(Position{File: file}, "", "the file has too many lines and values to be a configuration", "")
		return problems
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data), yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth))))
	if err != nil {
		problems.add(Position{File: file}, "", err.Error(), "")
		return problems
	}
	for range maxDocuments {
		var node yaml.Node
		switch err := loader.Load(&node); {
		case errors.Is(err, io.EOF):
			return problems
		case err != nil:
			syntaxProblem(before, file, data, err, &problems)
			return problems
		}
		root := node.Content[0]
		if isNull(root) {
			continue
		}
		before := len(problems)
		checkAliases(file, root, &problems)
		if len(problems) > before {
			continue
		}
		if doc, ok := identify(file, root, &problems); ok {
			visit(doc)
		}
	}
	problems = nil // of documents that are not meant for this program
	problems.add(Position{File: file}, "", fmt.Sprintf("the file has more than %d documents", maxDocuments), "")
	return problems
}

// isUTF16 looks for the mark at the start of UTF-16 text, or for an ASCII character
// in it. The YAML parser would read it, but nothing else that reads configurations
// does.
func isUTF16(data []byte) bool {
	return len(data) > 1 && (data[0] == 0xFE && data[1] == 0xFF || data[0] == 0xFF && data[1] == 0xFE ||
		data[0] == 0 && data[1] != 0 || data[0] != 0 && data[1] == 0)
}

// tooManyMarks counts for each document by itself. A line that starts with "---"
// always begins a new one: YAML allows it nowhere else.
func tooManyMarks(data []byte) bool {
	marks := 0
	for line := range bytes.Lines(data) {
		if bytes.HasPrefix(line, []byte("---")) {
			marks = 0
		}
		for _, c := range line {
			switch c {
			case '\n', ',', ':', '-', '?', '[', '{':
				marks++
			}
		}
		if marks > maxMarks {
			return true
		}
	}
	return false
}

// identify reads apiVersion and kind.
func identify(file string, root *yaml.Node, problems *Problems) (document, bool) {
	pos := position(file, root)
	if root.Kind != yaml.MappingNode {
		problems.add(pos, "", "expected a document with apiVersion and kind, got "+describe(root), "")
		return document{}, false
	}
	doc := document{root: root}
	var missing []string
	for _, id := range []struct {
		name  string
		value *string
	}{{"apiVersion", &doc.apiVersion}, {"kind", &doc.kind}} {
		for _, f := range fields(root) {
			value := resolve(f.value)
			if f.key.Value != id.name || isNull(value) {
				continue
			}
			if !isString(value) {
				problems.add(position(file, f.value), id.name, "expected string, got "+describe(value), "")
				return document{}, false
			}
			*id.value = value.Value
		}
		if *id.value == "" {
			missing = append(missing, id.name)
		}
	}
	if len(missing) > 0 {
		problems.add(pos, "", "the document has no "+strings.Join(missing, " and no "),
			`a configuration starts with "apiVersion: `+current+`" and "kind: JoinConfiguration"`)
		return document{}, false
	}
	return doc, true
}

// syntaxProblem turns the parser's error into a problem.
func syntaxProblem(before int, file string, data []byte, err error, problems *Problems) {
	var loadErr *yaml.LoadError
	if !errors.As(err, &loadErr) {
		problems.add(Position{File: file}, "", "not valid YAML: "+err.Error(), "")
		return
	}
	pos := Position{file, loadErr.Mark.Line, loadErr.Mark.Column}
	message, hint := loadErr.Message, ""
	switch {
	case pos.Line == 0:
		// The reader, which sees bytes that are not text, gives no position.
		pos.Line, pos.Column = firstNonText(data)
		problems.add(pos, "", "not a text file: "+message, "")
		return
	case strings.HasPrefix(message, "exceeded max depth"):
		message = fmt.Sprintf("nested deeper than %d levels", maxDepth)
	case indentedWithTab(data, pos.Line):
		message, hint = "a tab cannot be used for indentation", "use spaces"
	case loadErr.ContextMsg != "":
		message = loadErr.ContextMsg + ": " + message
		if context := loadErr.ContextMark; context.Line > 0 && context.Line != pos.Line {
			hint = fmt.Sprintf("it starts at line %d, column %d", before+context.Line, context.Column)
		}
	}
	switch template := hasTemplate(data, pos.Line); {
	case indentedWithTab(data, pos.Line):
	case template, hint == "" && hasTemplate(data, loadErr.ContextMark.Line):
		hint = notRendered
	}
	problems.add(pos, "", "not valid YAML: "+message, hint)
}

// firstNonText finds the line and column of the first byte that YAML does not
// allow.
func firstNonText(data []byte) (line, column int) {
	line, column = 1, 1
	for len(data) > 0 {
		r, size := utf8.DecodeRune(data)
		switch {
		case r == utf8.RuneError && size == 1, r < ' ' && r != '\t' && r != '\n' && r != '\r':
			return line, column
		case r == '\n':
			line, column = line+1, 0
		}
		column++
		data = data[size:]
	}
	return line, column
}

func indentedWithTab(data []byte, line int) bool {
	for range line - 1 {
		_, rest, found := bytes.Cut(data, []byte("\n"))
		if !found {
			return false
		}
		data = rest
	}
	text := bytes.TrimLeft(data, " ")
	return len(text) > 0 && text[0] == '\t'
}

// checkAliases reports a document whose aliases expand to very much, or to
// themselves. Everything else may follow aliases without a second thought. It
// takes linear time: an anchor always comes before its aliases, so that its size
// is known when an alias is met, unless the alias is inside.
func checkAliases(file string, root *yaml.Node, problems *Problems) {
	const unfinished = -1
	sizes := map[*yaml.Node]int{}
	aliased, reported := 0, false
	var size func(n *yaml.Node) int
	size = func(n *yaml.Node) int {
		if reported {
			return 0
		}
		if n.Kind == yaml.AliasNode {
			target := sizes[n.Alias]
			if target == unfinished {
				problems.add(position(file, n), "", fmt.Sprintf("the alias *%s is inside of what it refers to", n.Value), "")
				reported = true
				return 0
			}
			if aliased += target; aliased > maxAliased {
				problems.add(position(file, n), "", fmt.Sprintf("aliases expand to more than %d values", maxAliased), "")
				reported = true
			}
			return target
		}
		if n.Anchor != "" {
			sizes[n] = unfinished
		}
		total := 1
		for _, child := range n.Content {
			total += size(child)
		}
		if n.Anchor != "" {
			sizes[n] = total
		}
		return total
	}
	size(root)
}

// entry is one key of a mapping and its value. merged says that it came through
// a merge key.
type entry struct {
	key, value *yaml.Node
	merged     bool
}

// fields gives the entries of a mapping in an order in which later ones win:
// what is merged comes first, and of several merged mappings the first one
// wins. The document must have passed checkAliases.
func fields(n *yaml.Node) []entry {
	var merged, own []entry
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if !isMerge(key) {
			own = append(own, entry{key: key, value: value})
			continue
		}
		sources := []*yaml.Node{value}
		if list := resolve(value); list.Kind == yaml.SequenceNode {
			sources = list.Content
		}
		for j := len(sources) - 1; j >= 0; j-- {
			if source := resolve(sources[j]); source.Kind == yaml.MappingNode {
				for _, f := range fields(source) {
					merged = append(merged, entry{f.key, f.value, true})
				}
			}
		}
	}
	return append(merged, own...)
}

func isMerge(key *yaml.Node) bool { return key.ShortTag() == "!!merge" }

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// isString counts what only YAML takes for a date as text, as YAML 1.1 parsers
// of Kubernetes do.
func isString(n *yaml.Node) bool {
	if n.Kind != yaml.ScalarNode {
		return false
	}
	switch n.ShortTag() {
	case "!!str", "!!timestamp", "!!merge":
		return true
	}
	return false
}

// resolve follows an alias. An alias never points to another one.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// notRendered is the hint on what other programs should have replaced.
const notRendered = "this looks like a template that was not rendered"

// isTemplate tells whether a value is what YAML makes of {{ name }}.
func isTemplate(n *yaml.Node) bool {
	return n.Kind == yaml.MappingNode && n.Style&yaml.FlowStyle != 0 && len(n.Content) == 2 &&
		n.Content[0].Kind == yaml.MappingNode && n.Content[0].Style&yaml.FlowStyle != 0
}

// hasTemplate tells whether a line has the braces of a template.
func hasTemplate(data []byte, line int) bool {
	line-- // from 0
	for text := range bytes.Lines(data) {
		if line == 0 {
			return bytes.Contains(text, []byte("{{")) || bytes.Contains(text, []byte("{%"))
		}
		line--
	}
	return false
}

// describe names the type of a value without showing the value.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "mapping"
	case yaml.SequenceNode:
		return "list"
	}
	switch tag := n.ShortTag(); tag {
	case "!!str", "!!timestamp", "!!merge":
		return "string"
	case "!!int", "!!float":
		return "number"
	case "!!bool":
		return "boolean"
	case "!!null":
		return "null"
	default:
		return "a value with the tag " + tag
	}
}

func position(file string, n *yaml.Node) Position {
	return Position{File: file, Line: n.Line, Column: n.Column}
}
