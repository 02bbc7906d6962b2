package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubejoin/kubejoin/apis/internal/spell"
)

// maxValue bounds a single value, which may be used many times through aliases.
const maxValue = 64 << 10

// decoder fills a Go value from a YAML node by the names of the JSON tags. It
// reports everything that does not fit and goes on; what does not fit stays
// zero. It visits each value once, so its time is linear in the document as the
// types of a kind are not recursive and checkAliases has bounded the aliases.
type decoder struct {
	file string
	// version and kind are of kubeadm's types; empty for those of other programs.
	version, kind string
	// problems are errors: values that cannot be used.
	problems Problems
	// surplus are fields that are unknown or given twice: errors in a user's
	// file, warnings in the cluster's.
	surplus Problems
	// positions of all fields that were decoded, by their path. A scalar is
	// where its value is, anything else where its name is.
	positions map[string]Position
	// unset are the fields that are there and hold nothing: null or a zero value.
	// Defaults take them for absent ones.
	unset map[string]bool
	// argNames are the names in each map of arguments, sorted: where the internal
	// version has a list, a file of an older version has the map.
	argNames map[string][]string
	structs  map[reflect.Type]*structFields
}

// structFields are the fields of a struct by their JSON name; names has them in
// the order of declaration.
type structFields struct {
	byName map[string][]int
	names  []string
}

// duplicateField is the message on a field that is there twice: it has a value, in
// contrast to all other fields that there are problems with.
const duplicateField = "duplicate field"

func newDecoder(file string) *decoder {
	return &decoder{
		file:      file,
		positions: map[string]Position{},
		unset:     map[string]bool{},
		argNames:  map[string][]string{},
		structs:   map[reflect.Type]*structFields{},
	}
}

// document decodes a whole document into the value that into points to.
func (d *decoder) document(root *yaml.Node, into any) {
	d.positions[""] = position(d.file, root)
	d.value(root, reflect.ValueOf(into).Elem(), "")
}

func (d *decoder) value(n *yaml.Node, v reflect.Value, path string) {
	if len(d.problems)+len(d.surplus) >= maxProblems {
		return
	}
	pos := position(d.file, n)
	if _, known := d.positions[path]; !known || n.Kind == yaml.ScalarNode && !isNull(n) {
		d.positions[path] = pos
	}
	written := n
	n = resolve(n)
	if isNull(n) {
		return // as in JSON: the field is as good as absent
	}
	if len(n.Value) > maxValue {
		d.problems.add(pos, path, fmt.Sprintf("the value is longer than %d KiB", maxValue>>10), "")
		return
	}
	if leaf, ok := v.Addr().Interface().(json.Unmarshaler); ok {
		d.leaf(n, leaf, pos, path)
		return
	}
	wrongType := func(want, hint string) {
		if isTemplate(n) {
			hint = notRendered
		}
		d.problems.add(pos, path, "expected "+want+", got "+describe(n), hint)
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(written, v.Elem(), path) // at the alias, not at its anchor
	case reflect.Struct:
		if n.Kind != yaml.MappingNode {
			wrongType("mapping", "")
			return
		}
		d.structure(n, v, path)
	case reflect.Map:
		if n.Kind != yaml.MappingNode {
			hint := ""
			if n.Kind == yaml.SequenceNode {
				hint = d.formerMapping(path)
			}
			wrongType("mapping", hint)
			return
		}
		d.mapping(n, v, path)
		if args, ok := v.Interface().(map[string]string); ok {
			d.argNames[path] = slices.Sorted(maps.Keys(args))
		}
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			hint := ""
			if item := v.Type().Elem(); item.Kind() == reflect.Struct {
				// Arguments were a mapping up to v1beta3.
				hint = "write a list of items with " + strings.Join(d.fieldsOf(item).names, ", ")
			}
			wrongType("list", hint)
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
		for i, item := range n.Content {
			d.value(item, v.Index(i), path+"["+strconv.Itoa(i)+"]")
		}
	case reflect.String:
		switch {
		case isString(n):
			v.SetString(n.Value)
		case describe(n) == "number", describe(n) == "boolean":
			wrongType("string", "put it in quotes")
		default:
			wrongType("string", "")
		}
	case reflect.Bool:
		// yes, no, on and off are booleans of YAML 1.1, which kubeadm reads.
		var b bool
		if n.Kind != yaml.ScalarNode || n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 || n.Decode(&b) != nil {
			wrongType("boolean", "write true or false, without quotes")
			return
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int32, reflect.Int64:
		var i int64
		switch {
		case n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int":
			wrongType("whole number", "")
		case n.Decode(&i) != nil || v.OverflowInt(i):
			d.problems.add(pos, path, "the number is too large", "")
		default:
			v.SetInt(i)
		}
	case reflect.Uint32:
		var u uint64
		switch {
		case n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int":
			wrongType("whole number", "")
		case n.Decode(&u) != nil || v.OverflowUint(u):
			d.problems.add(pos, path, "the number is negative or too large", "")
		default:
			v.SetUint(u)
		}
	case reflect.Float64:
		var f float64
		if n.Kind != yaml.ScalarNode || describe(n) != "number" || n.Decode(&f) != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			wrongType("number", "")
			return
		}
		v.SetFloat(f)
	default:
		d.problems.add(pos, path, "cannot be set from a file", "")
	}
}

// leaf decodes a value whose type has a JSON notation of its own.
func (d *decoder) leaf(n *yaml.Node, into json.Unmarshaler, pos Position, path string) {
	var err error
	switch {
	case isString(n):
		var text []byte
		if text, err = json.Marshal(n.Value); err == nil {
			err = into.UnmarshalJSON(text)
		}
	case n.Kind == yaml.ScalarNode && json.Valid([]byte(n.Value)):
		err = into.UnmarshalJSON([]byte(n.Value))
	default:
		err = errors.New("unexpected " + describe(n))
	}
	if err == nil {
		return
	}
	got := ""
	if !isString(n) {
		got = ", got " + describe(n)
	}
	switch into.(type) {
	case *metav1.Duration:
		message, hint := `expected a duration such as "4m0s" in quotes`+got, ""
		if isString(n) {
			message, hint = badDuration(n.Value)
		}
		d.problems.add(pos, path, message, hint)
	case *metav1.Time:
		d.problems.add(pos, path, `expected a time such as "2006-01-02T15:04:05Z"`+got, "")
	default:
		d.problems.add(pos, path, "cannot be read: "+err.Error(), "")
	}
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value, path string) {
	known := d.fieldsOf(v.Type())
	d.eachField(n, path, func(name, fieldPath string, key, value *yaml.Node) {
		index, ok := known.byName[name]
		if !ok {
			hint := d.elsewhere(fieldPath)
			if near, ok := spell.Nearest(name, known.names); ok && hint == "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			d.surplus.add(position(d.file, key), fieldPath, "unknown field", hint)
			return
		}
		field := v.FieldByIndex(index)
		field.SetZero() // a later duplicate replaces the earlier one
		d.value(value, field, fieldPath)
		d.unset[fieldPath] = field.IsZero()
	})
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	v.Set(reflect.MakeMap(v.Type()))
	d.eachField(n, path, func(name, fieldPath string, _, value *yaml.Node) {
		element := reflect.New(v.Type().Elem()).Elem()
		d.value(value, element, fieldPath)
		v.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), element)
	})
}

// eachField visits the entries of a mapping, and reports keys that are not words
// or that are there twice.
func (d *decoder) eachField(n *yaml.Node, path string, visit func(name, fieldPath string, key, value *yaml.Node)) {
	d.checkMerges(n, path)
	own := map[string]Position{}
	for _, f := range fields(n) {
		key := resolve(f.key)
		pos := position(d.file, f.key)
		if key.Kind != yaml.ScalarNode {
			hint := ""
			if isTemplate(n) {
				hint = notRendered
			}
			d.problems.add(pos, path, "the name of a field must be a word, not a "+describe(key), hint)
			continue
		}
		fieldPath := child(path, key.Value)
		if !f.merged {
			if first, ok := own[key.Value]; ok {
				d.surplus.add(pos, fieldPath, duplicateField, fmt.Sprintf("it is first set at line %d", first.Line))
			} else {
				own[key.Value] = pos
			}
		}
		d.positions[fieldPath] = pos
		visit(key.Value, fieldPath, f.key, f.value)
	}
}

// checkMerges reports merge keys with something else than mappings, and a second
// merge key, of which YAML knows no meaning.
func (d *decoder) checkMerges(n *yaml.Node, path string) {
	seen := false
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], resolve(n.Content[i+1])
		if !isMerge(key) {
			continue
		}
		if seen {
			d.surplus.add(position(d.file, key), child(path, "<<"), "duplicate merge key", "merge a list: <<: [*a, *b]")
		}
		seen = true
		sources := []*yaml.Node{value}
		if value.Kind == yaml.SequenceNode {
			sources = value.Content
		}
		for _, source := range sources {
			if source := resolve(source); source.Kind != yaml.MappingNode {
				d.problems.add(position(d.file, key), child(path, "<<"), "expected a mapping to merge, got "+describe(source), "")
			}
		}
	}
}

func (d *decoder) fieldsOf(t reflect.Type) *structFields {
	if known, ok := d.structs[t]; ok {
		return known
	}
	known := &structFields{byName: map[string][]int{}}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "" && name != "-" {
			known.byName[name] = f.Index
			known.names = append(known.names, name)
		}
	}
	d.structs[t] = known
	return known
}

var plainName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_./-]{1,64}$`) })

// child appends a field to a path in JSON notation. A name that would not be
// readable there is quoted and shortened; one that looks like a token is masked.
func child(path, name string) string {
	name = mask(name[:min(len(name), 256)])
	if !plainName().MatchString(name) {
		runes := []rune(name)
		return fmt.Sprintf("%s[%q]", path, string(runes[:min(len(runes), 64)]))
	}
	if path == "" {
		return name
	}
	return path + "." + name
}
