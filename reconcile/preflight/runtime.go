package preflight

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

// asks tells whether the runtime can be asked. Its socket is root's.
func (p *pass) asks() bool {
	return p.Runtime != nil && p.Facts.EffectiveUID == 0 && len(p.Undecided) == 0
}

// told says which runtime answered, where that is the whole news.
func (p *pass) told() []reconcile.Finding {
	if !p.asks() || !p.Machine.Live() {
		return nil
	}
	r, err := p.runtime()
	if err != nil {
		return nil // CRI tells
	}
	driver := "its cgroup driver is " + r.CgroupDriver
	if r.CgroupDriver == "" {
		driver = "it does not tell its cgroup driver"
	}
	return []reconcile.Finding{{Severity: reconcile.SeverityInfo, Name: "CRI",
		Seen: strings.TrimSpace(r.Name+" "+r.Version) + " answers at " + p.Config.NodeRegistration.CRISocket + ", " + driver}}
}

// Undecided is the finding about several container runtimes of which nobody has
// chosen one.
func Undecided(sockets []string) []reconcile.Finding {
	if len(sockets) == 0 {
		return nil
	}
	e := kubeadm.Undecided(sockets)
	return []reconcile.Finding{{Severity: reconcile.SeverityError, Name: "CRI", Seen: e.Err.Error(), Wanted: "one, or " + e.Address,
		Why: "the kubelet is told the socket of one", Hint: e.Hint}}
}

func checkRuntime(_ context.Context, p *pass) []reconcile.Finding {
	if len(p.Undecided) > 0 {
		return Undecided(p.Undecided)
	}
	socket := p.Config.NodeRegistration.CRISocket
	f := reconcile.Finding{Severity: reconcile.SeverityError, Wanted: "a container runtime that speaks CRI v1 at " + socket}
	if !p.asks() {
		socket := kubeadm.SocketURL(socket)
		if slices.Contains(p.Facts.CRISockets, socket) || !slices.Contains(host.CRISockets(), socket) {
			return nil
		}
		f.Seen = "no container runtime answers at " + socket + p.otherSockets(socket)
		return []reconcile.Finding{f}
	}
	r, err := p.runtime()
	switch {
	case err != nil:
		f.Seen = "no container runtime answers at " + socket + ": " + cause(err) + p.otherSockets(socket)
	case r.NotReady != "":
		f.Seen = strings.TrimSpace(r.Name+" "+r.Version) + " is not ready: " + r.NotReady
		f.Wanted = "its condition RuntimeReady"
		f.Hint = "look in the runtime's log (journalctl -u containerd, for instance)"
	default:
		return nil
	}
	return []reconcile.Finding{f}
}

// cause is the end of a chain of errors, whose beginning says what the finding
// says already.
func cause(err error) string {
	text := err.Error()
	for _, usual := range []error{syscall.ENOENT, syscall.ECONNREFUSED, context.DeadlineExceeded} {
		if errors.Is(err, usual) || strings.Contains(text, usual.Error()) {
			return usual.Error()
		}
	}
	var of *fault.Error
	if errors.As(err, &of) {
		return of.Err.Error()
	}
	return text
}

// otherSockets names those that answer instead.
func (p *pass) otherSockets(socket string) string {
	others := slices.DeleteFunc(slices.Clone(p.Facts.CRISockets), func(s string) bool { return s == kubeadm.SocketURL(socket) })
	if len(others) == 0 {
		return ""
	}
	return "; one answers at " + strings.Join(others, ", ")
}

// cgroupDriverFromRuntime is the minor of the kubelet that does not start with a
// runtime that does not tell its cgroup driver: behaviour catalogue §6.2.
const cgroupDriverFromRuntime = 38

func checkRuntimeVersion(_ context.Context, p *pass) []reconcile.Finding {
	if !p.asks() {
		return nil
	}
	r, err := p.runtime()
	if err != nil || r.CgroupDriver != "" {
		return nil // CRI tells
	}
	f := reconcile.Finding{Severity: reconcile.SeverityWarning,
		Seen: strings.TrimSpace(r.Name+" "+r.Version) + " does not tell its cgroup driver", Wanted: "CRI RuntimeConfig: containerd 2.0, CRI-O 1.28 or later"}
	if v, err := p.version(); err == nil && v.Minor >= cgroupDriverFromRuntime {
		f.Severity = reconcile.SeverityError
	}
	return []reconcile.Finding{f}
}

func checkCgroupDriver(_ context.Context, p *pass) []reconcile.Finding {
	wanted := "systemd" // as kubejoin writes it where nobody says: behaviour catalogue §5.7
	if p.kubelet != nil && p.kubelet.CgroupDriver != "" {
		wanted = p.kubelet.CgroupDriver
	}
	if given, ok := p.kubeletArg("cgroup-driver"); ok {
		wanted = given
	}
	driver := ""
	if p.asks() {
		if r, err := p.runtime(); err == nil {
			driver = r.CgroupDriver
		}
	}
	effective := wanted
	if driver != "" {
		effective = driver
	}
	if effective == "systemd" && p.Facts.InitSystem != "systemd" && (driver != "" || p.kubelet != nil) {
		return []reconcile.Finding{{Severity: reconcile.SeverityError,
			Seen: "the cgroup driver is systemd, but systemd does not run here", Wanted: "cgroupfs",
			Hint: "set cgroupDriver: cgroupfs by a patch of kubeletconfiguration, and in the runtime's configuration"}}
	}
	if driver == "" || driver == wanted || p.kubelet == nil {
		return nil
	}
	return []reconcile.Finding{{Severity: reconcile.SeverityWarning,
		Seen:   fmt.Sprintf("the container runtime uses the cgroup driver %s, the kubelet's configuration says %s", driver, wanted),
		Wanted: "the same in both"}}
}

// checkSandboxImage tells of a sandbox image from elsewhere than the cluster's
// images where that is not the usual place. kubeadm compares the tag and warns of
// any difference, which does no harm.
func checkSandboxImage(_ context.Context, p *pass) []reconcile.Finding {
	repository := p.Cluster.Configuration.ImageRepository
	if repository == "" || repository == kubeadm.DefaultImageRepository || !p.asks() {
		return nil
	}
	r, err := p.runtime()
	if err != nil || r.SandboxImage == "" || strings.HasPrefix(r.SandboxImage, strings.TrimSuffix(repository, "/")+"/") {
		return nil
	}
	return []reconcile.Finding{{Severity: reconcile.SeverityWarning,
		Seen: "the container runtime starts pods with " + r.SandboxImage, Wanted: "an image of " + repository + ", as the cluster's others"}}
}
