package cli

import (
	"testing"

	"github.com/kubejoin/kubejoin/schemas"
)

func TestSchemaOfJoinConfiguration(t *testing.T) {
	want, ok := schemas.Get(schemas.Name{Version: "v1beta4", Kind: "JoinConfiguration"})
	if !ok {
		t.Fatal("no schema")
	}
	for _, args := range [][]string{{}, {"JoinConfiguration"}, {"joinconfiguration", "--version=v1beta4"}, {"--version", "kubeadm.k8s.io/v1beta4"}} {
		if got := printed(t, append([]string{"config", "schema"}, args...)...); got != string(want) {
			t.Errorf("%q: %.100s", args, got)
		}
	}
}
