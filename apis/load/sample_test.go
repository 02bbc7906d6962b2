package load

import (
	"strings"
	"testing"

	"github.com/kubejoin/kubejoin/fault"
)

func TestSample(t *testing.T) {
	const content = "discovery: {file: {kubeConfigPath: /x}}\n"
	for _, k := range Kinds() {
		if k.Name != "JoinConfiguration" {
			continue
		}
		for _, version := range []string{k.APIVersion, strings.TrimPrefix(k.APIVersion, "kubeadm.k8s.io/")} {
			sample, err := Sample(version, k.Name, content)
			if err != nil {
				t.Fatal(err)
			}
			join, err := JoinConfiguration("sample.yaml", sample, nil)
			if err != nil {
				t.Fatalf("%s: %v\n%s", version, err, sample)
			}
			if join.Version != k.APIVersion || join.Config.CACertPath != "/etc/kubernetes/pki/ca.crt" {
				t.Errorf("%s:\n%s", version, sample)
			}
		}
	}

	for _, tt := range []struct{ version, kind, content, want string }{
		{"v1beta5", "JoinConfiguration", "", `there is no JoinConfiguration in version "v1beta5"`},
		{"v1beta3", "ResetConfiguration", "", `there is no ResetConfiguration in version "v1beta3"`},
		{"", "JoinConfiguration", "", `there is no JoinConfiguration in version ""`},
	} {
		_, err := Sample(tt.version, tt.kind, tt.content)
		if err == nil || !strings.Contains(err.Error(), tt.want) || fault.ClassOf(err) != fault.InvalidConfig || fault.HintOf(err) == "" {
			t.Errorf("%s %s: %v", tt.version, tt.kind, err)
		}
	}
	if _, err := Sample("v1beta4", "JoinConfiguration", "discover: {}\n"); err == nil {
		t.Error("an unknown field is accepted")
	}
}
