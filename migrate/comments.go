package migrate

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// comments are those in a stretch of the text that is not in one of the nodes
// within, each from its "#" to the end of its line. A "#" in a value starts none.
func (d *document) comments(start, end int, nodes ...*yaml.Node) []string {
	var values []span // where a "#" is text
	var visit func(n *yaml.Node)
	visit = func(n *yaml.Node) {
		s, written := d.spans[n]
		if !written {
			return
		}
		if n.Kind == yaml.ScalarNode {
			if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
				s.body = min(d.src.nextLine(s.body), s.end) // a comment may be behind its header
			}
			if s.body < s.end {
				values = append(values, span{body: s.body, end: s.end})
			}
		}
		for _, child := range n.Content {
			visit(child)
		}
	}
	for _, n := range nodes {
		visit(n)
	}
	slices.SortFunc(values, func(a, b span) int { return a.body - b.body })
	var list []string
	for at := start; at < end; at++ {
		for len(values) > 0 && values[0].end <= at {
			values = values[1:]
		}
		if len(values) > 0 && at >= values[0].body {
			at = values[0].end - 1
			continue
		}
		if d.src.text[at] == '#' && (at == 0 || strings.IndexByte(" \t\r\n,[]{}:\"'", d.src.text[at-1]) >= 0) {
			lineEnd := d.src.lineEnd(at)
			list = append(list, strings.TrimRight(string(d.src.text[at:lineEnd]), " \t"))
			at = lineEnd
		}
	}
	return list
}

// removed are the comments in what edits take away of an entry.
func (d *document) removed(h hit, edits []edit) []string {
	var list []string
	for _, e := range edits {
		list = append(list, d.comments(e.start, e.end, h.key, h.written)...)
	}
	return list
}

// above gives the edit that writes comments as lines above the field of the
// document that a node is in, for there is no place for a line inside of what has
// braces. It is false if there is none above it either.
func (d *document) above(n *yaml.Node, path string, comments []string) ([]edit, bool) {
	if len(comments) == 0 {
		return nil, true
	}
	at := d.root
	if top := d.top(n); top != nil && !isFlow(d.root) {
		at = top
	}
	if !d.ready(at) {
		return nil, false
	}
	start := d.spans[at].start
	margin := d.src.before(start)
	if strings.Trim(margin, " ") != "" {
		d.byHand(n, path, "a comment of it has no place: there is no line to put it on")
		return nil, false
	}
	start = d.src.lineStart(start)
	var b strings.Builder
	for _, c := range comments {
		b.WriteString(margin + c + d.eol)
	}
	return []edit{{start, start, b.String()}}, true
}

// hasComments tells whether comments stand on the lines of an entry of a block
// mapping, or right above it, which would mean nothing without it.
func (d *document) hasComments(h hit) bool {
	if isFlow(h.parent) || !d.ready(h.key, h.written) {
		return false
	}
	start, end, _ := d.region(h.key, h.written)
	head, _ := d.head(h.key)
	return len(d.comments(start, end, h.key, h.written)) > 0 || len(head) > 0
}

// head are the comment lines right above a key, at its indentation, and where they
// start.
func (d *document) head(key *yaml.Node) (list []string, start int) {
	start = d.src.lineStart(d.spans[key].start)
	indent := d.src.before(d.spans[key].start)
	for start > 0 {
		above := d.src.lineStart(start - 1)
		rest, found := strings.CutPrefix(d.src.after(above), indent)
		if !found || !strings.HasPrefix(rest, "#") {
			break
		}
		list = append(list, rest)
		start = above
	}
	slices.Reverse(list)
	return list, start
}
