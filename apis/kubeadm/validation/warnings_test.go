package validation

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
)

func TestKubeletArgWarnings(t *testing.T) {
	const (
		at       = "r.kubeletExtraArgs"
		unlisted = "; a kubelet does not start with one that it does not know"
		lost     = " has the same name, and of several arguments the last one's mergeMethod counts"
	)
	for _, tt := range []struct {
		name string
		args []kubeadm.Arg
		want []Warning
	}{
		{"known", []kubeadm.Arg{{Name: "node-ip"}, {Name: "v"}, {Name: "node_labels"}}, nil},
		{"misspelt", []kubeadm.Arg{{Name: "node-ipp"}},
			[]Warning{{at + "[0]", `kubelet 1.37 does not list the argument "node-ipp"` + unlisted, `did you mean "node-ip"?`}}},
		{"like no other", []kubeadm.Arg{{Name: "v"}, {Name: "quux"}},
			[]Warning{{at + "[1]", `kubelet 1.37 does not list the argument "quux"` + unlisted, ""}}},
		{"former", []kubeadm.Arg{{Name: "allow_privileged"}},
			[]Warning{{at + "[0]", "kubelet 1.37 no longer has the argument allow_privileged, and does not start with it", "remove it"}}},
		{"of a wrong form, which is an error", []kubeadm.Arg{{Name: "--v"}, {Name: "v=5"}, {Name: ""}}, nil},
		{"twice", []kubeadm.Arg{{Name: "node-ip", Value: "1"}, {Name: "node-ip", Value: "2"}}, nil},
		{"merged", []kubeadm.Arg{{Name: "v", MergeMethod: kubeadm.MergeAppend}}, nil},
		{"merged twice", []kubeadm.Arg{{Name: "v", MergeMethod: kubeadm.MergeAppend}, {Name: "node-ip"}, {Name: "v", MergeMethod: kubeadm.MergePrepend}},
			[]Warning{{at + "[0]", "has no effect: " + at + "[2]" + lost, "merge them into one"}}},
		{"merged, then replaced", []kubeadm.Arg{{Name: "v", MergeMethod: kubeadm.MergeAppend}, {Name: "v"}},
			[]Warning{{at + "[0]", "has no effect: " + at + "[1]" + lost, "merge them into one"}}},
		{"replaced, then merged", []kubeadm.Arg{{Name: "v"}, {Name: "v", MergeMethod: kubeadm.MergeAppend}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := NodeRegistrationWarnings(&kubeadm.NodeRegistration{KubeletExtraArgs: tt.args}, "r")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
