package migrate

import (
	"bytes"
	"errors"
	"strings"

	"go.yaml.in/yaml/v4"
)

// span is where a node is written: its anchor and tag start at start, what they
// belong to at body. A value that is not written has no length.
type span struct{ start, body, end int }

var errSpan = errors.New("the end of a value was not found")

// spans measures every node of a document: the parser only tells where they
// start.
func spans(src *source, root *yaml.Node) (map[*yaml.Node]span, error) {
	m := measure{source: src, spans: map[*yaml.Node]span{}}
	if _, err := m.node(root, -1); err != nil {
		return nil, err
	}
	return m.spans, nil
}

type measure struct {
	*source
	spans map[*yaml.Node]span
}

// node measures a node inside of a block collection with this indentation.
func (m *measure) node(n *yaml.Node, indent int) (span, error) {
	s := span{start: m.offset(n.Line, n.Column)}
	properties := s.start
	s.body = s.start
	for s.body < len(m.text) && (m.text[s.body] == '&' || m.text[s.body] == '!') {
		properties = s.body
		for properties < len(m.text) && m.text[properties] != ' ' && m.text[properties] != '\t' &&
			breakAt(m.text, properties) == 0 && !m.endsProperty(properties) {
			properties++
		}
		s.body = m.skipSpace(properties)
	}
	var err error
	switch n.Kind {
	case yaml.AliasNode:
		s.end = s.body + 1 + len(n.Value)
	case yaml.MappingNode, yaml.SequenceNode:
		s.end, err = m.collection(n, s.body, indent)
	case yaml.ScalarNode:
		switch {
		case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
			s.end = m.blockScalar(n, s.body, indent)
		case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
			s.end, err = m.quoted(s.body)
		case n.Value == "":
			s.body, s.end = properties, properties
		default:
			s.end, err = m.plain(n.Value, s.body)
		}
	}
	if err == nil && s.end > len(m.text) {
		err = errSpan
	}
	m.spans[n] = s
	return s, err
}

// endsProperty: an anchor or tag in a flow collection ends before an indicator,
// but a verbatim tag may hold one.
func (m *measure) endsProperty(i int) bool { return bytes.IndexByte([]byte(",[]{}"), m.text[i]) >= 0 }

// skipSpace goes to the next token.
func (m *measure) skipSpace(i int) int {
	for i < len(m.text) {
		if size := breakAt(m.text, i); size > 0 {
			i += size
			continue
		}
		switch m.text[i] {
		case ' ', '\t':
			i++
		case '#':
			i = m.lineEnd(i)
		default:
			return i
		}
	}
	return i
}

func (m *measure) collection(n *yaml.Node, body, indent int) (int, error) {
	flow := n.Style&yaml.FlowStyle != 0
	end := body
	if !flow && len(n.Content) > 0 {
		// A sequence starts with its first dash, a mapping with its first key.
		line, column := m.position(body)
		if indent = column - 1; n.Kind == yaml.MappingNode && n.Content[0].Line == line {
			indent = n.Content[0].Column - 1
		}
	}
	for _, child := range n.Content {
		s, err := m.node(child, indent)
		if err != nil {
			return 0, err
		}
		end = max(end, s.end)
	}
	if !flow || body >= len(m.text) || (m.text[body] != '{' && m.text[body] != '[') {
		return end, nil // of a single pair in a list, [a: b], too
	}
	for end = max(end, body+1); end < len(m.text); end++ {
		if end = m.skipSpace(end); end >= len(m.text) {
			break
		}
		switch m.text[end] {
		case ',', ':', '?':
		case '}', ']':
			return end + 1, nil
		default:
			return 0, errSpan
		}
	}
	return 0, errSpan
}

func (m *measure) quoted(body int) (int, error) {
	if body >= len(m.text) {
		return 0, errSpan
	}
	quote := m.text[body]
	for i := body + 1; i < len(m.text); i++ {
		switch {
		case quote == '"' && m.text[i] == '\\':
			i++
		case m.text[i] != quote:
		case quote == '\'' && i+1 < len(m.text) && m.text[i+1] == quote:
			i++
		default:
			return i + 1, nil
		}
	}
	return 0, errSpan
}

// plain follows the words of a value over the lines.
func (m *measure) plain(value string, i int) (int, error) {
	isSpace := func(r rune) bool { return strings.ContainsRune(" \t\r\n\u0085\u2028\u2029", r) }
	for n, word := range strings.FieldsFunc(value, isSpace) {
		for n > 0 && i < len(m.text) && (m.text[i] == ' ' || m.text[i] == '\t' || breakAt(m.text, i) > 0) {
			i += max(1, breakAt(m.text, i))
		}
		if !bytes.HasPrefix(m.text[i:], []byte(word)) {
			return 0, errSpan
		}
		i += len(word)
	}
	return i, nil
}

// blockScalar ends with its last line that is not blank, or with its blank lines
// where they count.
func (m *measure) blockScalar(n *yaml.Node, body, indent int) int {
	header, _, _ := strings.Cut(m.after(body), "#")
	width := 0 // of the content's indentation; 0 until it is known
	if i := strings.IndexAny(header, "123456789"); i >= 0 {
		width = max(indent, 0) + int(header[i]-'0')
	}
	end := m.lineEnd(body)
	if strings.Trim(n.Value, "\r\n") == "" {
		return end
	}
	for at := m.nextLine(body); at < len(m.text); at = m.nextLine(at) {
		line := m.after(at)
		text := strings.TrimLeft(line, " ")
		blank := strings.TrimRight(text, " \t") == ""
		spaces := len(line) - len(text)
		if width == 0 && !blank {
			width = max(spaces, 1)
		}
		if !blank && spaces < width {
			break
		}
		if !blank || strings.Contains(header, "+") || (width > 0 && len(line) > width) {
			end = m.lineEnd(at)
		}
	}
	return end
}
