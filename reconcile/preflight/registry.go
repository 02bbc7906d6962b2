package preflight

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/pmezard/go-difflib/difflib"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/reconcile"
)

// Role is which nodes a check is for.
type Role string

// The roles.
const (
	Every        Role = "every node"
	Worker       Role = "worker"
	ControlPlane Role = "control plane"
)

// Check is one line of the table that the checks, their list and their page in
// docs are made from.
type Check struct {
	// Name is the one that waives it; with a * it is that of several.
	Name string `json:"name"`
	// Names are those of a * that a join has by default.
	Names []string `json:"names,omitempty"`
	// Kubeadm says that kubeadm has it under this name.
	Kubeadm bool `json:"kubeadm"`
	Role    Role `json:"role"`
	// Severity is the worst that it finds.
	Severity reconcile.Severity `json:"severity"`
	// Meaning is what is looked at, one clause.
	Meaning string `json:"meaning"`
	// Why is what goes wrong otherwise, Hint what to do, where the finding does
	// not know better.
	Why  string `json:"why"`
	Hint string `json:"hint,omitempty"`
	// Differs is where it is not what kubeadm does.
	Differs string `json:"differs,omitempty"`
	// Plan says that it is made while the plan is computed, and not by itself.
	Plan bool `json:"plan,omitempty"`

	// joining checks decide whether a machine should join at all: their errors are
	// warnings on one that has.
	joining bool
	// live and cluster are what it cannot do without.
	live, cluster bool
	run           func(context.Context, *pass) []reconcile.Finding
}

func (c *Check) applies(cfg *kubeadm.JoinConfiguration) bool {
	return c.Role == Every || (c.Role == ControlPlane) == (cfg.ControlPlane != nil)
}

// explained completes findings by what the table says.
func (c *Check) explained(findings []reconcile.Finding, joined bool) []reconcile.Finding {
	for i := range findings {
		f := &findings[i]
		for _, fill := range []struct {
			to   *string
			from string
		}{{&f.Name, c.Name}, {&f.Why, c.Why}, {&f.Hint, c.Hint}} {
			if *fill.to == "" {
				*fill.to = fill.from
			}
		}
		if joined && c.joining && f.Severity == reconcile.SeverityError {
			f.Severity = reconcile.SeverityWarning
		}
	}
	return findings
}

// Explain completes the findings of those checks that are made while the plan is
// computed by what the table says.
func Explain(findings []reconcile.Finding) {
	checks := Checks()
	for i := range findings {
		f := &findings[i]
		at := slices.IndexFunc(checks, func(c Check) bool { return c.run == nil && c.Name == f.Name })
		if at < 0 || f.Severity == reconcile.SeverityInfo {
			continue
		}
		if f.Wanted == "" {
			f.Wanted = checks[at].Meaning
		}
		if f.Why == "" {
			f.Why = checks[at].Why
		}
	}
}

// FindingNotChecked tells which checks could not be made.
const FindingNotChecked = "NotChecked"

func unmade(names []string, why string) []reconcile.Finding {
	if len(names) == 0 {
		return nil
	}
	return []reconcile.Finding{{Severity: reconcile.SeverityInfo, Name: FindingNotChecked, Seen: strings.Join(names, ", ") + " " + why}}
}

// Checks are all, in the order in which they are told. Behaviour catalogue §6.
func Checks() []Check {
	const (
		fatal   = reconcile.SeverityError
		warning = reconcile.SeverityWarning
	)
	return []Check{
		{Name: "IsPrivilegedUser", Kubeadm: true, Role: Every, Severity: fatal, live: true, run: checkPrivileges,
			Meaning: "the user is root",
			Why:     "files of the kubelet belong to root, and services are root's to start",
			Hint:    "run `sudo kubejoin apply …`; plan works without"},

		{Name: "CRI", Kubeadm: true, Role: Every, Severity: fatal, live: true, run: checkRuntime,
			Meaning: "a container runtime answers at nodeRegistration.criSocket, and is ready",
			Why:     "the kubelet ends without one",
			Hint:    "start it, or set nodeRegistration.criSocket to the runtime's socket"},
		{Name: "ContainerRuntimeVersion", Kubeadm: true, Role: Every, Severity: fatal, live: true, run: checkRuntimeVersion,
			Meaning: "the container runtime tells its cgroup driver (CRI RuntimeConfig); a warning before kubelet 1.38",
			Why:     "a kubelet of 1.38 and later does not start with a runtime that does not tell",
			Hint:    "upgrade the container runtime"},
		{Name: "CgroupDriver", Role: Every, Severity: fatal, live: true, joining: true, run: checkCgroupDriver,
			Meaning: "runtime and kubelet have the same cgroup driver, and one that this machine can have",
			Why:     "the kubelet follows a runtime that tells its driver, and otherwise the two fight over the limits of pods",
			Hint:    "set cgroupDriver in the ConfigMap kube-system/kubelet-config or by a patch of kubeletconfiguration to the runtime's (containerd: SystemdCgroup)"},
		{Name: "SandboxImage", Role: Every, Severity: warning, live: true, cluster: true, run: checkSandboxImage,
			Meaning: "where the cluster has its own image repository, the runtime starts pods from there as well",
			Why:     "no pod starts if this machine cannot reach the registry of that image",
			Hint:    "set the sandbox (pause) image in the runtime's configuration, restart it, and have it pull that image",
			Differs: "kubeadm warns of each difference from its own pause image, on control planes"},

		{Name: "FileExisting-*", Names: []string{"FileExisting-losetup", "FileExisting-mount", "FileExisting-cp"}, Kubeadm: true, Role: Every, Severity: fatal, joining: true, run: checkPrograms,
			Meaning: "programs that the kubelet and its volumes start are installed",
			Why:     "volumes cannot be mounted without"},
		{Name: "FileExisting-kubelet", Role: Every, Severity: fatal, run: checkKubeletProgram,
			Meaning: "the kubelet is installed",
			Why:     "it is what a join sets up"},
		{Name: "KubeletVersion", Kubeadm: true, Role: Every, Severity: fatal, live: true, joining: true, run: checkKubeletVersion,
			Meaning: "the kubelet is at most as new as the cluster, and at most three minors older",
			Why:     "other kubelets and API servers are not made for each other (version skew policy)",
			Hint:    "install the kubelet of the cluster's minor version",
			Differs: "kubeadm compares with its own version, and has no upper bound"},
		{Name: "Service-kubelet", Kubeadm: true, Role: Every, Severity: fatal, run: checkService,
			Meaning: "there is a kubelet service, and it may be started",
			Why:     "nobody else starts the kubelet",
			Differs: "kubeadm warns, and then fails to start it; apply enables one that is not"},
		{Name: "KubeletUnit", Role: Every, Severity: warning, live: true, run: checkUnit,
			Meaning: "the kubelet's unit hands over the arguments that make it read what a join writes",
			Why:     "a kubelet without them runs and never joins",
			Hint:    "apply adds a drop-in of its own: /etc/systemd/system/kubelet.service.d/20-kubejoin.conf"},

		{Name: "Port-*", Names: []string{"Port-10250", "Port-10248", "Port-6443", "Port-10257", "Port-10259", "Port-2379", "Port-2380"}, Kubeadm: true, Role: Every, Severity: fatal, live: true, run: checkPorts,
			Meaning: "nobody else listens on the ports of the kubelet and of a control plane's components, and the addresses are this machine's",
			Why:     "the component that is to listen there ends, or is not reached",
			Hint:    "stop what listens there",
			Differs: "kubeadm binds each port, and calls every failure \"in use\"; what the node itself holds is fine here"},
		{Name: "FileAvailable-*", Names: []string{"FileAvailable--etc-kubernetes-kubelet.conf", "FileAvailable--etc-kubernetes-bootstrap-kubelet.conf",
			"FileAvailable--etc-kubernetes-pki-ca.crt", "FileAvailable--etc-kubernetes-manifests-kube-apiserver.yaml",
			"FileAvailable--etc-kubernetes-manifests-kube-controller-manager.yaml", "FileAvailable--etc-kubernetes-manifests-kube-scheduler.yaml",
			"FileAvailable--etc-kubernetes-manifests-etcd.yaml"}, Kubeadm: true, Role: Every, Severity: fatal, run: checkFiles,
			Meaning: "nothing is where a join writes its files but such files",
			Why:     "something else there is not replaced",
			Differs: "kubeadm wants none of them; here the plan compares what an earlier join left"},
		{Name: "DirAvailable-*", Names: []string{"DirAvailable--var-lib-etcd"}, Kubeadm: true, Role: ControlPlane, Severity: fatal, cluster: true, joining: true, run: checkDataDir,
			Meaning: "etcd's data directory is empty, or this node's",
			Why:     "etcd does not join a cluster with the data of another"},
		{Name: "ExternalEtcdClientCertificates", Kubeadm: true, Role: ControlPlane, Severity: fatal, cluster: true, run: checkExternalEtcd,
			Meaning: "without a certificate key, the client certificate of an external etcd is on this machine",
			Why:     "the API server cannot read its data",
			Hint:    "copy the files from another control plane, or give controlPlane.certificateKey"},
		{Name: "DiskSpace", Role: Every, Severity: fatal, live: true, run: checkDisks,
			Meaning: "there is room, in bytes and inodes, where files are written, and it is writable",
			Why:     "a join that runs out of it stops half-way, and a kubelet does not start",
			Hint:    "make room: `du -x --max-depth=2 /var | sort -n | tail` shows what takes it"},

		{Name: "Swap", Kubeadm: true, Role: Every, Severity: fatal, live: true, joining: true, run: checkSwap,
			Meaning: "swap is off, or the kubelet's configuration allows for it",
			Why:     "the kubelet ends when it finds swap, unless failSwapOn is false",
			Hint:    "swapoff -a, and remove it from /etc/fstab; or set failSwapOn: false by a patch of kubeletconfiguration",
			Differs: "kubeadm only warns, and then waits in vain for the kubelet"},
		{Name: "SystemVerification", Kubeadm: true, Role: Every, Severity: fatal, live: true, joining: true, run: checkSystem,
			Meaning: "version and configuration of the kernel, and the cgroup controllers",
			Why:     "the kubelet or its containers do not run without",
			Differs: "no module is loaded and no cgroup made; a kernel whose configuration is nowhere is a warning; cgroup v1 passes where failCgroupV1 is false"},
		{Name: "NumCPU", Kubeadm: true, Role: ControlPlane, Severity: fatal, live: true, joining: true, run: checkCPUs,
			Meaning: "at least 2 processors",
			Why:     "the components of a control plane time out for want of processor time",
			Hint:    "give the machine more of them"},
		{Name: "Mem", Kubeadm: true, Role: ControlPlane, Severity: fatal, live: true, joining: true, run: checkMemory,
			Meaning: "at least 1700 MiB of memory",
			Why:     "the components of a control plane are killed for want of memory",
			Hint:    "give the machine more of it"},

		{Name: "Hostname", Kubeadm: true, Role: Every, Severity: warning, live: true, joining: true, run: checkHostname,
			Meaning: "the node's name can be one, and resolves",
			Why:     "who looks for the machine by its name does not find it"},
		{Name: "FileContent-*", Names: []string{"FileContent--proc-sys-net-ipv4-ip_forward", "FileContent--proc-sys-net-ipv6-conf-default-forwarding"}, Kubeadm: true, Role: Every, Severity: fatal, live: true, joining: true, run: checkForwarding,
			Meaning: "the kernel forwards packets, of IPv6 where the cluster has it",
			Why:     "packets of pods do not leave the machine",
			Differs: "kubeadm looks only if the endpoint is a literal address and discovery is by token"},
		{Name: "DefaultRoute", Role: Every, Severity: warning, live: true, joining: true, run: checkDefaultRoute,
			Meaning: "there is a default route, or an address for the node",
			Why:     "the kubelet takes the node's address from it, and without one it may not find any",
			Hint:    "add a default route, or set nodeRegistration.kubeletExtraArgs node-ip"},
		{Name: "MTU", Role: Every, Severity: warning, live: true, joining: true, run: checkMTU,
			Meaning: "the interface of the default route carries packets of 1280 bytes",
			Why:     "IPv6 does not work below that, and a pod network that wraps packets loses 20 to 100 bytes of it",
			Hint:    "raise the interface's MTU"},
		{Name: "AddressFamily", Role: Every, Severity: warning, live: true, cluster: true, joining: true, run: checkAddressFamily,
			Meaning: "the machine has an address of each family that the cluster's subnets have",
			Why:     "pods and services of that family are not reached from here"},
		{Name: "AddressOverlap", Role: Every, Severity: warning, live: true, cluster: true, joining: true, run: checkOverlap,
			Meaning: "the machine's own address is in none of the cluster's subnets",
			Why:     "the machine and a pod or service have the same address, and one of them is not reached"},
		{Name: "AdvertiseAddress", Role: ControlPlane, Severity: fatal, run: checkAdvertiseAddress,
			Meaning: "controlPlane.localAPIEndpoint.advertiseAddress is an address of this machine, and of the services' family",
			Why:     "etcd cannot listen on another one, and would have been announced to its cluster by then"},
		{Name: "Firewalld", Kubeadm: true, Role: Every, Severity: warning, live: true, joining: true, run: checkFirewalld,
			Meaning: "firewalld is off, or else its ports have to be open",
			Why:     "other machines do not reach the kubelet (logs, exec) and the API server",
			Differs: "kubeadm looks on control planes only"},

		{Name: "EndpointDNS", Role: Every, Severity: fatal, live: true, joining: true, run: checkEndpointDNS,
			Meaning: "the names of the API server's endpoints resolve; a warning without a plan",
			Why:     "the kubelet does not reach the API server",
			Hint:    "add the name to the name server or to /etc/hosts"},
		{Name: "HTTPProxy", Kubeadm: true, Role: Every, Severity: warning, live: true, run: checkProxy,
			Meaning: "connections to the API server's endpoints and to the advertise address use no proxy",
			Why:     "a proxy seldom lets connections to an API server through, and cuts watches off",
			Differs: "kubeadm looks at the discovery endpoint alone, and not with a discovery file"},
		{Name: "HTTPProxyCIDR", Kubeadm: true, Role: ControlPlane, Severity: warning, live: true, cluster: true, run: checkProxyCIDR,
			Meaning: "connections to services and pods use no proxy",
			Why:     "the control plane's components take these variables over, and then do not reach webhooks and kubelets"},
		{Name: "Discovery", Role: Every, Severity: fatal,
			Meaning: "the cluster can be discovered with what the configuration gives; a warning if nothing answers",
			Why:     "apply cannot join a cluster that it does not find or trust"},
		{Name: "KubernetesVersion", Kubeadm: true, Role: Every, Severity: fatal, cluster: true, joining: true, run: checkKubernetesVersion,
			Meaning: "the cluster is of a minor that this program knows; a warning if it is newer",
			Why:     "what a join writes differs by minor"},
		{Name: "ClockSkew", Role: Every, Severity: fatal, live: true, cluster: true, joining: true, run: checkClock,
			Meaning: "the clock agrees with the API server's; an error from 5 minutes on",
			Why:     "a fresh certificate is not valid yet on a machine whose clock is behind, and etcd and leases suffer from less",
			Hint:    "set the clock and keep it: systemctl enable --now systemd-timesyncd, or chrony"},
		{Name: "ClusterCA", Role: Every, Severity: fatal, cluster: true, run: checkCA,
			Meaning: "the cluster's CA certificate is valid now, and for another 30 days",
			Why:     "nobody trusts a certificate of an expired CA"},
		{Name: "BootstrapToken", Role: Every, Severity: warning, cluster: true, run: checkToken,
			Meaning: "the bootstrap token lives longer than the join, where the credential may see that",
			Why:     "the kubelet cannot ask for its certificate once the token has ended",
			Hint:    "on a control plane: kubeadm token create --print-join-command"},
		{Name: "JoinRBAC", Role: Every, Severity: fatal, cluster: true, run: checkRights,
			Meaning: "the credential that joins may ask for a node's certificate, and is approved by itself",
			Why:     "the kubelet does not get its certificate",
			Hint:    "on a control plane: kubeadm init phase bootstrap-token makes these bindings"},

		{Name: "ImagePull", Kubeadm: true, Role: ControlPlane, Severity: fatal, Plan: true,
			Meaning: "the images of a control plane are there or can be pulled",
			Why:     "static pods do not start without",
			Hint:    "see the image's change in the plan",
			Differs: "images are pulled by apply, not by a check"},
		{Name: "EtcdUnreachable", Role: ControlPlane, Severity: fatal, cluster: true, Plan: true,
			Meaning: "etcd answers, and tells its members",
			Why:     "nobody knows what adding a member would do",
			Hint:    "see that the other control planes' etcd runs, and that port 2379 is open"},
		{Name: "EtcdMembership", Role: ControlPlane, Severity: fatal, cluster: true, Plan: true,
			Meaning: "this machine can be, or stay, a member of etcd without danger to the others",
			Why:     "etcd could lose its quorum, or this member its data",
			Hint:    "see the finding; for members that are down at the moment apply waits as long as timeouts.etcdAPICall"},
		{Name: "EtcdVersionSkew", Role: ControlPlane, Severity: fatal, cluster: true, Plan: true,
			Meaning: "the etcd that joins is not older than the members",
			Why:     "it cannot read their data",
			Hint:    "set etcd.local.imageTag of the ClusterConfiguration to the version that runs"},
		{Name: "ExternalCA", Role: ControlPlane, Severity: fatal, cluster: true, Plan: true,
			Meaning: "where the key of a CA is kept elsewhere, what it has to sign is there and right",
			Why:     "nobody can sign it here",
			Hint:    "have a new one signed by the external CA and put it here"},
		{Name: "UnexpectedFile", Role: Every, Severity: fatal, Plan: true,
			Meaning: "what is at the path of a managed file is a file",
			Why:     "a directory or device is not replaced, and nothing can be made where links lead to each other",
			Hint:    "move it away"},
		{Name: "NotManaged", Role: ControlPlane, Severity: fatal, Plan: true,
			Meaning: "the static pods that the phases asked for wait for have manifests",
			Why:     "what nobody has written never serves",
			Hint:    "kubejoin join phase control-plane-prepare control-plane"},
	}
}

// formerNames are of checks that kubeadm has or had for other commands than
// join: people give one list of names to all of them.
var formerNames = []string{"ExternalEtcdVersion", "IsDockerSystemdCheck", "CoreDNSUnsupportedPlugins", "CoreDNSMigration",
	"ControlPlaneNodesReady", "CreateJob", "StaticPodManifest"}

// namePattern matches the names that hold a path, a program or a port.
var namePattern = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)^(Port-[0-9]{1,5}|(FileAvailable|FileExisting|FileContent|DirAvailable|Service)-[A-Za-z0-9._-]+)$`)
})

// Known tells whether a name can be waived.
func Known(name string) bool {
	return strings.EqualFold(name, all) || namePattern().MatchString(name) ||
		slices.ContainsFunc(slices.Concat(Names(), formerNames), func(n string) bool { return strings.EqualFold(n, name) })
}

// Names are those of all checks, the usual ones for those of a pattern.
func Names() []string {
	var out []string
	for _, c := range Checks() {
		if len(c.Names) == 0 {
			out = append(out, c.Name)
		}
		out = append(out, c.Names...)
	}
	return out
}

// similar is the part of two words' letters that agree, from which on one is
// taken for the other.
const similar = 0.55

// nearest is the name that a misspelt one was probably meant to be; empty if
// there is none.
func nearest(name string) string {
	letters := func(s string) []string { return strings.Split(strings.ToLower(s), "") }
	best, bestRatio := "", similar
	for _, known := range append(Names(), all) {
		if r := difflib.NewMatcher(letters(name), letters(known)).Ratio(); r > bestRatio {
			best, bestRatio = known, r
		}
	}
	return best
}
