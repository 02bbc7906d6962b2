package convert

import (
	"fmt"
	"reflect"
	"strings"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
)

// Lost gives the paths, in JSON notation, of what an internal configuration had
// before and has not after: what a conversion to an external version and back
// did not bring home. The order of arguments with different names means nothing.
func Lost[T any](before, after *T) []string {
	var lost []string
	compare(reflect.ValueOf(before).Elem(), reflect.ValueOf(after).Elem(), "", &lost)
	return lost
}

func compare(before, after reflect.Value, path string, lost *[]string) {
	switch from := before.Interface().(type) {
	case []kubeadm.Arg:
		compareArgs(from, after.Interface().([]kubeadm.Arg), path, lost)
		return
	case corev1.Taint, corev1.EnvVar, metav1.Time:
		if !reflect.DeepEqual(from, after.Interface()) {
			*lost = append(*lost, path)
		}
		return
	}
	switch before.Kind() {
	case reflect.Pointer:
		if !before.IsNil() && !after.IsNil() {
			compare(before.Elem(), after.Elem(), path, lost)
			return
		}
		if before.IsNil() != after.IsNil() {
			*lost = append(*lost, path)
		}
	case reflect.Struct:
		for i := range before.NumField() {
			field := before.Type().Field(i)
			fieldPath := path
			if !field.Anonymous {
				fieldPath = strings.TrimPrefix(path+"."+jsonName(field.Name), ".")
			}
			compare(before.Field(i), after.Field(i), fieldPath, lost)
		}
	case reflect.Slice:
		if before.Len() != after.Len() || before.IsNil() != after.IsNil() {
			*lost = append(*lost, path)
			return
		}
		for i := range before.Len() {
			compare(before.Index(i), after.Index(i), fmt.Sprintf("%s[%d]", path, i), lost)
		}
	default:
		if !reflect.DeepEqual(before.Interface(), after.Interface()) {
			*lost = append(*lost, path)
		}
	}
}

// compareArgs matches the arguments of one name from the last one on, as the
// last one wins where a name can be there only once.
func compareArgs(before, after []kubeadm.Arg, path string, lost *[]string) {
	left := map[string][]kubeadm.Arg{}
	for _, arg := range after {
		left[arg.Name] = append(left[arg.Name], arg)
	}
	surplus := map[string]int{}
	for _, arg := range before {
		surplus[arg.Name]++
	}
	for name := range surplus {
		surplus[name] -= len(left[name])
	}
	for i, arg := range before {
		at := fmt.Sprintf("%s[%d]", path, i)
		if surplus[arg.Name] > 0 {
			surplus[arg.Name]--
			*lost = append(*lost, at)
			continue
		}
		survivor := left[arg.Name][0]
		left[arg.Name] = left[arg.Name][1:]
		compare(reflect.ValueOf(arg), reflect.ValueOf(survivor), at, lost)
	}
	if (before == nil) != (after == nil) {
		*lost = append(*lost, path)
	}
}

// jsonName is the name of a field in a file: its leading capitals are lowered,
// up to the one that starts the next word. CACertPath becomes caCertPath.
func jsonName(name string) string {
	letters := []rune(name)
	for i := range letters {
		if i > 0 && i+1 < len(letters) && unicode.IsLower(letters[i+1]) || !unicode.IsUpper(letters[i]) {
			break
		}
		letters[i] = unicode.ToLower(letters[i])
	}
	return string(letters)
}
