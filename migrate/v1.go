package migrate

import "go.yaml.in/yaml/v4"

// v1 adds how an argument is merged with the built-in one of its name.
// Behaviour catalogue §0.5, §1.3.

func upToV1(*document) {}

func downToV1beta4(d *document) {
	var fields []field
	for _, path := range argsPaths(d.kind) {
		fields = append(fields, field{path + ".*.mergeMethod", is("replace")})
	}
	for _, f := range fields {
		d.each([]string{f.path}, entry, always, func(h hit) {
			key := h.key
			if !f.neutral(h.value()) {
				d.problem(key, h.path, "", "would be lost: v1beta4 can only replace an argument")
				return
			}
			if !d.ready(append([]*yaml.Node{h.parent, key}, h.parent.Content...)...) {
				return
			}
			if edits, ok := d.cut(h); ok && d.add(edits...) {
				d.drop(h)
				d.changed(key, h.path, "v1beta4 has no such field, and does what it said")
			}
		})
	}
}
