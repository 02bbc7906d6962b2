package generate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubejoin/kubejoin/apis/kubeadm/v1"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta4"
	"github.com/kubejoin/kubejoin/apis/load"
)

// Schemas gives the content of every schema by its file's name. source is the
// folder of the module, whose doc comments are read.
func Schemas(source string) (map[string][]byte, error) {
	c := &comments{source: source, packages: map[string]map[string]string{}}
	unused := rules()
	files := map[string][]byte{}
	for _, k := range load.Kinds() {
		name := strings.TrimPrefix(k.APIVersion, "kubeadm.k8s.io/") + "/" + k.Name + ".json"
		g := &generator{comments: c, rules: rules(), unused: unused, definitions: map[string]reflect.Type{}}
		s, err := g.kind(k)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		compact, err := encode(s)
		if err != nil {
			return nil, err
		}
		var file bytes.Buffer
		if err := json.Indent(&file, compact, "", " "); err != nil {
			return nil, err
		}
		file.WriteByte('\n')
		files[name] = file.Bytes()
	}
	if len(unused) > 0 {
		return nil, fmt.Errorf("rules for what no version has: %s", strings.Join(slices.Sorted(maps.Keys(unused)), ", "))
	}
	return files, nil
}

// generator makes one schema.
type generator struct {
	comments *comments
	rules    map[string]rule
	// unused are the rules that have met nothing so far.
	unused map[string]rule
	// definitions are the types of list items: lists of one type share them.
	// Everything else is written where it is, because draft-07 ignores a
	// description beside a $ref.
	definitions map[string]reflect.Type
	defined     properties
}

func (g *generator) kind(k load.Kind) (*schema, error) {
	defaulted := k.New()
	object := reflect.ValueOf(defaulted).Elem()
	fill(object)
	k.SetDefaults(defaulted)

	s := &schema{}
	if err := g.object(s, object); err != nil {
		return nil, err
	}
	description, err := g.comments.ofType(object.Type(), k.Name)
	if err != nil {
		return nil, err
	}
	s.Schema = "http://json-schema.org/draft-07/schema#"
	s.Title = k.Name + " " + k.APIVersion
	s.Description = description
	s.Type = types{"object"}
	s.Properties = append(properties{
		{"apiVersion", &schema{Description: versionText(k.APIVersion), Const: k.APIVersion}},
		{"kind", &schema{Description: "kind is the kind of the configuration.", Const: k.Name}},
	}, s.Properties...)
	s.Required = append([]string{"apiVersion", "kind"}, s.Required...)
	s.Definitions = g.defined
	return s, nil
}

func versionText(apiVersion string) string {
	text := "apiVersion is the version of the configuration."
	switch apiVersion {
	case v1beta4.APIVersion:
	case v1.APIVersion:
		text += " It is experimental: kubeadm 1.37 reads it only when it is asked to."
	default:
		text += " kubeadm no longer reads this one; \"kubejoin config migrate\" updates the file."
	}
	return text
}

// fill makes every object that a default function may look into, and one item
// in every list of objects.
func fill(v reflect.Value) {
	switch {
	case isLeaf(v.Type()):
	case v.Kind() == reflect.Pointer && v.Type().Elem().Kind() == reflect.Struct && !isLeaf(v.Type().Elem()):
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct && !isLeaf(v.Type().Elem()):
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	}
}

// isLeaf tells types that have a JSON notation of their own.
func isLeaf(t reflect.Type) bool {
	switch t {
	case reflect.TypeFor[metav1.Duration](), reflect.TypeFor[metav1.Time](), reflect.TypeFor[resource.Quantity](), reflect.TypeFor[metav1.TypeMeta]():
		return true
	}
	return false
}

// object adds the fields of a struct. v has the defaults.
func (g *generator) object(s *schema, v reflect.Value) error {
	s.AdditionalProperties = false
	if err := g.fields(s, v); err != nil {
		return err
	}
	if r, ok := g.rule(v.Type().Name()); ok {
		r.apply(s)
	}
	return nil
}

func (g *generator) fields(s *schema, v reflect.Value) error {
	t := v.Type()
	for i := range t.NumField() {
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Type == reflect.TypeFor[metav1.TypeMeta]():
			continue
		case name == "" && field.Anonymous:
			if err := g.fields(s, v.Field(i)); err != nil {
				return err
			}
			continue
		case name == "" || name == "-":
			return fmt.Errorf("%s.%s has no JSON name", t.Name(), field.Name)
		}
		p, required, err := g.field(t, field, name, v.Field(i))
		if err != nil {
			return err
		}
		s.Properties = append(s.Properties, property{name, p})
		if required {
			s.Required = append(s.Required, name)
		}
	}
	return nil
}

func (g *generator) field(owner reflect.Type, field reflect.StructField, name string, value reflect.Value) (_ *schema, required bool, err error) {
	s, err := g.value(value)
	if err != nil {
		return nil, false, err
	}
	if s.Description, err = g.comments.ofField(owner, field, name); err != nil {
		return nil, false, err
	}
	s.WriteOnly = field.Tag.Get("sensitive") == "true"
	if !s.WriteOnly {
		s.Default = defaultOf(value)
	}
	r, _ := g.rule(owner.Name() + "." + name)
	r.apply(s)
	// Null is as good as absent. It is left out of choices, because an editor
	// would offer it as one.
	if !r.required && !r.notNull && s.Enum == nil && !slices.Equal(s.Type, types{"boolean"}) {
		s.Type = append(s.Type, "null")
	}
	return s, r.required, nil
}

func (g *generator) rule(key string) (rule, bool) {
	r, ok := g.rules[key]
	delete(g.unused, key)
	return r, ok
}

// defaultOf is the default of anything but an object: those of its fields are
// at the fields.
func defaultOf(v reflect.Value) any {
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	switch {
	case v.IsZero():
		return nil
	case isLeaf(v.Type()):
		return v.Interface()
	case v.Kind() == reflect.Struct, v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		return nil
	}
	return v.Interface()
}

func (g *generator) value(v reflect.Value) (*schema, error) {
	t := v.Type()
	switch t {
	case reflect.TypeFor[metav1.Duration]():
		return &schema{Type: types{"string"}, Pattern: duration}, nil
	case reflect.TypeFor[metav1.Time]():
		return &schema{Type: types{"string"}, Format: "date-time"}, nil
	case reflect.TypeFor[resource.Quantity]():
		return &schema{Type: types{"string", "number"}}, nil
	}
	switch t.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return g.value(reflect.Zero(t.Elem()))
		}
		return g.value(v.Elem())
	case reflect.String:
		return &schema{Type: types{"string"}}, nil
	case reflect.Bool:
		return &schema{Type: types{"boolean"}}, nil
	case reflect.Int, reflect.Int32:
		return &schema{Type: types{"integer"}}, nil
	case reflect.Struct:
		s := &schema{Type: types{"object"}}
		return s, g.object(s, v)
	case reflect.Map:
		values, err := g.item(reflect.Zero(t.Elem()))
		return &schema{Type: types{"object"}, AdditionalProperties: values}, err
	case reflect.Slice:
		item := reflect.Zero(t.Elem())
		if v.Len() > 0 {
			item = v.Index(0)
		}
		items, err := g.item(item)
		return &schema{Type: types{"array"}, Items: items}, err
	}
	return nil, fmt.Errorf("no schema for %s", t)
}

// item is what a list or a map holds.
func (g *generator) item(v reflect.Value) (*schema, error) {
	t := v.Type()
	if t.Kind() != reflect.Struct || isLeaf(t) {
		return g.value(v)
	}
	switch g.definitions[t.Name()] {
	case t:
	case nil:
		g.definitions[t.Name()] = t
		s, err := g.value(v)
		if err != nil {
			return nil, err
		}
		if s.Description, err = g.comments.ofType(t, t.Name()); err != nil {
			return nil, err
		}
		g.defined = append(g.defined, property{t.Name(), s})
	default:
		return nil, fmt.Errorf("two types named %s", t.Name())
	}
	return &schema{Ref: "#/definitions/" + t.Name()}, nil
}
