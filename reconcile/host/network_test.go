package host_test

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kubejoin/kubejoin/reconcile/host"
)

// Real sockets of this process, on both families.
func TestListeners(t *testing.T) {
	h := open(t, "")
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Logf("%s: %v", address, err) // no IPv6 here
			continue
		}
		defer l.Close()
		want := l.Addr().(*net.TCPAddr).AddrPort()
		list, err := h.Listeners()
		must(t, err)
		found := false
		for _, got := range list {
			if got.Port != int(want.Port()) {
				continue
			}
			found = true
			if got.Address != want.Addr().Unmap() {
				t.Errorf("%s for %s", got.Address, want)
			}
			owners, err := h.SocketOwners(got.Inode)
			must(t, err)
			if owners[got.Inode].PID != os.Getpid() || owners[got.Inode].Name == "" {
				t.Errorf("%+v", owners)
			}
		}
		if !found {
			t.Errorf("%s is not in %+v", want, list)
		}
	}
}

// What connects, or waits to be closed, does not listen.
func TestConnectionsDoNotListen(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	c, err := net.Dial("tcp4", l.Addr().String())
	must(t, err)
	defer c.Close()
	list, err := open(t, "").Listeners()
	must(t, err)
	for _, got := range list {
		if got.Port == c.LocalAddr().(*net.TCPAddr).Port {
			t.Errorf("%+v", got)
		}
	}
}

func TestListenersTable(t *testing.T) {
	h, root := machine(t, "proc/net/")
	table := func(name, text string) {
		must(t, os.WriteFile(filepath.Join(root, "proc/net", name), []byte(text), 0o644))
	}
	table("tcp", "  sl  local_address\n"+
		"   0: 0100007F:2742 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 77 1 x\n"+
		"   1: 0100007F:2742 0100007F:AAAA 01 00000000:00000000 00:00000000 00000000 0 0 78 1 x\n"+
		"   2: nonsense\n   3: ZZ:0001 0:0 0A 0 0 0 0 0 1 1\n")
	table("tcp6", "   0: 00000000000000000000000001000000:280A 0:0 0A 00000000:00000000 00:00000000 00000000 0 0 79 1 x\n"+
		"   1: 0000000000000000FFFF00000100007F:280B 0:0 0A 00000000:00000000 00:00000000 00000000 0 0 80 1 x\n")
	got, err := h.Listeners()
	must(t, err)
	want := []host.Listener{
		{Address: netip.MustParseAddr("127.0.0.1"), Port: 10050, Inode: 77},
		{Address: netip.MustParseAddr("::1"), Port: 10250, Inode: 79},
		{Address: netip.MustParseAddr("127.0.0.1"), Port: 10251, Inode: 80},
	}
	if runtime.GOARCH == "s390x" {
		t.Skip("the table is that of a little-endian machine")
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Error(diff)
	}
}

func TestProcess(t *testing.T) {
	tests := map[string]struct {
		cgroup       string
		unit, inAPod bool
		service      string
	}{
		"nothing":            {"", false, false, ""},
		"v2 unit":            {"0::/system.slice/kubelet.service\n", true, false, "kubelet.service"},
		"v1 unit":            {"3:cpuset:/\n1:name=systemd:/system.slice/kubelet.service\n", true, false, "kubelet.service"},
		"below a unit":       {"0::/system.slice/kubelet.service/x\n", true, false, ""},
		"another unit":       {"0::/system.slice/my-kubelet.service\n", false, false, "my-kubelet.service"},
		"v2 pod":             {"0::/kubepods.slice/kubepods-burstable.slice/cri-containerd-1.scope\n", false, true, ""},
		"v1 pod, cgroupfs":   {"3:cpuset:/kubepods/burstable/pod1/2\n", false, true, ""},
		"a unit of the name": {"0::/system.slice/not-kubepods.service\n", false, false, "not-kubepods.service"},
		"a session":          {"0::/user.slice/user-0.slice/session-1.scope\n", false, false, ""},
	}
	for name, tt := range tests {
		p := host.Process{Cgroup: tt.cgroup}
		if p.InUnit("kubelet") != tt.unit || p.InPod() != tt.inAPod {
			t.Errorf("%s: unit %v, pod %v", name, p.InUnit("kubelet"), p.InPod())
		}
		if p.Service() != tt.service {
			t.Errorf("%s: service %q", name, p.Service())
		}
	}
}

func TestInterfaces(t *testing.T) {
	list, err := open(t, "").Interfaces()
	must(t, err)
	lo := false
	for _, i := range list {
		if i.Loopback {
			lo = true
			if i.MTU == 0 || len(i.Addresses) == 0 || !i.Addresses[0].Addr().IsLoopback() {
				t.Errorf("%+v", i)
			}
		}
	}
	if !lo {
		t.Errorf("no loopback in %+v", list)
	}
	h, _ := machine(t, "x")
	if list, err := h.Interfaces(); err != nil || list != nil {
		t.Errorf("below a root: %v, %v", list, err)
	}
}

func TestFileSystem(t *testing.T) {
	h, _ := machine(t, "data/x", "link -> /data", "etc/")
	for path, want := range map[string]string{
		"/data": "/data", "/data/none/deeper": "/data", "/link/none": "/data", "/none": "/", "/data/x": "/data/x",
	} {
		got, err := h.FileSystem(path)
		must(t, err)
		if got.Path != want || got.Total == 0 || got.Free > got.Total || got.ReadOnly {
			t.Errorf("%s: %+v", path, got)
		}
	}
	live, err := open(t, "").FileSystem("/proc/none")
	must(t, err)
	if live.Path != "/proc" {
		t.Errorf("%+v", live)
	}
}

func TestKernel(t *testing.T) {
	h := open(t, "")
	release, err := h.KernelRelease()
	must(t, err)
	if release == "" || strings.ContainsAny(release, " \n") {
		t.Errorf("%q", release)
	}
	options, path, err := h.KernelConfig(release)
	must(t, err)
	if path == "" {
		t.Skip("this kernel's configuration is nowhere")
	}
	if options["NET"] != "y" || options["INET"] != "y" {
		t.Errorf("%s: %d options", path, len(options))
	}
}

func TestKernelConfigIsBounded(t *testing.T) {
	h, root := machine(t, "proc/")
	must(t, os.WriteFile(filepath.Join(root, "proc/config.gz"), []byte("not gzip"), 0o644))
	if _, _, err := h.KernelConfig("1"); err == nil {
		t.Error("takes what is not gzip")
	}
}

func TestCgroups(t *testing.T) {
	tests := map[string]struct {
		files map[string]string
		want  host.Cgroups
	}{
		"none":                {nil, host.Cgroups{}},
		"v2":                  {map[string]string{"sys/fs/cgroup/cgroup.controllers": "cpu memory\n", "sys/fs/cgroup/a/cgroup.freeze": "0"}, host.Cgroups{Version: 2, Controllers: []string{"cpu", "memory", "devices", "freezer"}}},
		"v2 of an old kernel": {map[string]string{"sys/fs/cgroup/cgroup.controllers": "cpu\n", "sys/fs/cgroup/a/cgroup.procs": ""}, host.Cgroups{Version: 2, Controllers: []string{"cpu", "devices"}}},
		"v1":                  {map[string]string{"proc/cgroups": "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\nmemory\t4\t1\t0\nnet_cls\t0\t1\t1\n"}, host.Cgroups{Version: 1, Controllers: []string{"cpu"}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h, root := machine(t, "etc/")
			for path, content := range tt.files {
				must(t, os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755))
				must(t, os.WriteFile(filepath.Join(root, path), []byte(content), 0o644))
			}
			got, err := h.Cgroups()
			must(t, err)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	got, err := open(t, "").Cgroups()
	must(t, err)
	t.Logf("here: %+v", got)
}

func TestCapacity(t *testing.T) {
	h := open(t, "")
	n, err := h.CPUs()
	must(t, err)
	memory, err := h.Memory()
	must(t, err)
	if n < runtime.NumCPU() || memory < 64<<20 {
		t.Errorf("%d processors, %d bytes", n, memory)
	}
	for list, want := range map[string]int{"0": 1, "0-3": 4, "0-1,4,6-7": 5, "": runtime.NumCPU(), "x": runtime.NumCPU(), "3-1": runtime.NumCPU()} {
		h, root := machine(t, "sys/devices/system/cpu/")
		must(t, os.WriteFile(filepath.Join(root, "sys/devices/system/cpu/online"), []byte(list+"\n"), 0o644))
		if got, err := h.CPUs(); err != nil || got != want {
			t.Errorf("%q: %d, %v", list, got, err)
		}
	}
}
