package session

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/apis/load"
)

func TestDetectBelowARoot(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/hostname"), []byte("Worker-1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	const (
		address = "controlPlane.localAPIEndpoint.advertiseAddress"
		none    = "only the running machine has a default route"
	)
	for given, test := range map[string]struct {
		address  string
		detected map[string]string
	}{
		"{}":                                  {"", map[string]string{"nodeRegistration.name": "hostname"}},
		"{controlPlane: {}}":                  {"", map[string]string{"nodeRegistration.name": "hostname", address: none}},
		controlPlane("0.0.0.0"):               {"", map[string]string{"nodeRegistration.name": "hostname", address: none}},
		controlPlane("::"):                    {"", map[string]string{"nodeRegistration.name": "hostname", address: none}},
		controlPlane("10.0.0.7"):              {"10.0.0.7", map[string]string{"nodeRegistration.name": "hostname"}},
		controlPlane("010.1.2.3"):             {"10.1.2.3", map[string]string{"nodeRegistration.name": "hostname"}},
		controlPlane("127.0.0.1"):             {"", map[string]string{"nodeRegistration.name": "hostname", address: "only the running machine has interfaces"}},
		controlPlane("no address"):            {"no address", map[string]string{"nodeRegistration.name": "hostname"}},
		"{nodeRegistration: {name: given}}":   {"", map[string]string{}},
		"{nodeRegistration: {criSocket: /x}}": {"", map[string]string{"nodeRegistration.name": "hostname"}},
	} {
		t.Run(given, func(t *testing.T) {
			data := "{apiVersion: kubeadm.k8s.io/v1beta4, kind: JoinConfiguration, " + given[1:]
			join, err := load.JoinConfiguration("join.yaml", []byte(data), nil)
			if err != nil {
				t.Fatal(err)
			}
			detected, _, err := Detect(t.Context(), join, root)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.detected, detected); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if c := join.Config.ControlPlane; c != nil && c.LocalAPIEndpoint.AdvertiseAddress != test.address {
				t.Errorf("the address is %q, want %q", c.LocalAPIEndpoint.AdvertiseAddress, test.address)
			}
		})
	}
}

func controlPlane(address string) string {
	return `{controlPlane: {localAPIEndpoint: {advertiseAddress: "` + address + `"}}}`
}
