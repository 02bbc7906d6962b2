package migrate

import (
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
		case key.Kind != yaml.ScalarNode || strings.ContainsAny(name, "\r\n") || key.Anchor != "" || key.Style&yaml.TaggedStyle != 0:
			d.byHand(key, path, "the name of an argument is not plain")
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
			d.byHand(key, path, "the argument is not written as name: value on a line of its own")
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
