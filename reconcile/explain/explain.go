package explain

import (
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubernetesyaml "sigs.k8s.io/yaml"

	"github.com/kubejoin/kubejoin/apis/kubeadm/v1"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta4"
	"github.com/kubejoin/kubejoin/apis/load"
	"github.com/kubejoin/kubejoin/reconcile"
)

// Origin is the kind of a source.
type Origin string

// The origins.
const (
	File     Origin = "file"
	Flag     Origin = "flag"
	Detected Origin = "detected"
	Default  Origin = "default"
	// Environment is a variable of the program's environment.
	Environment Origin = "environment"
)

// Source says where a value came from.
type Source struct {
	Origin Origin
	// Position is set for File.
	Position load.Position
	// From is the flag or variable, or what was detected or copied; may be empty.
	From string
}

// String is what stands behind the value: "join.yaml:12", "flag --token",
// "environment KUBEJOIN_TOKEN", "detected: hostname", "default".
func (s Source) String() string {
	switch {
	case s.Origin == File:
		return fmt.Sprintf("%s:%d", s.Position.File, s.Position.Line)
	case s.Origin == Flag, s.Origin == Environment:
		return strings.TrimSpace(string(s.Origin) + " " + s.From)
	case s.From != "":
		return string(s.Origin) + ": " + s.From
	}
	return string(s.Origin)
}

// Value is one value of the configuration. An empty list is a value too.
type Value struct {
	// Path is in JSON notation: "nodeRegistration.taints[0].effect".
	Path string
	// Value is a string, a number, a boolean, an empty list or nil. A secret is
	// masked.
	Value  any
	Source Source
}

// Input is what there is to know.
type Input struct {
	// Join has its dynamic defaults.
	Join *load.Join
	// Detected says, by path, what of the machine a value was taken from. Of an
	// empty value it says why there was none to take, which becomes a note before
	// the field that follows.
	Detected map[string]string
	// Proxies are the proxy variables of the environment, as NAME=value.
	Proxies []string
}

// Variable is one of the environment.
type Variable struct {
	Name string `json:"name"`
	// Value is masked if there is a password in it.
	Value string `json:"value"`
}

// Explanation is a configuration with the sources of its values.
type Explanation struct {
	APIVersion, Kind string
	// Values are in the order of the type's fields.
	Values []Value
	// Proxies are the environment's.
	Proxies []Variable
	root    *yaml.Node
}

// Join explains a JoinConfiguration. It shows an older version as the current
// one, which can express all of it. A field that is empty and not in the file is
// left out.
func Join(in Input) *Explanation {
	var external any
	explanation := &Explanation{APIVersion: v1beta4.APIVersion, Kind: "JoinConfiguration"}
	if in.Join.Version == v1.APIVersion {
		explanation.APIVersion = v1.APIVersion
		external, _ = v1.FromInternalJoinConfiguration(in.Join.Config)
	} else {
		external, _ = v1beta4.FromInternalJoinConfiguration(in.Join.Config)
	}
	e := &explainer{in: in}
	root := e.object(reflect.ValueOf(external).Elem(), "")
	header := slices.Concat(pair("apiVersion", text(explanation.APIVersion)), pair("kind", text(explanation.Kind)))
	root.Content = append(header, root.Content...)
	explanation.Values, explanation.root = e.values, root
	explanation.Proxies = []Variable{} // an empty list, not null
	for _, proxy := range in.Proxies {
		name, value, _ := strings.Cut(proxy, "=")
		if strings.Contains(value, "@") {
			value = reconcile.Mask([]byte(value))
		}
		explanation.Proxies = append(explanation.Proxies, Variable{name, value})
	}
	return explanation
}

// YAML is the configuration, with each value's source as a comment beside it, and
// the proxies in comments behind it.
func (e *Explanation) YAML() ([]byte, error) {
	text, err := yaml.Dump(e.root)
	for _, v := range e.Proxies {
		text = fmt.Appendln(text, comment("proxy "+v.Name+": "+v.Value+" # environment"))
	}
	return text, err
}

type explainer struct {
	in     Input
	values []Value
}

func (e *explainer) object(v reflect.Value, path string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	note := ""
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" {
			continue // apiVersion and kind
		}
		fieldPath := strings.TrimPrefix(path+"."+name, ".")
		child := e.value(v.Field(i), fieldPath, field.Tag.Get("sensitive") == "true")
		if child == nil {
			if why, ok := e.in.Detected[fieldPath]; ok {
				note = comment(name + " is left out: " + why)
			}
			continue
		}
		named := pair(name, child)
		named[0].HeadComment, note = note, ""
		n.Content = append(n.Content, named...)
	}
	return n
}

// value gives the node of a value; nil if there is nothing to show.
func (e *explainer) value(v reflect.Value, path string, secret bool) *yaml.Node {
	set := !v.IsZero()
	for v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil
		}
		v = v.Elem()
	}
	switch x := v.Interface().(type) {
	case metav1.Duration:
		return e.leaf(x.Duration.String(), path, set)
	case metav1.Time:
		return e.leaf(x.UTC().Format("2006-01-02T15:04:05Z"), path, set)
	case v1.MergeMethod:
		if x == "" { // the file may say replace, which means the same
			return nil
		}
	}
	switch v.Kind() {
	case reflect.Struct:
		n := e.object(v, path)
		if len(n.Content) == 0 && !e.written(path) {
			return nil
		}
		if len(n.Content) == 0 {
			return e.empty(n, map[string]any{}, path, set)
		}
		return n
	case reflect.Slice:
		if v.Len() == 0 && (v.IsNil() || !e.written(path) && e.in.Join.SetBy(path) == "") {
			return nil
		}
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range v.Len() {
			if item := e.value(v.Index(i), fmt.Sprintf("%s[%d]", path, i), secret); item != nil {
				n.Content = append(n.Content, item)
			}
		}
		if len(n.Content) == 0 {
			return e.empty(n, []any{}, path, set)
		}
		return n
	}
	if _, undetected := e.in.Detected[path]; !set && (undetected || !e.written(path) && e.in.Join.SetBy(path) == "") {
		return nil
	}
	value := v.Interface()
	if v.Kind() == reflect.String {
		value = public(v.String(), path, secret)
	}
	return e.leaf(value, path, set)
}

// public is what may be shown of a text. Of a URL that is only the host: a
// pre-signed one is a credential.
func public(value, path string, secret bool) string {
	if secret {
		return reconcile.Mask([]byte(value))
	}
	if u, err := url.Parse(value); path == "discovery.file.kubeConfigPath" && (err != nil || u.Host != "") {
		if err != nil {
			return reconcile.Mask([]byte(value))
		}
		return u.Scheme + "://" + u.Host + "/" + reconcile.Mask([]byte(value))
	}
	return value
}

func (e *explainer) leaf(value any, path string, set bool) *yaml.Node {
	var n yaml.Node
	if s, ok := value.(string); ok {
		n = *text(s)
	} else if err := n.Encode(value); err != nil { // cannot happen: numbers and booleans
		return nil
	}
	return e.remember(&n, value, path, set)
}

func (e *explainer) empty(n *yaml.Node, value any, path string, set bool) *yaml.Node {
	n.Style = yaml.FlowStyle
	return e.remember(n, value, path, set)
}

func (e *explainer) remember(n *yaml.Node, value any, path string, set bool) *yaml.Node {
	source := e.source(path, set)
	n.LineComment = comment(source.String())
	e.values = append(e.values, Value{path, value, source})
	return n
}

func (e *explainer) written(path string) bool {
	_, ok := e.in.Join.Source(path, false)
	return ok
}

func (e *explainer) source(path string, set bool) Source {
	// Also where something was written: it asked for detection, as 0.0.0.0 does.
	if what, ok := e.in.Detected[path]; ok {
		return Source{Origin: Detected, From: what}
	}
	if e.in.Join.Overridden(path) {
		if by := e.in.Join.SetBy(path); by != "" {
			if variable, ok := strings.CutPrefix(by, "$"); ok {
				return Source{Origin: Environment, From: variable}
			}
			return Source{Origin: Flag, From: by}
		}
		if pos, ok := e.in.Join.Written(path); ok {
			return Source{Origin: File, Position: pos}
		}
		return Source{Origin: Default} // inside of what a flag made
	}
	if pos, ok := e.in.Join.Source(path, set); ok {
		return Source{Origin: File, Position: pos}
	}
	if token := e.in.Join.Config.Discovery.BootstrapToken; path == "discovery.tlsBootstrapToken" && token != nil {
		return Source{Origin: Default, From: "discovery.bootstrapToken.token"}
	}
	return Source{Origin: Default}
}

func pair(name string, value *yaml.Node) []*yaml.Node { return []*yaml.Node{text(name), value} }

// text is quoted where YAML, also of version 1.1, would take it for something
// else than this text.
func text(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	var read any
	if err := kubernetesyaml.Unmarshal([]byte(s), &read); err != nil || read != s {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

// comment keeps the name of a file from breaking out of the comment.
func comment(s string) string {
	return "# " + strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
