package host

import (
	"context"
	"io/fs"
	"net/netip"
	"time"
)

// Kind of a file system entry.
type Kind string

// The kinds.
const (
	None  Kind = "" // nothing there
	File  Kind = "file"
	Dir   Kind = "directory"
	Link  Kind = "symlink" // only for a dangling one: others are followed
	Other Kind = "other"   // device, socket, pipe
)

// FileState is what was seen at a path, after following links inside the root.
type FileState struct {
	Kind Kind
	Mode fs.FileMode // permission bits only
	UID  int
	GID  int
	Size int64
	// ModTime is zero if it is in the future: a clock was set back since, and
	// whoever compares it with a later start would never be done.
	ModTime time.Time
	// ChangeTime is when content, name, mode or owner changed last. Nobody can set
	// it back.
	ChangeTime time.Time
	// Denied says that the file, or a directory above it, may not be read by
	// this user; the other fields are then what could be seen.
	Denied bool
	// Blocked says why nothing can be made at the path; empty if something can.
	Blocked string
	// Leftover says that a temporary file of an interrupted write lies beside it.
	Leftover bool
}

// Exists tells whether anything is there.
func (s FileState) Exists() bool { return s.Kind != None }

// WriteOptions are a file's properties beside its content.
type WriteOptions struct {
	Mode fs.FileMode
	UID  int // -1 leaves it to the kernel
	GID  int
	// DirMode is the mode of directories that have to be made; 0 means 0755.
	DirMode fs.FileMode
}

// Facts are what this machine is. Reading them has no side effect.
type Facts struct {
	// Hostname is the kernel's, or with a root directory that of its etc/hostname.
	Hostname string
	// MachineID is /etc/machine-id, else /var/lib/dbus/machine-id: what the
	// kubelet reports as nodeInfo.machineID. Empty if neither exists.
	MachineID string
	// BootID is the kernel's, another one after each boot: what the kubelet
	// reports as nodeInfo.bootID. Empty below a root that is not the live machine.
	BootID string
	// InitSystem is "systemd", "openrc" or "" (none, or a root directory that
	// is not the live machine).
	InitSystem string
	// ResolvedActive says that systemd-resolved runs.
	ResolvedActive bool
	// CRISockets are the known container runtime endpoints ("unix:///…") that
	// accept a connection, in kubeadm's order. Behaviour catalogue §2.2.
	CRISockets []string
	// EffectiveUID is this process's.
	EffectiveUID int
	// KubeletPath is where the kubelet binary is; empty if it is not in the
	// usual binary directories.
	KubeletPath string
	// Addresses are those of this machine's network interfaces. Empty below a
	// root that is not the live machine.
	Addresses []netip.Addr
	// ProxyEnv are this process's proxy variables, as NAME=value, sorted: those
	// that end in _proxy, in any case, and are not empty. Values may hold
	// passwords. Behaviour catalogue §5.5.
	ProxyEnv []string
	// CADirs are those of the CACandidates that are here.
	CADirs []string
}

// CACandidates are the directories beside /etc/ssl/certs in which distributions
// keep CA certificates, in kubeadm's order. Behaviour catalogue §5.5.
func CACandidates() []string {
	return []string{"/etc/pki/ca-trust", "/etc/pki/tls/certs", "/etc/ca-certificates", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates"}
}

// ServiceState is what the service manager says of a unit.
type ServiceState struct {
	// Manager is "systemd", "openrc" or "" when there is none to ask.
	Manager string
	// Denied or unreachable manager: why nothing is known; empty otherwise.
	Unknown string
	Found   bool
	// Enabled says that it starts at boot.
	Enabled bool
	// Masked units cannot be started.
	Masked bool
	// Active says that the main process runs now.
	Active bool
	// State is the manager's own word ("active/running", "activating/auto-restart").
	State string
	// StartedAt is when the main process started; zero if it does not run. It
	// is the later of two clock readings, so that a stepped clock does not make
	// a process look older than the files it has read.
	StartedAt time.Time
	MainPID   int
	// Restarts counts automatic restarts since the unit was last started by hand.
	Restarts int
	// LastExit describes the last exit of the main process ("exit status 1"); empty if none.
	LastExit string
	// NeedsReload says that unit files changed since the manager read them. A
	// drop-in in a directory that is new as well does not show.
	NeedsReload bool
	// ExecStart is the unit's command line; variables of the unit's environment
	// files stay unexpanded. Empty if unknown.
	ExecStart string
	// EnvironmentFiles are those of the unit, without the leading "-".
	EnvironmentFiles []string
}

// Services is a service manager.
type Services interface {
	// State never fails for a unit that does not exist: Found is false then.
	State(ctx context.Context, unit string) (ServiceState, error)
	Enable(ctx context.Context, unit string) error
	// Restart starts or restarts the unit and returns when the manager is done.
	// It lets the manager read its unit files again before.
	Restart(ctx context.Context, unit string) error
	Stop(ctx context.Context, unit string) error
	// Watch delivers the state whenever it changes until ctx ends. The channel
	// is closed then.
	Watch(ctx context.Context, unit string) (<-chan ServiceState, error)
	// Logs are the last lines the unit wrote since a time, oldest first.
	Logs(ctx context.Context, unit string, since time.Time, lines int) ([]string, error)
}
