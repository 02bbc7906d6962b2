package migrate

import (
	"fmt"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// v1beta4 makes lists of the maps of arguments and puts all waits into timeouts.
// It adds ResetConfiguration, UpgradeConfiguration and a number of fields.
// Behaviour catalogue §1.2, §1.3.

func upToV1beta4(d *document) {
	d.argsToLists()
	switch d.kind {
	case "JoinConfiguration":
		d.moveDiscoveryTimeout()
	case "ClusterConfiguration":
		d.moveControlPlaneTimeout()
	}
}

// moveDiscoveryTimeout makes timeouts.discovery of discovery.timeout.
func (d *document) moveDiscoveryTimeout() {
	d.each([]string{"discovery.timeout"}, entry, always, func(h hit) {
		key := h.key
		if isNull(h.value()) {
			if d.commentOut(h, "there is no "+h.path+" since v1beta4") {
				d.changed(key, h.path, "v1beta4 has no such field, and it says nothing")
			}
			return
		}
		if _, there := get(d.root, "timeouts"); there != nil && d.ready(there) {
			d.byHand(key, h.path, "there is a field timeouts, which v1beta3 does not have")
			return
		}
		d.move(h, "timeouts", "discovery", "discovery")
	})
}

// move takes a field to another place of the document.
func (d *document) move(h hit, top, leaf, after string) {
	key := h.key
	if !d.ready(h.parent, key, h.written) {
		return
	}
	m, edits, ok := d.take(h)
	if !ok {
		return
	}
	more, grow, ok := d.put(top, leaf, m, after)
	if !ok {
		return
	}
	place := more[len(more)-1].start
	for _, alias := range d.aliases[h.written] {
		if d.spans[alias].start < place {
			d.byHand(alias, h.path, fmt.Sprintf("the alias *%s would be before what it refers to, which goes to %s.%s", Redact(alias.Value), top, leaf))
			return
		}
	}
	if d.add(append(edits, more...)...) {
		d.drop(h)
		grow()
		d.changed(key, h.path, "moved to %s.%s", top, leaf)
	}
}

// moveControlPlaneTimeout hands apiServer.timeoutForControlPlane to the
// InitConfiguration, and a copy to a JoinConfiguration that is migrated with it:
// kubeadm 1.34.4 and 1.36.3 give it to both. A file without an InitConfiguration
// gets one with nothing else, unless the value is the default.
func (d *document) moveControlPlaneTimeout() {
	d.each([]string{"apiServer.timeoutForControlPlane"}, entry, always, func(h hit) {
		const why = "it is timeouts.controlPlaneComponentHealthCheck of the InitConfiguration since v1beta4"
		init := d.context.first["InitConfiguration"]
		there := init.field("timeouts", "controlPlaneComponentHealthCheck")
		lost := ""
		switch {
		case isNull(h.value()):
		case init == nil && lasts(4*time.Minute)(h.value()):
		case init == nil && d.context.json:
			lost = "belongs to timeouts.controlPlaneComponentHealthCheck of an InitConfiguration, which is not in the file"
		case there == nil:
			d.hand(h, "InitConfiguration", "timeouts", "controlPlaneComponentHealthCheck")
			return
		case there.Value != h.value().Value:
			lost = "timeouts.controlPlaneComponentHealthCheck of the InitConfiguration has its place, and differs"
		}
		pos := d.position(h.key)
		switch {
		case !d.commentOut(h, why):
		case lost != "":
			d.losses = append(d.losses, Loss{pos, h.path, lost})
		default:
			d.changes = append(d.changes, Change{pos, h.path, "v1beta4 has no such field, and does what it said"})
		}
	})
}

// field is the value of a field two levels deep; nil if there is none.
func (d *document) field(top, leaf string) *yaml.Node {
	if d == nil {
		return nil
	}
	_, mapping := get(d.root, top)
	if mapping == nil {
		return nil
	}
	if _, value := get(resolve(mapping), leaf); value != nil && !isNull(resolve(value)) {
		return resolve(value)
	}
	return nil
}

// hand takes a field out for another document.
func (d *document) hand(h hit, kind, top, leaf string) {
	if !d.ready(h.parent, h.key, h.written) {
		return
	}
	if h.written.Kind != yaml.ScalarNode || h.written.Anchor != "" || h.written.Style&yaml.TaggedStyle != 0 {
		d.byHand(h.written, h.path, "an anchor, an alias or a tag cannot go to another document")
		return
	}
	pos := d.position(h.key)
	m, edits, ok := d.take(h)
	if !ok || !d.add(edits...) {
		return
	}
	d.drop(h)
	text := "moved to " + top + "." + leaf + " of the " + kind
	if d.context.first[kind] == nil {
		text += ", which is new"
	}
	d.changes = append(d.changes, Change{pos, h.path, text})
	d.context.moved = append(d.context.moved, transfer{kind, top, leaf, m})
	if kind == "InitConfiguration" && d.context.oldJoin {
		m.head, m.trailing = nil, ""
		d.context.moved = append(d.context.moved, transfer{"JoinConfiguration", top, leaf, m})
	}
}

// timeoutDefaults are the waits that older versions do not let one choose.
// Behaviour catalogue §2.1.
func timeoutDefaults() []field {
	return []field{
		{"controlPlaneComponentHealthCheck", lasts(4 * time.Minute)},
		{"kubeletHealthCheck", lasts(4 * time.Minute)},
		{"kubernetesAPICall", lasts(time.Minute)},
		{"etcdAPICall", lasts(2 * time.Minute)},
		{"tlsBootstrap", lasts(5 * time.Minute)},
		{"discovery", lasts(5 * time.Minute)},
		{"upgradeManifests", lasts(5 * time.Minute)},
	}
}

func downToV1beta3(d *document) {
	var fields []field
	switch d.kind {
	case "JoinConfiguration", "InitConfiguration":
		d.timeoutsDown()
		fields = []field{{"dryRun", is("false")}, {"nodeRegistration.imagePullSerial", is("true")}}
	case "ClusterConfiguration":
		d.httpEndpointsDown()
		fields = []field{
			{"encryptionAlgorithm", is("RSA-2048")},
			{"certificateValidityPeriod", lasts(365 * 24 * time.Hour)},
			{"caCertificateValidityPeriod", lasts(3650 * 24 * time.Hour)},
			{"dns.disabled", is("false")},
			{"proxy", holds(field{"disabled", is("false")})},
		}
		for _, path := range argsPaths(d.kind) {
			fields = append(fields, field{strings.TrimSuffix(path, "extraArgs") + "extraEnvs", empty})
		}
	}
	d.dropNew("v1beta3", "v1beta4", fields)
	d.argsToMaps()
}

// timeoutsDown finds places for the waits that v1beta3 has elsewhere, and drops
// the others where they are what they would be anyway.
func (d *document) timeoutsDown() {
	var fixed []field
	place := map[string]func(hit){}
	for _, f := range timeoutDefaults() {
		switch {
		case f.path == "discovery" && d.kind == "JoinConfiguration":
			place[f.path] = func(h hit) { d.move(h, "discovery", "timeout", "") }
		case f.path == "controlPlaneComponentHealthCheck" && d.kind == "InitConfiguration" && d.context.first["ClusterConfiguration"] != nil:
			there := d.context.first["ClusterConfiguration"].field("apiServer", "timeoutForControlPlane")
			if there == nil {
				place[f.path] = func(h hit) { d.hand(h, "ClusterConfiguration", "apiServer", "timeoutForControlPlane") }
			} else {
				f.neutral = is(there.Value)
			}
		case f.path == "controlPlaneComponentHealthCheck" && d.kind == "JoinConfiguration" && d.context.first["ClusterConfiguration"] != nil && d.context.patience != "":
			f.neutral = is(d.context.patience) // which the ClusterConfiguration will say
		}
		fixed = append(fixed, f)
	}
	movable := func(h hit) bool { return place[h.key.Value] != nil && !isNull(h.value()) }
	for name, move := range place {
		if _, discovery := get(d.root, "discovery"); name == "discovery" && (discovery == nil || !isMapping(resolve(discovery))) {
			continue // is the default, or would be lost
		}
		d.each([]string{"timeouts." + name}, entry, movable, move)
	}
	d.each([]string{"timeouts"}, entry, always, func(h hit) {
		timeouts := h.value()
		if timeouts.Kind == yaml.MappingNode && !d.ready(timeouts) || len(d.edits) > 0 && d.touches(h) {
			d.again = true
			return
		}
		lost := false
		for i := 0; timeouts.Kind == yaml.MappingNode && i+1 < len(timeouts.Content); i += 2 {
			key, value := timeouts.Content[i], resolve(timeouts.Content[i+1])
			if isMerge(key) {
				d.byHand(key, h.path, "it has a merge key")
				lost = true
			} else if !holds(fixed...)(&yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{key, value}}) {
				d.problem(key, h.path+"."+Redact(key.Value), "", "would be lost: v1beta3 has no such field")
				lost = true
			}
		}
		if lost {
			return
		}
		key := h.key
		if timeouts.Kind == yaml.MappingNode && len(timeouts.Content) == 0 { // perhaps because all was moved
			if d.hasComments(h) {
				if d.commentOut(h, "there is no timeouts before v1beta4") {
					d.changed(key, h.path, "nothing is left in it; it is left as a comment, for the comments at it")
				}
			} else if edits, ok := d.cut(h); ok && d.add(edits...) {
				d.drop(h)
			}
			return
		}
		if d.commentOut(h, "there is no timeouts before v1beta4") {
			d.changed(key, h.path, "v1beta3 has no such field, and does what it said")
		}
	})
}

func isMapping(n *yaml.Node) bool { return n.Kind == yaml.MappingNode }

// touches tells whether an edit waits inside of an entry.
func (d *document) touches(h hit) bool {
	start, end := d.spans[h.key].start, d.spans[h.written].end
	for _, e := range d.edits {
		if e.start < end && start < e.end {
			return true
		}
	}
	return false
}

// httpEndpointsDown drops the endpoints for plain HTTP, which are those of etcd
// unless they are given.
func (d *document) httpEndpointsDown() {
	d.each([]string{"etcd.external.httpEndpoints"}, entry, always, func(h hit) {
		key := h.key
		_, endpoints := get(h.parent, "endpoints")
		equal := endpoints != nil && isSame(resolve(endpoints), h.value())
		if !equal && !empty(h.value()) {
			d.problem(key, h.path, "", "would be lost: v1beta3 has no such field")
			return
		}
		if d.commentOut(h, "there is no "+h.path+" before v1beta4") {
			d.changed(key, h.path, "v1beta3 has no such field, and does what it said")
		}
	})
}

// isSame compares lists of strings.
func isSame(a, b *yaml.Node) bool {
	if a.Kind != yaml.SequenceNode || b.Kind != yaml.SequenceNode || len(a.Content) != len(b.Content) {
		return false
	}
	for i := range a.Content {
		x, y := resolve(a.Content[i]), resolve(b.Content[i])
		if x.Kind != yaml.ScalarNode || y.Kind != yaml.ScalarNode || x.Value != y.Value {
			return false
		}
	}
	return true
}
