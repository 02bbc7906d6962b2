package e2e

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kubejoin/kubejoin/e2e/lab"
)

// written is what kubejoin may write to on a machine, and more.
var written = []string{"/etc", "/var/lib/kubelet", "/opt", "/root", "/home", "/usr/local", "/usr/lib/systemd", "/var/tmp", "/var/lib/systemd"}

// ofKubelet are the parts of /var/lib/kubelet that a running kubelet writes in its own time.
var ofKubelet = []string{
	"/var/lib/kubelet/pods", "/var/lib/kubelet/device-plugins", "/var/lib/kubelet/plugins", "/var/lib/kubelet/plugins_registry",
	"/var/lib/kubelet/pod-resources", "/var/lib/kubelet/pods-api", "/var/lib/kubelet/cpu_manager_state", "/var/lib/kubelet/memory_manager_state",
	"/var/lib/kubelet/dra_manager_state", "/var/lib/kubelet/checkpoints", "/var/lib/kubelet/allocated_pods_state",
	"/var/lib/kubelet/actuated_pods_state", "/var/lib/kubelet/image_manager", "/var/lib/kubelet/pki",
}

// temporary is how the kubelet names what becomes one of its state files. kubejoin's end in .kubejoin-tmp.
var temporary = regexp.MustCompile(`^/var/lib/kubelet/\.[0-9]+$`)

func isOfKubelet(path string) bool {
	return temporary.MatchString(path) || slices.ContainsFunc(ofKubelet, func(p string) bool {
		return path == p || strings.HasPrefix(path, p+"/") || strings.HasPrefix(path, p+".")
	})
}

// unchanged runs fn and fails the test if, meanwhile, a file of the machine was written, however briefly, if systemd
// was told to do anything, or if kubejoin sent the cluster anything but reads. It returns kubejoin's requests.
func (f *fixture) unchanged(t *testing.T, m *lab.Machine, fn func()) []lab.Request {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	mark, err := f.cluster.Audit.Mark()
	check(err)
	unit, err := m.Unit(t.Context(), "kubelet")
	check(err)
	operations, err := m.Operations(t.Context())
	check(err)
	tree, err := m.Tree(written...)
	check(err)
	watch, err := m.Watch(written...)
	check(err)

	fn()

	events, err := watch.Stop()
	check(err)
	after, err := m.Tree(written...)
	check(err)
	for _, e := range events {
		if !isOfKubelet(e.Path) && e.Path != "/var/lib/kubelet" {
			t.Errorf("written: %s", e)
		}
	}
	for _, line := range tree.Diff(after) {
		path, _, _ := strings.Cut(line[2:], ":")
		if !isOfKubelet(path) && path != "/var/lib/kubelet" {
			t.Errorf("written: %s", line)
		}
	}
	// A kubelet that waits to be configured restarts by itself, and counts.
	if unit.ActiveState == "active" || unit.ActiveState == "inactive" {
		now, err := m.Unit(t.Context(), "kubelet")
		check(err)
		if now != unit {
			t.Errorf("kubelet: %+v, was %+v", now, unit)
		}
		told, err := m.Operations(t.Context())
		check(err)
		if told != operations {
			t.Errorf("systemd: %+v, was %+v", told, operations)
		}
	}
	requests, err := f.requests(t, m, mark)
	check(err)
	for _, r := range requests {
		if r.Writes() {
			t.Errorf("sent: %s", r)
		}
	}
	return requests
}

// requests returns the requests of a machine's kubejoin since a mark.
func (f *fixture) requests(t *testing.T, m *lab.Machine, mark lab.Mark) ([]lab.Request, error) {
	requests, err := f.cluster.Audit.Since(t.Context(), mark)
	return slices.DeleteFunc(requests, func(r lab.Request) bool {
		// A control plane asks its own API server, also over the loopback.
		own := r.Source == m.Address || r.Server == m.Name && (r.Source == "127.0.0.1" || r.Source == "::1")
		return !own || !strings.HasPrefix(r.UserAgent, "kubejoin/")
	}), err
}
