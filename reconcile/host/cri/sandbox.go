package cri

import (
	"context"
	"encoding/json"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// SandboxImage is what the runtime starts each pod with; empty if it does not
// tell. CRI has no field for it: containerd's verbose status holds its
// configuration as JSON, with the image at one of two places.
func (c *Client) SandboxImage(ctx context.Context) (string, error) {
	a, err := ask(ctx, c, "asked for its configuration", c.run.Status, &runtimeapi.StatusRequest{Verbose: true})
	if err != nil {
		return "", err
	}
	return sandboxImage(a.GetInfo()["config"]), nil
}

func sandboxImage(config string) string {
	var c struct {
		SandboxImage string `json:"sandboxImage"` // containerd 1
		PinnedImages struct {
			Sandbox string `json:"sandbox"`
		} `json:"pinnedImages"`
	}
	if json.Unmarshal([]byte(config), &c) != nil {
		return ""
	}
	if c.SandboxImage != "" {
		return c.SandboxImage
	}
	return c.PinnedImages.Sandbox
}
