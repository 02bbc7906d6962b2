package preflight

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

func checkPrivileges(_ context.Context, p *pass) []reconcile.Finding {
	if p.Facts.EffectiveUID == 0 {
		return nil
	}
	return []reconcile.Finding{{Severity: reconcile.SeverityError,
		Seen:   "apply has to be run as root, and this is the user " + strconv.Itoa(p.Facts.EffectiveUID),
		Wanted: "user 0"}}
}

// minCPUs and minMemory are kubeadm's: behaviour catalogue §6.3.
const (
	minCPUs   = 2
	minMemory = 1700 << 20
)

func checkCPUs(_ context.Context, p *pass) []reconcile.Finding {
	n, err := p.Machine.CPUs()
	if err != nil {
		return unseen("NumCPU", err)
	}
	if n >= minCPUs {
		return nil
	}
	return []reconcile.Finding{{Severity: reconcile.SeverityError,
		Seen: fmt.Sprintf("%d processor", n), Wanted: fmt.Sprintf("at least %d", minCPUs)}}
}

func checkMemory(_ context.Context, p *pass) []reconcile.Finding {
	n, err := p.Machine.Memory()
	if err != nil {
		return unseen("Mem", err)
	}
	if n >= minMemory || n == 0 {
		return nil
	}
	return []reconcile.Finding{{Severity: reconcile.SeverityError,
		Seen: size(n) + " of memory", Wanted: "at least " + size(minMemory)}}
}

// size is a number of bytes for people.
func size(n uint64) string {
	const mi = 1 << 20
	if n >= 10<<30 {
		return fmt.Sprintf("%d GiB", n>>30)
	}
	return fmt.Sprintf("%d MiB", n/mi)
}

// checkSwap is an error where kubeadm only warns: the kubelet ends at once when
// it finds swap and its configuration does not allow for it.
func checkSwap(_ context.Context, p *pass) []reconcile.Finding {
	swaps, err := p.Machine.Swaps()
	if err != nil {
		return unseen("Swap", err)
	}
	if len(swaps) == 0 {
		return nil
	}
	f := reconcile.Finding{Seen: "swap is on: " + strings.Join(swaps, ", ")}
	allowed, given := p.kubeletArg("fail-swap-on")
	switch {
	case given && allowed == "false", p.kubelet != nil && p.kubelet.FailSwapOn != nil && !*p.kubelet.FailSwapOn:
		return nil
	case p.kubelet == nil:
		f.Severity = reconcile.SeverityWarning
		f.Wanted = "no swap, unless the cluster's kubelet-config has failSwapOn: false"
	default:
		f.Severity, f.Wanted = reconcile.SeverityError, "no swap, or failSwapOn: false in the kubelet's configuration"
	}
	return []reconcile.Finding{f}
}

// What is left of a disk: a join writes some hundred KiB, a kubelet that starts
// much more. The ratios are the kubelet's own default eviction thresholds.
const (
	minFree       = 64 << 20
	minFreeInodes = 1000
	evictFree     = 10 // percent
	evictInodes   = 5  // percent
)

func checkDisks(_ context.Context, p *pass) []reconcile.Finding {
	dirs := []string{"/etc/kubernetes", "/var/lib/kubelet"}
	etcd, sure := p.localEtcd()
	if etcd != nil {
		dirs = append(dirs, etcd.DataDir)
	}
	var out []reconcile.Finding
	for _, dir := range dirs {
		disk, err := p.Machine.FileSystem(dir)
		if err != nil {
			out = append(out, unseen("DiskSpace", err)...)
			continue
		}
		found := judgeDisk(dir, disk)
		if etcd != nil && dir == etcd.DataDir && !sure {
			doubt(found)
		}
		out = append(out, found...)
	}
	return out
}

// doubt makes findings about etcd warnings, where the cluster is not known: its
// etcd may be external.
func doubt(findings []reconcile.Finding) {
	for i := range findings {
		f := &findings[i]
		f.Severity = reconcile.SeverityWarning
		f.Seen += "; the cluster is not known, and if its etcd is not external, this machine is to have a member"
	}
}

func judgeDisk(dir string, d host.FileSystem) []reconcile.Finding {
	f := reconcile.Finding{Severity: reconcile.SeverityError}
	percent := func(n, of uint64) uint64 { return n * 100 / max(of, 1) }
	switch {
	case d.Path == "": // it may not be looked at
		return nil
	case d.ReadOnly:
		f.Seen, f.Wanted = "the file system of "+dir+" is mounted read-only", "a writable one"
		f.Hint = "mount it writable, and look in the kernel's log for why it is not"
	case d.Total > 0 && d.Free < minFree:
		f.Seen, f.Wanted = size(d.Free)+" are free for "+dir, "at least "+size(minFree)
	case d.Inodes > 0 && d.FreeInodes < minFreeInodes:
		f.Seen, f.Wanted = fmt.Sprintf("%d inodes are free for %s", d.FreeInodes, dir), fmt.Sprintf("at least %d", minFreeInodes)
		f.Hint = "remove small files, or make a file system with more inodes"
	case dir != "/var/lib/kubelet":
		return nil
	case d.Total > 0 && percent(d.Free, d.Total) < evictFree:
		f.Severity = reconcile.SeverityWarning
		f.Seen, f.Wanted = fmt.Sprintf("%s of %s are free for %s", size(d.Free), size(d.Total), dir), fmt.Sprintf("at least %d%%", evictFree)
		f.Why = "below its eviction threshold the kubelet reports DiskPressure, accepts no pods and evicts those that run"
	case d.Inodes > 0 && percent(d.FreeInodes, d.Inodes) < evictInodes:
		f.Severity = reconcile.SeverityWarning
		f.Seen, f.Wanted = fmt.Sprintf("%d of %d inodes are free for %s", d.FreeInodes, d.Inodes, dir), fmt.Sprintf("at least %d%%", evictInodes)
		f.Why = "below its eviction threshold the kubelet reports DiskPressure, accepts no pods and evicts those that run"
	default:
		return nil
	}
	return []reconcile.Finding{f}
}

// localEtcd is the cluster's etcd as a static pod; nil for a worker, or external
// etcd. It is not sure where the cluster is not known: then it is what kubeadm
// init makes by default.
func (p *pass) localEtcd() (etcd *kubeadm.LocalEtcd, sure bool) {
	usual := &kubeadm.LocalEtcd{DataDir: kubeadm.DefaultEtcdDataDir}
	switch {
	case !p.controlPlane():
		return nil, true
	case !p.clusterKnown():
		return usual, false
	case p.Cluster.Configuration.Etcd.External != nil:
		return nil, true
	}
	if etcd := p.Cluster.Configuration.Etcd.Local; etcd != nil && etcd.DataDir != "" {
		return etcd, true
	}
	return usual, true
}

// The programs that a kubelet and its containers start: behaviour catalogue §6.2.
var programs = []string{"losetup", "mount", "cp"}

func checkPrograms(_ context.Context, p *pass) []reconcile.Finding {
	var out []reconcile.Finding
	for _, program := range programs {
		found, err := p.Machine.Find(program)
		if err != nil {
			out = append(out, unseen("FileExisting-"+program, err)...)
		} else if found == "" {
			out = append(out, reconcile.Finding{Severity: reconcile.SeverityError, Name: "FileExisting-" + program,
				Seen: "there is no " + program + " in the usual binary directories", Wanted: program,
				Hint: "install the package that has it: " + packageOf(program)})
		}
	}
	return out
}

func packageOf(program string) string {
	if program == "cp" {
		return "coreutils"
	}
	return "util-linux, or mount on Debian and Ubuntu"
}

func checkKubeletProgram(_ context.Context, p *pass) []reconcile.Finding {
	if p.Facts.KubeletPath != "" {
		return nil
	}
	return []reconcile.Finding{{Severity: reconcile.SeverityError, Name: "FileExisting-kubelet",
		Seen: "there is no kubelet in the usual binary directories", Wanted: "kubelet",
		Hint: "install the kubelet package of the cluster's minor version"}}
}

// kernelNeeds are the options that kubeadm wants, built in or as a module:
// behaviour catalogue §6.5. Names in one entry are alternatives.
var kernelNeeds = []string{
	"NAMESPACES", "NET_NS", "PID_NS", "IPC_NS", "UTS_NS", "CPUSETS", "MEMCG", "INET", "EXT4_FS", "PROC_FS",
	"NETFILTER_XT_TARGET_REDIRECT IP_NF_TARGET_REDIRECT", "NETFILTER_XT_MATCH_COMMENT", "FAIR_GROUP_SCHED",
	"CGROUPS", "CGROUP_PIDS", "CGROUP_SCHED",
}

// needsOf are those of one version of cgroups only; index 0 is not used.
func kernelNeedsOf(cgroups int) []string {
	switch cgroups {
	case 1:
		return []string{"CGROUP_CPUACCT", "CGROUP_DEVICE", "CGROUP_FREEZER"}
	case 2:
		return []string{"CGROUP_BPF"}
	}
	return nil
}

// controllers are what the kubelet needs of cgroups, by version.
var controllers = map[int]struct{ required, optional []string }{
	1: {[]string{"cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids"}, []string{"hugetlb", "blkio"}},
	2: {[]string{"cpu", "cpuset", "devices", "freezer", "memory", "pids"}, []string{"hugetlb", "io"}},
}

func checkSystem(_ context.Context, p *pass) []reconcile.Finding {
	release, err := p.Machine.KernelRelease()
	if err != nil {
		return unseen("SystemVerification", err)
	}
	out := judgeKernel(release)
	groups, err := p.Machine.Cgroups()
	if err != nil {
		return append(out, unseen("SystemVerification", err)...)
	}
	out = append(out, p.judgeCgroups(groups)...)
	options, file, err := p.Machine.KernelConfig(release)
	if err != nil {
		return append(out, unseen("SystemVerification", err)...)
	}
	if options == nil {
		return append(out, reconcile.Finding{Severity: reconcile.SeverityWarning,
			Seen:   "there is no configuration of the kernel " + release + ": " + strings.Join(host.KernelConfigPaths(release), ", "),
			Wanted: "one of these files",
			Why:    "without it nobody can tell what the kernel lacks; that by itself does no harm",
			Hint:   "`modprobe configs` makes /proc/config.gz, where the kernel has it"})
	}
	return append(out, judgeKernelConfig(options, file, groups.Version)...)
}

// judgeKernel wants a version that Kubernetes is tested with.
func judgeKernel(release string) []reconcile.Finding {
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return nil // it has not been seen
	}
	if major >= 6 || major == 5 && slices.Contains([]int{4, 10, 15}, minor) {
		return nil
	}
	return []reconcile.Finding{{Severity: reconcile.SeverityWarning, Seen: "kernel " + release,
		Wanted: "5.4, 5.10, 5.15, or 6 and later", Why: "Kubernetes is tested with the kernels that are maintained for long",
		Hint: "upgrade the kernel"}}
}

func judgeKernelConfig(options map[string]string, file string, cgroups int) []reconcile.Finding {
	var missing []string
	for _, need := range slices.Concat(kernelNeeds, kernelNeedsOf(cgroups)) {
		if !slices.ContainsFunc(strings.Fields(need), func(o string) bool { return options[o] == "y" || options[o] == "m" }) {
			missing = append(missing, "CONFIG_"+strings.ReplaceAll(need, " ", " or CONFIG_"))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return []reconcile.Finding{{Severity: reconcile.SeverityError,
		Seen: file + " lacks " + strings.Join(missing, ", "), Wanted: "each of them as y or m",
		Why: "containers, their networks or their limits do not work without", Hint: "run a kernel that has them"}}
}

// cgroupV1Error is the minor of the kubelet that no longer starts on cgroup v1
// unless its configuration says so.
const cgroupV1Error = 35

func (p *pass) judgeCgroups(g host.Cgroups) []reconcile.Finding {
	if g.Version == 0 {
		return []reconcile.Finding{{Severity: reconcile.SeverityError, Seen: "no cgroups are mounted below /sys/fs/cgroup", Wanted: "cgroup v2",
			Why: "the kubelet keeps pods apart with them", Hint: "boot with an init system that mounts them, such as systemd"}}
	}
	var out []reconcile.Finding
	if g.Version == 1 {
		out = p.judgeCgroupV1()
	}
	lacks := func(names []string) (list []string) {
		for _, n := range names {
			if !slices.Contains(g.Controllers, n) {
				list = append(list, n)
			}
		}
		return list
	}
	need := controllers[g.Version]
	if missing := lacks(need.required); len(missing) > 0 {
		out = append(out, reconcile.Finding{Severity: reconcile.SeverityError,
			Seen: fmt.Sprintf("cgroup v%d has no controller %s", g.Version, strings.Join(missing, ", ")), Wanted: strings.Join(need.required, ", "),
			Why: "the kubelet sets the limits of pods with them", Hint: "add them to the kernel's command line (cgroup_enable=memory, for instance) and boot again"})
	}
	if missing := lacks(need.optional); len(missing) > 0 {
		out = append(out, reconcile.Finding{Severity: reconcile.SeverityWarning,
			Seen: fmt.Sprintf("cgroup v%d has no controller %s", g.Version, strings.Join(missing, ", ")), Wanted: strings.Join(need.optional, ", "),
			Why: "limits of this kind have no effect", Hint: "run a kernel that has them, if pods are to have such limits"})
	}
	return out
}

func (p *pass) judgeCgroupV1() []reconcile.Finding {
	if p.kubelet != nil && p.kubelet.FailCgroupV1 != nil && !*p.kubelet.FailCgroupV1 {
		return nil
	}
	f := reconcile.Finding{Severity: reconcile.SeverityWarning, Seen: "this machine has cgroup v1", Wanted: "cgroup v2",
		Why:  "Kubernetes maintains cgroup v1 no longer",
		Hint: "boot with systemd.unified_cgroup_hierarchy=1"}
	v, err := p.version()
	switch {
	case err != nil || v.Minor < cgroupV1Error:
	case p.kubelet == nil:
		f.Wanted += ", or failCgroupV1: false in the cluster's kubelet-config"
		f.Why = "a kubelet of 1.35 and later does not start otherwise"
	default:
		f.Severity = reconcile.SeverityError
		f.Wanted += ", or failCgroupV1: false in the kubelet's configuration"
		f.Why = "a kubelet of 1.35 and later does not start otherwise"
		f.Hint += ", or set failCgroupV1: false in the ConfigMap kube-system/kubelet-config"
	}
	return []reconcile.Finding{f}
}
