package kubeadm

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMergeArgs(t *testing.T) {
	const appended, prepended = MergeAppend, MergePrepend
	arg := func(name, value string) Arg { return Arg{Name: name, Value: value} }
	with := func(name, value string, m MergeMethod) Arg {
		return Arg{Name: name, Value: value, MergeMethod: m}
	}
	builtIn := []Arg{arg("a", "1"), arg("b", "2")}
	tests := map[string]struct {
		extra, want []Arg
		dropped     []string
	}{
		"none":              {nil, builtIn, nil},
		"new ones in order": {[]Arg{arg("z", "1"), arg("c", "2"), arg("z", "3")}, append(builtIn[:2:2], arg("z", "1"), arg("c", "2"), arg("z", "3")), nil},
		"replace":           {[]Arg{arg("z", ""), arg("a", "x")}, []Arg{arg("b", "2"), arg("z", ""), arg("a", "x")}, nil},
		"replace twice":     {[]Arg{arg("a", "x"), arg("a", "y")}, []Arg{arg("b", "2"), arg("a", "x"), arg("a", "y")}, nil},
		"append":            {[]Arg{with("b", ",x", appended)}, []Arg{arg("a", "1"), arg("b", "2,x")}, nil},
		"prepend":           {[]Arg{with("a", "x,", prepended)}, []Arg{arg("a", "x,1"), arg("b", "2")}, nil},
		// behaviour catalogue §1.2, the recorded example
		"replace, then append":  {[]Arg{arg("b", "rep"), with("b", "+x", appended)}, []Arg{arg("a", "1"), arg("b", "2+x"), arg("b", "rep")}, nil},
		"append, then replace":  {[]Arg{with("b", "+x", appended), arg("b", "rep")}, []Arg{arg("a", "1"), arg("b", "rep")}, nil},
		"nothing to merge with": {[]Arg{with("z", "x", appended)}, builtIn, []string{"z"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, dropped := MergeArgs(builtIn, tt.extra)
			if diff := cmp.Diff(tt.want, got) + cmp.Diff(tt.dropped, dropped); diff != "" {
				t.Error(diff)
			}
		})
	}
}
