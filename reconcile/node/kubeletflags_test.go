package node

import (
	"testing"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
)

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
