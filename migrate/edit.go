package migrate

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/kubejoin/kubejoin/apis/load"
)

// edit replaces the text from start to end.
type edit struct {
	start, end int
	text       string
}

// document is one kubeadm document while it is edited. Edits are collected
// together with the same change of the tree, and applied by flush.
type document struct {
	file    string
	line    int // of the file, before the document's first one
	kind    string
	version int // index in versions()
	eol     string

	original *source
	src      *source
	root     *yaml.Node
	spans    map[*yaml.Node]span
	parents  map[*yaml.Node]*yaml.Node
	aliases  map[*yaml.Node][]*yaml.Node // by what they refer to

	edits   []edit   // in the order of the text
	applied [][]edit // for the way back to the original position
	again   bool     // an edit has to wait until others are applied
	blocked bool     // there is no safe edit: nothing more is tried
	walked  int      // aliases that find has followed since the last flush

	context  *file
	changes  []Change
	losses   []Loss
	problems load.Problems
}

// maxWalked bounds what aliases and merge keys may expand to.
const maxWalked = 50_000

// maxProblems bounds what is collected for one document.
const maxProblems = 1000

// maxRepeated bounds how often a field may be repeated in one mapping.
const maxRepeated = 100

// read measures the document after it was parsed.
func (d *document) read(text []byte, root *yaml.Node) error {
	d.src, d.root, d.edits, d.walked = newSource(text), root, nil, 0
	d.parents, d.aliases = map[*yaml.Node]*yaml.Node{}, map[*yaml.Node][]*yaml.Node{}
	d.relate(root)
	var err error
	d.spans, err = spans(d.src, root)
	return err
}

// forget gives back the memory of a document that is done. What is said of it from
// now on is at its start.
func (d *document) forget() {
	d.src, d.original, d.spans, d.parents, d.aliases, d.edits, d.applied = nil, nil, nil, nil, nil, nil, nil
	d.root = &yaml.Node{Line: d.root.Line, Column: d.root.Column}
}

func (d *document) relate(n *yaml.Node) {
	if n.Kind == yaml.AliasNode {
		d.aliases[n.Alias] = append(d.aliases[n.Alias], n)
	}
	for _, child := range n.Content {
		d.parents[child] = n
		d.relate(child)
	}
}

// position of a node in the file as it was given. A node that an edit made is
// where the edit is.
func (d *document) position(n *yaml.Node) load.Position {
	s, ok := d.spans[n]
	switch {
	case ok:
		return d.positionAt(s.start)
	case n == d.root:
		return load.Position{File: d.file, Line: d.line + n.Line, Column: n.Column}
	}
	return load.Position{File: d.file, Line: d.line + 1, Column: 1}
}

func (d *document) positionAt(offset int) load.Position {
	for _, edits := range slices.Backward(d.applied) {
		shift := 0
		for _, e := range edits {
			if offset < e.start+shift {
				break
			}
			if offset < e.start+shift+len(e.text) {
				offset = e.start + shift
				break
			}
			shift += len(e.text) - (e.end - e.start)
		}
		offset -= shift
	}
	line, column := d.original.position(min(max(offset, 0), len(d.original.text)))
	return load.Position{File: d.file, Line: d.line + line, Column: column}
}

// problem says what is wrong, once.
func (d *document) problem(n *yaml.Node, path, hint, format string, args ...any) {
	if len(d.problems) >= maxProblems {
		return
	}
	p := load.Problem{Pos: d.position(n), Path: path, Message: fmt.Sprintf(format, args...), Hint: hint}
	if !slices.Contains(d.problems, p) {
		d.problems = append(d.problems, p)
	}
}

// byHand refuses what has no safe edit.
func (d *document) byHand(n *yaml.Node, path, why string) {
	d.blocked = true
	d.problem(n, path, "write it out plainly, or change it by hand", "cannot be migrated: %s", why)
}

func (d *document) changed(n *yaml.Node, path, format string, args ...any) {
	d.changes = append(d.changes, Change{d.position(n), path, fmt.Sprintf(format, args...)})
}

func (d *document) lost(n *yaml.Node, path, format string, args ...any) {
	d.losses = append(d.losses, Loss{d.position(n), path, fmt.Sprintf(format, args...)})
}

// ready tells whether nodes are as they are in the text; if not, the edit has to
// wait.
func (d *document) ready(nodes ...*yaml.Node) bool {
	for _, n := range nodes {
		if _, ok := d.spans[n]; !ok {
			d.again = true
			return false
		}
	}
	return true
}

// add takes edits that belong together, or none of them if they meet others: they
// have to wait then.
func (d *document) add(edits ...edit) bool {
	places := make([]int, len(edits))
	for i, e := range edits {
		at, taken := slices.BinarySearchFunc(d.edits, e.start, func(o edit, start int) int { return cmp.Compare(o.start, start) })
		if taken || (at > 0 && d.edits[at-1].end > e.start) || (at < len(d.edits) && d.edits[at].start < e.end) {
			d.again = true
			return false
		}
		places[i] = at
	}
	last := slices.Max(places)
	d.edits = append(d.edits, edits...)
	if last < len(d.edits)-len(edits) || len(edits) > 1 {
		slices.SortFunc(d.edits[slices.Min(places):], func(a, b edit) int { return cmp.Compare(a.start, b.start) })
	}
	return true
}

// flush applies the edits and holds the text against the tree.
func (d *document) flush() bool {
	d.again = false
	if len(d.edits) == 0 {
		return true
	}
	first := d.positionAt(d.edits[0].start)
	var text bytes.Buffer
	at := 0
	for _, e := range d.edits {
		text.Write(d.src.text[at:e.start])
		text.WriteString(e.text)
		at = e.end
	}
	text.Write(d.src.text[at:])
	d.applied = append(d.applied, d.edits)
	root, problem := parse(d.file, chunk{text: text.Bytes()})
	if problem != nil || root == nil || !same(d.root, root, map[*yaml.Node]*yaml.Node{}) || d.read(text.Bytes(), root) != nil {
		d.blocked = true
		d.problems = append(d.problems, load.Problem{
			Pos: first, Message: "cannot be migrated: the YAML from here on is written in a way that has no safe edit",
			Hint: "write it out plainly, or change it by hand",
		})
		return false
	}
	return true
}

// same compares two trees but for their layout. An alias must refer to the same
// node in both.
func same(a, b *yaml.Node, seen map[*yaml.Node]*yaml.Node) bool {
	if a.Kind != b.Kind || a.Anchor != b.Anchor || len(a.Content) != len(b.Content) {
		return false
	}
	if a.Anchor != "" {
		seen[a] = b
	}
	switch a.Kind {
	case yaml.AliasNode:
		return seen[a.Alias] == b.Alias
	case yaml.ScalarNode:
		if a.Value != b.Value || a.ShortTag() != b.ShortTag() {
			return false
		}
	default:
		if a.ShortTag() != b.ShortTag() {
			return false
		}
	}
	for i := range a.Content {
		if !same(a.Content[i], b.Content[i], seen) {
			return false
		}
	}
	return true
}

// hit is one entry of a mapping that a path leads to, and the first alias or
// merge key on the way.
type hit struct {
	parent, key *yaml.Node
	written     *yaml.Node // the value as it stands there, perhaps an alias
	via         *yaml.Node
	path        string
}

func (h hit) value() *yaml.Node { return resolve(h.written) }

// index of the key in its mapping.
func (h hit) index() int { return slices.Index(h.parent.Content, h.key) }

func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// find follows a path of field names from the root; "*" is every item of a list.
func (d *document) find(path string) []hit {
	var hits []hit
	var walk func(n *yaml.Node, names []string, via *yaml.Node, at string)
	walk = func(n *yaml.Node, names []string, via *yaml.Node, at string) {
		if d.walked > maxWalked {
			return
		}
		if n.Kind == yaml.AliasNode {
			d.walked++
			if via == nil {
				via = n
			}
			n = n.Alias
		}
		switch {
		case n.Kind == yaml.SequenceNode && names[0] == "*":
			for i, item := range n.Content {
				walk(item, names[1:], via, fmt.Sprintf("%s[%d]", at, i))
			}
		case n.Kind == yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				key, value := n.Content[i], n.Content[i+1]
				if isMerge(key) {
					source := resolve(value)
					merged := []*yaml.Node{value}
					if source.Kind == yaml.SequenceNode {
						merged = source.Content
					}
					for _, m := range merged {
						if resolve(m).Kind == yaml.MappingNode {
							d.walked++
							walk(m, names, cmp.Or(via, key), at)
						}
					}
					continue
				}
				if key.Kind != yaml.ScalarNode || key.Value != names[0] {
					continue
				}
				here := strings.TrimPrefix(at+"."+key.Value, ".")
				if len(names) == 1 {
					hits = append(hits, hit{n, key, value, via, here})
				} else {
					walk(value, names[1:], via, here)
				}
			}
		}
	}
	walk(d.root, strings.Split(path, "."), nil, "")
	if d.walked > maxWalked {
		d.byHand(d.root, "", "its aliases expand to too much")
		return nil
	}
	return hits
}

func isMerge(key *yaml.Node) bool { return key.ShortTag() == "!!merge" }

// manyWays stands for a number of ways that is too large to care.
const manyWays = 1 << 20

// ways counts the ways from the root to a node, along aliases too. It is one for
// a node that no alias gives a second place.
func (d *document) ways(n *yaml.Node) int {
	counted := map[*yaml.Node]int{}
	var count func(n *yaml.Node) int
	count = func(n *yaml.Node) int {
		if n == d.root {
			return 1
		}
		if known, ok := counted[n]; ok {
			return known
		}
		counted[n] = manyWays // an alias inside of what it refers to
		total := count(d.parents[n])
		for _, alias := range d.aliases[n] {
			total = min(total+count(d.parents[alias]), manyWays)
		}
		counted[n] = total
		return total
	}
	if _, ok := d.parents[n]; !ok && n != d.root {
		return 1 // made by an edit
	}
	return count(n)
}

// each calls change for every entry at the paths that wanted picks. The same text
// may be at several of them through aliases; it is changed once. It is refused
// where it has another meaning elsewhere.
func (d *document) each(paths []string, target func(hit) *yaml.Node, wanted func(hit) bool, change func(hit)) {
	type group struct {
		direct *hit
		via    hit
		count  int
	}
	groups := map[*yaml.Node]*group{}
	var order []*yaml.Node
	for _, path := range paths {
		hits := d.find(path)
		if len(hits) > maxRepeated && !strings.Contains(path, "*") {
			d.byHand(hits[1].key, path, "the field is repeated too often")
			continue
		}
		for _, h := range hits {
			if !wanted(h) {
				continue
			}
			t := target(h)
			g := groups[t]
			if g == nil {
				g = &group{}
				groups[t] = g
				order = append(order, t)
			}
			g.count++
			if h.via == nil && (t == h.key || t == h.written) {
				g.direct = &h
			} else {
				g.via = h
			}
		}
	}
	for _, t := range order {
		g := groups[t]
		switch {
		case g.direct != nil && g.count == d.ways(t):
			change(*g.direct)
		case g.via.parent != nil:
			d.byHand(cmp.Or(g.via.via, g.via.written), g.via.path, "it comes from an alias or a merge key")
		default:
			d.byHand(g.direct.key, g.direct.path, "an alias uses it elsewhere too")
		}
	}
}

// entry is the target of a change that concerns key and value, value that of one
// that concerns the value alone.
func entry(h hit) *yaml.Node { return h.key }
func value(h hit) *yaml.Node { return h.value() }
func always(hit) bool        { return true }

// get is the value of a field of a mapping, as written; nil if there is none.
func get(n *yaml.Node, name string) (key, value *yaml.Node) {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Kind == yaml.ScalarNode && n.Content[i].Value == name {
			return n.Content[i], n.Content[i+1]
		}
	}
	return nil, nil
}

func isFlow(n *yaml.Node) bool { return n.Style&yaml.FlowStyle != 0 }

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// colon is the offset behind the colon of an entry; false if there is none right
// behind the key.
func (d *document) colon(key *yaml.Node) (int, bool) {
	at := d.spans[key].end
	for at < len(d.src.text) && (d.src.text[at] == ' ' || d.src.text[at] == '\t') {
		at++
	}
	return at + 1, at < len(d.src.text) && d.src.text[at] == ':'
}

// raw is the text of a node without what surrounds it.
func (d *document) raw(n *yaml.Node) string {
	s := d.spans[n]
	return string(d.src.text[s.start:s.end])
}

// compact tells whether an entry has no space behind its colon.
func (d *document) compact(key, value *yaml.Node) bool {
	after, ok := d.colon(key)
	return ok && d.spans[value].start == after && d.spans[value].end > after
}
