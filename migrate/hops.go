package migrate

import (
	"slices"
	"time"

	"go.yaml.in/yaml/v4"
)

// hop is the step between a version and the next newer one.
type hop struct{ up, down func(*document) }

// hops by the index of their older version.
func hops() []hop {
	return []hop{
		{upToV1beta2, downToV1beta1},
		{upToV1beta3, downToV1beta2},
		{upToV1beta4, downToV1beta3},
		{upToV1, downToV1beta4},
	}
}

// field is one that only one side of a hop has. Its neutral values say what
// is so without it.
type field struct {
	path    string
	neutral func(*yaml.Node) bool
}

// dropGone removes, going up, the fields that a version no longer has.
func (d *document) dropGone(version string, fields []field) {
	for _, f := range fields {
		d.each([]string{f.path}, entry, always, func(h hit) {
			key, neutral := h.key, f.neutral(h.value())
			if !d.commentOut(h, "there is no "+h.path+" since "+version) {
				return
			}
			where := "it is left as a comment"
			if isFlow(d.root) {
				where = "it is removed"
			}
			if neutral {
				d.changed(key, h.path, "%s has no such field, and does what it said; %s", version, where)
			} else {
				d.lost(key, h.path, "%s has no such field; %s", version, where)
			}
		})
	}
}

// dropNew removes, going down, the fields that a version does not have yet, or
// says that they would be lost.
func (d *document) dropNew(older, newer string, fields []field) {
	for _, f := range fields {
		d.each([]string{f.path}, entry, always, func(h hit) {
			key := h.key
			if !f.neutral(h.value()) {
				d.problem(key, h.path, "", "would be lost: %s has no such field", older)
				return
			}
			if d.commentOut(h, "there is no "+h.path+" before "+newer) {
				d.changed(key, h.path, "%s has no such field, and does what it said", older)
			}
		})
	}
}

// empty is a value that says nothing.
func empty(n *yaml.Node) bool {
	switch n.Kind {
	case yaml.MappingNode, yaml.SequenceNode:
		return len(n.Content) == 0
	}
	return isNull(n) || (n.Value == "" && n.ShortTag() == "!!str")
}

// is accepts an empty value and those given.
func is(values ...string) func(*yaml.Node) bool {
	return func(n *yaml.Node) bool {
		return empty(n) || (n.Kind == yaml.ScalarNode && slices.Contains(values, n.Value))
	}
}

// lasts accepts an empty value and a duration.
func lasts(duration time.Duration) func(*yaml.Node) bool {
	return func(n *yaml.Node) bool {
		if empty(n) {
			return true
		}
		value, err := time.ParseDuration(n.Value)
		return n.Kind == yaml.ScalarNode && err == nil && value == duration
	}
}

// holds accepts a mapping of fields that are all neutral.
func holds(fields ...field) func(*yaml.Node) bool {
	return func(n *yaml.Node) bool {
		if n.Kind != yaml.MappingNode {
			return empty(n)
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			at := slices.IndexFunc(fields, func(f field) bool { return f.path == n.Content[i].Value })
			if at < 0 || !fields[at].neutral(resolve(n.Content[i+1])) {
				return false
			}
		}
		return true
	}
}

// joinOrInit are the kinds that register a node.
func joinOrInit(kind string) bool { return kind == "JoinConfiguration" || kind == "InitConfiguration" }
