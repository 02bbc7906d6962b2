package lab

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path"
	"runtime"
)

// writeImage writes a docker archive of an image with one layer: enough for static binaries.
// files maps paths in the image to files of the host; entrypoint may be empty.
func writeImage(archive, ref, entrypoint string, files map[string]string) error {
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	for name, source := range files {
		data, err := os.ReadFile(source)
		if err != nil {
			return err
		}
		if err := writeEntry(w, name[1:], 0o755, data); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	layerSum := digest(layer.Bytes())
	settings := map[string]any{"Env": []string{"PATH=/usr/local/bin:/usr/bin:/bin"}}
	if entrypoint != "" {
		settings["Entrypoint"] = []string{entrypoint}
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       settings,
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + layerSum}},
	})
	if err != nil {
		return err
	}
	configName, layerName := digest(config)+".json", path.Join(layerSum, "layer.tar")
	manifest, err := json.Marshal([]any{map[string]any{
		"Config": configName, "RepoTags": []string{ref}, "Layers": []string{layerName},
	}})
	if err != nil {
		return err
	}
	out, err := os.Create(archive)
	if err != nil {
		return err
	}
	defer out.Close()
	w = tar.NewWriter(out)
	for _, e := range []struct {
		name string
		data []byte
	}{{configName, config}, {layerName, layer.Bytes()}, {"manifest.json", manifest}} {
		if err := writeEntry(w, e.name, 0o644, e.data); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return out.Close()
}

func writeEntry(w *tar.Writer, name string, mode int64, data []byte) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(data))}); err != nil {
		return err
	}
	_, err := io.Copy(w, bytes.NewReader(data))
	return err
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
