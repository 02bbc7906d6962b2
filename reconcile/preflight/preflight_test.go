package preflight

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
	"github.com/kubejoin/kubejoin/reconcile/host"
	"github.com/kubejoin/kubejoin/reconcile/staticpod"
)

var update = flag.Bool("update", false, "write docs/preflight.md")

// kernel is the configuration of one that has everything.
var kernel = func() string {
	var b strings.Builder
	for _, need := range slices.Concat(kernelNeeds, kernelNeedsOf(1), kernelNeedsOf(2)) {
		fmt.Fprintf(&b, "CONFIG_%s=y\n", strings.Fields(need)[0])
	}
	return b.String()
}()

// ready are the files of a machine that lacks nothing.
func ready() map[string]string {
	return map[string]string{
		"/proc/swaps":                                "Filename Type Size Used Priority\n",
		"/proc/meminfo":                              "MemTotal: 4194304 kB\nMemFree: 1 kB\n",
		"/sys/devices/system/cpu/online":             "0-1,3\n",
		"/proc/sys/kernel/osrelease":                 "6.1.0-18-amd64\n",
		"/boot/config-6.1.0-18-amd64":                kernel,
		"/sys/fs/cgroup/cgroup.controllers":          "cpuset cpu io memory hugetlb pids\n",
		"/sys/fs/cgroup/system.slice/cgroup.freeze":  "0\n",
		"/proc/sys/net/ipv4/ip_forward":              "1\n",
		"/proc/sys/net/ipv6/conf/default/forwarding": "1\n",
		"/proc/net/route":                            "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\neth0 00000000 0104A8C0 0003 0 0 0 00000000 0 0 0\n",
		"/usr/sbin/losetup":                          "",
		"/usr/bin/mount":                             "",
		"/bin/cp":                                    "",
		"/usr/lib/systemd/system/kubelet.service":    "[Service]\n",
		"/etc/kubernetes/pki/etcd.crt":               "",
	}
}

func machine(t *testing.T, files map[string]string) *host.Host {
	t.Helper()
	root := t.TempDir()
	for path, content := range files {
		full := filepath.Join(root, path)
		mode := fs.FileMode(0o644)
		if strings.Contains(path, "bin/") {
			mode = 0o755
		}
		must(t, os.MkdirAll(filepath.Dir(full), 0o755))
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			must(t, os.Symlink(target, full))
		} else if strings.HasSuffix(path, "/") {
			must(t, os.MkdirAll(full, 0o755))
		} else {
			must(t, os.WriteFile(full, []byte(content), mode))
		}
	}
	return open(t, root)
}

func open(t *testing.T, root string) *host.Host {
	t.Helper()
	h, err := host.Open(root)
	must(t, err)
	t.Cleanup(func() { must(t, h.Close()) })
	return h
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// thing is one case's machine, configuration and cluster.
type thing struct {
	*Input
	files map[string]string
	cfg   *kubeadm.JoinConfiguration
	cl    *kubeadm.ClusterConfiguration
}

func (x *thing) controlPlane() {
	x.cfg.ControlPlane = &kubeadm.JoinControlPlane{LocalAPIEndpoint: kubeadm.APIEndpoint{AdvertiseAddress: "127.0.0.1", BindPort: 6443}}
}

func (x *thing) kubelet(fields string) {
	x.KubeletConfig = []byte("kind: KubeletConfiguration\napiVersion: kubelet.config.k8s.io/v1beta1\n" + fields)
}

func (x *thing) runtime(r Runtime, err error) {
	x.Runtime = func(context.Context) (Runtime, error) { return r, err }
}

func newThing() *thing {
	cfg := &kubeadm.JoinConfiguration{CACertPath: kubeadm.DefaultCACertPath, Timeouts: kubeadm.DefaultTimeouts()}
	cfg.NodeRegistration.Name = "localhost"
	cfg.NodeRegistration.CRISocket = host.CRISockets()[0]
	cfg.Discovery.BootstrapToken = &kubeadm.BootstrapTokenDiscovery{APIServerEndpoint: "localhost:6443"}
	c := &kubeadm.ClusterConfiguration{KubernetesVersion: "v1.37.2", ControlPlaneEndpoint: "localhost", ImageRepository: kubeadm.DefaultImageRepository,
		Networking: kubeadm.Networking{ServiceSubnet: "10.96.0.0/12", PodSubnet: "10.88.0.0/16"}}
	x := &thing{files: ready(), cfg: cfg, cl: c}
	x.Input = &Input{Config: cfg, Cluster: &cluster.State{Server: "https://localhost:6443", Configuration: c, TokenID: "abcdef"}, Now: time.Now(), Lookup: cluster.Lookup,
		Facts: host.Facts{CRISockets: host.CRISockets()[:1], KubeletPath: "/usr/bin/kubelet", InitSystem: "systemd"}}
	x.kubelet("failSwapOn: true\n")
	x.runtime(Runtime{Name: "containerd", Version: "v2.1.4", CgroupDriver: "systemd", SandboxImage: "registry.k8s.io/pause:3.10.2"}, nil)
	return x
}

// check makes one check, whether or not the machine runs.
func (x *thing) check(t *testing.T, name string) []reconcile.Finding {
	t.Helper()
	if x.Machine == nil {
		x.Machine = machine(t, x.files)
	}
	for _, c := range Checks() {
		if c.Name == name {
			if !c.applies(x.cfg) {
				t.Fatalf("%s does not apply", name)
			}
			return c.explained(c.run(t.Context(), newPass(t.Context(), *x.Input)), x.Joined)
		}
	}
	t.Fatalf("there is no check %s", name)
	return nil
}

// api answers as a cluster would; the real one is tested in package cluster.
type api struct {
	expires time.Time
	denied  string
	err     error
}

func (a api) TokenExpiry(context.Context, string) (time.Time, bool, error) {
	return a.expires, !a.expires.IsZero(), a.err
}

func (a api) Allowed(_ context.Context, q cluster.Access) (bool, error) {
	return a.denied != q.Resource+"/"+q.Subresource, a.err
}

// Each check, on a machine that lacks nothing (want is empty), and on one that
// lacks what the check is for: "severity name: part of what was seen".
func TestChecks(t *testing.T) {
	const v1 = "#subsys_name hierarchy num_cgroups enabled\ncpuset 3 1 1\ncpu 1 1 1\ncpuacct 2 1 1\nblkio 7 1 1\nmemory 4 1 1\ndevices 5 1 1\nfreezer 6 1 1\npids 8 1 1\nhugetlb 9 1 1\n"
	toV1 := func(x *thing) {
		delete(x.files, "/sys/fs/cgroup/cgroup.controllers")
		x.files["/proc/cgroups"] = v1
	}
	const forwarding = "FileContent--proc-sys-net-ipv4-ip_forward"
	tests := []struct {
		check, name string
		edit        func(*thing)
		want        []string
	}{
		{"IsPrivilegedUser", "root", nil, nil},
		{"IsPrivilegedUser", "somebody", func(x *thing) { x.Facts.EffectiveUID = 1000 }, []string{"error IsPrivilegedUser: apply has to be run as root"}},

		{"CRI", "ready", nil, nil},
		{"CRI", "nobody there", func(x *thing) { x.runtime(Runtime{}, fmt.Errorf("dial: %w", os.ErrDeadlineExceeded)) }, []string{"error CRI: no container runtime answers at unix:///var/run/containerd/containerd.sock: dial"}},
		{"CRI", "another is", func(x *thing) {
			x.Facts.CRISockets = host.CRISockets()[1:2]
			x.runtime(Runtime{}, fault.New(fault.Preflight, "connect: no such file or directory"))
		}, []string{"error CRI: no container runtime answers at unix:///var/run/containerd/containerd.sock: no such file or directory; one answers at unix:///var/run/crio/crio.sock"}},
		{"CRI", "a plan without root, and a socket with one slash", func(x *thing) {
			x.Facts.EffectiveUID = 1
			x.Facts.CRISockets = host.CRISockets()[:1]
			x.Config.NodeRegistration.CRISocket = "unix:/var/run/containerd/containerd.sock"
		}, nil},
		{"CRI", "not ready", func(x *thing) { x.runtime(Runtime{Name: "containerd", NotReady: "Starting soon"}, nil) }, []string{"error CRI: containerd is not ready: Starting soon"}},
		{"CRI", "several", func(x *thing) { x.Undecided = host.CRISockets()[:2] },
			[]string{"error CRI: 2 container runtimes answer on this machine: unix:///var/run/containerd/containerd.sock, unix:///var/run/crio/crio.sock"}},
		{"CRI", "a plan without root", func(x *thing) { x.Facts.EffectiveUID = 1; x.runtime(Runtime{}, os.ErrPermission) }, nil},
		{"CRI", "a plan without root or runtime", func(x *thing) { x.Facts = host.Facts{EffectiveUID: 1} }, []string{"error CRI: no container runtime answers"}},
		{"ContainerRuntimeVersion", "tells", nil, nil},
		{"ContainerRuntimeVersion", "does not", func(x *thing) { x.runtime(Runtime{Name: "containerd", Version: "1.7"}, nil) }, []string{"warning ContainerRuntimeVersion: containerd 1.7 does not tell"}},
		{"CgroupDriver", "agree", func(x *thing) { x.kubelet("cgroupDriver: systemd") }, nil},
		{"CgroupDriver", "disagree", func(x *thing) { x.kubelet("cgroupDriver: cgroupfs") }, []string{"warning CgroupDriver: the container runtime uses the cgroup driver systemd, the kubelet's configuration says cgroupfs"}},
		{"CgroupDriver", "by argument", func(x *thing) {
			x.cfg.NodeRegistration.KubeletExtraArgs = []kubeadm.Arg{{Name: "cgroup-driver", Value: "cgroupfs"}}
		}, []string{"warning CgroupDriver: "}},
		{"CgroupDriver", "no systemd", func(x *thing) { x.Facts.InitSystem = "openrc" }, []string{"error CgroupDriver: the cgroup driver is systemd, but systemd does not run here"}},
		{"CgroupDriver", "cgroupfs both", func(x *thing) {
			x.Facts.InitSystem = "openrc"
			x.kubelet("cgroupDriver: cgroupfs")
			x.runtime(Runtime{CgroupDriver: "cgroupfs"}, nil)
		}, nil},
		{"SandboxImage", "usual", nil, nil},
		{"SandboxImage", "own repository", func(x *thing) { x.cl.ImageRepository = "registry.corp/k8s" }, []string{"warning SandboxImage: the container runtime starts pods with registry.k8s.io/pause:3.10.2"}},
		{"SandboxImage", "of the same", func(x *thing) {
			x.cl.ImageRepository = "registry.corp/k8s"
			x.runtime(Runtime{SandboxImage: "registry.corp/k8s/pause:3.10"}, nil)
		}, nil},

		{"FileExisting-*", "there", nil, nil},
		{"FileExisting-*", "one missing", func(x *thing) { delete(x.files, "/usr/sbin/losetup") }, []string{"error FileExisting-losetup: there is no losetup"}},
		{"FileExisting-*", "joined", func(x *thing) { x.Joined = true; delete(x.files, "/bin/cp") }, []string{"warning FileExisting-cp: there is no cp"}},
		{"FileExisting-kubelet", "there", nil, nil},
		{"FileExisting-kubelet", "missing", func(x *thing) { x.Facts.KubeletPath = "" }, []string{"error FileExisting-kubelet: "}},
		{"Service-kubelet", "an image with it", func(x *thing) { x.Alone = true }, nil},
		{"Service-kubelet", "an image without", func(x *thing) { x.Alone = true; delete(x.files, "/usr/lib/systemd/system/kubelet.service") }, []string{"error Service-kubelet: there is no unit"}},
		{"Service-kubelet", "the plan tells", func(x *thing) {
			x.Managed = []reconcile.Address{"service:kubelet"}
			delete(x.files, "/usr/lib/systemd/system/kubelet.service")
		}, nil},

		{"FileAvailable-*", "free", nil, nil},
		{"FileAvailable-*", "a folder", func(x *thing) { x.files["/etc/kubernetes/kubelet.conf/"] = "" }, []string{"error FileAvailable--etc-kubernetes-kubelet.conf: /etc/kubernetes/kubelet.conf is a directory"}},
		{"FileAvailable-*", "managed", func(x *thing) {
			x.files["/etc/kubernetes/pki/ca.crt"] = "x"
			x.Managed = []reconcile.Address{"file:/etc/kubernetes/pki/ca.crt"}
		}, nil},
		{"FileAvailable-*", "a broken credential that the plan judges", func(x *thing) {
			x.files["/etc/kubernetes/kubelet.conf"] = "x"
			x.Managed = []reconcile.Address{"credential:kubelet"}
		}, nil},
		{"FileAvailable-*", "a manifest that the plan judges", func(x *thing) {
			x.controlPlane()
			x.files["/etc/kubernetes/manifests/etcd.yaml"] = "x"
			x.Managed = []reconcile.Address{"static-pod:etcd"}
		}, nil},
		{"FileAvailable-*", "a broken credential", func(x *thing) { x.files["/etc/kubernetes/kubelet.conf"] = "x" }, []string{"error FileAvailable--etc-kubernetes-kubelet.conf: "}},
		{"FileAvailable-*", "nonsense", func(x *thing) { x.files["/etc/kubernetes/pki/ca.crt"] = "x" }, []string{"error FileAvailable--etc-kubernetes-pki-ca.crt: /etc/kubernetes/pki/ca.crt is not a certificate"}},
		{"FileAvailable-*", "a manifest", func(x *thing) {
			x.controlPlane()
			x.files["/etc/kubernetes/manifests/etcd.yaml"] = "apiVersion: v1\nkind: Pod\n"
			x.files["/etc/kubernetes/manifests/kube-scheduler.yaml"] = "apiVersion: v1\nkind: Service\n"
		}, []string{"error FileAvailable--etc-kubernetes-manifests-kube-scheduler.yaml: "}},
		{"DirAvailable-*", "free", func(x *thing) { x.controlPlane() }, nil},
		{"DirAvailable-*", "empty", func(x *thing) { x.controlPlane(); x.files["/var/lib/etcd/"] = "" }, nil},
		{"DirAvailable-*", "in use", func(x *thing) { x.controlPlane(); x.files["/var/lib/etcd/member/wal"] = "" }, []string{"error DirAvailable--var-lib-etcd: /var/lib/etcd holds member"}},
		{"DirAvailable-*", "elsewhere", func(x *thing) {
			x.controlPlane()
			x.cl.Etcd.Local = &kubeadm.LocalEtcd{DataDir: "/data/etcd"}
			x.files["/data/etcd/x"] = ""
		}, []string{"error DirAvailable--data-etcd: "}},
		{"DirAvailable-*", "our own", func(x *thing) {
			x.controlPlane()
			x.files["/var/lib/etcd/member/wal"] = ""
			x.files["/etc/kubernetes/manifests/etcd.yaml"] = ""
		}, nil},
		{"DirAvailable-*", "the plan judges", func(x *thing) {
			x.controlPlane()
			x.files["/var/lib/etcd/member/wal"] = ""
			x.Managed = []reconcile.Address{"etcd-member:cp2"}
		}, nil},
		{"DirAvailable-*", "external etcd", func(x *thing) {
			x.controlPlane()
			x.cl.Etcd.External = &kubeadm.ExternalEtcd{}
			x.files["/var/lib/etcd/x"] = ""
		}, nil},
		{"ExternalEtcdClientCertificates", "local", func(x *thing) { x.controlPlane() }, nil},
		{"ExternalEtcdClientCertificates", "one missing", func(x *thing) {
			x.controlPlane()
			x.cl.Etcd.External = &kubeadm.ExternalEtcd{CertFile: "/etc/kubernetes/pki/etcd.crt", KeyFile: "/etc/kubernetes/pki/etcd.key"}
		}, []string{"error ExternalEtcdClientCertificates: /etc/kubernetes/pki/etcd.key is not there"}},
		{"ExternalEtcdClientCertificates", "with a key", func(x *thing) {
			x.controlPlane()
			x.cfg.ControlPlane.CertificateKey = strings.Repeat("a", 64)
			x.cl.Etcd.External = &kubeadm.ExternalEtcd{KeyFile: "/none"}
		}, nil},

		{"Swap", "off", nil, nil},
		{"Swap", "on", func(x *thing) { x.files["/proc/swaps"] += "/dev/vda2 partition 1 0 -2\n" }, []string{"error Swap: swap is on: /dev/vda2"}},
		{"Swap", "on and allowed", func(x *thing) {
			x.files["/proc/swaps"] += "/dev/vda2 partition 1 0 -2\n"
			x.kubelet("failSwapOn: false")
		}, nil},
		{"Swap", "nobody knows", func(x *thing) { x.files["/proc/swaps"] += "/swap file 1 0 -2\n"; x.KubeletConfig = nil }, []string{"warning Swap: swap is on: /swap"}},
		{"SystemVerification", "v2", nil, nil},
		{"SystemVerification", "an old kernel", func(x *thing) {
			x.files["/proc/sys/kernel/osrelease"] = "4.19.0\n"
			x.files["/boot/config-4.19.0"] = kernel
		}, []string{"warning SystemVerification: kernel 4.19.0"}},
		{"SystemVerification", "no configuration", func(x *thing) { delete(x.files, "/boot/config-6.1.0-18-amd64") }, []string{"warning SystemVerification: there is no configuration of the kernel"}},
		{"SystemVerification", "an option missing", func(x *thing) {
			x.files["/boot/config-6.1.0-18-amd64"] = strings.Replace(kernel, "CONFIG_MEMCG=y", "# CONFIG_MEMCG is not set", 1)
		}, []string{"error SystemVerification: /boot/config-6.1.0-18-amd64 lacks CONFIG_MEMCG"}},
		{"SystemVerification", "an alternative", func(x *thing) {
			x.files["/boot/config-6.1.0-18-amd64"] = strings.Replace(kernel, "CONFIG_NETFILTER_XT_TARGET_REDIRECT=y", "CONFIG_IP_NF_TARGET_REDIRECT=m", 1)
		}, nil},
		{"SystemVerification", "no memory controller", func(x *thing) { x.files["/sys/fs/cgroup/cgroup.controllers"] = "cpuset cpu io hugetlb pids\n" }, []string{"error SystemVerification: cgroup v2 has no controller memory"}},
		{"SystemVerification", "no optional controller", func(x *thing) { x.files["/sys/fs/cgroup/cgroup.controllers"] = "cpuset cpu io memory pids\n" }, []string{"warning SystemVerification: cgroup v2 has no controller hugetlb"}},
		{"SystemVerification", "no freezer", func(x *thing) { delete(x.files, "/sys/fs/cgroup/system.slice/cgroup.freeze") }, []string{"error SystemVerification: cgroup v2 has no controller freezer"}},
		{"SystemVerification", "v1, and it may be", func(x *thing) { toV1(x); x.kubelet("failCgroupV1: false") }, nil},
		{"SystemVerification", "v1", toV1, []string{"warning SystemVerification: this machine has cgroup v1"}},
		{"SystemVerification", "no cgroups", func(x *thing) { delete(x.files, "/sys/fs/cgroup/cgroup.controllers") }, []string{"error SystemVerification: no cgroups are mounted"}},
		{"NumCPU", "three", func(x *thing) { x.controlPlane() }, nil},
		{"NumCPU", "one", func(x *thing) { x.controlPlane(); x.files["/sys/devices/system/cpu/online"] = "0\n" }, []string{"error NumCPU: 1 processor"}},
		{"NumCPU", "joined", func(x *thing) {
			x.controlPlane()
			x.Joined = true
			x.files["/sys/devices/system/cpu/online"] = "0\n"
		}, []string{"warning NumCPU: 1 processor"}},
		{"Mem", "enough", func(x *thing) { x.controlPlane() }, nil},
		{"Mem", "little", func(x *thing) { x.controlPlane(); x.files["/proc/meminfo"] = "MemTotal: 1048576 kB\n" }, []string{"error Mem: 1024 MiB of memory"}},

		{"Hostname", "resolves", nil, nil},
		{"Hostname", "does not", func(x *thing) { x.cfg.NodeRegistration.Name = "w1.invalid" }, []string{"warning Hostname: the node's name does not resolve"}},
		{"Hostname", "is none", func(x *thing) { x.cfg.NodeRegistration.Name = "w 1" }, []string{`warning Hostname: the name "w 1"`}},
		{"FileContent-*", "on", nil, nil},
		{"FileContent-*", "off", func(x *thing) { x.files["/proc/sys/net/ipv4/ip_forward"] = "0\n" }, []string{"error " + forwarding + ": /proc/sys/net/ipv4/ip_forward is 0"}},
		{"FileContent-*", "off, and the endpoint is a name in a file", func(x *thing) {
			x.files["/proc/sys/net/ipv4/ip_forward"] = "0\n"
			x.cfg.Discovery = kubeadm.Discovery{File: &kubeadm.FileDiscovery{KubeConfigPath: "/x"}}
			x.Cluster = nil
		}, []string{"error " + forwarding}},
		{"FileContent-*", "only IPv6", func(x *thing) {
			x.files["/proc/sys/net/ipv4/ip_forward"] = "0\n"
			x.files["/proc/sys/net/ipv6/conf/default/forwarding"] = "0\n"
			x.cl.Networking = kubeadm.Networking{ServiceSubnet: "fd00::/112", PodSubnet: "fd01::/64"}
		}, []string{"error FileContent--proc-sys-net-ipv6-conf-default-forwarding: /proc/sys/net/ipv6/conf/default/forwarding is 0"}},
		{"FileContent-*", "both, and no IPv6 here", func(x *thing) {
			delete(x.files, "/proc/sys/net/ipv6/conf/default/forwarding")
			x.cl.Networking.PodSubnet += ",fd01::/64"
		}, []string{"error FileContent--proc-sys-net-ipv6-conf-default-forwarding: /proc/sys/net/ipv6/conf/default/forwarding is not there"}},
		{"FileContent-*", "an IPv6 endpoint", func(x *thing) {
			x.files["/proc/sys/net/ipv6/conf/default/forwarding"] = "0\n"
			x.cfg.Discovery.BootstrapToken.APIServerEndpoint = "[fd00::1]:6443"
		}, []string{"error FileContent--proc-sys-net-ipv6"}},
		{"DefaultRoute", "there", nil, nil},
		{"DefaultRoute", "of IPv6", func(x *thing) {
			delete(x.files, "/proc/net/route")
			x.files["/proc/net/ipv6_route"] = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth0\n"
		}, nil},
		{"DefaultRoute", "one that rejects", func(x *thing) {
			delete(x.files, "/proc/net/route")
			x.files["/proc/net/ipv6_route"] = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200 lo\n"
		}, []string{"warning DefaultRoute: "}},
		{"DefaultRoute", "none", func(x *thing) { delete(x.files, "/proc/net/route") }, []string{"warning DefaultRoute: the machine has no default route"}},
		{"DefaultRoute", "none, and an address", func(x *thing) {
			delete(x.files, "/proc/net/route")
			x.cfg.NodeRegistration.KubeletExtraArgs = []kubeadm.Arg{{Name: "node-ip", Value: "10.0.0.1"}}
		}, nil},
		{"AdvertiseAddress", "the plan tells", func(x *thing) { x.controlPlane() }, nil},
		{"AdvertiseAddress", "another family", func(x *thing) {
			x.controlPlane()
			x.Alone = true
			x.cl.Networking.ServiceSubnet = "fd00::/112"
		}, []string{"error AdvertiseAddress: 127.0.0.1 is not of the family"}},

		{"EndpointDNS", "resolves", nil, nil},
		{"EndpointDNS", "does not", func(x *thing) { x.cfg.Discovery.BootstrapToken.APIServerEndpoint = "cp.invalid:6443" }, []string{"error EndpointDNS: cp.invalid (discovery.bootstrapToken.apiServerEndpoint) does not resolve"}},
		{"EndpointDNS", "alone", func(x *thing) { x.Alone = true; x.Cluster.Server = "https://cp.invalid" }, []string{"warning EndpointDNS: cp.invalid (the server that the cluster names)"}},
		{"EndpointDNS", "an address", func(x *thing) { x.cfg.Discovery.BootstrapToken.APIServerEndpoint = "10.0.0.1:6443" }, nil},
		{"KubernetesVersion", "known", nil, nil},
		{"KubernetesVersion", "newer", func(x *thing) { x.cl.KubernetesVersion = "v1.38.0" }, []string{"warning KubernetesVersion: the cluster is v1.38.0"}},
		{"KubernetesVersion", "older", func(x *thing) { x.cl.KubernetesVersion = "v1.33.9" }, []string{"error KubernetesVersion: the cluster is v1.33.9"}},
		{"KubernetesVersion", "a label", func(x *thing) { x.cl.KubernetesVersion = "stable" }, []string{`warning KubernetesVersion: the cluster says it is of version "stable"`}},
		{"ClockSkew", "not seen", nil, nil},
		{"ClockSkew", "a second", func(x *thing) { x.Cluster.Clock = cluster.Clock{Known: true, Offset: time.Second} }, nil},
		{"ClockSkew", "a minute", func(x *thing) { x.Cluster.Clock = cluster.Clock{Known: true, Offset: -time.Minute} }, []string{"warning ClockSkew: this machine's clock is 1m0s ahead of the API server's"}},
		{"ClockSkew", "an hour", func(x *thing) { x.Cluster.Clock = cluster.Clock{Known: true, Offset: time.Hour} }, []string{"error ClockSkew: this machine's clock is 1h0m0s behind the API server's"}},
		{"BootstrapToken", "not seen", func(x *thing) { x.API = api{} }, nil},
		{"BootstrapToken", "long", func(x *thing) { x.API = api{expires: x.Now.Add(time.Hour)} }, nil},
		{"BootstrapToken", "short", func(x *thing) { x.API = api{expires: x.Now.Add(time.Minute)} }, []string{"warning BootstrapToken: the bootstrap token abcdef ends at"}},
		{"JoinRBAC", "all", func(x *thing) { x.API = api{} }, nil},
		{"JoinRBAC", "no requests", func(x *thing) { x.API = api{denied: "certificatesigningrequests/"} }, []string{"error JoinRBAC: the credential that joins may not create certificatesigningrequests"}},
		{"JoinRBAC", "no approval", func(x *thing) { x.API = api{denied: "certificatesigningrequests/nodeclient"} }, []string{"warning JoinRBAC: the credential that joins may not create certificatesigningrequests/nodeclient"}},
		{"JoinRBAC", "nobody answers", func(x *thing) { x.API = api{err: os.ErrDeadlineExceeded} }, []string{"warning JoinRBAC: could not be checked"}},
	}
	for _, tt := range tests {
		t.Run(tt.check+"/"+tt.name, func(t *testing.T) {
			x := newThing()
			if tt.edit != nil {
				tt.edit(x)
			}
			got := x.check(t, tt.check)
			expect(t, got, tt.want)
		})
	}
}

// Also where nothing is wrong with it, the runtime is told; a plan has other news.
func TestTheRuntimeIsTold(t *testing.T) {
	const told = "containerd v2.1.4 answers at unix:///var/run/containerd/containerd.sock, its cgroup driver is systemd"
	for name, tt := range map[string]struct {
		edit func(*thing)
		want []string
	}{
		"alone":     {func(*thing) {}, []string{told}},
		"in a plan": {func(x *thing) { x.Alone = false }, nil},
		"does not tell": {func(x *thing) { x.runtime(Runtime{Name: "containerd", Version: "v1.7.0"}, nil) },
			[]string{"containerd v1.7.0 answers at unix:///var/run/containerd/containerd.sock, it does not tell its cgroup driver"}},
		"not there":    {func(x *thing) { x.runtime(Runtime{}, os.ErrDeadlineExceeded) }, nil},
		"without root": {func(x *thing) { x.Facts.EffectiveUID = 1000 }, nil},
		"undecided":    {func(x *thing) { x.Undecided = host.CRISockets()[:2] }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			x := newThing()
			x.Alone, x.Machine = true, open(t, "")
			tt.edit(x)
			var got []string
			for _, f := range Run(t.Context(), *x.Input) {
				if f.Name == "CRI" && f.Severity == reconcile.SeverityInfo {
					got = append(got, f.Seen)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// expect compares findings, and wants each to explain itself.
func expect(t *testing.T, got []reconcile.Finding, want []string) {
	t.Helper()
	ok := len(got) == len(want)
	for i, f := range got {
		ok = ok && strings.HasPrefix(fmt.Sprintf("%s %s: %s", f.Severity, f.Name, f.Seen), want[i])
		if f.Wanted == "" || f.Why == "" || f.Hint == "" || !Known(f.Name) {
			t.Errorf("does not explain itself: %+v", f)
		}
	}
	if !ok {
		t.Errorf("got %+v, want %q", got, want)
	}
}

// A check that nobody could test is none: every name is above or has a test of
// its own.
func TestEveryCheckIsTested(t *testing.T) {
	source, err := os.ReadFile("preflight_test.go")
	must(t, err)
	for _, c := range Checks() {
		if c.run != nil && !strings.Contains(string(source), `"`+c.Name+`"`) {
			t.Errorf("%s has no test", c.Name)
		}
	}
}

func TestJudgeKubelet(t *testing.T) {
	tests := map[string]struct{ kubelet, cluster, want string }{
		"same":              {"Kubernetes v1.37.2", "v1.37.0", ""},
		"three older":       {"Kubernetes v1.34.9", "v1.37.0", ""},
		"four older":        {"Kubernetes v1.33.1", "v1.37.0", "error : the kubelet is v1.33.1, the cluster v1.37.0"},
		"newer":             {"Kubernetes v1.37.0", "v1.36.3", "error : the kubelet is v1.37.0, the cluster v1.36.3"},
		"a newer patch":     {"Kubernetes v1.36.4", "v1.36.3", ""},
		"of a distribution": {"Kubernetes v1.36.4-gke.1+abc", "v1.36.3", ""},
		"no cluster":        {"Kubernetes v1.37.2", "", ""},
		"old, no cluster":   {"Kubernetes v1.30.0", "", "error : the kubelet is v1.30.0"},
		"new, no cluster":   {"Kubernetes v1.40.0", "", "warning : the kubelet is v1.40.0"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v, ok := parseVersion(tt.kubelet)
			if !ok {
				t.Fatal("does not parse")
			}
			of, _ := parseVersion(tt.cluster)
			var want []string
			if tt.want != "" {
				want = []string{tt.want}
			}
			got := judgeKubelet(v, of)
			if len(got) != len(want) || len(got) == 1 && !strings.HasPrefix(fmt.Sprintf("%s : %s", got[0].Severity, got[0].Seen), want[0]) {
				t.Errorf("%+v", got)
			}
		})
	}
}

// A kubelet is started once, however many checks want its version.
func TestKubeletVersion(t *testing.T) {
	dir := t.TempDir()
	program := func(body string) string {
		path := filepath.Join(dir, fmt.Sprintf("kubelet%d", len(body)))
		must(t, os.WriteFile(path, []byte("#!/bin/sh\n"+body), 0o755))
		return path
	}
	calls := filepath.Join(dir, "calls")
	tests := map[string]struct {
		body string
		want []string
	}{
		"new enough": {"echo call >>" + calls + "\n[ \"$1\" = --version ] && echo Kubernetes v1.37.2", nil},
		"too old":    {"echo Kubernetes v1.31.0", []string{"error KubeletVersion: the kubelet is v1.31.0, the cluster v1.37.2"}},
		"broken":     {"echo cannot execute >&2; exit 126", []string{"error KubeletVersion: "}},
		"no kubelet": {"echo hello", []string{"error KubeletVersion: "}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			x := newThing()
			x.Machine, x.Facts.KubeletPath = open(t, ""), program(tt.body)
			expect(t, x.check(t, "KubeletVersion"), tt.want)
		})
	}
	x := newThing()
	x.Machine, x.Facts.KubeletPath = open(t, ""), program(tests["new enough"].body)
	must(t, os.Remove(calls))
	Run(t.Context(), *x.Input)
	if data, err := os.ReadFile(calls); err != nil || string(data) != "call\n" {
		t.Errorf("%q, %v", data, err)
	}
}

// cgroup v1 is an error for a kubelet that is known not to start on it.
func TestCgroupV1(t *testing.T) {
	tests := map[string]struct {
		minor  int
		config string
		want   reconcile.Severity
	}{
		"1.35":               {35, "{}", reconcile.SeverityError},
		"1.34":               {34, "{}", reconcile.SeverityWarning},
		"1.37, allowed":      {37, "failCgroupV1: false", ""},
		"1.37, not allowed":  {37, "failCgroupV1: true", reconcile.SeverityError},
		"1.37, nobody knows": {37, "", reconcile.SeverityWarning},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := Input{Machine: open(t, "")}
			if tt.config != "" {
				in.KubeletConfig = []byte(tt.config)
			}
			p := newPass(t.Context(), in)
			p.version = func() (kubeletVersion, error) { return kubeletVersion{Minor: tt.minor}, nil }
			var got reconcile.Severity
			for _, f := range p.judgeCgroupV1() {
				got = f.Severity
			}
			if got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// A real listener of a process that is not the kubelet: this one.
func TestPortOfAStranger(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	number := l.Addr().(*net.TCPAddr).Port
	x := newThing()
	x.Machine = open(t, "")
	x.kubelet(fmt.Sprintf("port: %d\naddress: 127.0.0.1\nhealthzPort: 0\n", number))
	comm, err := os.ReadFile("/proc/self/comm")
	must(t, err)
	expect(t, x.check(t, "Port-*"), []string{fmt.Sprintf("error Port-%d: %s (process %d) listens on 127.0.0.1:%d",
		number, strings.TrimSpace(string(comm)), os.Getpid(), number)})
	must(t, l.Close())
	expect(t, x.check(t, "Port-*"), nil)

	// An address of nobody here is told as that.
	x.kubelet(fmt.Sprintf("port: %d\naddress: 192.0.2.77\nhealthzPort: 0\n", number))
	expect(t, x.check(t, "Port-*"), []string{fmt.Sprintf("error Port-%d: no interface of this machine has the address 192.0.2.77", number)})
}

// Whose port it is, by a process table.
func TestPortOwners(t *testing.T) {
	const line = "  0: %s:%04X 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4711 1 0 100 0 0 10 0\n"
	const everywhere = "00000000"
	held := func(address string, number int, name, cgroup string) map[string]string {
		return map[string]string{
			"/proc/net/tcp":    "header\n" + fmt.Sprintf(line, address, number),
			"/proc/812/fd/3":   "-> socket:[4711]",
			"/proc/1/fd/9":     "-> socket:[4711]", // systemd holds it for others, too
			"/proc/1/comm":     "systemd\n",
			"/proc/812/comm":   name + "\n",
			"/proc/812/cgroup": "12:pids:" + cgroup + "\n0::" + cgroup + "\n",
		}
	}
	tests := map[string]struct {
		files map[string]string
		edit  func(*thing)
		want  []string
	}{
		"nobody":                   {map[string]string{"/proc/net/tcp": "header\n"}, nil, nil},
		"our kubelet":              {held(everywhere, 10250, "kubelet", "/system.slice/kubelet.service"), nil, nil},
		"another kubelet":          {held(everywhere, 10250, "kubelet", "/user.slice"), nil, []string{"error Port-10250: kubelet (process 812) listens on 0.0.0.0:10250"}},
		"nginx":                    {held(everywhere, 10250, "nginx", "/system.slice/nginx.service"), nil, []string{"error Port-10250: nginx (process 812) listens on 0.0.0.0:10250"}},
		"nginx in kubelet.service": {held(everywhere, 10248, "nginx", "/system.slice/kubelet.service"), nil, []string{"error Port-10248: nginx"}},
		"on one address":           {held("0100007F", 10250, "nc", "/"), nil, []string{"error Port-10250: nc (process 812) listens on 127.0.0.1:10250"}},
		"health elsewhere":         {held("0200000A", 10248, "nc", "/"), nil, nil},
		"another port":             {held(everywhere, 8080, "nginx", "/"), nil, nil},
		"our pod":                  {held(everywhere, 6443, "kube-apiserver", "/kubepods/burstable/pod1/x"), func(x *thing) { x.controlPlane() }, nil},
		"our pod by its manifest": {held(everywhere, 10257, "kube-controller", "/x"), func(x *thing) {
			x.controlPlane()
			x.files["/etc/kubernetes/manifests/kube-controller-manager.yaml"] = ""
		}, nil},
		"an API server that is no pod":             {held(everywhere, 6443, "kube-apiserver", "/k3s"), func(x *thing) { x.controlPlane() }, []string{"error Port-6443: kube-apiserver"}},
		"before there is a cluster":                {held(everywhere, 6443, "haproxy", "/"), func(x *thing) { x.controlPlane(); x.Cluster = nil }, []string{"error Port-6443: haproxy"}},
		"a scheduler's, before there is a cluster": {held(everywhere, 10259, "nc", "/"), func(x *thing) { x.controlPlane(); x.Cluster = nil }, []string{"error Port-10259: nc"}},
		"perhaps etcd's": {held(everywhere, 2379, "etcd", "/"), func(x *thing) { x.controlPlane(); x.Cluster = nil },
			[]string{"warning Port-2379: etcd (process 812) listens on 0.0.0.0:2379; the cluster is not known"}},
		"etcd's":                     {held(everywhere, 2380, "etcd", "/"), func(x *thing) { x.controlPlane() }, []string{"error Port-2380: etcd (process 812) listens on 0.0.0.0:2380"}},
		"nobody's":                   {held(everywhere, 2380, "etcd", "/"), func(x *thing) { x.controlPlane(); x.cl.Etcd.External = &kubeadm.ExternalEtcd{} }, nil},
		"beside the scheduler":       {held("0200000A", 10259, "nc", "/"), func(x *thing) { x.controlPlane() }, nil},
		"a worker has no API server": {held(everywhere, 6443, "haproxy", "/"), nil, nil},
		"nobody can see":             {map[string]string{"/proc/net/tcp": fmt.Sprintf(line, everywhere, 10250)}, nil, []string{"error Port-10250: a process that cannot be seen"}},
		"this user cannot": {map[string]string{"/proc/net/tcp": fmt.Sprintf(line, everywhere, 10250)}, func(x *thing) { x.Facts.EffectiveUID = 1 },
			[]string{"warning Port-10250: a process of another user"}},
		"this user cannot, and joined": {map[string]string{"/proc/net/tcp": fmt.Sprintf(line, everywhere, 10250)}, func(x *thing) { x.Facts.EffectiveUID, x.Joined = 1, true }, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			x := newThing()
			x.files = tt.files
			if tt.edit != nil {
				tt.edit(x)
			}
			expect(t, x.check(t, "Port-*"), tt.want)
		})
	}
}

func TestCollide(t *testing.T) {
	a := func(s string) netip.Addr {
		if s == "" {
			return netip.Addr{}
		}
		return netip.MustParseAddr(s)
	}
	tests := []struct {
		has, wants string
		want       bool
	}{
		{"0.0.0.0", "", true}, {"127.0.0.1", "", true}, {"::1", "", true},
		{"0.0.0.0", "10.0.0.1", true}, {"10.0.0.1", "0.0.0.0", true}, {"10.0.0.2", "10.0.0.1", false},
		{"10.0.0.1", "10.0.0.1", true}, {"::", "10.0.0.1", true}, {"0.0.0.0", "fd00::1", false}, {"fd00::1", "0.0.0.0", false}, {"10.0.0.1", "::", true},
	}
	for _, tt := range tests {
		if got := collide(a(tt.has), a(tt.wants)); got != tt.want {
			t.Errorf("%s has it, %s wants it: %v", tt.has, tt.wants, got)
		}
	}
}

func TestJudgeDisk(t *testing.T) {
	const gi = 1 << 30
	tests := map[string]struct {
		dir  string
		disk host.FileSystem
		want []string
	}{
		"empty":           {"/var/lib/kubelet", host.FileSystem{Path: "/", Free: 50 * gi, Total: 100 * gi, FreeInodes: 1e6, Inodes: 2e6}, nil},
		"full":            {"/etc/kubernetes", host.FileSystem{Path: "/", Free: 1 << 20, Total: 100 * gi}, []string{"error DiskSpace: 1 MiB are free for /etc/kubernetes"}},
		"nearly":          {"/var/lib/kubelet", host.FileSystem{Path: "/", Free: 5 * gi, Total: 100 * gi}, []string{"warning DiskSpace: 5120 MiB of 100 GiB are free for /var/lib/kubelet"}},
		"nearly, but etc": {"/etc/kubernetes", host.FileSystem{Path: "/", Free: 5 * gi, Total: 100 * gi}, nil},
		"no inodes":       {"/etc/kubernetes", host.FileSystem{Path: "/", Free: 5 * gi, Total: 9 * gi, FreeInodes: 3, Inodes: 1e6}, []string{"error DiskSpace: 3 inodes are free for /etc/kubernetes"}},
		"few inodes":      {"/var/lib/kubelet", host.FileSystem{Path: "/", Free: 5 * gi, Total: 9 * gi, FreeInodes: 1e4, Inodes: 1e6}, []string{"warning DiskSpace: 10000 of 1000000 inodes"}},
		"no limit":        {"/var/lib/kubelet", host.FileSystem{Path: "/", Free: 5 * gi, Total: 9 * gi}, nil},
		"read-only":       {"/etc/kubernetes", host.FileSystem{Path: "/", Free: 5 * gi, Total: 9 * gi, ReadOnly: true}, []string{"error DiskSpace: the file system of /etc/kubernetes is mounted read-only"}},
		"not seen":        {"/etc/kubernetes", host.FileSystem{}, nil},
	}
	var check Check
	for _, c := range Checks() {
		if c.Name == "DiskSpace" {
			check = c
		}
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { expect(t, check.explained(judgeDisk(tt.dir, tt.disk), false), tt.want) })
	}
}

func TestNetworks(t *testing.T) {
	eth := host.Interface{Name: "eth0", MTU: 1500, Up: true, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.5/24"), netip.MustParsePrefix("fe80::1/64")}}
	lo := host.Interface{Name: "lo", Up: true, Loopback: true, Addresses: []netip.Prefix{netip.MustParsePrefix("::1/128")}}
	both := []subnet{{"service", netip.MustParsePrefix("10.96.0.0/12")}, {"pod", netip.MustParsePrefix("fd01::/64")}}
	seen := func(list []reconcile.Finding) (out []string) {
		for _, f := range list {
			out = append(out, f.Seen)
		}
		return out
	}
	if diff := cmp.Diff([]string{"the cluster has the pod subnet fd01::/64, this machine no address of IPv6"}, seen(judgeFamilies(both, []host.Interface{eth, lo}))); diff != "" {
		t.Error(diff)
	}
	if got := judgeFamilies(both[:1], []host.Interface{eth, lo}); got != nil {
		t.Error(got)
	}
	inside := []subnet{{"pod", netip.MustParsePrefix("10.0.0.0/8")}}
	if diff := cmp.Diff([]string{"the address 10.0.0.5 of eth0 is in the cluster's pod subnet 10.0.0.0/8"}, seen(judgeOverlap(inside, []host.Interface{eth}))); diff != "" {
		t.Error(diff)
	}
	if got := judgeOverlap(both, []host.Interface{eth}); got != nil {
		t.Error(got)
	}
	narrow := eth
	narrow.MTU = 1279
	if diff := cmp.Diff([]string{"packets on eth0 have at most 1279 bytes"}, seen(judgeMTU([]host.Interface{eth, narrow}))); diff != "" {
		t.Error(diff)
	}
}

// 192.0.2.0/24 is nobody's (RFC 5737).
func TestAdvertiseAddressOfTheRunningMachine(t *testing.T) {
	x := newThing()
	x.controlPlane()
	x.Alone, x.Machine = true, open(t, "")
	x.cfg.ControlPlane.LocalAPIEndpoint.AdvertiseAddress = "192.0.2.7"
	x.cl.Networking.ServiceSubnet = "fd00::/112"
	expect(t, x.check(t, "AdvertiseAddress"), []string{"error AdvertiseAddress: no interface of this machine has the address 192.0.2.7",
		"error AdvertiseAddress: 192.0.2.7 is not of the family"})
}

// Whoever follows the advice for both families has both after the next boot.
func TestForwardingAdviceForBoth(t *testing.T) {
	x := newThing()
	x.cl.Networking.PodSubnet += ",fd01::/64"
	x.files["/proc/sys/net/ipv4/ip_forward"], x.files["/proc/sys/net/ipv6/conf/default/forwarding"] = "0\n", "0\n"
	got := x.check(t, "FileContent-*")
	if len(got) != 2 || !strings.Contains(got[0].Hint, "> /etc/sysctl.d/50-net-ipv4-ip_forward.conf") || !strings.Contains(got[1].Hint, "> /etc/sysctl.d/50-net-ipv6-conf-default-forwarding.conf") {
		t.Errorf("%+v", got)
	}
}

func TestProxies(t *testing.T) {
	x := newThing()
	x.controlPlane()
	x.cfg.ControlPlane.LocalAPIEndpoint.AdvertiseAddress = "10.0.0.5"
	x.cfg.Discovery.BootstrapToken.APIServerEndpoint = "cp.corp:6443"
	t.Setenv("HTTPS_PROXY", "http://me:secret@proxy.corp:3128")
	t.Setenv("NO_PROXY", "10.88.0.0/16,10.0.0.0/24")
	x.Proxy = cluster.ProxyFromEnvironment()
	got := x.check(t, "HTTPProxy")
	expect(t, got, []string{"warning HTTPProxy: connections to https://cp.corp:6443 (discovery.bootstrapToken.apiServerEndpoint) go through the proxy http://proxy.corp:3128"})
	expect(t, x.check(t, "HTTPProxyCIDR"), []string{"warning HTTPProxyCIDR: connections to the service subnet 10.96.0.0/12 go through the proxy http://proxy.corp:3128"})
	if strings.Contains(fmt.Sprint(got), "secret") {
		t.Error("tells the proxy's password")
	}
	x.cfg.Discovery = kubeadm.Discovery{File: &kubeadm.FileDiscovery{KubeConfigPath: "https://user:hunter2@files.corp:1/x?sig=SECRETSIG"}}
	expect(t, x.check(t, "HTTPProxy"), []string{"warning HTTPProxy: connections to https://files.corp:1 (discovery.file.kubeConfigPath) go through"})
	if got := fmt.Sprint(x.check(t, "HTTPProxy"), x.check(t, "EndpointDNS")); strings.Contains(got, "hunter2") || strings.Contains(got, "SECRETSIG") {
		t.Errorf("tells what is in the URL of the discovery file: %s", got)
	}
	t.Setenv("NO_PROXY", "*")
	x.Proxy = cluster.ProxyFromEnvironment()
	expect(t, append(x.check(t, "HTTPProxy"), x.check(t, "HTTPProxyCIDR")...), nil)
}

// A real certificate, at several times.
func TestClusterCA(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kubernetes"}, NotBefore: begin, NotAfter: begin.AddDate(10, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	tests := map[string]struct {
		now  time.Time
		ca   []byte
		want []string
	}{
		"valid":    {begin.AddDate(1, 0, 0), ca, nil},
		"not yet":  {begin.Add(-time.Hour), ca, []string{"error ClusterCA: the cluster's CA certificate kubernetes is not valid before 2026-01-01T00:00:00Z"}},
		"no more":  {begin.AddDate(10, 0, 1), ca, []string{"error ClusterCA: the cluster's CA certificate kubernetes was valid until 2036-01-01T00:00:00Z"}},
		"soon":     {begin.AddDate(10, 0, -20), ca, []string{"warning ClusterCA: the cluster's CA certificate kubernetes is valid until"}},
		"of two":   {begin.AddDate(11, 0, 0), slices.Concat(ca, ca), []string{"warning ClusterCA: the cluster's CA certificate kubernetes was valid", "warning ClusterCA: "}},
		"nonsense": {begin, []byte("x"), nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			x := newThing()
			x.Now, x.Cluster.CA = tt.now, tt.ca
			expect(t, x.check(t, "ClusterCA"), tt.want)
		})
	}
}

// What a unit of systemd says; the manager itself is asked in package host's tests.
func TestUnit(t *testing.T) {
	const full = "/usr/bin/kubelet --bootstrap-kubeconfig=/b --kubeconfig=/k --config=/c $KUBELET_KUBEADM_ARGS"
	tests := map[string]struct {
		state   host.ServiceState
		unit    []string
		service []string
	}{
		"complete":   {host.ServiceState{Manager: "systemd", Found: true, ExecStart: full, EnvironmentFiles: []string{unitFile}}, nil, nil},
		"bare":       {host.ServiceState{Manager: "systemd", Found: true, ExecStart: "/usr/bin/kubelet"}, []string{"info KubeletUnit: the kubelet's unit lacks --bootstrap-kubeconfig, --kubeconfig, --config, " + unitFile}, nil},
		"no file":    {host.ServiceState{Manager: "systemd", Found: true, ExecStart: full}, []string{"info KubeletUnit: the kubelet's unit lacks " + unitFile}, nil},
		"not there":  {host.ServiceState{Manager: "systemd"}, nil, []string{"error Service-kubelet: there is no kubelet service"}},
		"masked":     {host.ServiceState{Manager: "systemd", Found: true, Masked: true}, nil, []string{"error Service-kubelet: the kubelet service is masked"}},
		"no manager": {host.ServiceState{}, nil, []string{"warning Service-kubelet: neither systemd nor OpenRC"}},
		"denied":     {host.ServiceState{Manager: "systemd", Unknown: "refused"}, nil, []string{"warning Service-kubelet: not known: refused"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			x := newThing()
			x.Alone, x.Machine = true, open(t, "")
			p := newPass(t.Context(), *x.Input)
			p.unit = func() (host.ServiceState, error) { return tt.state, nil }
			for _, c := range Checks() {
				switch c.Name {
				case "KubeletUnit":
					expect(t, c.explained(c.run(t.Context(), p), false), tt.unit)
				case "Service-kubelet":
					expect(t, c.explained(c.run(t.Context(), p), false), tt.service)
				}
			}
		})
	}
}

// The checks of the machine that runs this test: they end, soon, and leave it
// as it was.
func TestLive(t *testing.T) {
	x := newThing()
	x.Alone, x.Machine, x.Facts.KubeletPath = true, open(t, ""), ""
	begin := time.Now()
	for _, name := range []string{"MTU", "AddressFamily", "AddressOverlap", "DiskSpace", "Firewalld", "KubeletUnit", "ClusterCA"} {
		for _, f := range x.check(t, name) {
			t.Logf("%+v", f)
		}
	}
	for _, f := range Run(t.Context(), *x.Input) {
		if f.Name == "" || f.Seen == "" || f.Severity != reconcile.SeverityInfo && (f.Why == "" || f.Hint == "" || f.Wanted == "") {
			t.Errorf("does not explain itself: %+v", f)
		}
	}
	t.Logf("%d checks in %s", Made(*x.Input), time.Since(begin))
}

// Below a root directory only files are looked at, and the rest is named.
func TestImage(t *testing.T) {
	x := newThing()
	x.Alone, x.Cluster = true, nil
	x.Machine = machine(t, x.files)
	got := Run(t.Context(), *x.Input)
	if len(got) != 2 || got[0].Name != FindingNotChecked || !strings.Contains(got[0].Seen, "Swap") || !strings.Contains(got[1].Seen, "KubernetesVersion") {
		t.Errorf("%+v", got)
	}
}

func TestWaiversAndWhatBlocks(t *testing.T) {
	tests := map[string]struct {
		waive   []string
		waived  []string
		blocked []string
		hidden  string
	}{
		"nothing":       {nil, nil, []string{"IsPrivilegedUser", "CRI"}, ""},
		"one":           {[]string{"CRI"}, []string{"CRI"}, []string{"IsPrivilegedUser"}, ""},
		"in other case": {[]string{"isprivilegeduser", "cri"}, []string{"IsPrivilegedUser", "CRI"}, nil, ""},
		"all":           {[]string{"ALL"}, []string{"IsPrivilegedUser", "CRI"}, nil, "IsPrivilegedUser, CRI"},
		"one and all":   {[]string{"CRI", "all"}, []string{"IsPrivilegedUser", "CRI"}, nil, "IsPrivilegedUser"},
		"each and all":  {[]string{"CRI", "IsPrivilegedUser", "all"}, []string{"IsPrivilegedUser", "CRI"}, nil, ""},
		"part of one":   {[]string{"Privileged", ""}, nil, []string{"IsPrivilegedUser", "CRI"}, ""},
		"a warning":     {[]string{"NotCompared"}, nil, []string{"IsPrivilegedUser", "CRI"}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			findings := []reconcile.Finding{
				{Severity: reconcile.SeverityError, Name: "IsPrivilegedUser", Seen: "no root", Hint: "be root"},
				{Severity: reconcile.SeverityError, Name: "CRI", Seen: "no runtime", Hint: "start it"},
				{Severity: reconcile.SeverityWarning, Name: "NotCompared", Seen: "denied"},
				{Severity: reconcile.SeverityInfo, Name: "Advisory", Seen: "well"},
			}
			more := Waive(findings, tt.waive)
			if (len(more) > 0) != (tt.hidden != "") || tt.hidden != "" && (more[0].Severity != reconcile.SeverityWarning || more[0].Seen != `"all" waives `+tt.hidden) {
				t.Errorf("%+v", more)
			}
			var waived []string
			for _, f := range findings {
				if f.Waived {
					waived = append(waived, f.Name)
				}
			}
			if diff := cmp.Diff(tt.waived, waived); diff != "" {
				t.Error(diff)
			}
			err := Blocking(findings)
			if (err != nil) != (len(tt.blocked) > 0) {
				t.Fatal(err)
			}
			if err == nil {
				return
			}
			if fault.ClassOf(err) != fault.Preflight || strings.Contains(err.Error(), "NotCompared") {
				t.Error(err)
			}
			for _, f := range findings[:2] {
				blocks := strings.Contains(err.Error(), f.Name) && strings.Contains(fault.HintOf(err), f.Hint)
				if blocks == f.Waived {
					t.Errorf("%s: waived %v, and %v (%s)", f.Name, f.Waived, err, fault.HintOf(err))
				}
			}
		})
	}
}

func TestCheckNames(t *testing.T) {
	tests := map[string]struct {
		names []string
		at    int
		hint  string // empty: all are known
	}{
		"none":           {nil, 0, ""},
		"all":            {[]string{"All"}, 0, ""},
		"some":           {[]string{"swap", "NUMCPU", "IsPrivilegedUser", "CRI"}, 0, ""},
		"ports":          {[]string{"Port-10250", "port-1"}, 0, ""},
		"paths":          {[]string{"FileAvailable--etc-kubernetes-kubelet.conf", "DirAvailable--var-lib-etcd", "FileContent--proc-sys-net-bridge-bridge-nf-call-iptables"}, 0, ""},
		"programs":       {[]string{"FileExisting-crictl", "Service-Docker"}, 0, ""},
		"of init":        {[]string{"ExternalEtcdVersion"}, 0, ""},
		"misspelt":       {[]string{"Swap", "SystemVerificaton"}, 1, `did you mean "SystemVerification"?`},
		"a bad port":     {[]string{"Port-abc"}, 0, "did you mean \"Port-"},
		"the pattern":    {[]string{"Port-*"}, 0, "did you mean \"Port-"},
		"something else": {[]string{"xyzzy"}, 0, "`kubejoin preflight list` prints the names"},
		"empty":          {[]string{""}, 0, "`kubejoin preflight list` prints the names"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			at, err := CheckNames(tt.names)
			if at != tt.at || (err == nil) != (tt.hint == "") || err != nil && (!strings.HasPrefix(fault.HintOf(err), tt.hint) || fault.ClassOf(err) != fault.InvalidConfig) {
				t.Errorf("%d, %v (%s)", at, err, fault.HintOf(err))
			}
		})
	}
}

// The page is made from the table.
func TestPage(t *testing.T) {
	const path = "../../docs/preflight.md"
	if *update {
		must(t, os.WriteFile(path, Page(), 0o644))
	}
	page, err := os.ReadFile(path)
	must(t, err)
	if diff := cmp.Diff(string(page), string(Page())); diff != "" {
		t.Errorf("run go test ./reconcile/preflight -run TestPage -update: %s", diff)
	}
}

// The minors that the checks know are those that static pods are made for.
func TestMinors(t *testing.T) {
	minors := staticpod.Supported()
	first, last := fmt.Sprintf("1.%d", oldestMinor), fmt.Sprintf("1.%d", newestMinor)
	if string(minors[0]) != first || string(minors[len(minors)-1]) != last {
		t.Errorf("%q, not %s to %s", minors, first, last)
	}
}

// Each line of the table says what it has to, and no name is there twice.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Checks() {
		if seen[c.Name] || c.Name == "" || c.Meaning == "" || c.Why == "" || c.Severity == "" || c.Role == "" || c.run == nil && !c.Plan && c.Name != "Discovery" {
			t.Errorf("%+v", c)
		}
		if strings.Contains(c.Name, "*") != (len(c.Names) > 0) {
			t.Errorf("%s has the names %q", c.Name, c.Names)
		}
		seen[c.Name] = true
	}
	for _, name := range Names() {
		if !Known(name) {
			t.Errorf("%s cannot be waived", name)
		}
	}
}

// Whatever stops apply has a name that can be waived, also where a resource
// says it and no check.
func TestErrorsOfResourcesCanBeWaived(t *testing.T) {
	files, err := filepath.Glob("../node/*.go")
	must(t, err)
	names := map[string]string{} // constants
	var literals []*ast.CompositeLit
	var given []string
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		must(t, err)
		ast.Inspect(tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.ValueSpec:
				for i, name := range n.Names {
					if i < len(n.Values) {
						if lit, ok := n.Values[i].(*ast.BasicLit); ok {
							names[name.Name] = strings.Trim(lit.Value, `"`)
						}
					}
				}
			case *ast.CallExpr: // blocked(name, …) makes one
				if f, ok := n.Fun.(*ast.Ident); ok && f.Name == "blocked" {
					if lit, ok := n.Args[0].(*ast.BasicLit); ok {
						given = append(given, strings.Trim(lit.Value, `"`))
					}
				}
			case *ast.CompositeLit:
				literals = append(literals, n)
			}
			return true
		})
	}
	for _, lit := range literals {
		var name string
		isError := false
		for _, e := range lit.Elts {
			kv, ok := e.(*ast.KeyValueExpr)
			if !ok {
				continue
			}
			key, _ := kv.Key.(*ast.Ident)
			if key == nil {
				continue
			}
			switch v := kv.Value.(type) {
			case *ast.SelectorExpr:
				isError = isError || key.Name == "Severity" && v.Sel.Name == "SeverityError"
			case *ast.BasicLit:
				if key.Name == "Name" {
					name = strings.Trim(v.Value, `"`)
				}
			case *ast.Ident:
				if key.Name == "Name" {
					name = names[v.Name]
				}
			}
		}
		if isError && name != "" {
			given = append(given, name)
		}
	}
	for _, name := range given {
		if !Known(name) {
			t.Errorf("a resource gives the error %q, which is no name of Checks()", name)
		}
	}
	if len(given) == 0 {
		t.Error("no error was found at all: has Finding another form?")
	}
}
