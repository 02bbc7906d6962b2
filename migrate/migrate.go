package migrate

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/kubejoin/kubejoin/apis/load"
	"github.com/kubejoin/kubejoin/fault"
)

// Group is the API group that is migrated.
const Group = "kubeadm.k8s.io"

// Default is the version to migrate to unless another one is asked for: the one
// that kubeadm writes.
const Default = "v1beta4"

// Versions are the versions that can be migrated from and to, oldest first.
func Versions() []string { return []string{"v1beta1", "v1beta2", "v1beta3", "v1beta4", "v1"} }

// v1beta4 is the index of the version that moved the waits.
const v1beta4 = 3

// kinds are the kinds of the group with the first and the last version that has
// them, as indices of Versions.
func kinds() map[string][2]int {
	return map[string][2]int{
		"InitConfiguration":    {0, 4},
		"ClusterConfiguration": {0, 4},
		"JoinConfiguration":    {0, 4},
		"ClusterStatus":        {0, 1},
		"ResetConfiguration":   {3, 4},
		"UpgradeConfiguration": {3, 4},
	}
}

// Change is one thing that a migration did.
type Change struct {
	// Pos is in the file as it was given.
	Pos load.Position
	// Path is the field, such as "apiServer.extraArgs"; empty for a whole document.
	Path string
	Text string
}

// String is one line.
func (c Change) String() string {
	return load.Problem{Pos: c.Pos, Path: c.Path, Message: c.Text}.String()
}

// Loss is something that the new version has no place for. It stays in the file
// as a comment where the file can have comments.
type Loss Change

// String is one line.
func (l Loss) String() string { return Change(l).String() }

// Result of a migration.
type Result struct {
	// Data is the whole file. It is the input itself if nothing had to change.
	Data []byte
	// Documents is how many kubeadm documents the file has.
	Documents int
	Changes   []Change
	Losses    []Loss
	// Left says of documents that are none of any program, because they are broken
	// or have no apiVersion, that they stay as they are.
	Left []load.Problem
	// Parts are the file cut between its documents, whoever they belong to.
	Parts []Part
}

// Part is the text around one document, before and after.
type Part struct {
	Before, After []byte
	// Ours says that the document is one of kubeadm's.
	Ours bool
}

// Version reads the name of a version, "v1beta4" or "kubeadm.k8s.io/v1beta4". The
// error is of class fault.InvalidConfig.
func Version(name string) (string, error) {
	short := strings.TrimPrefix(name, Group+"/")
	if slices.Contains(Versions(), short) {
		return short, nil
	}
	return "", fault.New(fault.InvalidConfig, "%q is no version to migrate to", name).
		WithHint("use one of %s", strings.Join(Versions(), ", "))
}

// file is what the documents of one file have to know of one another.
type file struct {
	name     string
	target   int
	json     bool                 // nothing but one JSON object
	first    map[string]*document // of each kind that shares fields with others
	patience string               // what the control plane is waited for, as the file has it; may be empty
	oldJoin  bool                 // the JoinConfiguration is older than v1beta4
	moved    []transfer
}

// transfer is a field that goes to another document of the file.
type transfer struct {
	kind, top, leaf string
	moved
}

// remember takes down what a document may no longer say when another asks.
func (f *file) remember() {
	for _, n := range []*yaml.Node{
		f.first["InitConfiguration"].field("timeouts", "controlPlaneComponentHealthCheck"),
		f.first["ClusterConfiguration"].field("apiServer", "timeoutForControlPlane"),
	} {
		if n != nil && n.Kind == yaml.ScalarNode {
			f.patience = n.Value
		}
	}
	join := f.first["JoinConfiguration"]
	f.oldJoin = join != nil && join.version < v1beta4
}

// part is one chunk and what becomes of it.
type part struct {
	chunk
	document *document // nil if it is not a document of kubeadm
	gone     bool
	appended string // a new document behind it
}

// maxLeft bounds the documents that are named because they stay as they are.
const maxLeft = 20

// Migrate rewrites all documents of the group kubeadm.k8s.io in data, which is
// the content of the file name, to the version to. Going to a newer version always
// works; what that has no place for is in Losses. Going to an older one is an
// error if something would be lost. So is what the version of the document cannot
// read: unknown fields, wrong types, and what is there twice. Nobody knows what
// another version makes of it. Errors are load.Problems of class
// fault.InvalidConfig.
func Migrate(name string, data []byte, to string) (*Result, error) {
	return rewrite(name, data, to, unreadable)
}

// rewrite is Migrate. check may be nil; it says what is wrong with the kubeadm
// documents before they are touched.
func rewrite(name string, data []byte, to string, check func(name string, chunks []chunk, ours []bool) load.Problems) (*Result, error) {
	short, err := Version(to)
	if err != nil {
		return nil, err
	}
	var problems load.Problems
	refuse := func(format string, args ...any) error {
		return invalid(load.Problems{{Pos: load.Position{File: name}, Message: fmt.Sprintf(format, args...)}})
	}
	if len(data) > load.MaxBytes {
		return nil, refuse("the configuration is larger than %d MiB", load.MaxBytes>>20)
	}
	if !utf8.Valid(data) {
		if form := load.Form(name, 0, data); len(form) > 0 {
			return nil, invalid(form[len(form)-1:])
		}
		return nil, refuse("not a text file in UTF-8")
	}
	mark := []byte("\ufeff")
	text, marked := bytes.CutPrefix(data, mark)
	// Every line ends while the text is edited; the last one loses its break again.
	eol := "\n"
	if bytes.Contains(text, []byte("\r\n")) {
		eol = "\r\n"
	}
	unfinished := len(text) > 0 && !bytes.HasSuffix(text, []byte("\n"))
	if unfinished {
		text = append(slices.Clip(text), eol...)
	}

	f := &file{name: name, target: slices.Index(Versions(), short), first: map[string]*document{}}
	chunks := split(text)
	f.json = len(chunks) == 1 && bytes.HasPrefix(bytes.TrimSpace(text), []byte("{"))
	result := &Result{}
	parts := make([]*part, len(chunks))
	// A document with fields that go to another one waits until all are known. Of
	// the others, only the text is kept: a parsed document is large.
	var waiting []*part
	var unread load.Problems
	ours := make([]bool, len(chunks))
	left := 0
	for i, c := range chunks {
		before := len(unread)
		p := &part{chunk: c, document: identify(f, c, eol, &unread)}
		parts[i] = p
		d := p.document
		if d == nil {
			if len(unread) > before {
				continue
			}
			if form := load.Form(name, c.line, c.text); len(form) > 0 {
				if left++; left <= maxLeft {
					form[0].Message = "left as it is: " + form[0].Message
					result.Left = append(result.Left, form[0])
				}
			}
			continue
		}
		ours[i] = true
		result.Documents++
		switch shares := d.kind == "InitConfiguration" || d.kind == "ClusterConfiguration"; {
		case f.first[d.kind] == nil && (shares || d.kind == "JoinConfiguration"):
			f.first[d.kind] = d
			waiting = append(waiting, p)
		case !shares:
			f.migrate(p, &problems)
			d.forget()
		default:
			p.document = nil
			waiting = append(waiting, p)
		}
	}
	if more := left - maxLeft; more > 0 {
		result.Left = append(result.Left, load.Problem{Pos: load.Position{File: name}, Message: fmt.Sprintf("left as they are: %d more documents", more)})
	}
	if check != nil && result.Documents > 0 {
		if found := check(name, chunks, ours); len(found) > 0 {
			return nil, invalid(append(unread, found...)).
				WithHint("nothing was migrated: what another version makes of this is unknown; correct it first, `kubejoin config validate` lists everything")
		}
	}
	if len(unread) > 0 {
		return nil, invalid(unread)
	}
	f.remember()
	for _, p := range waiting {
		first := p.document != nil
		if !first {
			p.document = identify(f, p.chunk, eol, &problems)
		}
		f.migrate(p, &problems)
		if !first {
			p.document.forget()
		}
	}
	if len(problems) == 0 {
		f.deliver(parts, eol, &problems)
		f.remove(parts, &problems)
	}
	if len(problems) > 0 {
		return nil, invalid(problems)
	}

	var out bytes.Buffer
	if marked {
		out.Write(mark)
	}
	for i, p := range parts {
		text := p.text
		if p.appended != "" {
			text = slices.Concat(text, []byte(p.appended))
		}
		out.Write(text)
		result.Parts = append(result.Parts, Part{chunks[i].text, text, ours[i]})
		if d := p.document; d != nil {
			result.Changes = append(result.Changes, d.changes...)
			result.Losses = append(result.Losses, d.losses...)
		}
	}
	result.Data = out.Bytes()
	if unfinished {
		result.Data = bytes.TrimSuffix(result.Data, []byte(eol))
	}
	slices.SortStableFunc(result.Changes, func(a, b Change) int { return compare(a.Pos, b.Pos) })
	slices.SortStableFunc(result.Losses, func(a, b Loss) int { return compare(a.Pos, b.Pos) })
	return result, nil
}

func compare(a, b load.Position) int {
	return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
}

func invalid(problems load.Problems) *fault.Error {
	slices.SortStableFunc(problems, func(a, b load.Problem) int { return compare(a.Pos, b.Pos) })
	return fault.New(fault.InvalidConfig, "%w", problems)
}

// identify parses a chunk that may be a document of the group. Anything else is
// left alone unread.
func identify(f *file, c chunk, eol string, problems *load.Problems) *document {
	if !bytes.Contains(c.text, []byte(Group)) {
		return nil
	}
	root, problem := parse(f.name, c)
	if problem != nil {
		*problems = append(*problems, *problem)
		return nil
	}
	if root == nil || root.Kind != yaml.MappingNode {
		return nil
	}
	apiVersionKey, apiVersion := get(root, "apiVersion")
	if apiVersion == nil {
		return nil
	}
	group, version, _ := strings.Cut(resolve(apiVersion).Value, "/")
	if p := twoInOne(f.name, c, root); p != nil {
		*problems = append(*problems, *p)
		return nil
	}
	if resolve(apiVersion).Kind != yaml.ScalarNode || group != Group {
		return nil
	}
	d := &document{file: f.name, line: c.line, eol: eol, context: f, original: newSource(c.text)}
	err := d.read(c.text, root)
	_, kind := get(root, "kind")
	known := kinds()
	switch d.version = slices.Index(Versions(), version); {
	case d.version < 0:
		hint := "known: " + strings.Join(Versions(), ", ")
		if strings.HasPrefix(version, "v1alpha") {
			hint = "kubeadm of Kubernetes 1.11 to 1.14 can read it"
		}
		d.problem(apiVersion, "apiVersion", hint, "unknown version %s", Redact(apiVersion.Value))
	case kind == nil || resolve(kind).Kind != yaml.ScalarNode:
		d.problem(apiVersionKey, "", "", "the document has no kind")
	default:
		d.kind = resolve(kind).Value
		switch versions, ok := known[d.kind]; {
		case !ok:
			d.problem(kind, "kind", "", "there is no such kind in %s", Group)
		case d.version < versions[0] || d.version > versions[1]:
			d.problem(kind, "kind", "", "%s has no %s", Versions()[d.version], d.kind)
		case err != nil:
			d.byHand(root, "", "the YAML is written in a way that has no safe edit")
		default:
			return d
		}
	}
	*problems = append(*problems, d.problems...)
	return nil
}

// migrate takes one document to the target, hop by hop.
func (f *file) migrate(p *part, problems *load.Problems) {
	d := p.document
	defer func() {
		*problems = append(*problems, d.problems...)
		p.text = d.src.text
	}()
	if d.version == f.target {
		return
	}
	switch span := kinds()[d.kind]; {
	case f.target > span[1]:
		p.gone = true
		return
	case f.target < span[0]:
		d.problem(d.root, "", "", "%s has no %s: the whole document would be lost", Versions()[f.target], d.kind)
		return
	}
	d.setVersion(Versions()[f.target])
	hops := hops()
	for d.version != f.target && !d.blocked {
		if d.version < f.target {
			d.settle(hops[d.version].up)
			d.version++
		} else {
			d.version--
			d.settle(hops[d.version].down)
		}
	}
	if !d.blocked {
		d.flush()
	}
}

// settle repeats a hop until nothing of it had to wait.
func (d *document) settle(hop func(*document)) {
	for {
		d.again = false
		hop(d)
		switch {
		case d.blocked || !d.again:
			return
		case len(d.edits) == 0: // an edit that meets itself
			d.byHand(d.root, "", "the YAML is written in a way that has no safe edit")
			return
		case !d.flush():
			return
		}
	}
}

// setVersion writes the version that the document will have.
func (d *document) setVersion(version string) {
	from := Group + "/" + Versions()[d.version]
	d.each([]string{"apiVersion"}, value, always, func(h hit) {
		n := h.written
		s := d.spans[n]
		old := string(d.src.text[s.body:s.end])
		replaced := strings.Replace(old, from, Group+"/"+version, 1)
		if n.Kind != yaml.ScalarNode || replaced == old {
			d.byHand(n, h.path, "its value is not written out here")
			return
		}
		if d.add(edit{s.body, s.end, replaced}) {
			n.Value = strings.Replace(n.Value, from, Group+"/"+version, 1)
			d.changed(n, h.path, "%s becomes %s", from, Group+"/"+version)
		}
	})
}

// deliver puts the fields that move to another document there, or makes that
// document.
func (f *file) deliver(parts []*part, eol string, problems *load.Problems) {
	for _, t := range f.moved {
		partOf := func(d *document) *part {
			return parts[slices.IndexFunc(parts, func(p *part) bool { return p.document == d })]
		}
		if d := f.first[t.kind]; d != nil {
			before := len(d.problems)
			d.receive(t)
			d.flush()
			*problems = append(*problems, d.problems[before:]...)
			partOf(d).text = d.src.text
			continue
		}
		var b strings.Builder
		fmt.Fprintf(&b, "---%[1]sapiVersion: %[2]s/%[3]s%[1]skind: %[4]s%[1]s%[5]s:%[1]s", eol, Group, Versions()[f.target], t.kind, t.top)
		b.WriteString(t.block("  ", t.leaf, eol))
		partOf(t.source).appended += b.String()
	}
}

// remove turns the documents of kinds that are gone into comments, and one
// separator with each, because a document of nothing but comments is an error to
// kubeadm: behaviour catalogue §1.6.
func (f *file) remove(parts []*part, problems *load.Problems) {
	leading := true // no document is left before this one
	before := make([][]byte, len(parts))
	for i, p := range parts {
		before[i] = p.text
	}
	for i, p := range parts {
		if !p.gone {
			leading = false
			continue
		}
		d := p.document
		if f.json {
			d.problem(d.root, "", "", "%s has no %s, and nothing else is in the file", Versions()[f.target], d.kind)
			*problems = append(*problems, d.problems...)
			continue
		}
		text, ok := comment(p.text, i > 0)
		if next := i + 1; ok && leading && next < len(parts) {
			parts[next].text, ok = commentSeparator(parts[next].text)
		}
		if !ok {
			d.byHand(d.root, "", "the document has to go, and its separators are not plain")
			*problems = append(*problems, d.problems...)
			continue
		}
		p.text = text
		d.lost(d.root, "", "%s has no %s since %s; the document is left as a comment", Group, d.kind, Versions()[kinds()[d.kind][1]+1])
	}
	f.checkNeighbours(parts, before, problems)
}

// checkNeighbours: a comment that comes to another document must be one there
// too, which it is not in text that only the separator ended.
func (f *file) checkNeighbours(parts []*part, before [][]byte, problems *load.Problems) {
	meant := func(text []byte) *yaml.Node {
		root, problem := parse(f.name, chunk{text: text})
		if problem != nil {
			return nil
		}
		return cmp.Or(root, scalar(""))
	}
	for i, first := 0, true; i < len(parts); i++ {
		if parts[i].gone {
			continue
		}
		var above, below [][]byte
		for j := i - 1; first && j >= 0; j-- {
			above = append([][]byte{parts[j].text}, above...)
		}
		for j := i + 1; j < len(parts) && parts[j].gone; j++ {
			below = append(below, parts[j].text)
		}
		first = false
		if len(above)+len(below) == 0 {
			continue
		}
		text := slices.Concat(slices.Concat(above...), parts[i].text, slices.Concat(below...))
		a, b := meant(before[i]), meant(text)
		if a == nil || b == nil || !same(a, b, map[*yaml.Node]*yaml.Node{}) {
			*problems = append(*problems, load.Problem{
				Pos:     load.Position{File: f.name, Line: parts[i].line + 1, Column: 1},
				Message: "cannot be migrated: the document beside this one has to go, and it could not be left as a comment here",
				Hint:    "remove it, or write this one out plainly",
			})
		}
	}
}

// comment makes comments of all lines; the separator may stay. It is false if
// there is more than a plain separator.
func comment(text []byte, separator bool) ([]byte, bool) {
	var out bytes.Buffer
	ok := true
	for line := range bytes.Lines(text) {
		trimmed := bytes.TrimSpace(line)
		switch marker := isMarker(line, "---"); {
		case isMarker(line, "...") || line[0] == '%':
			ok = false
		case marker && len(trimmed) > 3 && !bytes.HasPrefix(bytes.TrimSpace(trimmed[3:]), []byte("#")):
			ok = false
		case len(trimmed) == 0 || trimmed[0] == '#' || (marker && !separator):
			out.Write(line)
		default:
			out.WriteString("# ")
			out.Write(line)
		}
	}
	return out.Bytes(), ok
}

// commentSeparator makes a comment of the separator that a chunk starts with.
func commentSeparator(text []byte) ([]byte, bool) {
	if !isMarker(text, "---") {
		return text, false
	}
	line, rest, _ := bytes.Cut(text, []byte("\n"))
	if more := bytes.TrimSpace(line[3:]); len(more) > 0 && more[0] != '#' {
		return text, false
	}
	return slices.Concat([]byte("# "), line, []byte("\n"), rest), true
}
