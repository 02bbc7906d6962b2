package oracle

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Case is what kubeadm is asked.
type Case struct {
	// Cluster and Kubelet are the documents that the cluster publishes.
	Cluster, Kubelet string
	// Node is the Node's name, Advertise and Port its API server's endpoint.
	Node, Advertise string
	Port            int32
	// Join is added to the JoinConfiguration: timeouts, for example.
	Join string
	// Patches are the files of a patch directory.
	Patches map[string]string
	// Env are the environment variables of the process.
	Env []string
	// Dirs are folders that exist on the machine.
	Dirs []string
	// External are the files of an external etcd's Secret entries.
	External map[string][]byte
	// OnDisk says that the shared files are on the machine already, instead of
	// in the cluster's Secret.
	OnDisk bool
}

// Result is what kubeadm wrote into its dry-run folder, by path below it, and what it printed.
type Result struct {
	Files  map[string][]byte
	Output string
}

const kubeletDocument = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"

// Run runs one published kubeadm in an empty root below dir, which it removes again.
func Run(ctx context.Context, dir, kubeadm string, a *Authority, c Case) (*Result, error) {
	root, err := os.MkdirTemp(dir, "oracle-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(root)
	bundle, err := a.bundle(c.External)
	if err != nil {
		return nil, err
	}
	if c.Kubelet == "" {
		c.Kubelet = kubeletDocument
	}
	srv, err := a.serve(published{configuration: c.Cluster, kubelet: c.Kubelet, bundle: bundle})
	if err != nil {
		return nil, err
	}
	defer srv.Close()
	for _, d := range append(slices.Clone(c.Dirs), "tmp", "out", "patches", "etc/kubernetes", "usr/bin") {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return nil, err
		}
	}
	join := fmt.Sprintf(`apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
dryRun: true
skipPhases: [preflight]
discovery:
  bootstrapToken: {token: %s, apiServerEndpoint: %q, unsafeSkipCAVerification: true}
nodeRegistration: {name: %s, criSocket: "unix:///x", ignorePreflightErrors: [all]}
controlPlane:
  localAPIEndpoint: {advertiseAddress: %q, bindPort: %d}
`, token, strings.TrimPrefix(srv.URL, "https://"), c.Node, c.Advertise, c.Port)
	if c.OnDisk {
		for name, content := range a.Files {
			name = filepath.Join(root, "out", name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, content, 0o600)); err != nil {
				return nil, err
			}
		}
	} else {
		join += "  certificateKey: " + certificateKey + "\n"
	}
	join += c.Join
	if len(c.Patches) > 0 {
		join += "patches: {directory: /patches}\n"
	}
	if err := os.WriteFile(filepath.Join(root, "join.yaml"), []byte(join), 0o600); err != nil {
		return nil, err
	}
	for name, content := range c.Patches {
		if err := os.WriteFile(filepath.Join(root, "patches", name), []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	out, err := chrooted(ctx, root, append(slices.Clone(c.Env), "KUBEADM_JOIN_DRYRUN_DIR=/out"), kubeadm, "join", "--config", "/join.yaml")
	if err != nil {
		return nil, err
	}
	files, err := readAll(filepath.Join(root, "out"))
	return &Result{Files: files, Output: out}, err
}

// Generate lets one published kubeadm write files in earnest, by phases of its
// init that only render: "control-plane all", "etcd local". The files are those
// that are there before, by absolute path; the result has all that are there after.
func Generate(ctx context.Context, dir, kubeadm string, files map[string][]byte, phases ...string) (map[string][]byte, error) {
	root, err := os.MkdirTemp(dir, "oracle-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(root)
	for name, content := range files {
		name = filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, content, 0o600)); err != nil {
			return nil, err
		}
	}
	for _, phase := range phases {
		args := append([]string{"init", "phase"}, strings.Fields(phase)...)
		if _, err := chrooted(ctx, root, nil, kubeadm, append(args, "--config", "/init.yaml")...); err != nil {
			return nil, err
		}
	}
	return readAll(root)
}

// chrooted runs kubeadm with a folder as its root.
func chrooted(ctx context.Context, root string, env []string, kubeadm string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, kubeadm, append(args, "--rootfs", root)...)
	cmd.Env = append(env, "PATH=/usr/bin", "TMPDIR=/tmp")
	if os.Getuid() != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", kubeadm, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// readAll reads the files below a folder, by path below it.
func readAll(top string) (map[string][]byte, error) {
	files := map[string][]byte{}
	return files, filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(top, path)
		if err != nil {
			return err
		}
		files[name], err = os.ReadFile(path)
		return err
	})
}
