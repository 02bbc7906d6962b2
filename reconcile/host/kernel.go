package host

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
)

// maxKernelConfig bounds a kernel's configuration, which has some 300 KiB.
const maxKernelConfig = 8 << 20

// KernelRelease is what `uname -r` prints; empty below a root directory that has
// no /proc.
func (h *Host) KernelRelease() (string, error) { return h.word("/proc/sys/kernel/osrelease") }

// word is a file's content without the white space around it; empty if there is
// no such file.
func (h *Host) word(path string) (string, error) {
	data, _, err := h.ReadFile(path, smallFile)
	return string(bytes.TrimSpace(data)), err
}

// Sysctl is a kernel parameter by its path below /proc/sys; empty if there is none.
func (h *Host) Sysctl(path string) (string, error) { return h.word("/proc/sys/" + path) }

// KernelConfigPaths are where the configuration of a kernel may be, in kubeadm's
// order: behaviour catalogue §6.5.
func KernelConfigPaths(release string) []string {
	return []string{
		"/proc/config.gz",
		"/boot/config-" + release,
		"/usr/src/linux-" + release + "/.config",
		"/usr/src/linux/.config",
		"/usr/lib/modules/" + release + "/config",
		"/usr/lib/ostree-boot/config-" + release,
		"/usr/lib/kernel/config-" + release,
		"/usr/src/linux-headers-" + release + "/.config",
		"/lib/modules/" + release + "/build/.config",
	}
}

// KernelConfig reads what the kernel was built with, by option without the
// prefix CONFIG_, and where that was read. It is nil if no such file is there: no
// module is loaded to get one.
func (h *Host) KernelConfig(release string) (options map[string]string, path string, err error) {
	for _, path := range KernelConfigPaths(release) {
		data, _, err := h.ReadFile(path, maxKernelConfig)
		if err != nil {
			return nil, "", err
		}
		if data == nil {
			continue
		}
		if strings.HasSuffix(path, ".gz") {
			if data, err = gunzip(data, maxKernelConfig); err != nil {
				return nil, "", failed("unpack", path, err)
			}
		}
		return kernelOptions(data), path, nil
	}
	return nil, "", nil
}

func gunzip(data []byte, max int64) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(r, max+1))
	if err == nil && int64(len(out)) > max {
		err = fmt.Errorf("more than %d bytes", max)
	}
	return out, err
}

func kernelOptions(config []byte) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(string(config)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			if option, ok := strings.CutPrefix(name, "CONFIG_"); ok {
				out[option] = value
			}
		}
	}
	return out
}

// Cgroups is how the kernel accounts for processes.
type Cgroups struct {
	Version     int // 1, 2, or 0 if nothing is mounted
	Controllers []string
}

// Cgroups reads which controllers there are. No group is made to try one out.
func (h *Host) Cgroups() (Cgroups, error) {
	unified, state, err := h.ReadFile("/sys/fs/cgroup/cgroup.controllers", smallFile)
	if err != nil {
		return Cgroups{}, err
	}
	if state.Exists() {
		c := Cgroups{Version: 2, Controllers: strings.Fields(string(unified))}
		// Neither is listed. The first is done by BPF, the second by the core since
		// Linux 5.2: behaviour catalogue §6.5.
		c.Controllers = append(c.Controllers, "devices")
		if frozen, err := h.freezer(); err != nil {
			return c, err
		} else if frozen {
			c.Controllers = append(c.Controllers, "freezer")
		}
		return c, nil
	}
	table, _, err := h.ReadFile("/proc/cgroups", smallFile)
	if err != nil {
		return Cgroups{}, err
	}
	c := Cgroups{}
	for line := range strings.Lines(string(table)) { // name, hierarchy, groups, enabled
		f := strings.Fields(line)
		if len(f) != 4 || strings.HasPrefix(line, "#") || f[1] == "0" || f[3] != "1" {
			continue // one without a hierarchy is not mounted
		}
		c.Version = 1
		c.Controllers = append(c.Controllers, f[0])
	}
	return c, nil
}

// freezer looks for cgroup.freeze, which every group but the root has.
func (h *Host) freezer() (bool, error) {
	groups, _, err := h.ReadDir("/sys/fs/cgroup")
	if err != nil {
		return false, err
	}
	for _, g := range groups {
		if !g.IsDir() {
			continue
		}
		s, err := h.Stat("/sys/fs/cgroup/" + g.Name() + "/cgroup.freeze")
		if err != nil {
			return false, err
		}
		if s.Exists() {
			return true, nil
		}
	}
	return false, nil
}

// Swaps are the devices and files in use as swap.
func (h *Host) Swaps() ([]string, error) {
	table, _, err := h.ReadFile("/proc/swaps", smallFile)
	if err != nil {
		return nil, err
	}
	var out []string
	for line := range strings.Lines(string(table)) {
		if f := strings.Fields(line); len(f) > 0 && f[0] != "Filename" {
			out = append(out, f[0])
		}
	}
	return out, nil
}

// Memory is how many bytes the machine has; 0 if it is not known.
func (h *Host) Memory() (uint64, error) {
	table, _, err := h.ReadFile("/proc/meminfo", smallFile)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "MemTotal:" {
			continue
		}
		if kib, err := strconv.ParseUint(f[1], 10, 53); err == nil {
			return kib << 10, nil
		}
	}
	return 0, nil
}

// CPUs is how many processors are at work.
func (h *Host) CPUs() (int, error) {
	list, err := h.word("/sys/devices/system/cpu/online")
	if err != nil {
		return 0, err
	}
	if n, ok := countListed(list); ok {
		return n, nil
	}
	return runtime.NumCPU(), nil
}

// countListed counts the numbers of a list such as "0-3,8".
func countListed(list string) (int, bool) {
	n := 0
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err := strconv.ParseUint(first, 10, 16)
		to, err2 := strconv.ParseUint(last, 10, 16)
		if err != nil || err2 != nil || to < from {
			return 0, false
		}
		n += int(to-from) + 1
	}
	return n, true
}

// Find looks for a program in the usual directories of the machine; "" if it is
// in none.
func (h *Host) Find(program string) (string, error) { return h.find(program) }
