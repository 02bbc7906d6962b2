package node

import (
	"cmp"
	"io/fs"
	"slices"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
	"github.com/kubejoin/kubejoin/reconcile/host"
	"github.com/kubejoin/kubejoin/reconcile/staticpod"
)

// Wait says how far apply follows the node.
type Wait string

// The waits.
const (
	WaitRegistered Wait = "registered" // the Node object of this machine exists
	WaitReady      Wait = "ready"      // and is Ready
)

// Options are what decides about resources beside the configuration.
type Options struct {
	Wait Wait
	// FilesOnly leaves out everything that needs a running machine: a root
	// directory that is not the live one has no services and no node.
	FilesOnly bool
	// Serial is that of the client certificate with which the cluster was asked;
	// State.CredentialRefused concerns this one and none that comes later.
	Serial string
	// AnyOwner leaves the owners of files alone.
	AnyOwner bool
	// NoHealth does not wait for kube-apiserver, kube-controller-manager and
	// kube-scheduler to serve.
	NoHealth bool
	// BeginAnyway plans to join an etcd that takes no member at the moment.
	BeginAnyway bool
}

// Resources are the desired state of a node as things that can observe and
// apply themselves; cp is nil for a worker. Order of the steps: behaviour
// catalogue §9.7. The findings are about what a control plane runs.
func Resources(d *Desired, cp *ControlPlane, cfg *kubeadm.JoinConfiguration, state *cluster.State, facts host.Facts, o Options, p Ports) ([]reconcile.Resource, []reconcile.Finding, error) {
	var out, controlPlane []reconcile.Resource
	var findings []reconcile.Finding
	if cp != nil {
		var err error
		if controlPlane, findings, err = controlPlaneResources(cp, cfg, o, p); err != nil {
			return nil, nil, err
		}
	}
	var files []reconcile.Address
	var restart []string
	for _, f := range d.Files {
		if o.AnyOwner {
			f.UID, f.GID = -1, -1
		}
		f.RestartsKubelet = f.RestartsKubelet && !o.FilesOnly
		if slices.Contains(addresses(controlPlane), string(FileAddress(f.Path))) {
			files = append(files, FileAddress(f.Path)) // the cluster's CA, which is one of the shared files
			continue
		}
		out = append(out, &fileResource{want: f, clusterCA: state.CA, files: p.Files})
		files = append(files, FileAddress(f.Path))
		if f.RestartsKubelet {
			restart = append(restart, f.Path)
		}
	}
	if o.FilesOnly {
		return append(out, controlPlane...), findings, nil
	}
	bootstrap := FileAddress(BootstrapKubeconfigPath)
	owner := func(mode fs.FileMode) Owner {
		if o.AnyOwner {
			return Owner{UID: -1, GID: -1, Mode: mode}
		}
		return Owner{Mode: mode}
	}
	unit := &dropInResource{content: dropIn(cmp.Or(facts.KubeletPath, "/usr/bin/kubelet")), owner: owner(dropInMode), files: p.Files}
	service := &serviceResource{
		nodeName:     d.NodeName,
		restartFiles: append(restart, DropInPath),
		healthz:      d.HealthzAddress,
		timeout:      cfg.Timeouts.KubeletHealthCheck,
		ports:        p,
		after:        append(slices.Clone(files), unit.Address(), bootstrap),
	}
	credential := &credentialResource{
		nodeName:  d.NodeName,
		clusterCA: state.CA,
		refused:   state.CredentialRefused,
		serial:    o.Serial,
		bootstrap: len(state.Bootstrap) > 0,
		timeout:   cfg.Timeouts.TLSBootstrap,
		owner:     owner(credentialMode),
		ports:     p,
		after:     []reconcile.Address{KubeletService},
	}
	node := &nodeResource{
		name:      d.NodeName,
		machineID: facts.MachineID,
		bootID:    facts.BootID,
		waitReady: o.Wait == WaitReady,
		timeout:   cfg.Timeouts.TLSBootstrap,
		ports:     p,
		after:     []reconcile.Address{KubeletCredential},
		last:      nodeObservation{seen: state.NodeSeen, info: state.Node},
	}
	transient := &transientFile{content: state.Bootstrap, tokenID: state.TokenID, owner: owner(credentialMode), files: p.Files}
	out = append(out, unit, transient)
	marker := p.Marker
	if cp != nil {
		credential.keepBootstrap = true
		out = append(out, &dirResource{path: manifestDir, files: p.Files})
		service.after = append(service.after, ManifestDir)
		controlPlane = append(controlPlane, &kubeletServerResource{server: cp.Server, endpoint: cp.Endpoint, service: service, nodeName: d.NodeName,
			ports: p, after: []reconcile.Address{StaticPodAddress(staticpod.APIServer), KubeletCredential, node.Address()}})
		marker = cp.Marker
	}
	out = append(append(out, service), controlPlane...)
	return append(out, credential, node, newMarks(d, cfg, state, facts.MachineID, marker)), findings, nil
}
