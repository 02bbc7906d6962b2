package host

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxTable bounds the kernel's list of sockets: a line has 150 bytes, and a busy
// proxy some hundred thousand sockets.
const maxTable = 256 << 20

// Listener is a TCP socket that accepts connections.
type Listener struct {
	Address netip.Addr // unspecified: all of the machine's
	Port    int
	Inode   uint64 // of the socket, to find who holds it
}

// Listeners are the sockets that listen on TCP. No port is tried, as binding one
// would be seen by others.
func (h *Host) Listeners() ([]Listener, error) {
	var out []Listener
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		data, _, err := h.ReadFile(table, maxTable)
		if err != nil {
			return nil, err
		}
		for line := range bytes.Lines(data) {
			if l, ok := listener(line); ok {
				out = append(out, l)
			}
		}
	}
	return out, nil
}

// listener reads a line of /proc/net/tcp (proc_net_tcp in the kernel's
// documentation): the 2nd field is the local address, the 4th the state, the
// 10th the inode.
func listener(line []byte) (Listener, bool) {
	const listening = "0A"
	fields := bytes.Fields(line)
	if len(fields) < 10 || string(fields[3]) != listening {
		return Listener{}, false
	}
	host, port, ok := bytes.Cut(fields[1], []byte(":"))
	if !ok {
		return Listener{}, false
	}
	address, ok := kernelAddress(host)
	number, err := strconv.ParseUint(string(port), 16, 16)
	inode, err2 := strconv.ParseUint(string(fields[9]), 10, 64)
	return Listener{Address: address, Port: int(number), Inode: inode}, ok && err == nil && err2 == nil
}

// kernelAddress reads an address of which the kernel printed each 32 bits as a
// number of its own byte order.
func kernelAddress(text []byte) (netip.Addr, bool) {
	raw := make([]byte, hex.DecodedLen(len(text)))
	if _, err := hex.Decode(raw, text); err != nil || len(raw)%4 != 0 {
		return netip.Addr{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	address, ok := netip.AddrFromSlice(raw)
	return address.Unmap(), ok
}

// Process is a running program. Its arguments are left out: they may be secret.
type Process struct {
	PID  int
	Name string // at most 15 bytes of it, as the kernel has it
	// Cgroup is the content of /proc/PID/cgroup.
	Cgroup string
}

// InUnit tells whether a process belongs to a unit of systemd.
func (p Process) InUnit(unit string) bool {
	return p.below(func(s string) bool { return s == unitName(unit) })
}

// Service is the service of systemd that a process belongs to; empty if it is of
// none, or of a container.
func (p Process) Service() string {
	for line := range strings.Lines(p.Cgroup) {
		if name := path.Base(strings.TrimSpace(line)); strings.HasSuffix(name, ".service") {
			return name
		}
	}
	return ""
}

// InPod tells whether a process belongs to a pod.
func (p Process) InPod() bool {
	return p.below(func(s string) bool { return strings.HasPrefix(s, "kubepods") })
}

func (p Process) below(is func(string) bool) bool {
	for line := range strings.Lines(p.Cgroup) {
		if slices.ContainsFunc(strings.Split(strings.TrimSpace(line[strings.LastIndexByte(line, ':')+1:]), "/"), is) {
			return true
		}
	}
	return false
}

// SocketOwners finds the processes that hold sockets, by inode. Without root
// those of other users are not seen. Of several that share a socket it is not
// systemd, which opens some for others.
func (h *Host) SocketOwners(inodes ...uint64) (map[uint64]Process, error) {
	wanted := map[string]uint64{}
	for _, inode := range inodes {
		wanted["socket:["+strconv.FormatUint(inode, 10)+"]"] = inode
	}
	processes, _, err := h.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	owners := map[uint64]Process{}
	for _, p := range processes {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		for _, link := range h.descriptors(p.Name()) {
			inode, ok := wanted[link]
			if !ok {
				continue
			}
			if owner, known := owners[inode]; !known || owner.PID == 1 {
				owners[inode] = h.process(pid)
			}
		}
	}
	return owners, nil
}

func (h *Host) process(pid int) Process {
	dir := "/proc/" + strconv.Itoa(pid)
	// One that ended meanwhile has neither.
	name, _, _ := h.ReadFile(dir+"/comm", smallFile)
	cgroup, _, _ := h.ReadFile(dir+"/cgroup", smallFile)
	return Process{PID: pid, Name: string(bytes.TrimSpace(name)), Cgroup: string(cgroup)}
}

// descriptors are what a process has open, as the kernel names it. There are
// thousands of processes: a path is not followed for each of their files.
func (h *Host) descriptors(pid string) []string {
	dir, err := h.root.Open("proc/" + pid + "/fd")
	if err != nil {
		return nil // it ended, or is another user's
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1) // what could be read
	var out []string
	var link [128]byte
	for _, name := range names {
		if n, err := unix.Readlinkat(int(dir.Fd()), name, link[:]); err == nil {
			out = append(out, string(link[:n]))
		}
	}
	return out
}

// Interface is one of the machine's network interfaces.
type Interface struct {
	Name      string
	MTU       int
	Up        bool
	Loopback  bool
	Addresses []netip.Prefix
}

// Interfaces are the machine's; there are none below a root directory.
func (h *Host) Interfaces() ([]Interface, error) {
	if !h.live {
		return nil, nil
	}
	list, err := net.Interfaces()
	if err != nil {
		return nil, failed("list the network interfaces of", "/sys/class/net", err)
	}
	var out []Interface
	for _, i := range list {
		addresses, err := i.Addrs()
		if err != nil {
			continue // it is gone
		}
		of := Interface{Name: i.Name, MTU: i.MTU, Up: i.Flags&net.FlagUp != 0, Loopback: i.Flags&net.FlagLoopback != 0}
		for _, a := range addresses {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				of.Addresses = append(of.Addresses, netip.PrefixFrom(p.Addr().Unmap(), p.Bits()))
			}
		}
		out = append(out, of)
	}
	return out, nil
}

// DefaultRoute is one that leads to everything that no other route leads to.
type DefaultRoute struct {
	Interface string
	V6        bool
}

// The flags of a route (linux/route.h).
const (
	routeUp     = 0x1
	routeReject = 0x200
)

// DefaultRoutes are those of the main table.
func (h *Host) DefaultRoutes() ([]DefaultRoute, error) {
	v4, _, err := h.ReadFile("/proc/net/route", maxTable)
	if err != nil {
		return nil, err
	}
	v6, _, err := h.ReadFile("/proc/net/ipv6_route", maxTable)
	if err != nil {
		return nil, err
	}
	var out []DefaultRoute
	add := func(name, flags []byte, v6 bool) {
		f, err := strconv.ParseUint(string(flags), 16, 32)
		if err == nil && f&routeUp != 0 && f&routeReject == 0 {
			out = append(out, DefaultRoute{Interface: string(name), V6: v6})
		}
	}
	for line := range bytes.Lines(v4) { // Iface Destination Gateway Flags … Mask
		if f := bytes.Fields(line); len(f) >= 8 && string(f[1]) == "00000000" && string(f[7]) == "00000000" {
			add(f[0], f[3], false)
		}
	}
	for line := range bytes.Lines(v6) { // destination, its length, … flags, interface
		if f := bytes.Fields(line); len(f) >= 10 && string(f[1]) == "00" && len(bytes.Trim(f[0], "0")) == 0 {
			add(f[9], f[8], true)
		}
	}
	return out, nil
}

// FileSystem is what holds a path, or will once it is made.
type FileSystem struct {
	// Path is the nearest directory that exists.
	Path string
	// Free and Total are bytes; Free is what is left for users, root included.
	Free, Total uint64
	// FreeInodes and Inodes are how many files there can be; Inodes is 0 where
	// there is no limit.
	FreeInodes, Inodes uint64
	ReadOnly           bool
}

// FileSystem looks at what holds a path. It is the zero value if this user may
// not look there.
func (h *Host) FileSystem(path string) (FileSystem, error) {
	p, err := h.resolve(path)
	if errors.Is(err, fs.ErrPermission) {
		return FileSystem{}, nil
	}
	if err != nil {
		return FileSystem{}, failed("look at the file system of", path, err)
	}
	name := p.name
	for {
		f, err := h.open(name)
		if errors.Is(err, fs.ErrNotExist) && name != "." {
			name = parentOf(name)
			continue
		}
		if errors.Is(err, fs.ErrPermission) {
			return FileSystem{}, nil
		}
		if err != nil {
			return FileSystem{}, failed("look at the file system of", path, err)
		}
		s, err := statfs(f)
		if err != nil {
			return FileSystem{}, failed("look at the file system of", path, err)
		}
		s.Path = "/" + strings.TrimPrefix(name, ".")
		return s, nil
	}
}

func parentOf(name string) string {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i]
	}
	return "."
}

func statfs(f *os.File) (FileSystem, error) {
	defer f.Close()
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &s); err != nil {
		return FileSystem{}, err
	}
	unit := uint64(max(s.Frsize, 0))
	if unit == 0 {
		unit = uint64(max(s.Bsize, 0))
	}
	return FileSystem{
		Free: s.Bavail * unit, Total: s.Blocks * unit,
		FreeInodes: s.Ffree, Inodes: s.Files,
		ReadOnly: s.Flags&unix.ST_RDONLY != 0,
	}, nil
}
