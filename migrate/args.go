package migrate

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// argsPaths are the arguments of components, by kind.
func argsPaths(kind string) []string {
	switch kind {
	case "ClusterConfiguration":
		return []string{"apiServer.extraArgs", "controllerManager.extraArgs", "scheduler.extraArgs", "etcd.local.extraArgs"}
	case "InitConfiguration", "JoinConfiguration":
		return []string{"nodeRegistration.kubeletExtraArgs"}
	}
	return nil
}

// plainName matches what is a string in every version of YAML when it is not
// quoted.
func plainName(s string) bool {
	switch strings.ToLower(s) {
	case "y", "yes", "n", "no", "on", "off", "true", "false", "null":
		return false
	}
	for i, r := range []byte(s) {
		letter := r|0x20 >= 'a' && r|0x20 <= 'z'
		if !letter && (i == 0 || (r < '0' || r > '9') && r != '-' && r != '_') {
			return false
		}
	}
	return s != ""
}

func scalar(value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: value}
}

// argsToLists turns maps of arguments to lists, in the order of the file.
func (d *document) argsToLists() {
	if d.mergesOut() {
		d.again = true // with the tree as it is then
		return
	}
	d.each(argsPaths(d.kind), value, func(h hit) bool { return h.value().Kind == yaml.MappingNode }, func(h hit) {
		args := h.value()
		if !d.ready(args) || !d.ready(args.Content...) {
			return
		}
		if args.Style&yaml.TaggedStyle != 0 {
			d.byHand(args, h.path, "it has a tag")
			return
		}
		edits, items, ok := d.listItems(h.path, args)
		if ok && d.add(edits...) {
			d.changed(h.key, h.path, "the map of arguments becomes a list, in the order of the file")
			args.Kind, args.Tag, args.Content = yaml.SequenceNode, "!!seq", items
		}
	})
}

// argument names one for an error.
func argument(key *yaml.Node) string { return fmt.Sprintf("the argument %q", Redact(key.Value)) }

// notPlain says why a name cannot become the value of a field as it is written;
// empty if it can.
func notPlain(key *yaml.Node, written string) string {
	switch {
	case key.Kind == yaml.AliasNode:
		return "the name of an argument is an alias"
	case key.Kind != yaml.ScalarNode:
		return "the name of an argument is not a word"
	case key.Anchor != "":
		return fmt.Sprintf("the name of %s has the anchor &%s", argument(key), Redact(key.Anchor))
	case key.Style&yaml.TaggedStyle != 0:
		return "the name of " + argument(key) + " has a tag"
	case strings.ContainsAny(written, "\r\n"):
		return "the name of " + argument(key) + " is not on one line"
	}
	return ""
}

// mergesOut writes out the merge keys in maps of arguments, which a list cannot
// have. It tells whether there were any. The maps mean what they meant, whoever
// uses them.
func (d *document) mergesOut() bool {
	found := false
	seen := map[*yaml.Node]bool{}
	for _, path := range argsPaths(d.kind) {
		for _, h := range d.find(path) {
			args := h.value()
			if args.Kind != yaml.MappingNode || seen[args] {
				continue
			}
			seen[args] = true
			var merges []hit
			for i := 0; i+1 < len(args.Content); i += 2 {
				if isMerge(args.Content[i]) {
					merges = append(merges, hit{parent: args, key: args.Content[i], written: args.Content[i+1], path: h.path})
				}
			}
			switch {
			case len(merges) > 1:
				d.byHand(merges[1].key, h.path, "there is a second merge key")
			case len(merges) == 1:
				d.mergeOut(merges[0])
			}
			found = found || len(merges) > 0
		}
	}
	return found
}

func (d *document) mergeOut(h hit) {
	if !d.ready(h.parent.Content...) {
		return
	}
	if d.usedOutside(h.key, h.written) {
		d.byHand(h.key, h.path, "an alias elsewhere refers to what is merged")
		return
	}
	entries, ok := d.effective(h.parent, h.path)
	if !ok {
		return
	}
	own := map[*yaml.Node]bool{}
	for _, n := range h.parent.Content {
		own[n] = true
	}
	var nodes []*yaml.Node
	var texts []string
	for _, e := range entries {
		if own[e[0]] {
			continue
		}
		key, value, text, ok := d.copied(h, e[0], e[1])
		if !ok {
			return
		}
		nodes, texts = append(nodes, key, value), append(texts, text)
	}
	var edits []edit
	if len(nodes) == 0 {
		edits, ok = d.cut(h)
	} else {
		edits, ok = d.replaced(h, texts)
	}
	if ok && d.add(edits...) {
		i := h.index()
		h.parent.Content = slices.Concat(h.parent.Content[:i], nodes, h.parent.Content[i+2:])
		d.changed(h.key, h.path, "what the merge key stands for is written out, as a list has no such key")
	}
}

// replaced gives the edits that write entries in the place of another one, with its
// comments.
func (d *document) replaced(h hit, texts []string) (edits []edit, ok bool) {
	start, end := d.spans[h.key].start, max(d.spans[h.written].end, d.spans[h.key].end)
	comments := d.comments(start, end, h.key, h.written)
	if isFlow(h.parent) {
		edits, ok = d.above(h.key, h.path, comments)
		return append(edits, edit{start, end, strings.Join(texts, ", ")}), ok
	}
	margin := d.src.before(start)
	if strings.Trim(margin, " ") != "" {
		d.byHand(h.key, h.path, "the merge key is not on a line of its own")
		return nil, false
	}
	return []edit{{start, end, strings.Join(append(comments, texts...), d.eol+margin)}}, true
}

// effective are the entries of a mapping and of what it merges, without those that
// others override.
func (d *document) effective(n *yaml.Node, path string) (entries [][2]*yaml.Node, ok bool) {
	taken := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if !isMerge(n.Content[i]) {
			taken[n.Content[i].Value] = true
		}
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if !isMerge(key) {
			entries = append(entries, [2]*yaml.Node{key, value})
			continue
		}
		sources := []*yaml.Node{value}
		if list := resolve(value); list.Kind == yaml.SequenceNode {
			sources = list.Content
		}
		for _, source := range sources {
			source = resolve(source)
			if d.walked += 1 + len(source.Content); source.Kind != yaml.MappingNode || d.walked > maxWalked {
				d.byHand(key, path, "the merge key does not stand for a mapping, or for too much")
				return nil, false
			}
			merged, ok := d.effective(source, path)
			if !ok {
				return nil, false
			}
			for _, e := range merged {
				if !taken[e[0].Value] {
					taken[e[0].Value] = true
					entries = append(entries, e)
				}
			}
		}
	}
	return entries, true
}

// copied is an entry as it is written in another mapping, without its anchors.
func (d *document) copied(h hit, key, value *yaml.Node) (k, v *yaml.Node, text string, ok bool) {
	if !d.ready(key, value) {
		return nil, nil, "", false
	}
	s := d.spans[value]
	name, raw := strings.TrimSpace(d.raw(key)), string(d.src.text[s.body:s.end])
	switch why := notPlain(key, name); {
	case why != "":
		d.byHand(h.key, h.path, "it merges what has no copy: "+why)
		return nil, nil, "", false
	case value.Kind == yaml.MappingNode || value.Kind == yaml.SequenceNode || value.Style&yaml.TaggedStyle != 0 || strings.ContainsAny(raw, "\r\n"):
		d.byHand(h.key, h.path, "it merges "+argument(key)+", the value of which is not on one line, or has a tag")
		return nil, nil, "", false
	}
	if isFlow(h.parent) && value.Style == 0 && value.ShortTag() == "!!str" && strings.ContainsAny(raw, ",[]{}") {
		raw = "'" + strings.ReplaceAll(raw, "'", "''") + "'" // it stood where these are letters
	}
	named, copied := *key, *value
	copied.Anchor = ""
	return &named, &copied, name + ": " + raw, true
}

func (d *document) listItems(path string, args *yaml.Node) (edits []edit, items []*yaml.Node, ok bool) {
	s := d.spans[args]
	if isFlow(args) {
		edits = append(edits, edit{s.body, s.body + 1, "["})
	}
	for i := 0; i+1 < len(args.Content); i += 2 {
		key, value := args.Content[i], args.Content[i+1]
		k, v := d.spans[key], d.spans[value]
		name := d.raw(key)
		colon, found := d.colon(key)
		switch {
		case isMerge(key):
			d.byHand(key, path, "a merge key has no place in a list")
			return nil, nil, false
		case notPlain(key, name) != "":
			d.byHand(key, path, notPlain(key, name))
			return nil, nil, false
		}
		named := *key
		if key.Style == 0 && !plainName(name) && !strings.ContainsAny(name, `"\`) {
			name, named.Tag = `"`+name+`"`, "!!str"
		}
		if isFlow(args) {
			q, space := d.quote(key), " "
			if found && colon == v.start && v.end > v.start {
				space = ""
			}
			item := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{scalar("name"), &named}}
			if !found {
				edits = append(edits, edit{k.start, k.end, "{name: " + name + "}"})
			} else {
				edits = append(edits,
					edit{k.start, colon, "{" + q + "name" + q + ":" + space + name + "," + space + q + "value" + q + ":"},
					edit{max(v.end, colon), max(v.end, colon), "}"})
				item.Content = append(item.Content, scalar("value"), value)
			}
			items = append(items, item)
			continue
		}
		if !found || strings.TrimLeft(d.src.before(k.start), " ") != "" {
			d.byHand(key, path, argument(key)+" is not written as name: value on a line of its own")
			return nil, nil, false
		}
		edits = append(edits, edit{k.start, colon, "- name: " + name + d.eol + d.src.before(k.start) + "  value:"})
		// What goes on behind the first line moves with the value.
		for at := d.src.nextLine(colon); at < v.end; at = d.src.nextLine(at) {
			if breakAt(d.src.text, at) == 0 {
				edits = append(edits, edit{at, at, "  "})
			}
		}
		items = append(items, &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map",
			Content: []*yaml.Node{scalar("name"), &named, scalar("value"), value}})
	}
	if isFlow(args) {
		edits = append(edits, edit{s.end - 1, s.end, "]"})
	}
	return edits, items, true
}

// argsToMaps turns lists of arguments to maps; a name that comes twice has no
// place in one.
func (d *document) argsToMaps() {
	d.each(argsPaths(d.kind), value, func(h hit) bool { return h.value().Kind == yaml.SequenceNode }, func(h hit) {
		args := h.value()
		if !d.ready(args) || !d.ready(args.Content...) {
			return
		}
		if args.Style&yaml.TaggedStyle != 0 {
			d.byHand(args, h.path, "it has a tag")
			return
		}
		edits, entries, ok := d.mapEntries(h, args)
		if ok && d.add(edits...) {
			d.changed(h.key, h.path, "the list of arguments becomes a map")
			args.Kind, args.Tag, args.Content = yaml.MappingNode, "!!map", entries
		}
	})
}

func (d *document) mapEntries(h hit, args *yaml.Node) (edits []edit, entries []*yaml.Node, ok bool) {
	s := d.spans[args]
	if isFlow(args) {
		if s.end-s.body < 2 {
			return nil, nil, false
		}
		edits = append(edits, edit{s.body, s.body + 1, "{"}, edit{s.end - 1, s.end, "}"})
	}
	// A list may start right below its key, a map may not.
	margin := ""
	if first := d.src.before(s.body); !isFlow(args) && len(first) <= len(d.src.before(d.spans[h.key].start)) {
		margin = "  "
	}
	names := map[string]bool{}
	ok = true
	m := measure{source: d.src}
	dash := s.body // of the item; the next one is what comes behind its end
	var above []string
	for i, item := range args.Content {
		if i > 0 {
			dash = m.skipSpace(d.spans[args.Content[i-1]].end)
		}
		if mergeMethod, _ := get(item, "mergeMethod"); mergeMethod != nil {
			return nil, nil, false // waits, or is reported as lost
		}
		nameKey, name := get(item, "name")
		valueKey, value := get(item, "value")
		switch {
		case item.Kind != yaml.MappingNode || name == nil || name.Kind != yaml.ScalarNode || item.Anchor != "" || item.Style&yaml.TaggedStyle != 0:
			d.byHand(item, h.path, "the argument is not written as name and value")
			return nil, nil, false
		case len(item.Content) > 4 || (len(item.Content) == 4 && valueKey == nil):
			d.byHand(item, h.path, "the argument has more than a name and a value")
			return nil, nil, false
		case names[name.Value]:
			d.problem(name, h.path, "", "an argument that comes twice has no place in a map: one of them would be lost")
			ok = false
			continue
		}
		names[name.Value] = true
		if value == nil {
			value = scalar("")
		} else if !d.ready(value) {
			return nil, nil, false
		}
		if !d.ready(name, nameKey) {
			return nil, nil, false
		}
		text := d.raw(name) + ": " + `""`
		if v, written := d.spans[value]; written {
			if text = d.raw(name) + ":"; v.end > v.start {
				text += " " + d.raw(value)
			}
		}
		if strings.ContainsAny(d.raw(name), "\r\n") {
			d.byHand(name, h.path, "the name of an argument is not on one line")
			return nil, nil, false
		}
		entries = append(entries, name, value)
		e := edit{start: d.spans[item].start, end: d.spans[item].end, text: text}
		if !isFlow(args) {
			e.start = dash
		}
		if v, written := d.spans[value]; written && value.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 && v.end < e.end {
			e.end = d.src.lineEnd(e.end) // a comment behind the name would be text behind the value
		}
		// What is written as it is keeps its comments; the others go above.
		notes := d.comments(e.start, e.end, item)
		if v, written := d.spans[value]; written {
			notes = append(d.comments(e.start, v.start, item), d.comments(v.end, e.end, item)...)
		}
		if isFlow(args) {
			above = append(above, notes...)
			edits = append(edits, e)
			continue
		}
		indent := d.src.before(e.start)
		if strings.Trim(indent, " ") != "" {
			d.byHand(item, h.path, "it does not start on a line of its own")
			return nil, nil, false
		}
		e.text = margin + e.text
		for i := len(notes) - 1; i >= 0; i-- {
			e.text = margin + notes[i] + d.eol + indent + e.text
		}
		edits = append(edits, e)
	}
	if more, placed := d.above(h.key, h.path, above); ok && placed {
		return append(edits, more...), entries, true
	}
	return nil, nil, false
}
