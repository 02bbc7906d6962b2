package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

const containerdVersion = "2.4.2"

// kubernetesPrograms are built from k8s.io/kubernetes. Those that run as static pods are
// built too: their images are archives around the binaries, so no registry is needed.
var kubernetesPrograms = []string{
	"kubeadm", "kubectl", "kubelet", "kube-apiserver", "kube-controller-manager", "kube-scheduler",
}

// staging matches the staging modules in Kubernetes' own go.mod. They are published as v0.MINOR.PATCH;
// only the sample-* ones are not.
var staging = regexp.MustCompile(`(k8s\.io/[a-z-]+) => \./staging`)

// Kubeadm builds kubeadm alone, of another version than the lab's, and returns its path: released
// binaries are what older configurations were migrated with.
func Kubeadm(ctx context.Context, version string) (string, error) {
	dir, err := buildKubernetes(ctx, "kubeadm-", version, []string{"kubeadm"})
	return filepath.Join(dir, "kubeadm"), err
}

// buildKubernetes builds Kubernetes programs of one version, such as "1.37.2", from the Go
// module proxy and returns their directory.
func buildKubernetes(ctx context.Context, entry, version string, programs []string) (string, error) {
	_, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	const pkg = "k8s.io/component-base/version."
	flags := fmt.Sprintf("-s -w -X %sgitVersion=v%s -X %sgitMajor=1 -X %sgitMinor=%s", pkg, version, pkg, pkg, minor)
	recipe := []any{version, programs, flags, runtime.Version()}
	return cached(entry+version, recipe, func(dir string) error {
		mod, err := host(ctx, "go", "mod", "download", "-json", "k8s.io/kubernetes@v"+version)
		if err != nil {
			return err
		}
		path := regexp.MustCompile(`"GoMod": "([^"]+)"`).FindStringSubmatch(mod)
		if path == nil {
			return fmt.Errorf("no go.mod of k8s.io/kubernetes in %q", mod)
		}
		upstream, err := os.ReadFile(path[1])
		if err != nil {
			return err
		}
		requires := []string{"k8s.io/kubernetes v" + version}
		for _, m := range staging.FindAllStringSubmatch(string(upstream), -1) {
			if !strings.Contains(m[1], "/sample-") {
				requires = append(requires, m[1]+" v0."+rest)
			}
		}
		var tools []string
		for _, p := range programs {
			tools = append(tools, "k8s.io/kubernetes/cmd/"+p)
		}
		return goBuild(ctx, dir, requires, tools, flags)
	})
}

// buildEtcd builds etcd and etcdctl of one version and returns their directory.
func buildEtcd(ctx context.Context, version string) (string, error) {
	return cached("etcd-"+version, []any{version, runtime.Version()}, func(dir string) error {
		tools := []string{"go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/etcdctl/v3"}
		requires := []string{tools[0] + " v" + version, tools[1] + " v" + version}
		if err := goBuild(ctx, dir, requires, tools, "-s -w"); err != nil {
			return err
		}
		// Go names a program after the last element of its path that is not a version.
		return os.Rename(filepath.Join(dir, "server"), filepath.Join(dir, "etcd"))
	})
}

// buildContainerd builds containerd, its runc shim and ctr and returns their directory.
func buildContainerd(ctx context.Context) (string, error) {
	return cached("containerd-"+containerdVersion, []any{containerdVersion, runtime.Version()}, func(dir string) error {
		const mod = "github.com/containerd/containerd/v2"
		tools := []string{mod + "/cmd/containerd", mod + "/cmd/containerd-shim-runc-v2", mod + "/cmd/ctr"}
		return goBuild(ctx, dir, []string{mod + " v" + containerdVersion}, tools, "-s -w")
	})
}

// buildPause builds the program of the pause image: it waits to be told to end. In Go it would
// take 2 MB of memory for each pod, and would run init code for what is one system call.
func buildPause(ctx context.Context) (string, error) {
	const source = `#include <signal.h>
#include <unistd.h>
static void end(int s) { _exit(0); }
int main(void) { signal(SIGINT, end); signal(SIGTERM, end); for (;;) pause(); }
`
	return cached("pause", source, func(dir string) error {
		c := filepath.Join(dir, "pause.c")
		if err := os.WriteFile(c, []byte(source), 0o644); err != nil {
			return err
		}
		_, err := host(ctx, "gcc", "-static", "-O2", "-o", filepath.Join(dir, "pause"), c)
		return err
	})
}

// goBuild builds programs into dir, from a throw-away module with these requirements.
func goBuild(ctx context.Context, dir string, requires, programs []string, ldflags string) error {
	module, err := os.MkdirTemp(dir, ".module-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(module)
	text := "module lab\n\ngo 1.26.0\n\n"
	for _, r := range requires {
		text += "require " + r + "\n"
	}
	for _, p := range programs {
		text += "tool " + p + "\n"
	}
	if err := os.WriteFile(filepath.Join(module, "go.mod"), []byte(text), 0o644); err != nil {
		return err
	}
	env := []string{"CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "GOWORK=off"}
	if _, err := hostIn(ctx, module, env, "go", "mod", "tidy"); err != nil {
		return err
	}
	args := slices.Concat([]string{"build", "-trimpath", "-ldflags", ldflags, "-o", dir + "/"}, programs)
	_, err = hostIn(ctx, module, env, "go", args...)
	return err
}

// buildKubejoin builds the program under test from its checkout into dir, as it is released but for the flags.
func buildKubejoin(ctx context.Context, checkout, dir, name string, flags ...string) error {
	return step("build "+name, func() error {
		linked := filepath.Join(dir, "."+name)
		defer os.Remove(linked)
		args := slices.Concat([]string{"build", "-trimpath", "-ldflags", "-s -w"}, flags, []string{"-o", linked, "."})
		if _, err := hostIn(ctx, checkout, []string{"CGO_ENABLED=0", "GOWORK=off"}, "go", args...); err != nil {
			return err
		}
		// Machines get a copy, as from an installer. What the linker wrote through a mapping may be in larger pages, of which a
		// program has 3 MB more resident.
		_, err := host(ctx, "cp", linked, filepath.Join(dir, name))
		return err
	})
}
