package cri

import (
	"context"
	"encoding/json"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// SandboxImage is what the runtime starts each pod with; empty if it does not
// tell. CRI has no field for it. The verbose status of containerd 1 holds its
// configuration as JSON; containerd 2 says no more than which images it holds
// pinned, and that one is, once it has been pulled.
func (c *Client) SandboxImage(ctx context.Context) (string, error) {
	a, err := ask(ctx, c, "asked for its configuration", c.run.Status, &runtimeapi.StatusRequest{Verbose: true})
	if err != nil {
		return "", err
	}
	if image := sandboxImage(a.GetInfo()["config"]); image != "" {
		return image, nil
	}
	images, err := ask(ctx, c, "asked for its images", c.images.ListImages, &runtimeapi.ListImagesRequest{})
	if err != nil {
		return "", err
	}
	return pinned(images.GetImages()), nil
}

// pinned is the name of the only pinned image; empty if there is another, too.
func pinned(images []*runtimeapi.Image) string {
	name := ""
	for _, i := range images {
		if !i.GetPinned() || len(i.GetRepoTags()) == 0 {
			continue
		}
		if name != "" {
			return ""
		}
		name = i.GetRepoTags()[0]
	}
	return name
}

func sandboxImage(config string) string {
	var c struct {
		SandboxImage string `json:"sandboxImage"`
	}
	if json.Unmarshal([]byte(config), &c) != nil {
		return ""
	}
	return c.SandboxImage
}
