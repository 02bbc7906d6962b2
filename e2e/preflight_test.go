package e2e

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/e2e/lab"
)

// check makes the checks alone.
const check = "kubejoin preflight -f /etc/join.yaml"

// provoked is a finding that a real machine can be brought to. Mended by its own advice, it is gone.
type provoked struct {
	name    string   // of the check
	provoke string   // command
	run     string   // what finds it, check unless given
	user    string   // who runs it at first, root unless given
	warns   bool     // it stops nobody
	seen    []string // parts of what was seen
	advice  string   // part of its hint
	mend    string   // command that follows the advice; the advice itself if not given
	again   string   // what finds it no more, run unless given
	undo    string   // command, of what is not mended
}

// provocations are the checks that a worker's machine can fail. Some are stand-ins: a machine of the lab is a container, which has
// its kernel, its swap and its processors in common with its host.
func provocations(m, first *lab.Machine, certificateKey string) []provoked {
	const asControlPlane = check + " --control-plane"
	advertised := asControlPlane + " --apiserver-advertise-address=" + m.Address
	// Of a cluster as a file, whose text is changed by sed.
	edited := func(script string) string { return "sed -E '" + script + "' /etc/cluster.yaml >/etc/edited.yaml" }
	const ofEdited, ofCluster = " --cluster=/etc/edited.yaml", " --cluster=/etc/cluster.yaml"
	// Also if systemd finds that often.
	const containerd = "systemctl reset-failed containerd; systemctl restart containerd && until ctr version >/dev/null 2>&1; do sleep 0.1; done"
	const kubelet = "/usr/bin/kubelet"
	patch := func(text string) string {
		return "mkdir -p /etc/patches && echo '" + text + "' >/etc/patches/kubeletconfiguration.yaml"
	}
	const patched = check + " --patches=/etc/patches"
	// A file that is another one for a while.
	instead := func(file, text string) string {
		return "printf '" + text + "' >/root/instead && chmod 0755 /root/instead && mount --bind /root/instead " + file
	}

	return []provoked{
		{name: "IsPrivilegedUser", user: "nobody", seen: []string{"65534"}, advice: "sudo", mend: "true"},

		{name: "CRI", provoke: "systemctl stop containerd",
			seen: []string{"unix:///var/run/containerd/containerd.sock"}, advice: "start it", mend: containerd},
		{name: "CgroupDriver", provoke: "sed -i 's/SystemdCgroup = false/SystemdCgroup = true/' /etc/containerd/config.toml && " + containerd, warns: true,
			seen: []string{"uses the cgroup driver systemd", "says cgroupfs"}, advice: "a patch of kubeletconfiguration", mend: patch("cgroupDriver: systemd"), again: patched,
			undo: "rm -r /etc/patches; sed -i 's/SystemdCgroup = true/SystemdCgroup = false/' /etc/containerd/config.toml; " + containerd},
		{name: "SandboxImage", provoke: edited("s,registry.k8s.io,registry.example.com,"), run: check + ofEdited, warns: true,
			seen: []string{"registry.k8s.io/pause"}, advice: "set the sandbox (pause) image in the runtime's configuration",
			mend: "sed -i 's,registry.k8s.io/pause,registry.example.com/pause,' /etc/containerd/config.toml" +
				" && pause=$(ctr --namespace=k8s.io images list --quiet | grep registry.k8s.io/pause:) && " + // there is no such registry: this is its pull
				"ctr --namespace=k8s.io images tag $pause ${pause/k8s.io/example.com} && " + containerd,
			undo: "sed -i 's,registry.example.com/pause,registry.k8s.io/pause,' /etc/containerd/config.toml; " + containerd},

		{name: "FileExisting-losetup", provoke: "mv /usr/sbin/losetup /root/",
			seen: []string{"losetup"}, advice: "util-linux", mend: "mv /root/losetup /usr/sbin/"},
		{name: "FileExisting-kubelet", provoke: "mv " + kubelet + " /root/",
			seen: []string{"no kubelet"}, advice: "install the kubelet package", mend: "mv /root/kubelet " + kubelet},
		// A script that says it is a kubelet of another version: both minors at once are not worth a second cluster.
		{name: "KubeletVersion", provoke: instead(kubelet, "#!/bin/sh\\necho Kubernetes v1.38.0\\n"),
			seen: []string{"v1.38.0", "the cluster v1.37."}, advice: "install a kubelet of 1.37", mend: "umount " + kubelet},
		{name: "KubeletVersion", provoke: instead(kubelet, "#!/bin/sh\\necho Kubernetes v1.33.9\\n"),
			seen: []string{"v1.33.9", "the cluster v1.37."}, advice: "install a kubelet of 1.37", mend: "umount " + kubelet},
		{name: "KubeletVersion", provoke: instead(kubelet, "#!/bin/sh\\nexit 1\\n"),
			seen: []string{kubelet, "exit status 1"}, advice: "install the kubelet package again", mend: "umount " + kubelet},
		{name: "Service-kubelet", provoke: "systemctl mask --quiet kubelet",
			seen: []string{"masked"}, advice: "systemctl unmask kubelet"},
		{name: "Service-kubelet", provoke: "mv /usr/lib/systemd/system/kubelet.service /root/ && systemctl daemon-reload",
			seen: []string{"there is no kubelet service"}, advice: "install the kubelet package",
			mend: "mv /root/kubelet.service /usr/lib/systemd/system/ && systemctl daemon-reload"},

		{name: "Port-10250", provoke: "systemd-run --quiet --collect --unit=stranger socat TCP-LISTEN:10250,fork,reuseaddr /dev/null && " + listens("10250"),
			seen: []string{"socat (process ", "listens on 0.0.0.0:10250"}, advice: "systemctl stop stranger.service"},
		{name: "Port-10248", provoke: "setsid socat TCP6-LISTEN:10248,fork /dev/null >/dev/null 2>&1 & echo $! >/run/stranger; " + listens("10248"),
			seen: []string{"socat (process ", "listens on [::]:10248"}, advice: "stop socat", mend: "kill $(cat /run/stranger) && while kill -0 $(cat /run/stranger) 2>/dev/null; do sleep 0.1; done"},
		{name: "Port-2379", provoke: "systemd-run --quiet --collect --unit=stranger socat TCP-LISTEN:2379,bind=" + m.Address + ",fork,reuseaddr /dev/null && " + listens("2379"), run: advertised,
			seen: []string{"socat (process ", "listens on " + m.Address + ":2379"}, advice: "systemctl stop stranger.service"},
		{name: "Port-2380", run: asControlPlane + " --apiserver-advertise-address=192.0.2.1",
			seen: []string{"no interface of this machine has the address 192.0.2.1"}, advice: "correct controlPlane.localAPIEndpoint.advertiseAddress",
			mend: "true", again: advertised},
		{name: "FileAvailable--etc-kubernetes-kubelet.conf", provoke: "mkdir -p /etc/kubernetes && echo hello >/etc/kubernetes/kubelet.conf",
			seen: []string{"/etc/kubernetes/kubelet.conf is not a kubeconfig"}, advice: "remove it", mend: "rm /etc/kubernetes/kubelet.conf"},
		{name: "FileAvailable--etc-kubernetes-pki-ca.crt", provoke: "mkdir -p /etc/kubernetes/pki/ca.crt",
			seen: []string{"/etc/kubernetes/pki/ca.crt is a directory"}, advice: "move it away", mend: "mv /etc/kubernetes/pki/ca.crt /root/"},
		{name: "DirAvailable--var-lib-etcd", provoke: "mkdir -p /var/lib/etcd/member", run: advertised,
			seen: []string{"/var/lib/etcd holds member"}, advice: "remove it", mend: "rm -r /var/lib/etcd/member", undo: "rm -r /var/lib/etcd"},
		{name: "ExternalEtcdClientCertificates", run: advertised + ofEdited,
			provoke: edited(`s,^( *)(local:)$,\1external: {endpoints: ["https://192.0.2.1:2379"]\, caFile: /etc/etcd/ca.crt\, certFile: /etc/etcd/c.crt\, keyFile: /etc/etcd/c.key},; /^ *dataDir:/d`),
			seen:    []string{"/etc/etcd/ca.crt is not there"}, advice: "give controlPlane.certificateKey",
			mend: "true", again: advertised + ofEdited + " --certificate-key=" + certificateKey},
		{name: "UnexpectedFile", provoke: "mkdir -p /var/lib/kubelet/config.yaml", run: plan,
			seen: []string{"directory"}, advice: "move it away", mend: "mv /var/lib/kubelet/config.yaml /root/"},

		{name: "DiskSpace", provoke: "mkdir -p /etc/kubernetes && mount -t tmpfs -o size=80m tmpfs /etc/kubernetes && fallocate --length 32M /etc/kubernetes/log",
			seen: []string{"48 MiB are free for /etc/kubernetes"}, advice: "make room", mend: "rm /etc/kubernetes/log", undo: "umount /etc/kubernetes"},
		{name: "DiskSpace", provoke: "mount -t tmpfs -o nr_inodes=1200 tmpfs /etc/kubernetes && (cd /etc/kubernetes && mkdir small && touch small/{1..300})",
			seen: []string{"inodes are free for /etc/kubernetes"}, advice: "remove small files", mend: "rm -r /etc/kubernetes/small", undo: "umount /etc/kubernetes"},
		{name: "DiskSpace", provoke: "mount -t tmpfs -o ro tmpfs /etc/kubernetes",
			seen: []string{"the file system of /etc/kubernetes is mounted read-only"}, advice: "mount it writable", mend: "mount -o remount,rw /etc/kubernetes", undo: "umount /etc/kubernetes"},
		{name: "DiskSpace", provoke: "mount -t tmpfs -o size=1g tmpfs /var/lib/kubelet && fallocate --length 950M /var/lib/kubelet/images", warns: true,
			seen: []string{"74 MiB of 1024 MiB are free for /var/lib/kubelet"}, advice: "make room", mend: "rm /var/lib/kubelet/images", undo: "umount /var/lib/kubelet"},

		// The kernel's tables, replaced: swap would be the host's, and so are processors and memory.
		{name: "Swap", provoke: instead("/proc/swaps", "Filename\\tType\\tSize\\tUsed\\tPriority\\n/swapfile file 1048572 0 -2\\n"),
			seen: []string{"swap is on: /swapfile"}, advice: "failSwapOn: false by a patch of kubeletconfiguration", mend: patch("failSwapOn: false"), again: patched,
			undo: "rm -r /etc/patches; umount /proc/swaps"},
		{name: "NumCPU", provoke: instead("/sys/devices/system/cpu/online", "0\\n"), run: advertised,
			seen: []string{"1 processor"}, advice: "give the machine more of them", mend: "umount /sys/devices/system/cpu/online"},
		{name: "Mem", provoke: instead("/proc/meminfo", "MemTotal: 1048576 kB\\n"), run: advertised,
			seen: []string{"1024 MiB of memory"}, advice: "give the machine more of it", mend: "umount /proc/meminfo"},

		{name: "Hostname", run: check + " --node-name=not-here", warns: true,
			seen: []string{"not-here"}, advice: "add it to /etc/hosts", mend: "echo " + m.Address + " not-here >>/etc/hosts"},
		{name: "FileContent--proc-sys-net-ipv4-ip_forward", provoke: "sysctl --quiet --write net.ipv4.ip_forward=0",
			seen: []string{"/proc/sys/net/ipv4/ip_forward is 0"}, advice: "sysctl -w net.ipv4.ip_forward=1"},
		{name: "FileContent--proc-sys-net-ipv6-conf-default-forwarding", run: check + ofEdited,
			provoke: "ip address add fd00:78::1/64 dev host0 && " + edited("s,10.96.0.0/12,10.96.0.0/12\\,fd00:96::/108,"),
			seen:    []string{"/proc/sys/net/ipv6/conf/default/forwarding is 0"}, advice: "sysctl -w net.ipv6.conf.default.forwarding=1",
			undo: "ip address delete fd00:78::1/64 dev host0"},
		{name: "AddressFamily", run: check + ofEdited, warns: true,
			seen: []string{"fd00:96::/108", "no address of IPv6"}, advice: "give an interface one", mend: "ip address add fd00:78::1/64 dev host0",
			undo: "ip address delete fd00:78::1/64 dev host0; sysctl --quiet --write net.ipv6.conf.default.forwarding=0"},
		{name: "DefaultRoute", provoke: "ip route delete default", warns: true,
			seen: []string{"no default route"}, advice: "add a default route", mend: "ip route add default via 10.77.0.1"},
		{name: "MTU", provoke: "ip link set host0 mtu 1200", warns: true,
			seen: []string{"packets on host0 have at most 1200 bytes"}, advice: "ip link set host0 mtu 1500"},
		{name: "AddressOverlap", provoke: "ip address add 10.96.7.7/32 dev host0", warns: true,
			seen: []string{"10.96.7.7 of host0", "service subnet 10.96.0.0/12"}, advice: "give the machine another address", mend: "ip address delete 10.96.7.7/32 dev host0"},
		{name: "AdvertiseAddress", run: asControlPlane + " --apiserver-advertise-address=192.0.2.1",
			seen: []string{"192.0.2.1"}, advice: "correct controlPlane.localAPIEndpoint.advertiseAddress", mend: "true", again: advertised},
		// A unit of that name: firewalld itself would have the host's rules.
		{name: "Firewalld", provoke: "systemd-run --quiet --collect --unit=firewalld sleep 1000", warns: true,
			seen: []string{"firewalld is active"}, advice: "--add-port=10250/tcp", mend: "systemctl stop firewalld"},

		{name: "EndpointDNS", provoke: "cp /etc/hosts /root/hosts && grep -v ' " + first.Name + "$' /root/hosts >/etc/hosts", warns: true,
			seen: []string{first.Name, "does not resolve"}, advice: "add the name to the name server or to /etc/hosts", mend: "cat /root/hosts >/etc/hosts"},
		{name: "HTTPProxy", run: "HTTPS_PROXY=http://127.0.0.1:3128 " + check, warns: true,
			seen: []string{"https://" + first.Name + ":6443", "http://127.0.0.1:3128"}, advice: "add " + first.Name + " to NO_PROXY",
			mend: "true", again: "NO_PROXY=" + first.Name + " HTTPS_PROXY=http://127.0.0.1:3128 " + check},
		{name: "HTTPProxyCIDR", run: "NO_PROXY=" + first.Name + "," + m.Address + " HTTPS_PROXY=http://127.0.0.1:3128 " + advertised, warns: true,
			seen: []string{"service subnet 10.96.0.0/12"}, advice: "add 10.96.0.0/12 to NO_PROXY", mend: "true",
			again: "NO_PROXY=" + first.Name + "," + m.Address + ",10.96.0.0/12,10.88.0.0/16 HTTPS_PROXY=http://127.0.0.1:3128 " + advertised},
		{name: "Discovery", run: check + " --discovery-token-ca-cert-hash=sha256:" + strings.Repeat("0", 64),
			seen: []string{"CA"}, advice: "correct discovery.bootstrapToken.caCertHashes", mend: "true", again: check},
		{name: "KubernetesVersion", provoke: edited("s,(kubernetesVersion: v1)[.][0-9]+,\\1.38,"), run: check + ofEdited, warns: true,
			seen: []string{"the cluster is v1.38."}, advice: "use a newer kubejoin", mend: "true", again: check + ofCluster},
		{name: "ClusterCA", run: "kubejoin preflight -f /etc/ending-join.yaml --cluster=/etc/ending.yaml", warns: true,
			seen: []string{"another-ca is valid until"}, advice: "replace the cluster's CA", mend: "true", again: check + ofCluster},
	}
}

// elsewhere are the checks that TestPreflight does not provoke, and why.
var elsewhere = map[string]string{
	"ContainerRuntimeVersion": "the lab has one containerd, which tells its cgroup driver",
	"ClockSkew":               "a machine of the lab has the clock of its host",
	"SystemVerification":      "TestPreflightOfCgroups",
	"KubeletUnit":             "TestPreflightOfUnit",
	"BootstrapToken":          "TestPreflightOfRights",
	"JoinRBAC":                "TestPreflightOfRights",
	"ImagePull":               "TestControlPlane, broken",
	"EtcdUnreachable":         "TestControlPlane, refused",
	"EtcdMembership":          "TestControlPlane",
	"EtcdVersionSkew":         "TestControlPlane",
	"NotManaged":              "tests of phases",
	"ExternalCA":              "table tests: the lab's clusters have their CA's keys",
}

// Every check that a machine can be brought to fail: it says what it saw, stops who must be stopped, and is gone once its own
// advice is followed, as is everything else that it found.
func TestPreflight(t *testing.T) {
	t.Parallel()
	f := use(t)
	m := f.worker(t)
	must(t, m.Run(t.Context(), "systemctl stop kubelet"))
	f.configure(t, m)
	cluster := f.kubectl(t, "get configmaps --all-namespaces --output=yaml")
	put(t, m, "/etc/cluster.yaml", cluster)
	f.ending(t, m)

	// A fresh machine passes, without any waiver, and nothing was touched for it.
	known := map[string]bool{}
	learn := func(s said) {
		for _, finding := range s.Plan.Findings {
			if finding.Severity == "error" {
				t.Errorf("a fresh machine fails: %+v", finding)
			}
			known[finding.Name+finding.Seen] = true // of the lab's kernel, for instance
		}
	}
	f.unchanged(t, m, func() { learn(run(t, m, "root", check, 0)) })
	learn(run(t, m, "root", check+" --control-plane --apiserver-advertise-address="+m.Address, 0))
	learn(run(t, m, "root", check+" --cluster=/etc/cluster.yaml", 0))

	made := map[string]bool{}
	for _, tt := range provocations(m, f.cluster.ControlPlane, f.cluster.CertificateKey) {
		made[tt.name] = true
		t.Run(tt.name, func(t *testing.T) { tt.prove(t, m, known) })
	}

	var list struct {
		Checks []struct {
			Name  string
			Names []string
		}
	}
	if err := json.Unmarshal([]byte(must(t, m.Run(t.Context(), "kubejoin preflight list -o json")).Stdout), &list); err != nil {
		t.Fatal(err)
	}
	for _, c := range list.Checks {
		names := append(c.Names, c.Name)
		if elsewhere[c.Name] == "" && !slices.ContainsFunc(names, func(name string) bool { return made[name] }) {
			t.Errorf("nothing provokes %s", c.Name)
		}
	}
	if len(list.Checks) < 30 {
		t.Errorf("the list has %d checks", len(list.Checks))
	}

	t.Run("waived", func(t *testing.T) {
		must(t, m.Run(t.Context(), "sysctl --quiet --write net.ipv4.ip_forward=0; systemctl mask --quiet kubelet"))
		const forward = "FileContent--proc-sys-net-ipv4-ip_forward"
		waived := func(s said) (names []string) {
			for _, finding := range s.Plan.Findings {
				if finding.Waived {
					names = append(names, finding.Name)
				}
			}
			return names
		}
		s := run(t, m, "root", check+" --ignore-preflight-errors=service-Kubelet", 4)
		if diff := cmp.Diff([]string{"Service-kubelet"}, waived(s)); diff != "" {
			t.Errorf("by name (-want +got):\n%s", diff)
		}
		s = run(t, m, "root", check+" --ignore-preflight-errors=all", 0)
		if diff := cmp.Diff([]string{"Service-kubelet", forward}, waived(s)); diff != "" {
			t.Errorf("all (-want +got):\n%s", diff)
		}
		hidden := s.finding("IgnorePreflightErrors")
		if hidden.Severity != "warning" || !strings.Contains(hidden.Seen, "Service-kubelet, "+forward) {
			t.Errorf("says of all %+v", hidden)
		}
		// Its own advice.
		s = run(t, m, "root", check+" --ignore-preflight-errors=Service-kubelet,"+forward, 0)
		if len(waived(s)) != 2 || s.found("IgnorePreflightErrors", "") {
			t.Errorf("both by name:\n%s", s)
		}
		s = run(t, m, "root", check+" --ignore-preflight-errors=Swop", 3)
		if s.Failure == nil || !strings.Contains(s.Failure.Hint, `"Swap"`) {
			t.Errorf("said of an unknown name: %+v", s.Failure)
		}
		must(t, m.Run(t.Context(), "sysctl --quiet --write net.ipv4.ip_forward=1; systemctl unmask --quiet kubelet"))
	})
	t.Run("and then it joins", func(t *testing.T) {
		run(t, m, "root", apply, 0)
		f.ready(t, m)
		s := run(t, m, "root", check, 0) // its ports and files are its own
		for _, finding := range s.Plan.Findings {
			if !known[finding.Name+finding.Seen] {
				t.Errorf("found on a joined machine: %+v", finding)
			}
		}
	})
}

// finding returns the first finding of this name; an empty one if there is none.
func (s said) finding(name string) finding {
	if s.Plan != nil {
		for _, f := range s.Plan.Findings {
			if f.Name == name {
				return f
			}
		}
	}
	return finding{}
}

// prove provokes a finding and mends it. known are findings of before.
func (p provoked) prove(t *testing.T, m *lab.Machine, known map[string]bool) {
	t.Helper()
	do := func(command string) {
		t.Helper()
		if command != "" {
			must(t, m.RunSecret(t.Context(), command))
		}
	}
	command, user, code := p.run, p.user, 4
	if command == "" {
		command = check
	}
	if user == "" {
		user = "root"
	}
	if p.warns {
		code = 0
	}
	if command == plan {
		code = 2
	}
	do(p.provoke)
	t.Cleanup(func() {
		if t.Failed() { // whatever was left undone: the machine is the next one's, too
			for _, command := range []string{p.mend, p.undo} {
				_ = m.RunSecret(context.Background(), command)
			}
		}
	})
	s := run(t, m, user, command, code)
	found := s.finding(p.name)
	severity := "error"
	if p.warns {
		severity = "warning"
	}
	if found.Severity != severity || found.Why == "" || found.Wanted == "" {
		t.Errorf("found %+v\n%s", found, s)
	}
	for _, text := range p.seen {
		if !strings.Contains(found.Seen, text) {
			t.Errorf("saw %q, without %q", found.Seen, text)
		}
	}
	if !strings.Contains(found.Hint, p.advice) {
		t.Errorf("advises %q, not %q", found.Hint, p.advice)
	}
	if p.mend == "" {
		do(p.advice)
	} else {
		do(p.mend)
	}
	if p.again != "" {
		command = p.again
	}
	if command != plan {
		code = 0
	}
	for _, finding := range run(t, m, "root", command, code).Plan.Findings {
		told := finding.Name == "CRI" && finding.Severity == "info" // the runtime, as it is now
		if !told && !known[finding.Name+finding.Seen] {
			t.Errorf("mended, and found: %+v", finding)
		}
	}
	do(p.undo)
}

// ending writes the cluster as a file in which its CA is another one, which ends tomorrow, and a configuration that goes with it.
func (f *fixture) ending(t *testing.T, m *lab.Machine) {
	t.Helper()
	id, secret, _ := strings.Cut(f.token(t), ".")
	info := kubeconfig("https://"+f.cluster.Endpoint(), otherCA(t).pem, "")
	// As kube-controller-manager signs it: a JWS without its payload.
	encode := base64.RawURLEncoding.EncodeToString
	head := encode(fmt.Appendf(nil, `{"alg":"HS256","kid":%q}`, id))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(head + "." + encode([]byte(info))))
	signed := fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: cluster-info, namespace: kube-public}\ndata:\n  jws-kubeconfig-%s: %s\n  kubeconfig: |\n%s",
		id, head+".."+encode(mac.Sum(nil)), indent(indent(info)))
	put(t, m, "/etc/ending.yaml", signed+"---\n"+f.kubectl(t, "get configmaps kubeadm-config kubelet-config --namespace=kube-system --output=yaml"))
	put(t, m, "/etc/ending-join.yaml", joinConfig(byToken(f.cluster.Endpoint(), id+"."+secret)+"  unsafeSkipCAVerification: true\n"))
}

// What the kernel has is judged by what the kubelet will accept: on a host with cgroup v1, its configuration decides.
func TestPreflightOfCgroups(t *testing.T) {
	t.Parallel()
	f := use(t)
	m := f.worker(t)
	if m.Run(t.Context(), "test -e /sys/fs/cgroup/cgroup.controllers").Code == 0 {
		t.Skip("the lab's host has cgroup v2")
	}
	must(t, m.Run(t.Context(), "systemctl stop kubelet"))
	f.configure(t, m)
	cluster := f.kubectl(t, "get configmaps --all-namespaces --output=yaml")
	put(t, m, "/etc/cluster.yaml", strings.ReplaceAll(cluster, "failCgroupV1: false", "failCgroupV1: true"))
	s := run(t, m, "root", check+" --cluster=/etc/cluster.yaml", 4)
	found := s.finding("SystemVerification")
	if found.Severity != "error" || !strings.Contains(found.Seen, "cgroup v1") || !strings.Contains(found.Hint, "set failCgroupV1: false in the ConfigMap kube-system/kubelet-config") {
		t.Errorf("found %+v", found)
	}
	put(t, m, "/etc/cluster.yaml", cluster)
	run(t, m, "root", check+" --cluster=/etc/cluster.yaml", 0)
}

// The kubelet's package alone is no fault: a drop-in is written, and nobody has to be told more than that.
func TestPreflightOfUnit(t *testing.T) {
	t.Parallel()
	f := use(t)
	m := f.worker(t)
	must(t, m.Run(t.Context(), "rm -r /usr/lib/systemd/system/kubelet.service.d && systemctl daemon-reload && systemctl stop kubelet"))
	f.configure(t, m)
	found := run(t, m, "root", check, 0).finding("KubeletUnit")
	if found.Severity != "info" || !strings.Contains(found.Seen, "--bootstrap-kubeconfig") || !strings.Contains(found.Hint, "apply adds a drop-in") {
		t.Errorf("found %+v", found)
	}
	s := run(t, m, "root", plan, 2)
	if s.found("KubeletUnit", "") || s.change(dropIn).Action != "create" {
		t.Errorf("the plan is\n%s", s)
	}
	run(t, m, "root", apply+" --target="+dropIn, 0)
	run(t, m, "root", apply, 0) // systemd learns of it before the kubelet is started
	if s := run(t, m, "root", check, 0); s.found("KubeletUnit", "") {
		t.Errorf("mended, and found:\n%s", s)
	}
}

// What the credential may do is asked before it is needed. Not parallel: others join by these bindings.
func TestPreflightOfRights(t *testing.T) {
	f := use(t)
	m := f.worker(t)
	must(t, m.Run(t.Context(), "systemctl stop kubelet"))
	f.configure(t, m)
	known := map[string]bool{}
	for _, finding := range run(t, m, "root", check, 0).Plan.Findings {
		known[finding.Name+finding.Seen] = true
	}
	first := f.cluster.ControlPlane
	for _, tt := range []struct{ binding, severity, seen string }{
		{"kubeadm:kubelet-bootstrap", "error", "create certificatesigningrequests"},
		{"kubeadm:node-autoapprove-bootstrap", "warning", "certificatesigningrequests/nodeclient"},
	} {
		t.Run(tt.binding, func(t *testing.T) {
			f.kubectl(t, "delete clusterrolebinding %s", tt.binding)
			code := 0
			if tt.severity == "error" {
				code = 4
			}
			var found finding
			until(t, "the binding is missed", func() bool { // authorisers see it in their own time
				s := parse(t, m.Run(t.Context(), check+" -o json"))
				found = s.finding("JoinRBAC")
				return found.Name != "" && s.Code == code
			})
			if found.Severity != tt.severity || !strings.Contains(found.Seen, tt.seen) || found.Why == "" {
				t.Errorf("found %+v", found)
			}
			if !strings.HasPrefix(found.Hint, "kubectl create clusterrolebinding "+tt.binding+" ") {
				t.Fatalf("advises %q", found.Hint)
			}
			must(t, first.Run(t.Context(), found.Hint)) // as it stands
			until(t, "the binding is there", func() bool {
				return !parse(t, m.Run(t.Context(), check+" -o json")).found("JoinRBAC", "")
			})
		})
	}
	t.Run("a token that ends", func(t *testing.T) {
		token, err := f.cluster.Token(t.Context(), 30*time.Second+time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		longer := f.token(t)
		// Where it may see that.
		f.kubectl(t, "create role see-tokens --namespace=kube-system --verb=get --resource=secrets")
		f.kubectl(t, "create rolebinding see-tokens --namespace=kube-system --role=see-tokens --user=system:bootstrap:%s --user=system:bootstrap:%s", token[:6], longer[:6])
		t.Cleanup(func() {
			must(t, first.Run(context.Background(), "kubectl delete role,rolebinding see-tokens --namespace=kube-system"))
		})
		configure := func(token string) {
			put(t, m, "/etc/join.yaml", joinConfig(byToken(f.cluster.Endpoint(), token, f.cluster.CAHash), "timeouts:\n  tlsBootstrap: 5m\n"))
		}
		configure(token)
		var found finding
		until(t, "its end is seen", func() bool {
			found = run(t, m, "root", check, 0).finding("BootstrapToken")
			return found.Name != ""
		})
		if found.Severity != "warning" || !strings.Contains(found.Seen, token[:6]+" ends at ") || !strings.Contains(found.Hint, "kubeadm token create") {
			t.Errorf("found %+v", found)
		}
		configure(longer)
		for _, finding := range run(t, m, "root", check, 0).Plan.Findings {
			if !known[finding.Name+finding.Seen] {
				t.Errorf("mended, and found: %+v", finding)
			}
		}
	})
}

// No program is started but the kubelet, to say its version, whoever finds what.
func TestPreflightStartsNothing(t *testing.T) {
	t.Parallel()
	f := use(t)
	m := f.worker(t)
	f.configure(t, m)
	if diff := cmp.Diff([]string{"/usr/bin/kubelet --version"}, f.started(t, m, check)); diff != "" {
		t.Errorf("started (-want +got):\n%s", diff)
	}
}

// started is what a command starts, each with its arguments.
func (f *fixture) started(t testing.TB, m *lab.Machine, command string) []string {
	t.Helper()
	const trace = "/dev/shm/started"
	must(t, m.Run(t.Context(), "strace -f -qq -s 4000 -e trace=execve -e status=successful -o "+trace+" "+command+" >/dev/null"))
	data, err := m.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(data)) {
		_, call, ok := strings.Cut(line, "execve(")
		if !ok {
			continue
		}
		_, args, _ := strings.Cut(call, "[")
		args, _, _ = strings.Cut(args, "]")
		var words []string
		for word := range strings.SplitSeq(args, ", ") {
			words = append(words, strings.Trim(word, `"`))
		}
		out = append(out, strings.Join(words, " "))
	}
	if len(out) == 0 {
		t.Fatal("strace saw nothing")
	}
	return out[1:]
}
