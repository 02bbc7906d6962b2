package lab

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// openrcFiles are laid over the files of a machine's root, and OpenRC's own.
//
//go:embed all:openrc
var openrcFiles embed.FS

var openrcPackages = []string{"openrc", "librc1", "libeinfo1"}

// OpenRC returns the same lab for machines that OpenRC runs, in place of systemd: they have its commands, a service for
// containerd that is started at boot, and one for the kubelet that is not. What asks a machine's systemd does not work there.
func (l *Lab) OpenRC(ctx context.Context) (*Lab, error) {
	layer, err := openrcLayer(ctx)
	if err != nil {
		return nil, err
	}
	base := *l.base
	base.layers = append([]string{layer}, base.layers...)
	return l.Of(&base), nil
}

func openrcLayer(ctx context.Context) (string, error) {
	tree, err := fs.Sub(openrcFiles, "openrc")
	if err != nil {
		return "", err
	}
	sum, err := digestOf(tree)
	if err != nil {
		return "", err
	}
	return cached("openrc", []any{openrcPackages, sum}, func(dir string) error { return buildOpenRC(ctx, dir, tree) })
}

// digestOf is over the names and contents of all files.
func digestOf(tree fs.FS) (string, error) {
	sum := sha256.New()
	err := fs.WalkDir(tree, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(tree, name)
		fmt.Fprintf(sum, "%s %d\n%s", name, len(data), data)
		return err
	})
	return hex.EncodeToString(sum.Sum(nil)), err
}

func buildOpenRC(ctx context.Context, dir string, tree fs.FS) error {
	work, err := os.MkdirTemp("", "kubejoin-lab-openrc-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if _, err := host(ctx, "apt-get", "update", "-q"); err != nil {
		return err
	}
	if _, err := hostIn(ctx, work, nil, "apt-get", append([]string{"download", "-q"}, openrcPackages...)...); err != nil {
		return err
	}
	packages, err := filepath.Glob(filepath.Join(work, "*.deb"))
	if err != nil {
		return err
	}
	for _, p := range packages {
		if _, err := host(ctx, "dpkg-deb", "--extract", p, dir); err != nil {
			return err
		}
	}
	// In the root below, these are links into /usr, which directories would hide.
	for _, name := range []string{"bin", "sbin", "lib"} {
		if _, err := host(ctx, "cp", "-a", filepath.Join(dir, name), filepath.Join(dir, "usr")+"/"); err != nil {
			return err
		}
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	// What an overlay takes for a file that was deleted: systemd-nspawn prefers systemd to /sbin/init.
	systemd := filepath.Join(dir, "usr/lib/systemd/systemd")
	if err := os.MkdirAll(filepath.Dir(systemd), 0o755); err != nil {
		return err
	}
	if err := unix.Mknod(systemd, unix.S_IFCHR, 0); err != nil {
		return err
	}
	if err := os.CopyFS(dir, tree); err != nil {
		return err
	}
	for _, script := range []string{"usr/sbin/init", "etc/init.d/containerd", "etc/init.d/kubelet"} {
		if err := os.Chmod(filepath.Join(dir, script), 0o755); err != nil { // embedded files have no mode
			return err
		}
	}
	for _, level := range strings.Fields("sysinit boot default shutdown nonetwork") {
		if err := os.MkdirAll(filepath.Join(dir, "etc/runlevels", level), 0o755); err != nil {
			return err
		}
	}
	return os.Symlink("/etc/init.d/containerd", filepath.Join(dir, "etc/runlevels/default/containerd"))
}
