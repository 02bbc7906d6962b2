package node

import (
	"slices"
	"strings"

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
			Resources: []string{string(ControlPlaneUsers), "static-pod:kube-apiserver", "static-pod:kube-controller-manager", "static-pod:kube-scheduler"}},
		{Name: phaseCheckEtcd, Short: "check that etcd can take a member"},
		{Name: phaseKubelet, Short: "configure and start the kubelet", Workers: true,
			Resources: []string{"file:*", string(ManifestDir), string(KubeletService)}},
		{Name: phaseEtcd, Short: "make this machine a member of etcd", Resources: []string{"etcd-stale:*", "etcd-data:*", "etcd-member:*", "static-pod:etcd", "etcd-voter:*", "directory:ETCD_DATA_DIR"}},
		{Name: waitBootstrap, Short: "wait for the kubelet's certificate and its Node", Resources: []string{string(KubeletCredential), "node:*", string(KubeletServer)}, Workers: true},
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
		if a == KubeletServer {
			return waitBootstrap // there is no kubelet.conf sooner
		}
		return phaseKubeconfig
	case "users":
		return phaseManifests
	case "directory":
		if a != ManifestDir {
			return phaseEtcd // its data
		}
	case "static-pod":
		if a.Name() == "etcd" {
			return phaseEtcd
		}
		return phaseManifests
	case "etcd-member", "etcd-voter", "etcd-data", "etcd-stale":
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

// FindPhase finds a phase by its name, in kubeadm's spelling too: "parent/all" is
// the parent.
func FindPhase(name string) (Phase, bool) {
	all := Phases()
	name = strings.Join(strings.Fields(strings.ReplaceAll(name, "/", " ")), "/")
	if parent, ok := strings.CutSuffix(name, "/all"); ok && len(Children(parent)) > 0 {
		name = parent
	}
	i := slices.IndexFunc(all, func(p Phase) bool { return p.Name == name })
	if i < 0 {
		return Phase{}, false
	}
	return all[i], true
}

// Children are the phases of a parent.
func Children(parent string) []Phase {
	return slices.DeleteFunc(Phases(), func(p Phase) bool { return !strings.HasPrefix(p.Name, parent+"/") })
}

// OnWorkers tells whether a phase, or one of its children, does something on a
// worker.
func (p Phase) OnWorkers() bool {
	return p.Workers || slices.ContainsFunc(Children(p.Name), func(c Phase) bool { return c.Workers })
}
