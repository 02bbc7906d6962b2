package node

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
)

// Phase is one of kubeadm's phases of a join (behaviour catalogue §5), as the
// resources that it makes here.
type Phase struct {
	// Name is what skipPhases, --skip-phases and --phases call it: "parent/child"
	// for a child.
	Name string `json:"name"`
	// Short says what it does, in one clause.
	Short string `json:"short"`
	// Resources are patterns of the addresses that it holds; empty for a phase
	// that only looks, and for a parent.
	Resources []string `json:"resources,omitempty"`
	// Workers says that it does something on a worker too.
	Workers bool `json:"workers"`
}

// The phases that hold resources.
const (
	phasePreflight  = "preflight"
	phaseDownload   = "control-plane-prepare/download-certs"
	phaseCerts      = "control-plane-prepare/certs"
	phaseKubeconfig = "control-plane-prepare/kubeconfig"
	phaseManifests  = "control-plane-prepare/control-plane"
	phaseCheckEtcd  = "check-etcd"
	phaseKubelet    = "kubelet-start"
	phaseEtcd       = "etcd-join"
	waitBootstrap   = "kubelet-wait-bootstrap"
	phaseMark       = "control-plane-join/mark-control-plane"
	phaseHealth     = "wait-control-plane"
)

// Phases are all of a join's, in kubeadm's order.
func Phases() []Phase {
	return []Phase{
		{Name: phasePreflight, Short: "check that the machine can do what the plan needs, and pull a control plane's images", Resources: []string{"image:*"}, Workers: true},
		{Name: "control-plane-prepare", Short: "prepare a control plane's certificates, kubeconfigs and static pods"},
		{Name: phaseDownload, Short: "bring the certificates and keys that all control planes share", Resources: []string{"file:CERTIFICATES_DIR/*"}},
		{Name: phaseCerts, Short: "issue the certificates of this control plane", Resources: []string{"certificate:*"}},
		{Name: phaseKubeconfig, Short: "make the kubeconfigs of the administrator and the components", Resources: []string{"kubeconfig:*"}},
		{Name: phaseManifests, Short: "run kube-apiserver, kube-controller-manager and kube-scheduler",
			Resources: []string{"static-pod:kube-apiserver", "static-pod:kube-controller-manager", "static-pod:kube-scheduler"}},
		{Name: phaseCheckEtcd, Short: "check that etcd can take a member"},
		{Name: phaseKubelet, Short: "configure and start the kubelet", Workers: true,
			Resources: []string{"file:*", "service:kubelet", string(KubeletServer)}},
		{Name: phaseEtcd, Short: "make this machine a member of etcd", Resources: []string{"etcd-member:*", "static-pod:etcd", "etcd-voter:*"}},
		{Name: waitBootstrap, Short: "wait for the kubelet's certificate and its Node", Resources: []string{string(KubeletCredential), "node:*"}, Workers: true},
		{Name: "control-plane-join", Short: "make the Node a control plane's"},
		{Name: phaseMark, Short: "keep the Node's labels and taints", Resources: []string{"node-marks:*"}, Workers: true},
		{Name: phaseHealth, Short: "wait until the control plane is healthy"},
	}
}

// PhaseOf is the phase that holds the resource at an address.
func PhaseOf(a reconcile.Address, controlPlane bool) string {
	switch a.Kind() {
	case "image":
		return phasePreflight
	case "certificate":
		return phaseCerts
	case "kubeconfig":
		if a != KubeletServer {
			return phaseKubeconfig
		}
	case "static-pod":
		if a.Name() == "etcd" {
			return phaseEtcd
		}
		return phaseManifests
	case "etcd-member", "etcd-voter", "etcd-data":
		return phaseEtcd
	case "credential", "node":
		return waitBootstrap
	case "node-marks":
		return phaseMark
	case "file":
		switch a.Name() {
		case InstanceConfigPath, KubeletConfigPath, KubeletFlagsPath, BootstrapKubeconfigPath, DropInPath:
		default:
			if controlPlane {
				return phaseDownload // a worker's only other file is the CA
			}
		}
	}
	return phaseKubelet
}

// Selection says which resources are managed.
type Selection struct {
	// Skip are the phases that are left out, Only the ones that are done, all
	// others being left out. Of both nothing means all.
	Skip, Only []string
	// Targets are the addresses that are managed, all others being left out;
	// none means all.
	Targets []string
	// ControlPlane says that the machine is to be one.
	ControlPlane bool
}

// covers tells whether a phase is named, itself or by its parent.
func covers(names []string, phase string) bool {
	parent, _, _ := strings.Cut(phase, "/")
	return slices.Contains(names, phase) || slices.Contains(names, parent)
}

// Skips tells whether a phase is left out.
func (s Selection) Skips(phase string) bool {
	return covers(s.Skip, phase) || len(s.Only) > 0 && !covers(s.Only, phase)
}

// Health tells whether the health of the control plane is waited for.
func (s Selection) Health() bool { return !s.Skips(phaseHealth) }

// Preflight tells whether the machine is checked.
func (s Selection) Preflight() bool { return !s.Skips(phasePreflight) }

// CheckEtcd tells whether the health of etcd is a reason not to begin.
func (s Selection) CheckEtcd() bool { return !s.Skips(phaseCheckEtcd) }

// Select leaves resources out of management: they are still observed, because
// others depend on what they are, and never changed. The findings say what that
// means. It fails for a target that is none of the resources.
func Select(resources []reconcile.Resource, s Selection) ([]reconcile.Resource, []reconcile.Finding, error) {
	for _, t := range s.Targets {
		if !slices.ContainsFunc(resources, func(r reconcile.Resource) bool { return string(r.Address()) == t }) {
			return nil, nil, fault.New(fault.InvalidConfig, "--target: there is no resource %q", t).
				WithHint("the addresses are: %s", strings.Join(addresses(resources), ", "))
		}
	}
	skipped := map[string][]string{} // by phase
	out := make([]reconcile.Resource, len(resources))
	for i, r := range resources {
		a := r.Address()
		p := PhaseOf(a, s.ControlPlane)
		switch {
		case len(s.Targets) > 0 && !slices.Contains(s.Targets, string(a)):
			r = observeOnly{r, "it is not the --target"}
		case s.Skips(p):
			skipped[p] = append(skipped[p], string(a))
			r = observeOnly{r, p + " is skipped"}
		case s.Skips(waitBootstrap) && a == FileAddress(BootstrapKubeconfigPath):
			r = keepOnly{r} // it is that phase that removes it
		}
		out[i] = r
	}
	var findings []reconcile.Finding
	for _, p := range Phases() {
		if addresses := skipped[p.Name]; len(addresses) > 0 {
			findings = append(findings, reconcile.Finding{Severity: reconcile.SeverityInfo, Name: "SkippedPhase",
				Seen: fmt.Sprintf("%s is skipped: %s not managed", p.Name, strings.Join(addresses, ", ")+areOrIs(addresses))})
		}
	}
	return out, findings, nil
}

func addresses(resources []reconcile.Resource) []string {
	var out []string
	for _, r := range resources {
		out = append(out, string(r.Address()))
	}
	return out
}

func areOrIs(list []string) string {
	if len(list) == 1 {
		return " is"
	}
	return " are"
}

// observeOnly is a resource that is not managed.
type observeOnly struct {
	reconcile.Resource
	why string
}

// Change says what is left as it is: others may need it.
func (r observeOnly) Change(o reconcile.Observation, v reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	c, _, err := r.Resource.Change(o, v)
	seen := ""
	switch {
	case err != nil:
		seen = err.Error()
	case c != nil:
		seen = c.Summary
	default:
		return nil, nil, nil
	}
	return nil, []reconcile.Finding{{Severity: reconcile.SeverityInfo, Name: "NotManaged", Address: r.Address(),
		Seen: seen + ": left as it is, because " + r.why}}, nil
}

// keepOnly is a resource that is made and never removed.
type keepOnly struct{ reconcile.Resource }

func (r keepOnly) Change(o reconcile.Observation, v reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	c, findings, err := r.Resource.Change(o, v)
	if c != nil && c.Action == reconcile.Delete {
		c = nil
	}
	return c, findings, err
}
