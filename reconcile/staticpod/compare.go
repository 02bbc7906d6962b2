package staticpod

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubejoin/kubejoin/reconcile"
)

// Options say what does not count in a comparison.
type Options struct {
	// EtcdHasData: etcd's data directory belongs to a member. It never looks at
	// initial-cluster and initial-cluster-state again (appendix B 2).
	EtcdHasData bool
	// StartupThreshold: startupProbe.failureThreshold counts. It follows from
	// how long a join waits, and no pod should restart for that (appendix B 3).
	StartupThreshold bool
}

// Compare tells whether a manifest on disk describes the wanted pod, and which
// fields differ if not (behaviour catalogue, appendix B 1 to 4). A value that
// the API server would fill in is equal to an absent one. Arguments are equal
// if those of each name are, in their order. Values that may hold a password
// are masked. The error says why the manifest describes no pod.
func Compare(existing []byte, want *corev1.Pod, o Options) (equal bool, fields []reconcile.Field, err error) {
	pod, err := Decode(existing)
	if err != nil {
		return false, nil, err
	}
	have, err := meaning(pod, want.Name, o)
	if err != nil {
		return false, nil, err
	}
	wanted, err := meaning(want, want.Name, o)
	if err != nil {
		return false, nil, err
	}
	diff("", have, wanted, &fields)
	return len(fields) == 0, fields, nil
}

// meaning is a pod as nested maps in which lists with a key are maps by that
// key, with what is no difference taken out. What belongs to the component's
// container is at the top, as a reader looks for it.
func meaning(in *corev1.Pod, component string, o Options) (out map[string]any, err error) {
	pod := in.DeepCopy()
	setDefaults(pod)
	pod.Status = corev1.PodStatus{}
	doc, err := json.Marshal(pod)
	if err != nil {
		return nil, err
	}
	var top map[string]any
	if err := json.Unmarshal(doc, &top); err != nil {
		return nil, err
	}
	prune(top)
	delete(top, "status")
	out = object(top, "spec")
	for _, k := range []string{"securityContext", "resources", "restartPolicy"} { // containers have them too
		if v, found := out[k]; found {
			out["pod "+k] = v
			delete(out, k)
		}
	}
	if v, found := out["initContainers"]; found { // their variables may be secret
		out["initContainers"] = secret(text(v))
	}
	for k, v := range object(top, "metadata") {
		if k != "creationTimestamp" {
			out[k] = v
		}
	}
	out["volumes"] = byKey(out["volumes"], "name")
	containers := byKey(out["containers"], "name")
	delete(out, "containers")
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		m := object(containers, c.Name)
		m["program"], m["args"] = commandLine(c, component, o)
		delete(m, "command")
		m["mounts"] = byKey(m["volumeMounts"], "mountPath")
		delete(m, "volumeMounts")
		m["env"] = secrets(byKey(m["env"], "name"))
		m["ports"] = byKey(m["ports"], "name")
		if probe := object(m, "startupProbe"); !o.StartupThreshold {
			delete(probe, "failureThreshold")
		}
		if c.Name != component {
			out["containers["+c.Name+"]"] = m
			continue
		}
		delete(m, "name")
		maps.Copy(out, m)
	}
	prune(out)
	return out, nil
}

// secret is a value that leaves this package masked only.
type secret string

// secrets marks the values of variables: a proxy's URL may hold a password.
func secrets(env map[string]any) map[string]any {
	for _, v := range env {
		if m, ok := v.(map[string]any); ok {
			if value, ok := m["value"].(string); ok {
				m["value"] = secret(value)
			}
		}
	}
	return env
}

// commandLine is a container's program without its folder, and the values of
// its arguments by name. Order counts among arguments of one name only, unless
// one is not of the form --name=value: then it decides what belongs together.
func commandLine(c *corev1.Container, component string, o Options) (program string, args map[string]any) {
	all := append(slices.Clone(c.Command), c.Args...)
	if len(all) == 0 {
		return "", nil
	}
	args = map[string]any{}
	if slices.ContainsFunc(all[1:], func(a string) bool { return !strings.HasPrefix(a, "--") }) {
		args["(all)"] = strings.Join(all[1:], " ")
		return path.Base(all[0]), args
	}
	for _, a := range all[1:] {
		name, value, found := strings.Cut(a, "=")
		if c.Name == component && component == Etcd && o.EtcdHasData && (name == "--initial-cluster" || name == "--initial-cluster-state") {
			continue
		}
		if !found {
			value = "true"
		}
		if c.Name == component && component == Etcd && name == "--initial-cluster" {
			entries := strings.Split(value, ",") // of which etcd makes a set
			slices.Sort(entries)
			value = strings.Join(entries, ",")
		}
		if had, twice := args[name].(string); twice {
			value = had + " " + value
		}
		args[name] = value
	}
	return path.Base(all[0]), args
}

// object is a field that is a mapping.
func object(m map[string]any, field string) map[string]any {
	if o, ok := m[field].(map[string]any); ok {
		return o
	}
	return map[string]any{}
}

// byKey makes a mapping of a list of mappings. A second one with the same key
// gets a number.
func byKey(list any, key string) map[string]any {
	out := map[string]any{}
	items, _ := list.([]any)
	for _, item := range items {
		m, ok := item.(map[string]any)
		if !ok {
			continue
		}
		k := fmt.Sprint(m[key])
		for n := 2; out[k] != nil; n++ {
			k = fmt.Sprintf("%v#%d", m[key], n)
		}
		out[k] = m
	}
	return out
}

// prune removes what is empty: nil, "", and lists and mappings without
// elements, so that hostPath.type "" is absent (appendix B 1).
func prune(m map[string]any) {
	for k, v := range m {
		switch v := v.(type) {
		case nil:
			delete(m, k)
		case string:
			if v == "" && k != "value" {
				delete(m, k)
			}
		case []any:
			for _, item := range v {
				if o, ok := item.(map[string]any); ok {
					prune(o)
				}
			}
			if len(v) == 0 {
				delete(m, k)
			}
		case map[string]any:
			if k == "args" { // --x= is not the same as none
				if len(v) == 0 {
					delete(m, k)
				}
				continue
			}
			prune(v)
			// emptyDir: {} says something, securityContext: {} does not.
			if len(v) == 0 && k != "emptyDir" {
				delete(m, k)
			}
		}
	}
}

// keyed tells whether a field's keys are names of the user's choice.
func keyed(field string) bool {
	switch field {
	case "args", "env", "mounts", "ports", "volumes", "labels", "annotations":
		return true
	}
	return false
}

// diff adds a field for each difference: the smallest thing that has a name.
func diff(at string, have, want map[string]any, out *[]reconcile.Field) {
	names := slices.Sorted(maps.Keys(have))
	for k := range want {
		if _, found := have[k]; !found {
			names = append(names, k)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		at := join(at, name)
		h, found := have[name]
		w, wanted := want[name]
		ho, isObject := h.(map[string]any)
		wo, wantsObject := w.(map[string]any)
		// A named list that is wholly absent differs in each of its entries.
		if keyed(name) && (isObject || !found) && (wantsObject || !wanted) {
			diff(at, ho, wo, out)
			continue
		}
		switch {
		case isObject && wantsObject:
			diff(at, ho, wo, out)
		case found && wanted && text(h) == text(w):
		default:
			f := reconcile.Field{Path: at}
			if found {
				f.Before = show(h)
			}
			if wanted {
				f.After = show(w)
			}
			*out = append(*out, f)
		}
	}
}

func join(at, name string) string {
	last := at[strings.LastIndex(at, ".")+1:]
	switch {
	case at == "":
		return name
	case keyed(last):
		return at + "[" + name + "]"
	}
	return at + "." + name
}

// text is a value for comparison.
func text(v any) string {
	if s, ok := v.(secret); ok {
		return string(s)
	}
	doc, _ := json.Marshal(v) // it came from JSON
	return string(doc)
}

// show is a value for a reader: strings as they are, the rest as JSON. Secrets,
// and URLs with a password, are masked.
func show(v any) string {
	switch v := v.(type) {
	case secret:
		return reconcile.Mask([]byte(v))
	case string:
		if holdsPassword(v) {
			return reconcile.Mask([]byte(v))
		}
		return v
	case map[string]any:
		masked := map[string]any{}
		for k, e := range v {
			switch e := e.(type) {
			case secret, string:
				masked[k] = show(e)
			case map[string]any:
				masked[k] = json.RawMessage(show(e))
			default:
				masked[k] = e
			}
		}
		doc, _ := json.Marshal(masked)
		return string(doc)
	}
	return text(v)
}

// userinfo is what a URL, wherever it stands and whatever is wrong with it, may
// hold a password in.
var userinfo = regexp.MustCompile(`://[^/\s"']*@`)

func holdsPassword(v string) bool { return userinfo.MatchString(v) }
