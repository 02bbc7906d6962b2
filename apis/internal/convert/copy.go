package convert

import (
	"maps"
	"reflect"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
)

// Copy fills dst with all fields that src has under the same Go name. The two
// share no memory afterwards, and nil stays different from empty. A nil pointer
// leaves a value as it is. Arguments that are a map on one side and a list on
// the other are sorted by name; of several with one name the last one wins.
func Copy(dst, src any) {
	copyValue(reflect.ValueOf(dst).Elem(), reflect.ValueOf(src).Elem())
}

func copyValue(dst, src reflect.Value) {
	switch from := src.Interface().(type) {
	case metav1.Duration:
		dst.Set(reflect.ValueOf(from.Duration).Convert(dst.Type()))
		return
	case time.Duration:
		if dst.Type() == reflect.TypeFor[metav1.Duration]() {
			dst.Set(reflect.ValueOf(metav1.Duration{Duration: from}))
			return
		}
	case corev1.Taint:
		dst.Set(reflect.ValueOf(*from.DeepCopy()))
		return
	case corev1.EnvVar:
		dst.Set(reflect.ValueOf(*from.DeepCopy()))
		return
	case metav1.Time:
		dst.Set(src)
		return
	case map[string]string:
		if to, ok := dst.Addr().Interface().(*[]kubeadm.Arg); ok {
			*to = argsOfMap(from)
			return
		}
	case []kubeadm.Arg:
		if to, ok := dst.Addr().Interface().(*map[string]string); ok {
			*to = mapOfArgs(from)
			return
		}
	}
	if src.Kind() == reflect.Pointer {
		switch {
		case src.IsNil():
		case dst.Kind() == reflect.Pointer:
			dst.Set(reflect.New(dst.Type().Elem()))
			copyValue(dst.Elem(), src.Elem())
		default:
			copyValue(dst, src.Elem())
		}
		return
	}
	if dst.Kind() == reflect.Pointer {
		dst.Set(reflect.New(dst.Type().Elem()))
		copyValue(dst.Elem(), src)
		return
	}
	switch src.Kind() {
	case reflect.Struct:
		for i := range src.NumField() {
			if to := dst.FieldByName(src.Type().Field(i).Name); to.IsValid() {
				copyValue(to, src.Field(i))
			}
		}
	case reflect.Slice:
		if src.IsNil() {
			return
		}
		list := reflect.MakeSlice(dst.Type(), src.Len(), src.Len())
		for i := range src.Len() {
			copyValue(list.Index(i), src.Index(i))
		}
		dst.Set(list)
	case reflect.Map:
		if src.IsNil() {
			return
		}
		entries := reflect.MakeMapWithSize(dst.Type(), src.Len())
		for key, value := range src.Seq2() {
			entries.SetMapIndex(key, value) // all of them hold plain values
		}
		dst.Set(entries)
	default:
		dst.Set(src.Convert(dst.Type()))
	}
}

func argsOfMap(in map[string]string) []kubeadm.Arg {
	if in == nil {
		return nil
	}
	out := make([]kubeadm.Arg, 0, len(in))
	for _, name := range slices.Sorted(maps.Keys(in)) {
		out = append(out, kubeadm.Arg{Name: name, Value: in[name]})
	}
	return out
}

func mapOfArgs(in []kubeadm.Arg) map[string]string {
	if in == nil {
		return nil
	}
	out := make(map[string]string, len(in))
	for _, arg := range in {
		out[arg.Name] = arg.Value
	}
	return out
}

// To makes a copy of another type.
func To[T any](src any) *T {
	dst := new(T)
	Copy(dst, src)
	return dst
}
