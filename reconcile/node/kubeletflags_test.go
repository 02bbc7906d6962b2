package node

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
)

func TestMergeArgs(t *testing.T) {
	const appended, prepended = kubeadm.MergeAppend, kubeadm.MergePrepend
	arg := func(name, value string) kubeadm.Arg { return kubeadm.Arg{Name: name, Value: value} }
	with := func(name, value string, m kubeadm.MergeMethod) kubeadm.Arg {
		return kubeadm.Arg{Name: name, Value: value, MergeMethod: m}
	}
	builtIn := []kubeadm.Arg{arg("a", "1"), arg("b", "2")}
	tests := map[string]struct {
		extra, want []kubeadm.Arg
		dropped     []string
	}{
		"none":              {nil, builtIn, nil},
		"new ones in order": {[]kubeadm.Arg{arg("z", "1"), arg("c", "2"), arg("z", "3")}, append(builtIn[:2:2], arg("z", "1"), arg("c", "2"), arg("z", "3")), nil},
		"replace":           {[]kubeadm.Arg{arg("z", ""), arg("a", "x")}, []kubeadm.Arg{arg("b", "2"), arg("z", ""), arg("a", "x")}, nil},
		"replace twice":     {[]kubeadm.Arg{arg("a", "x"), arg("a", "y")}, []kubeadm.Arg{arg("b", "2"), arg("a", "x"), arg("a", "y")}, nil},
		"append":            {[]kubeadm.Arg{with("b", ",x", appended)}, []kubeadm.Arg{arg("a", "1"), arg("b", "2,x")}, nil},
		"prepend":           {[]kubeadm.Arg{with("a", "x,", prepended)}, []kubeadm.Arg{arg("a", "x,1"), arg("b", "2")}, nil},
		// behaviour catalogue §1.2, the recorded example
		"replace, then append":  {[]kubeadm.Arg{arg("b", "rep"), with("b", "+x", appended)}, []kubeadm.Arg{arg("a", "1"), arg("b", "2+x"), arg("b", "rep")}, nil},
		"append, then replace":  {[]kubeadm.Arg{with("b", "+x", appended), arg("b", "rep")}, []kubeadm.Arg{arg("a", "1"), arg("b", "rep")}, nil},
		"nothing to merge with": {[]kubeadm.Arg{with("z", "x", appended)}, builtIn, []string{"z"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, dropped := mergeArgs(builtIn, tt.extra)
			if diff := cmp.Diff(tt.want, got) + cmp.Diff(tt.dropped, dropped); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestKubeletArgFindings(t *testing.T) {
	tests := map[string]struct {
		arg  kubeadm.Arg
		want string
	}{
		"plain":           {kubeadm.Arg{Name: "v", Value: "4"}, ""},
		"dollar, unicode": {kubeadm.Arg{Name: "v", Value: "$é=,:/<>"}, ""},
		"space":           {kubeadm.Arg{Name: "a", Value: "b c"}, `warning KubeletArgWords kubeletExtraArgs "a" holds white space`},
		"quote":           {kubeadm.Arg{Name: "a", Value: `{"b":1}`}, `warning KubeletArgWords kubeletExtraArgs "a"`},
		"apostrophe":      {kubeadm.Arg{Name: "a", Value: "it's"}, `warning KubeletArgWords kubeletExtraArgs "a"`},
		"backslash":       {kubeadm.Arg{Name: "a", Value: `\d`}, `warning KubeletArgWords kubeletExtraArgs "a"`},
		"control":         {kubeadm.Arg{Name: "a", Value: "\x01"}, `warning KubeletArgWords kubeletExtraArgs "a"`},
		"dropped": {kubeadm.Arg{Name: "v", Value: "4", MergeMethod: kubeadm.MergeAppend},
			`warning KubeletArgDropped kubeletExtraArgs "v" has a mergeMethod`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := base(t)
			in.Config.NodeRegistration.KubeletExtraArgs = []kubeadm.Arg{tt.arg}
			_, findings := compute(t, in)
			var want []string
			if tt.want != "" {
				want = []string{tt.want}
			}
			expectFindings(t, want, findings)
		})
	}
}
