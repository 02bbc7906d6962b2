package lab

import (
	"context"
	"path/filepath"
)

// Etcd builds etcd of one version, such as "3.6.8", and returns its path: its members can be run without a machine.
func Etcd(ctx context.Context, version string) (string, error) {
	dir, err := buildEtcd(ctx, version)
	return filepath.Join(dir, "etcd"), err
}
