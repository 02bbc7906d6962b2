package load

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	v1 "github.com/kubejoin/kubejoin/apis/kubeadm/v1"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta1"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta2"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta3"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta4"
)

// byAge has the versions, the oldest first.
var byAge = []string{v1beta1.APIVersion, v1beta2.APIVersion, v1beta3.APIVersion, v1beta4.APIVersion, v1.APIVersion}

// moved are the fields that v1beta4 has elsewhere, by their kind and path:
// behaviour catalogue §1.2 and §1.3.
var moved = map[string]string{
	"JoinConfiguration discovery.timeout":                   "timeouts.discovery",
	"ClusterConfiguration apiServer.timeoutForControlPlane": "timeouts.controlPlaneComponentHealthCheck of InitConfiguration",
}

// elsewhere says where there is a field that this version of the kind has not:
// in another version, or in another kind; empty if nowhere.
func (d *decoder) elsewhere(fieldPath string) string {
	if d.version == "" {
		return ""
	}
	here := slices.Index(byAge, d.version)
	var with []int // the places in byAge of the versions with the field
	var names, kinds []string
	for i, version := range byAge {
		for _, k := range Kinds() {
			switch {
			case k.APIVersion != version || fieldType(k, fieldPath) == nil:
			case k.Name == d.kind:
				with = append(with, i)
				names = append(names, short(version))
			case i == here:
				kinds = append(kinds, k.Name)
			}
		}
	}
	if len(with) == 0 {
		if len(kinds) == 0 {
			return ""
		}
		return "it is a field of " + strings.Join(kinds, " and ")
	}
	oldest, newest := names[0], names[len(names)-1]
	wasOlder := with[len(with)-1] < here
	switch now, isMoved := moved[d.kind+" "+fieldPath]; {
	case wasOlder && isMoved:
		return fmt.Sprintf("%s has it as %s", short(d.version), now)
	case wasOlder:
		return newest + " was the last to have it"
	case oldest == short(v1.APIVersion):
		return "it exists in " + oldest + " only"
	case with[0] > here:
		return "it exists since " + oldest
	}
	return "it exists in " + strings.Join(names, " and ")
}

// formerMapping is the hint on a list where this version wants a mapping; empty
// if no version wants a list.
func (d *decoder) formerMapping(fieldPath string) string {
	if d.version == "" {
		return ""
	}
	for _, version := range byAge {
		for _, k := range Kinds() {
			if k.APIVersion != version || k.Name != d.kind {
				continue
			}
			if t := fieldType(k, fieldPath); t != nil && t.Kind() == reflect.Slice {
				return fmt.Sprintf("%s wants a map {name: value}; a list came with %s", short(d.version), short(version))
			}
		}
	}
	return ""
}

// fieldType is the type that a kind has for a field; nil if it has no such field.
func fieldType(k Kind, fieldPath string) reflect.Type {
	d := newDecoder("")
	t := reflect.TypeOf(k.New())
	for _, name := range strings.Split(fieldPath, ".") {
		name, index, isItem := strings.Cut(name, "[")
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct || strings.Contains(index, `"`) {
			return nil
		}
		place, ok := d.fieldsOf(t).byName[name]
		if !ok {
			return nil
		}
		t = t.FieldByIndex(place).Type
		if isItem {
			if t.Kind() != reflect.Slice {
				return nil
			}
			t = t.Elem()
		}
	}
	return t
}

// short is a version without its group.
func short(apiVersion string) string { return strings.TrimPrefix(apiVersion, group+"/") }
