package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// hostPackages are the Debian packages the lab needs on the host, by a file each one owns.
var hostPackages = map[string]string{
	"/usr/sbin/debootstrap":   "debootstrap",
	"/usr/bin/systemd-nspawn": "systemd-container",
	"/usr/bin/dbus-daemon":    "dbus",
	"/*bin/ip":                "iproute2",
	"/usr/bin/nsenter":        "util-linux",
	"/*bin/modprobe":          "kmod",
	"/usr/bin/gcc":            "gcc",
	"/usr/lib/*/libc.a":       "libc6-dev",
}

// hostModules are what machines need of the kernel; they cannot load modules of the host themselves.
var hostModules = []string{
	"overlay", "bridge", "br_netfilter", "veth", "nf_conntrack", "nf_tables", "nft_compat", "ip_tables", "iptable_nat",
	"xt_comment", "xt_mark", "xt_conntrack", "xt_MASQUERADE",
}

// prepareHost installs what is missing on the host.
func prepareHost(ctx context.Context) error {
	lock, err := waitLock(filepath.Join(CacheDir(), "host.lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	var missing []string
	for file, pkg := range hostPackages {
		found, err := filepath.Glob(file)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			missing = append(missing, pkg)
		}
	}
	if err := installPackages(ctx, missing); err != nil {
		return err
	}
	// What cannot be loaded may be built in: the machines will tell.
	_, _ = host(ctx, "modprobe", append([]string{"-a", "-q"}, hostModules...)...)
	return raiseInotify()
}

func installPackages(ctx context.Context, missing []string) error {
	if len(missing) == 0 {
		return nil
	}
	return step("install host packages "+strings.Join(missing, " "), func() error {
		if _, err := host(ctx, "apt-get", "update", "-q"); err != nil {
			return err
		}
		_, err := host(ctx, "apt-get", append([]string{"install", "-y", "-q", "--no-install-recommends"}, missing...)...)
		return err
	})
}

// raiseInotify lets the machines have inotify instances: they share one limit of the host, 128 by default, which three
// control planes use up.
func raiseInotify() error {
	const file, want = "/proc/sys/fs/inotify/max_user_instances", 1024
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(strings.TrimSpace(string(data))); err != nil || n >= want {
		return err
	}
	return step(fmt.Sprintf("raise fs.inotify.max_user_instances to %d", want), func() error {
		return os.WriteFile(file, fmt.Append(nil, want), 0)
	})
}

// step runs fn and prints its name and how long it took.
func step(name string, fn func() error) error {
	begin := time.Now()
	err := fn()
	outcome := "done"
	if err != nil {
		outcome = "FAILED"
	}
	fmt.Fprintf(os.Stderr, "lab: %-60s %s %6.1fs\n", name, outcome, time.Since(begin).Seconds())
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// host runs a program of the host and returns its standard output; the error carries the end of
// what it wrote to standard error.
func host(ctx context.Context, name string, args ...string) (string, error) {
	return hostIn(ctx, "", nil, name, args...)
}

// hostIn is host with a working directory and additions to the environment.
func hostIn(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "DEBIAN_FRONTEND=noninteractive"), env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s", cmd, err, tail(errs.String()+out.String(), 2000))
	}
	return out.String(), nil
}

// tail returns at most the last n bytes of s.
func tail(s string, n int) string {
	if s = strings.TrimSpace(s); len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}
