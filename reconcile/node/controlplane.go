package node

import (
	"context"
	"errors"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
	"github.com/kubejoin/kubejoin/reconcile/cluster/etcd"
	"github.com/kubejoin/kubejoin/reconcile/pki"
	"github.com/kubejoin/kubejoin/reconcile/staticpod"
)

// ControlPlane is what makes a node a control plane, beside its kubelet.
type ControlPlane struct {
	// PKI has no shared files if they are not known: then nothing of it is managed.
	PKI  PKI
	Pods staticpod.Input
	// Accounts is needed if Pods has Users.
	Accounts Accounts
	// Server is the URL of the API server on this machine, Endpoint that of the
	// cluster's.
	Server, Endpoint string
	// Etcd is nil if the cluster's etcd is external.
	Etcd *EtcdInput
	// SlowEtcd says that a new member has so much to copy that it serves late.
	SlowEtcd bool
	// Health asks a component once.
	Health func(ctx context.Context, pod staticpod.Pod) error
	// Marker is the API as an administrator sees it.
	Marker func() (NodeMarker, error)
	// Runtime may be nil.
	Runtime Runtime
}

// controlPlaneResources are the desired state of a control plane as things that
// can observe and apply themselves, beside the kubelet's. Nothing that others
// can see is done before all is there that can fail on this machine alone: a
// learner that does not start keeps every other one out. Order of the steps:
// behaviour catalogue §9.7.
func controlPlaneResources(cp *ControlPlane, cfg *kubeadm.JoinConfiguration, o Options, p Ports) ([]reconcile.Resource, []reconcile.Finding, error) {
	pods, findings, err := staticpod.Build(cp.Pods)
	if err != nil {
		return nil, nil, err
	}
	var out, certificates, users []reconcile.Resource
	if cp.Pods.Users != nil {
		users = rootlessResources(cp, o, p)
		out = append(out, users...)
		cp.PKI.Owners, cp.PKI.After = Owners(cp.Pods.Cluster, cp.Pods.Users), []reconcile.Address{ControlPlaneUsers}
	}
	if cp.PKI.Shared != nil {
		moves := apiServerMoves(cp, pods)
		if moves {
			// Who asks it is turned to the new place when it serves there, and stays
			// with the old one if it never does.
			cp.PKI.KubeconfigsAfter = []reconcile.Address{StaticPodAddress(staticpod.APIServer)}
		}
		var kubeconfigs []reconcile.Resource
		certificates, kubeconfigs = pkiResources(keepEtcdAddress(cp.PKI, cp.Etcd), p)
		out = slices.Concat(out, certificates, kubeconfigs)
		if !moves {
			certificates = append(certificates, kubeconfigs...)
		}
	}
	var manifests []reconcile.Address
	var images []string
	for _, pod := range pods {
		manifests = append(manifests, StaticPodAddress(pod.Name))
		images = append(images, podImages(pod.Manifest)...)
	}
	var pulls []reconcile.Resource
	if cp.Runtime != nil {
		pulls = ImageResources(ImagesInput{
			Refs:    images,
			Policy:  cfg.NodeRegistration.ImagePullPolicy,
			Serial:  cfg.NodeRegistration.ImagePullSerial == nil || *cfg.NodeRegistration.ImagePullSerial,
			For:     manifests,
			Runtime: cp.Runtime,
		})
		out = append(out, pulls...)
	}
	prepared := append(addressesOf(users, certificates, pulls), KubeletService)
	apiServerNeeds := prepared
	var in EtcdInput
	if cp.Etcd != nil {
		in = *cp.Etcd
		in.BeginAnyway = o.BeginAnyway
		in.After, in.Manifest = prepared, StaticPodAddress(staticpod.Etcd)
		// The API server needs some seconds before it needs etcd, and then waits
		// for it. Only a member that has much to copy first would exhaust it.
		apiServerNeeds = append(slices.Clone(prepared), in.Manifest)
		if cp.SlowEtcd {
			apiServerNeeds = append(apiServerNeeds, EtcdVoterAddress(in.NodeName))
		}
	}
	for _, pod := range pods {
		after, render := apiServerNeeds, (func(context.Context) ([]byte, error))(nil)
		var begins, withdrawn reconcile.Address
		if pod.Name == staticpod.Etcd {
			if _, recorded := cp.Pods.Recorded[staticpod.Etcd]; cp.Etcd == nil && !recorded {
				findings = append(findings, reconcile.Finding{Severity: reconcile.SeverityInfo, Name: "FilesOnly", Address: StaticPodAddress(staticpod.Etcd),
					Seen: "the manifest names the members that etcd has when this one joins: it is left out"})
				continue
			}
			after = append(slices.Clone(prepared), EtcdMemberAddress(cp.Pods.NodeName))
			begins, withdrawn = EtcdVoterAddress(cp.Pods.NodeName), etcdDataAddress(cp.Pods.NodeName)
			render = renderEtcd(cp)
		}
		resource := &staticPodResource{StaticPod{
			Name:     pod.Name,
			NodeName: cp.Pods.NodeName,
			Path:     pod.Path,
			Want:     pod.Manifest,
			Compare: func(existing []byte) (bool, []reconcile.Field, error) {
				return staticpod.Compare(existing, pod.Pod, staticpod.Options{EtcdHasData: cp.Pods.EtcdMembers == nil})
			},
			Consent:   addressConsent(cp, pod),
			Render:    render,
			Health:    func(ctx context.Context) error { return cp.Health(ctx, pod) },
			Served:    served(cp, pod),
			RestartOn: readAtStart(pod.Name, cp.Pods.Cluster),
			After:     after,
			Begins:    begins,
			Withdrawn: withdrawn,
			Timeout:   cfg.Timeouts.ControlPlaneComponentHealthCheck,
			AnyOwner:  o.AnyOwner,
			FilesOnly: o.FilesOnly,
			// etcd's own is part of joining it.
			NoHealth: o.NoHealth && pod.Name != staticpod.Etcd,
			Files:    p.Files,
			Services: p.Services,
			Runtime:  cp.Runtime,
		}}
		if pod.Name == staticpod.Etcd && cp.Etcd != nil {
			in.Serves = func(ctx context.Context, say func(reconcile.Progress)) error { return resource.wait(ctx, nil, say) }
			in.Withdraw = resource.withdraw
			if cp.Runtime != nil {
				in.Restart = resource.stop
			}
			resource.Outdated = func(ctx context.Context, manifest []byte) bool {
				r, err := staticpod.Recorded(staticpod.Etcd, manifest, cp.Pods.Cluster)
				return err == nil && EtcdOutdated(ctx, in, r.InitialCluster)
			}
			resource.Guard = func(ctx context.Context, say func(reconcile.Progress)) (func(error), error) {
				return EtcdSpare(ctx, in, say)
			}
			out = append(out, EtcdResources(in)...)
		}
		out = append(out, resource)
	}
	return out, findings, nil
}

// apiServerMoves tells whether the API server of this machine is to answer at
// another port or address than the one that is recorded.
func apiServerMoves(cp *ControlPlane, pods []staticpod.Pod) bool {
	record, recorded := cp.Pods.Recorded[staticpod.APIServer]
	for _, pod := range pods {
		if check := staticpod.Health(pod.Pod); pod.Name == staticpod.APIServer {
			return recorded && record.Serves != net.JoinHostPort(check.Host, check.Port)
		}
	}
	return false
}

// addressConsent tells what it means if the API server is to be at another
// address: who reaches this control plane has to be told, and with etcd beside
// it another member takes the place of this one (behaviour catalogue, appendix
// A.1).
func addressConsent(cp *ControlPlane, pod staticpod.Pod) func(existing []byte) (summary, allow string) {
	if pod.Name != staticpod.APIServer {
		return nil
	}
	want := staticpod.AdvertisedAddress(pod.Pod)
	return func(existing []byte) (string, string) {
		have, err := staticpod.Decode(existing)
		if err != nil {
			return "", ""
		}
		address := staticpod.AdvertisedAddress(have)
		if address == "" || want == "" || address == want {
			return "", ""
		}
		summary := "the advertised address changes from " + address + " to " + want
		if cp.Pods.Cluster.Etcd.External != nil {
			return summary, allowIdentity
		}
		return summary + ", and etcd gets another member for this one", allowMember
	}
}

// served asks the component of another manifest.
func served(cp *ControlPlane, pod staticpod.Pod) func(ctx context.Context, manifest []byte) error {
	return func(ctx context.Context, manifest []byte) error {
		existing, err := staticpod.Decode(manifest)
		if err != nil {
			return err
		}
		if existing.Name != pod.Name {
			return errors.New("the manifest is that of " + strconv.Quote(existing.Name))
		}
		pod.Pod = existing
		return cp.Health(ctx, pod)
	}
}

// renderEtcd gives the manifest of a member that has no data yet: it starts
// only if it is told exactly the members that the cluster has then.
func renderEtcd(cp *ControlPlane) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) {
		in := cp.Pods
		if _, recorded := in.Recorded[staticpod.Etcd]; !recorded || in.EtcdMembers != nil {
			peers, err := EtcdPeers(ctx, *cp.Etcd)
			if err != nil {
				return nil, err
			}
			in.EtcdMembers = EtcdMembers(peers)
		}
		pods, _, err := staticpod.Build(in)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(pods, func(p staticpod.Pod) bool { return p.Name == staticpod.Etcd })
		return pods[i].Manifest, nil
	}
}

// keepEtcdAddress leaves the address of this machine's member as it was in etcd's
// certificates, as long as etcd has that member: it may be a voter that runs, which
// serves a new certificate at once, and has to be reached until it is removed.
func keepEtcdAddress(p PKI, in *EtcdInput) PKI {
	if in == nil || !in.RecordedMember || in.RecordedPeerURL == in.PeerURL {
		return p
	}
	u, err := url.Parse(in.RecordedPeerURL)
	if err != nil {
		return p
	}
	ip := net.ParseIP(u.Hostname())
	if ca := p.Shared.CAs[pki.EtcdCA]; ip == nil || ca == nil || ca.External {
		return p // nobody here could make it
	}
	p.Leaves = slices.Clone(p.Leaves)
	for i, l := range p.Leaves {
		if l.Name == pki.EtcdServer || l.Name == pki.EtcdPeer {
			p.Leaves[i].IPs = append(slices.Clone(l.IPs), ip)
		}
	}
	return p
}

func addressesOf(lists ...[]reconcile.Resource) []reconcile.Address {
	var out []reconcile.Address
	for _, list := range lists {
		for _, r := range list {
			out = append(out, r.Address())
		}
	}
	return out
}

// newMarks keeps the labels and taints of this machine's Node.
func newMarks(d *Desired, cfg *kubeadm.JoinConfiguration, state *cluster.State, machineID string, marker func() (NodeMarker, error)) *marksResource {
	return &marksResource{
		name:         d.NodeName,
		controlPlane: cfg.ControlPlane != nil,
		taints:       cfg.NodeRegistration.Taints,
		elsewhere:    registersTaints(cfg),
		machineID:    machineID,
		timeout:      cfg.Timeouts.KubernetesAPICall,
		marker:       marker,
		last:         marksObservation{seen: state.NodeSeen, info: state.Node},
	}
}

// RecordedManifests reads what the manifests on this machine were made with, by
// pod name. One that is not there, or does not parse, has no record.
func RecordedManifests(files Files, c *kubeadm.ClusterConfiguration) map[string]staticpod.Record {
	out := map[string]staticpod.Record{}
	for _, name := range []string{staticpod.APIServer, staticpod.ControllerManager, staticpod.Scheduler, staticpod.Etcd} {
		o := observeFile(files, staticpod.Path(name))
		if o.problem != "" || o.state.Denied || !o.state.Exists() {
			continue
		}
		if r, err := staticpod.Recorded(name, o.content, c); err == nil {
			out[name] = r
		}
	}
	return out
}

// RecordedAddress is the address that the API server of this machine
// advertises, by its manifest; empty if there is none.
func RecordedAddress(files Files) string {
	o := observeFile(files, staticpod.Path(staticpod.APIServer))
	pod, err := staticpod.Decode(o.content)
	if err != nil || len(o.content) == 0 {
		return ""
	}
	endpoint := pod.Annotations[staticpod.AnnotationAPIServer]
	i := strings.LastIndex(endpoint, ":")
	return strings.Trim(endpoint[:max(i, 0)], "[]")
}

// KeyUsed says of which authorities a manifest on this machine shows that it had
// the key: a controller manager that was told to sign with it.
func KeyUsed(files Files) map[pki.Authority]bool {
	o := observeFile(files, staticpod.Path(staticpod.ControllerManager))
	pod, err := staticpod.Decode(o.content)
	if err != nil || len(o.content) == 0 {
		return nil
	}
	for _, c := range pod.Spec.Containers {
		for _, arg := range slices.Concat(c.Command, c.Args) {
			if value, ok := strings.CutPrefix(arg, "--cluster-signing-key-file="); ok && value != "" {
				return map[pki.Authority]bool{pki.ClusterCA: true}
			}
		}
	}
	return nil
}

// manifestDir is where the kubelet looks for static pods.
const manifestDir = staticpod.Dir

// Ephemeral is how long a certificate is good for that is kept in memory, for
// the reads of one run.
const Ephemeral = time.Hour

// EtcdMembers are the entries of initial-cluster as a manifest has them.
func EtcdMembers(peers []etcd.Peer) []staticpod.Member {
	out := make([]staticpod.Member, len(peers))
	for i, p := range peers {
		out[i] = staticpod.Member{Name: p.Name, PeerURL: p.URL}
	}
	return out
}
