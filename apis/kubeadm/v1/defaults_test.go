package v1

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
)

// "replace" may be written out; it is what happens without a word.
func TestMergeMethods(t *testing.T) {
	in := &JoinConfiguration{NodeRegistration: NodeRegistrationOptions{KubeletExtraArgs: []Arg{
		{Name: "v", Value: "1", MergeMethod: "replace"}, {Name: "v", Value: "2", MergeMethod: "append"},
		{Name: "v", Value: "3", MergeMethod: "prepend"}, {Name: "v", Value: "4"}, {Name: "v", Value: "5", MergeMethod: "instead"},
	}}}
	SetDefaultsJoinConfiguration(in)
	var got []kubeadm.MergeMethod
	for _, a := range ToInternalJoinConfiguration(in).NodeRegistration.KubeletExtraArgs {
		got = append(got, a.MergeMethod)
	}
	want := []kubeadm.MergeMethod{kubeadm.MergeReplace, kubeadm.MergeAppend, kubeadm.MergePrepend, kubeadm.MergeReplace, "instead"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
