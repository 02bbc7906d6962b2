package lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is a booted Debian with systemd, containerd and a kubelet that waits to be configured.
type Machine struct {
	Name    string // and host name
	Address string // IPv4, or IPv6 where the lab is of that family

	lab    *Lab
	leader int           // PID of its systemd, on the host
	ended  chan struct{} // closed when systemd-nspawn has ended
}

// machineName is the name systemd-nspawn knows a machine by; its veth is called vb-NAME, of at most 15 bytes.
func machineName(run, name string) string { return name + "-" + filepath.Base(run) }

// Boot starts a machine and waits until containerd answers: about 2 s. Its name must be
// cpN or wN and not be in use.
func (l *Lab) Boot(ctx context.Context, name string, role Role) (*Machine, error) {
	m := &Machine{Name: name, lab: l}
	var err error
	if m.Address, err = l.network.address(name); err != nil {
		return nil, err
	}
	l.mu.Lock()
	_, taken := l.machines[name]
	if !taken {
		l.machines[name] = m
	}
	l.mu.Unlock()
	if taken {
		return nil, fmt.Errorf("machine %s is already there", name)
	}
	err = step("boot "+name, func() error { return m.boot(ctx, role) })
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// Machine returns the machine of a name; nil if there is none.
func (l *Lab) Machine(name string) *Machine {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.machines[name]
}

func (m *Machine) dir() string { return filepath.Join(m.lab.run, "machines", m.Name) }

func (m *Machine) boot(ctx context.Context, role Role) error {
	dir := m.dir()
	for _, d := range []string{"upper", "work", "root", "containerd", "kubelet"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	root := filepath.Join(dir, "root")
	options := "lowerdir=" + strings.Join(m.lab.layers(), ":") + ",upperdir=" + filepath.Join(dir, "upper") + ",workdir=" + filepath.Join(dir, "work")
	if err := unix.Mount("overlay", root, "overlay", 0, options); err != nil {
		return fmt.Errorf("overlay on %s, which must be on a disk such as ext4, not itself an overlay: %w", CacheDir(), err)
	}
	// containerd makes overlays itself, which do not stack, and the kubelet asks which device its
	// directory is on, which an overlay does not tell.
	if err := linkTree(m.lab.base.stores[role], filepath.Join(dir, "containerd")); err != nil {
		return err
	}
	for _, d := range []string{"containerd", "kubelet"} {
		target := filepath.Join(root, "var/lib", d)
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(filepath.Join(dir, d), target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", target, err)
		}
	}
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return err
	}
	for name, text := range map[string]string{
		"etc/hostname":    m.Name + "\n",
		"etc/machine-id":  hex.EncodeToString(id) + "\n",
		"etc/lab/address": fmt.Sprintf("ADDRESS=%s/%d\nGATEWAY=%s\nFORWARDING=\"%s\"\n", m.Address, m.lab.network.bits, m.lab.network.gateway, m.lab.network.forwarding),
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return m.powerOn(ctx)
}

func (m *Machine) group() string { return prefix(m.lab.run) + "-" + m.Name }

// powerOn starts what is in the machine's directory and waits until containerd answers.
func (m *Machine) powerOn(ctx context.Context) error {
	dir := m.dir()
	root := filepath.Join(dir, "root")
	console, err := os.Create(filepath.Join(dir, "console"))
	if err != nil {
		return err
	}
	defer console.Close()
	host := machineName(m.lab.run, m.Name)
	// Not "ip netns exec": it mounts a new /sys, which hides the cgroups.
	nspawn := exec.Command("/proc/self/exe", "nsenter", "--net=/run/netns/"+m.lab.netns,
		"systemd-nspawn", "-q", "-D", root, "--boot", "--register=no", "--keep-unit", "--network-bridge=br0",
		"--machine="+host, "--hostname="+m.Name, "--capability=all", "--bind=/dev/kmsg", "--system-call-filter=@known")
	nspawn.Env = []string{"PATH=" + os.Getenv("PATH"), envMachine + "=" + m.group()}
	nspawn.Stdout, nspawn.Stderr = console, console
	nspawn.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // out of reach of the terminal's Ctrl-C
	if err := nspawn.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	m.ended, m.leader = ended, 0
	go func() {
		_ = nspawn.Wait()
		close(ended)
	}()
	err = poll(ctx, 60*time.Second, func() error {
		select {
		case <-ended:
			return nil
		default:
		}
		if m.leader == 0 {
			if m.leader, err = findLeader(m.group()); err != nil {
				return err
			}
		}
		// The host's end of the veth starts down.
		if _, err := hostIP(ctx, m.lab.netns, "link", "set", "vb-"+host, "up"); err != nil {
			return err
		}
		// systemd's "active" is when CRI answers, too.
		const answers = "ctr version && { ! test -d /run/systemd/system || systemctl is-active --quiet containerd; }"
		if res := m.Run(ctx, answers); res.Code != 0 {
			return res.Err()
		}
		return nil
	})
	select {
	case <-ended:
		err = errors.New("systemd-nspawn ended")
	default:
	}
	if err != nil {
		text, _ := os.ReadFile(console.Name())
		return fmt.Errorf("%w; its console: %s", err, tail(string(text), 3000))
	}
	return os.WriteFile(filepath.Join(dir, "leader"), fmt.Append(nil, m.leader), 0o644)
}

func hostIP(ctx context.Context, netns string, args ...string) (string, error) {
	return host(ctx, "ip", append([]string{"-n", netns}, args...)...)
}

// findLeader returns the PID on the host of the process that is PID 1 in the group's machine.
func findLeader(group string) (int, error) {
	pids, err := cgroupPIDs(group)
	if err != nil {
		return 0, err
	}
	for _, pid := range pids {
		if ids := nsPIDs(pid); len(ids) == 2 && ids[1] == "1" {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("no process of %s is PID 1", group)
}

// Reboot restarts the machine as its administrator would, and waits until containerd answers again. Commands that run on it are
// ended.
func (m *Machine) Reboot(ctx context.Context) error {
	return step("reboot "+m.Name, func() error {
		_ = m.Run(ctx, "systemctl reboot") // which may end before it can say that it worked
		select {
		case <-m.ended:
		case <-time.After(60 * time.Second):
			return fmt.Errorf("machine %s does not shut down", m.Name)
		case <-ctx.Done():
			return ctx.Err()
		}
		// With --keep-unit, systemd-nspawn leaves starting it again to whoever started it.
		return m.powerOn(ctx)
	})
}

// HostPort is a port of the machine, as others reach it.
func (m *Machine) HostPort(port string) string { return net.JoinHostPort(m.Address, port) }

// loopback is the address of the machine that only itself reaches, of the family of its other one.
func (m *Machine) loopback() string {
	if m.lab.network == network6 {
		return "::1"
	}
	return "127.0.0.1"
}

// CutPower ends the machine as if its power was cut; what it wrote stays, also what it did not tell its disk to keep.
// PowerOn starts it again.
func (m *Machine) CutPower() error {
	if err := killCgroup(m.group()); err != nil {
		return err
	}
	<-m.ended
	m.leader = 0 // a number that other processes may get
	return os.RemoveAll("/run/systemd/nspawn/propagate/" + machineName(m.lab.run, m.Name))
}

// PowerOn starts a machine whose power was cut, and waits until containerd answers.
func (m *Machine) PowerOn(ctx context.Context) error {
	return step("power on "+m.Name, func() error { return m.powerOn(ctx) })
}

// Close ends the machine as if its power was cut, and deletes it.
func (m *Machine) Close() error {
	err := sweepMachine(m.lab.run, m.Name)
	m.leader = 0 // a number that other processes may get
	m.lab.mu.Lock()
	delete(m.lab.machines, m.Name)
	m.lab.mu.Unlock()
	return err
}

// Result is how a command ended.
type Result struct {
	Command, Stdout, Stderr string

	Code int // exit code; 128 + n if it was ended by signal n; -1 if it could not be started
	Took time.Duration

	machine string
	failure error
}

// Err returns nil if the command ended with code 0, otherwise an error with the end of what it wrote.
func (r Result) Err() error {
	switch {
	case r.failure != nil:
		return fmt.Errorf("%s: %s: %w", r.machine, r.Command, r.failure)
	case r.Code != 0:
		return fmt.Errorf("%s: %s: exit code %d: %s", r.machine, r.Command, r.Code, tail(r.Stdout+r.Stderr, 4000))
	}
	return nil
}

// Run runs a shell command on the machine, as root, in /, with nothing on standard input. When
// ctx ends, the command is killed.
func (m *Machine) Run(ctx context.Context, command string) Result {
	return m.RunAs(ctx, "root", command)
}

// RunAs is Run as another user.
func (m *Machine) RunAs(ctx context.Context, user, command string) Result {
	p, err := m.Start(ctx, user, command)
	if err != nil {
		return Result{Command: command, Code: -1, machine: m.Name, failure: err}
	}
	return p.Wait()
}

// RunSecret is Run for commands whose output is a secret by design, such as kubeadm token
// create: the canary does not see it.
func (m *Machine) RunSecret(ctx context.Context, command string) Result {
	p, err := m.Start(ctx, "root", command)
	if err != nil {
		return Result{Command: command, Code: -1, machine: m.Name, failure: err}
	}
	p.secret = true
	return p.Wait()
}

// Process is a command that runs on a machine.
type Process struct {
	machine        *Machine
	command        string
	cmd            *exec.Cmd
	stdout, stderr output
	begin          time.Time
	secret         bool
}

// output is what a command wrote so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(data []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(data)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// Stdout returns what the command has written to standard output so far.
func (p *Process) Stdout() string { return p.stdout.String() }

// Stderr returns what the command has written to standard error so far.
func (p *Process) Stderr() string { return p.stderr.String() }

// Start starts a shell command on the machine as a user; its Wait must be called.
func (m *Machine) Start(ctx context.Context, user, command string) (*Process, error) {
	args := []string{"-t", strconv.Itoa(m.leader), "-a", "--wd", "--"}
	if user != "root" {
		args = []string{"-t", strconv.Itoa(m.leader), "-a", "--wd", "--",
			"setpriv", "--reuid=" + user, "--regid=nogroup", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"}
	}
	home := "/"
	if user == "root" {
		home = "/root"
	}
	p := &Process{machine: m, command: command, begin: time.Now()}
	p.cmd = exec.CommandContext(ctx, "nsenter", append(args, "/bin/bash", "-c", command)...)
	p.cmd.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + home, "USER=" + user, "LANG=C.UTF-8", "KUBECONFIG=/etc/kubernetes/admin.conf",
	}
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	// nsenter forks into the PID namespace: the process group reaches both.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Cancel = func() error { return p.Signal(syscall.SIGKILL) }
	p.cmd.WaitDelay = 5 * time.Second
	return p, p.cmd.Start()
}

// Signal sends a signal to the command and what it started, but not to what it started in another session.
func (p *Process) Signal(s syscall.Signal) error { return syscall.Kill(-p.cmd.Process.Pid, s) }

// Wait waits until the command has ended.
func (p *Process) Wait() Result {
	err := p.cmd.Wait()
	res := Result{
		Command: p.command, Stdout: p.stdout.String(), Stderr: p.stderr.String(), Took: time.Since(p.begin),
		Code: p.cmd.ProcessState.ExitCode(), machine: p.machine.Name,
	}
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		res.Code = 128 + int(status.Signal())
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		res.failure = err
	}
	if !p.secret {
		p.machine.lab.Canary.Saw(p.machine.Name+": standard output of "+p.command, res.Stdout)
		p.machine.lab.Canary.Saw(p.machine.Name+": standard error of "+p.command, res.Stderr)
	}
	return res
}

// Path returns where the host finds a file of the machine, as the machine itself sees it,
// with its mounts. Absolute links in the machine would lead to the host.
func (m *Machine) Path(name string) string {
	return filepath.Join("/proc", strconv.Itoa(m.leader), "root", name)
}

// ReadFile returns the content of a file of the machine.
func (m *Machine) ReadFile(name string) ([]byte, error) { return os.ReadFile(m.Path(name)) }

// WriteFile writes a file of the machine, and the directories that lead to it (mode 0755).
func (m *Machine) WriteFile(name string, data []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(m.Path(name)), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(m.Path(name), data, mode); err != nil {
		return err
	}
	return os.Chmod(m.Path(name), mode)
}

// Unit is what systemd says about a unit. Two equal ones mean that it was neither stopped nor started between them.
type Unit struct {
	ActiveState, SubState string
	InvocationID          string // changes with every start
	MainPID, Restarts     int
}

// Unit returns the state of a unit.
func (m *Machine) Unit(ctx context.Context, name string) (Unit, error) {
	p, err := m.properties(ctx, name)
	if err != nil {
		return Unit{}, err
	}
	u := Unit{ActiveState: p["ActiveState"], SubState: p["SubState"], InvocationID: p["InvocationID"]}
	_, err = fmt.Sscan(p["MainPID"]+" "+p["NRestarts"], &u.MainPID, &u.Restarts)
	return u, err
}

// Operations counts what systemd was told to do since it booted. It counts automatic restarts too: a kubelet that
// is not configured is restarted every 10 s.
type Operations struct {
	Jobs     int    // start, stop, restart, reload of units
	LoadedAt string // when units were loaded; changes with daemon-reload
}

// Operations returns systemd's count of operations.
func (m *Machine) Operations(ctx context.Context) (Operations, error) {
	p, err := m.properties(ctx, "")
	if err != nil {
		return Operations{}, err
	}
	jobs, err := strconv.Atoi(p["NInstalledJobs"])
	return Operations{Jobs: jobs, LoadedAt: p["UnitsLoadTimestampMonotonic"]}, err
}

// properties returns the properties of a unit, or of systemd itself.
func (m *Machine) properties(ctx context.Context, unit string) (map[string]string, error) {
	res := m.Run(ctx, "systemctl show "+unit)
	if err := res.Err(); err != nil {
		return nil, err
	}
	properties := map[string]string{}
	for line := range strings.Lines(res.Stdout) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		properties[key] = value
	}
	return properties, nil
}
