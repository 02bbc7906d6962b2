package migrate

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// moved is a field on its way to another place.
type moved struct {
	source   *document
	head     []string // comment lines above it
	raw      string   // the value as it was written
	trailing string   // a comment behind it, with the space before
	node     *yaml.Node
}

// block is the field as lines of a block mapping.
func (m moved) block(indent, name, eol string) string {
	var b strings.Builder
	for _, line := range m.head {
		b.WriteString(indent + line + eol)
	}
	b.WriteString(indent + name + ": " + m.raw + m.trailing + eol)
	return b.String()
}

// region is where an entry of a block mapping stands: whole lines. It is false
// if it shares a line with something else.
func (d *document) region(key, value *yaml.Node) (start, end int, ok bool) {
	k, v := d.spans[key], d.spans[value]
	after := strings.TrimLeft(d.src.after(max(k.end, v.end)), " \t:")
	ok = strings.Trim(d.src.before(k.start), " ") == "" && (after == "" || after[0] == '#')
	return d.src.lineStart(k.start), d.src.nextLine(max(k.end, v.end)), ok
}

// cut gives the edits that take an entry out of its mapping; its comments stay.
func (d *document) cut(h hit) ([]edit, bool) {
	edits, ok := d.cutAll(h, "")
	if !ok {
		return nil, false
	}
	comments := d.removed(h, edits)
	if len(comments) == 0 {
		return edits, true
	}
	margin := d.src.before(d.spans[h.key].start)
	if isFlow(h.parent) || strings.Trim(margin, " -") != "" {
		more, ok := d.above(h.key, h.path, comments)
		return append(edits, more...), ok
	}
	start := d.src.lineStart(d.spans[h.key].start)
	lines := ""
	for _, c := range comments {
		lines += margin[:len(margin)-len(strings.TrimLeft(margin, " "))] + c + d.eol
	}
	if edits[0].start == start {
		edits[0].text = lines
		return edits, true
	}
	return append(edits, edit{start, start, lines}), true // above the dash
}

// cutAll is cut for an entry whose comments the caller keeps; instead replaces the
// lines that it stood on in a block mapping.
func (d *document) cutAll(h hit, instead string) ([]edit, bool) {
	if !d.ready(h.parent) || !d.ready(h.parent.Content...) {
		return nil, false
	}
	if d.usedOutside(h.key, h.written) {
		d.byHand(h.key, h.path, "an alias elsewhere refers to it")
		return nil, false
	}
	return d.cutOut(h, instead)
}

// cutOut is cutAll for an entry whose value stays in the document, with its anchor.
func (d *document) cutOut(h hit, instead string) ([]edit, bool) {
	key, value, index := h.key, h.written, h.index()
	if isFlow(h.parent) {
		return d.cutFlow(h), true
	}
	start, end, ok := d.region(key, value)
	if dash := d.src.before(d.spans[key].start); !ok && strings.Trim(dash, " -") == "" && index == 0 && len(h.parent.Content) > 2 {
		// The first entry of a list's item; the next one takes its place.
		start, end = d.spans[key].start, d.spans[h.parent.Content[2]].start
		return []edit{{start, end, ""}}, true
	}
	if !ok {
		d.byHand(key, h.path, "it shares its line with something else")
		return nil, false
	}
	edits := []edit{{start, end, instead}}
	if len(h.parent.Content) == 2 {
		// The mapping must not become null.
		s := d.spans[h.parent]
		at := s.start
		if s.start != s.body {
			at = s.start + len(strings.TrimRight(string(d.src.text[s.start:s.body]), " \t\r\n"))
			if strings.Contains(string(d.src.text[s.start:s.body]), "#") {
				d.byHand(key, h.path, "it is the only field, and there is a comment between")
				return nil, false
			}
		} else if owner := d.parents[h.parent]; owner != nil && owner.Kind == yaml.MappingNode {
			for i := 0; i+1 < len(owner.Content); i += 2 {
				if owner.Content[i+1] == h.parent {
					at, _ = d.colon(owner.Content[i])
				}
			}
		}
		if at >= start {
			d.byHand(key, h.path, "it is the only field")
			return nil, false
		}
		edits = append(edits, edit{at, at, " {}"})
	}
	return edits, true
}

func (d *document) cutFlow(h hit) []edit {
	m := measure{source: d.src}
	start, end := d.spans[h.key].start, max(d.spans[h.written].end, d.spans[h.key].end)
	if after, ok := d.colon(h.key); ok {
		end = max(end, after)
	}
	text := d.src.text
	comma := m.skipSpace(end)
	hasComma := comma < len(text) && text[comma] == ','
	var edits []edit
	if hasComma {
		end = comma + 1
	} else if index := h.index(); index > 0 {
		before := h.parent.Content[index-1]
		comma := m.skipSpace(max(d.spans[before].end, d.spans[h.parent.Content[index-2]].end))
		for comma < start && text[comma] != ',' { // the colon of an entry without a value
			comma = m.skipSpace(comma + 1)
		}
		if d.src.line(comma) == d.src.line(start) {
			return []edit{{comma, end, ""}}
		}
		edits = append(edits, edit{comma, comma + 1, ""})
	}
	switch {
	case strings.TrimSpace(d.src.before(start)) == "" && strings.TrimSpace(d.src.after(end)) == "":
		start, end = d.src.lineStart(start), d.src.nextLine(end)
	case hasComma:
		for end < len(text) && (text[end] == ' ' || text[end] == '\t') {
			end++
		}
	}
	return append(edits, edit{start, end, ""})
}

// usedOutside tells whether an anchor inside of the nodes has an alias elsewhere.
func (d *document) usedOutside(nodes ...*yaml.Node) bool {
	inside := map[*yaml.Node]bool{}
	var visit func(n *yaml.Node)
	visit = func(n *yaml.Node) {
		inside[n] = true
		for _, child := range n.Content {
			visit(child)
		}
	}
	for _, n := range nodes {
		visit(n)
	}
	for n := range inside {
		for _, alias := range d.aliases[n] {
			if !inside[alias] {
				return true
			}
		}
	}
	return false
}

// drop takes an entry out of its mapping in text and tree.
func (d *document) drop(h hit) {
	i := h.index()
	h.parent.Content = append(h.parent.Content[:i:i], h.parent.Content[i+2:]...)
}

// commentOut leaves an entry as a comment under a line that says why. In a file
// that is one JSON object it just goes.
func (d *document) commentOut(h hit, why string) bool {
	key, value := h.key, h.written
	if !d.ready(h.parent, key, value) || !d.ready(h.parent.Content...) {
		return false
	}
	indent := d.src.before(d.spans[key].start)
	var edits []edit
	var ok bool
	if !isFlow(h.parent) && strings.Trim(indent, " ") == "" {
		var b strings.Builder
		b.WriteString(indent + "# " + why + ":" + d.eol)
		start, end, _ := d.region(key, value)
		for at := start; at < end; at = d.src.nextLine(at) {
			line := string(d.src.text[at:d.src.nextLine(at)])
			if rest, found := strings.CutPrefix(line, indent); found && strings.TrimSpace(line) != "" {
				line = indent + "# " + rest
			} else {
				line = indent + "#" + line
			}
			b.WriteString(line)
		}
		edits, ok = d.cutAll(h, b.String())
	} else if edits, ok = d.cutAll(h, ""); ok {
		comments := d.removed(h, edits)
		if top := d.top(key); top != nil && !isFlow(d.root) {
			start, end := d.spans[key].start, max(d.spans[value].end, d.spans[key].end)
			text := string(d.src.text[start:end])
			was := []string{"# " + why + ": " + strings.Join(strings.Fields(text), " ")}
			inside := d.comments(start, end, key, value)
			if len(inside) > 0 { // which would end in the middle of the line
				was[0] = "# " + why + ":"
				for line := range strings.Lines(text) {
					was = append(was, "# "+strings.TrimSpace(line))
				}
			}
			comments = append(was, comments[len(inside):]...)
		}
		var more []edit
		more, ok = d.above(key, h.path, comments)
		edits = append(edits, more...)
	}
	if !ok || !d.add(edits...) {
		return false
	}
	d.drop(h)
	return true
}

// top is the key of the root's entry that a node is in.
func (d *document) top(n *yaml.Node) *yaml.Node {
	for d.parents[n] != nil && d.parents[n] != d.root {
		n = d.parents[n]
	}
	for i := 0; i+1 < len(d.root.Content); i += 2 {
		if d.root.Content[i] == n || d.root.Content[i+1] == n {
			return d.root.Content[i]
		}
	}
	return nil
}

// pick is an entry as it can be written elsewhere, with the comments that belong
// to it, and the start of them. It is false if it cannot be moved.
func (d *document) pick(h hit) (m moved, start int, ok bool) {
	key, value := h.key, h.written
	m = moved{source: d, raw: d.raw(value), node: value}
	start = d.src.lineStart(d.spans[key].start)
	if d.src.line(d.spans[value].start) != d.src.line(max(d.spans[value].start, d.spans[value].end-1)) ||
		strings.ContainsAny(m.raw, "#|>") || value.Kind == yaml.MappingNode || value.Kind == yaml.SequenceNode {
		d.byHand(value, h.path, "its value is not on one line")
		return m, 0, false
	}
	if isFlow(h.parent) {
		return m, start, true
	}
	m.trailing = strings.TrimRight(d.src.after(d.spans[value].end), " \t")
	m.head, start = d.head(key)
	return m, start, true
}

// take gives the edits that move an entry away with its comments.
func (d *document) take(h hit) (moved, []edit, bool) {
	m, start, ok := d.pick(h)
	if !ok {
		return m, nil, false
	}
	if !d.ready(h.parent.Content...) {
		return m, nil, false
	}
	edits, ok := d.cutOut(h, "")
	if !ok {
		return m, nil, false
	}
	comments := d.removed(h, edits)
	if !isFlow(h.parent) {
		if strings.Contains(m.trailing, "#") {
			comments = comments[:max(0, len(comments)-1)]
		}
		if len(m.head) > 0 {
			edits[0].start = start
		}
	}
	m.head = append(m.head, comments...)
	return m, edits, true
}

// lines are the comments where they cannot stand beside the field.
func (m moved) lines() []string {
	if behind := strings.TrimSpace(m.trailing); behind != "" {
		return append(slices.Clip(m.head), behind)
	}
	return m.head
}

// put gives the edits that write a field into the mapping at top, which is made
// behind the entry after (the end of the document if that is not there) when it is
// missing, and the change of the tree that belongs to them.
func (d *document) put(top, leaf string, m moved, after string) (edits []edit, grow func(), ok bool) {
	name := func(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s} }
	topKey, topValue := get(d.root, top)
	if topKey == nil {
		at := len(d.root.Content) - 2
		for i := 0; i+1 < len(d.root.Content); i += 2 {
			if d.root.Content[i].Value == after {
				at = i
			}
		}
		key, last := d.root.Content[at], d.root.Content[at+1]
		if !d.ready(key, last) {
			return nil, nil, false
		}
		end := max(d.spans[last].end, d.spans[key].end)
		var e edit
		if isFlow(d.root) {
			q, space := d.quote(key), " "
			if d.compact(key, last) {
				space = ""
			}
			separator := "," + space
			if margin := d.src.before(d.spans[key].start); strings.TrimSpace(margin) == "" {
				separator = "," + d.eol + margin
			}
			e = edit{end, end, fmt.Sprintf("%[1]s%[2]s%[3]s%[2]s:%[4]s{%[2]s%[5]s%[2]s:%[4]s%[6]s}", separator, q, top, space, leaf, m.raw)}
			if edits, ok = d.above(key, top+"."+leaf, m.lines()); !ok {
				return nil, nil, false
			}
		} else {
			indent := strings.Repeat(" ", max(0, d.root.Content[0].Column-1))
			start := d.foot(d.src.nextLine(end), len(indent))
			e = edit{start, start, indent + top + ":" + d.eol + m.block(indent+"  ", leaf, d.eol)}
		}
		mapping := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{name(leaf), m.node}}
		return append(edits, e), func() {
			d.root.Content = slices.Insert(d.root.Content, at+2, name(top), mapping)
		}, true
	}
	if !d.ready(topValue) {
		return nil, nil, false
	}
	if topValue.Kind != yaml.MappingNode || topValue.Style&yaml.TaggedStyle != 0 || d.ways(topValue) != 1 {
		d.byHand(topValue, top, "a field has to go in here, and it is no plain mapping")
		return nil, nil, false
	}
	if _, there := get(topValue, leaf); there != nil {
		d.byHand(there, top+"."+leaf, "a field has to go here, and there is one already")
		return nil, nil, false
	}
	grow = func() { topValue.Content = append(topValue.Content, name(leaf), m.node) }
	count := len(topValue.Content)
	if count == 0 {
		s := d.spans[topValue]
		q := d.quote(topKey)
		edits, ok = d.above(topKey, top+"."+leaf, append(d.comments(s.body, s.end), m.lines()...))
		return append(edits, edit{s.body, s.end, "{" + q + leaf + q + ": " + m.raw + "}"}), grow, ok
	}
	key, last := topValue.Content[count-2], topValue.Content[count-1]
	if !d.ready(key, last) {
		return nil, nil, false
	}
	end := max(d.spans[last].end, d.spans[key].end)
	if isFlow(topValue) {
		q, space := d.quote(key), " "
		if d.compact(key, last) {
			space = ""
		}
		separator := "," + space
		if margin := d.src.before(d.spans[key].start); strings.TrimSpace(margin) == "" {
			separator = "," + d.eol + margin
		}
		edits, ok = d.above(topKey, top+"."+leaf, m.lines())
		return append(edits, edit{end, end, separator + q + leaf + q + ":" + space + m.raw}), grow, ok
	}
	indent := strings.Repeat(" ", topValue.Content[0].Column-1)
	start := d.foot(d.src.nextLine(end), len(indent))
	return []edit{{start, start, m.block(indent, leaf, d.eol)}}, grow, true
}

// foot goes behind the comments that are indented deeper than what they follow,
// and so belong to it, and behind the blank lines before such a comment.
func (d *document) foot(at, indent int) int {
	foot := at
	for at < len(d.src.text) {
		line := d.src.after(at)
		text := strings.TrimLeft(line, " ")
		deeper := strings.HasPrefix(text, "#") && len(line)-len(text) > indent
		if !deeper && strings.Trim(text, "\t") != "" {
			break
		}
		at = d.src.nextLine(at)
		if deeper {
			foot = at
		}
	}
	return foot
}

// quote is how names are quoted in a flow mapping: as in JSON if the key is.
func (d *document) quote(key *yaml.Node) string {
	if key.Style&yaml.DoubleQuotedStyle != 0 {
		return `"`
	}
	return ""
}

// receive writes a field that comes from another document.
func (d *document) receive(t transfer) {
	edits, grow, ok := d.put(t.top, t.leaf, t.moved, "")
	if ok && d.add(edits...) {
		grow()
		d.changed(d.root, t.top+"."+t.leaf, "written, as it comes from the %s", t.source.kind)
	}
}
