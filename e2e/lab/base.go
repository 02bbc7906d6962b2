package lab

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// rootfs is laid over the Debian root of every machine.
//
//go:embed all:rootfs
var rootfs embed.FS

// debianPackages make a machine: what Kubernetes needs on a node, and what cases use.
var debianPackages = []string{
	"systemd", "systemd-sysv", "dbus", "iproute2", "iptables", "conntrack", "ethtool", "kmod", "procps", "runc",
	"containernetworking-plugins", "ca-certificates", "mount", "util-linux", "curl", "socat", "openssl", "strace", "time",
}

// idleUnits do nothing for a machine that lives for minutes but cost time at each boot.
var idleUnits = []string{
	"apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
	"fstrim.timer", "systemd-networkd.service", "systemd-networkd.socket", "systemd-networkd-wait-online.service",
	"systemd-pstore.service", "systemd-timesyncd.service", "getty.target", "console-getty.service",
	"systemd-firstboot.service", "systemd-sysusers.service", "systemd-update-utmp.service", "modprobe@.service",
}

// Base is what the machines of one Kubernetes version start from. It is in the cache and shared;
// machines only read it.
type Base struct {
	Version string // of Kubernetes, such as "1.37.2"

	layers []string        // of a machine's root, topmost first
	stores map[Role]string // containerd's directory, with the images of a role
}

// Role says which images a machine has.
type Role string

// The roles of machines.
const (
	Worker       Role = "worker"
	ControlPlane Role = "control-plane"
)

// PrepareAll builds what any case needs and the cache lacks, so that no build is beside a case that is timed.
func PrepareAll(ctx context.Context) error {
	for _, v := range []string{DefaultVersion, PreviousVersion} {
		if _, err := Prepare(ctx, v); err != nil {
			return err
		}
	}
	for _, v := range Kubeadms {
		if _, err := Kubeadm(ctx, v); err != nil {
			return err
		}
	}
	_, err := openrcLayer(ctx)
	return err
}

// Prepare installs what the host lacks, and builds what the cache lacks, for machines of one
// Kubernetes version. It must be root. With a warm cache it takes no time, with an empty one about
// 15 minutes on two cores for the first version and 5 for another.
func Prepare(ctx context.Context, version string) (*Base, error) {
	if os.Getuid() != 0 {
		return nil, errors.New("the lab makes namespaces and mounts: run it as root")
	}
	if err := prepareHost(ctx); err != nil {
		return nil, err
	}
	kubernetes, err := buildKubernetes(ctx, "kubernetes-", version, kubernetesPrograms)
	if err != nil {
		return nil, err
	}
	images, err := host(ctx, filepath.Join(kubernetes, "kubeadm"), "config", "images", "list", "--kubernetes-version", "v"+version)
	if err != nil {
		return nil, err
	}
	refs := map[string]string{} // name of the image, without registry and tag: its reference
	for _, ref := range strings.Fields(images) {
		name, _, _ := strings.Cut(path.Base(ref), ":")
		refs[name] = ref
	}
	_, etcdTag, _ := strings.Cut(refs["etcd"], ":") // 3.7.0-0: the version, then the image's revision
	etcdVersion, _, _ := strings.Cut(etcdTag, "-")
	etcd, err := buildEtcd(ctx, etcdVersion)
	if err != nil {
		return nil, err
	}
	containerd, err := buildContainerd(ctx)
	if err != nil {
		return nil, err
	}
	pause, err := buildPause(ctx)
	if err != nil {
		return nil, err
	}
	debian, err := buildDebian(ctx)
	if err != nil {
		return nil, err
	}
	files, err := buildFiles(version, refs["pause"], debian, kubernetes, containerd, etcd)
	if err != nil {
		return nil, err
	}
	base := &Base{Version: version, layers: []string{files, debian}, stores: map[Role]string{}}
	pauseImage := image{refs["pause"], "/pause", map[string]string{"/pause": filepath.Join(pause, "pause")}}
	if base.stores[Worker], err = buildStore(ctx, Worker, containerd, []image{pauseImage}); err != nil {
		return nil, err
	}
	all := []image{pauseImage, {refs["etcd"], "", map[string]string{
		"/usr/local/bin/etcd":    filepath.Join(etcd, "etcd"),
		"/usr/local/bin/etcdctl": filepath.Join(etcd, "etcdctl"),
	}}}
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		all = append(all, image{refs[name], "", map[string]string{"/usr/local/bin/" + name: filepath.Join(kubernetes, name)}})
	}
	base.stores[ControlPlane], err = buildStore(ctx, ControlPlane, containerd, all)
	return base, err
}

// buildDebian makes a Debian root with systemd.
func buildDebian(ctx context.Context) (string, error) {
	return cached("debian-12", []any{debianPackages, idleUnits}, func(dir string) error {
		_, err := host(ctx, "debootstrap", "--variant=minbase", "--include="+strings.Join(debianPackages, ","), "bookworm", dir)
		if err != nil {
			return err
		}
		for _, unit := range idleUnits {
			link := filepath.Join(dir, "etc/systemd/system", unit)
			if err := os.RemoveAll(link); err != nil {
				return err
			}
			if err := os.Symlink("/dev/null", link); err != nil {
				return err
			}
		}
		// Two machines with the same machine ID are one to systemd and to the kubelet.
		for _, f := range []string{"etc/machine-id", "var/lib/dbus/machine-id", "etc/hostname"} {
			if err := os.RemoveAll(filepath.Join(dir, f)); err != nil {
				return err
			}
		}
		return os.RemoveAll(filepath.Join(dir, "var/cache/apt"))
	})
}

// buildFiles makes the layer above Debian: programs, units, configuration.
func buildFiles(version, pause, debian, kubernetes, containerd, etcd string) (string, error) {
	tree, err := fs.Sub(rootfs, "rootfs")
	if err != nil {
		return "", err
	}
	sum, err := digestOf(tree)
	if err != nil {
		return "", err
	}
	recipe := []any{version, pause, debian, kubernetes, containerd, etcd, sum, hosts()}
	return cached("files-"+version, recipe, func(dir string) error {
		if err := os.CopyFS(dir, tree); err != nil {
			return err
		}
		for _, d := range []string{"usr/bin", "opt/cni/bin", "etc/systemd/system/multi-user.target.wants"} {
			if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
				return err
			}
		}
		programs := map[string]string{}
		for _, p := range []string{"kubeadm", "kubectl", "kubelet"} {
			programs["usr/bin/"+p] = filepath.Join(kubernetes, p)
		}
		for _, p := range []string{"containerd", "containerd-shim-runc-v2", "ctr"} {
			programs["usr/bin/"+p] = filepath.Join(containerd, p)
		}
		for _, p := range []string{"bridge", "host-local", "loopback", "portmap"} {
			programs["opt/cni/bin/"+p] = filepath.Join(debian, "usr/lib/cni", p)
		}
		programs["usr/bin/etcdctl"] = filepath.Join(etcd, "etcdctl")
		for to, from := range programs {
			if err := os.Link(from, filepath.Join(dir, to)); err != nil {
				return err
			}
		}
		for _, unit := range []string{"lab-setup", "containerd", "kubelet"} {
			link := filepath.Join(dir, "etc/systemd/system/multi-user.target.wants", unit+".service")
			if err := os.Symlink("/usr/lib/systemd/system/"+unit+".service", link); err != nil {
				return err
			}
		}
		config, err := os.OpenFile(filepath.Join(dir, "etc/containerd/config.toml"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer config.Close()
		_, err = fmt.Fprintf(config, "\n[plugins.'io.containerd.cri.v1.images'.pinned_images]\n  sandbox = %q\n", pause)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "etc/hosts"), []byte(hosts()), 0o644)
	})
}

type image struct {
	Ref, Entrypoint string
	Files           map[string]string
}

// buildStore makes a containerd directory that holds images already unpacked, so that a machine
// has them from its first moment.
func buildStore(ctx context.Context, role Role, containerd string, images []image) (string, error) {
	return cached("images-"+string(role), []any{containerd, images}, func(dir string) error {
		work, err := os.MkdirTemp("", "kubejoin-lab-store-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(work)
		socket := filepath.Join(work, "containerd.sock")
		config := fmt.Sprintf("version = 3\nroot = %q\nstate = %q\ndisabled_plugins = [%s]\n[grpc]\naddress = %q\n",
			dir, filepath.Join(work, "state"),
			"'io.containerd.grpc.v1.cri', 'io.containerd.cri.v1.runtime', 'io.containerd.cri.v1.images', 'io.containerd.nri.v1.nri'", socket)
		if err := os.WriteFile(filepath.Join(work, "config.toml"), []byte(config), 0o600); err != nil {
			return err
		}
		log, err := os.Create(filepath.Join(work, "log"))
		if err != nil {
			return err
		}
		defer log.Close()
		daemon := exec.CommandContext(ctx, filepath.Join(containerd, "containerd"), "--config", filepath.Join(work, "config.toml"))
		daemon.Stdout, daemon.Stderr = log, log
		// Unpacking mounts: in a mount namespace of its own, nothing can be left behind.
		daemon.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
		daemon.Cancel = func() error { return daemon.Process.Signal(syscall.SIGTERM) }
		if err := daemon.Start(); err != nil {
			return err
		}
		defer func() { _ = daemon.Process.Kill() }()
		ctr := func(args ...string) error {
			_, err := host(ctx, filepath.Join(containerd, "ctr"), append([]string{"--address", socket, "--namespace", "k8s.io"}, args...)...)
			return err
		}
		if err := poll(ctx, 30*time.Second, func() error { return ctr("version") }); err != nil {
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("containerd does not answer: %w: %s", err, tail(string(text), 2000))
		}
		for _, img := range images {
			archive := filepath.Join(work, "image.tar")
			if err := writeImage(archive, img.Ref, img.Entrypoint, img.Files); err != nil {
				return err
			}
			if err := ctr("images", "import", archive); err != nil {
				return err
			}
		}
		// containerd's database must be closed before it is copied.
		if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
			return err
		}
		_ = daemon.Wait()
		return nil
	})
}

// linkTree makes a copy of a containerd directory in no time: files are hard links, because containerd
// never writes to a blob or a committed snapshot, except databases, which are copied.
func linkTree(from, to string) error {
	return filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, name)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			info, err := d.Info()
			if err != nil {
				return err
			}
			if err := os.MkdirAll(target, info.Mode().Perm()); err != nil {
				return err
			}
			return os.Chmod(target, info.Mode().Perm())
		case filepath.Ext(name) == ".db":
			data, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			return os.WriteFile(target, data, 0o600)
		default:
			return os.Link(name, target)
		}
	})
}

// poll calls fn until it returns nil, ten times a second; after the timeout it returns fn's last
// error.
func poll(ctx context.Context, timeout time.Duration, fn func() error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		err := fn()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}
