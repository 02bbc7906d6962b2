package staticpod

import (
	"cmp"
	"net"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	strictjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
)

// Record is what a manifest on disk was made with and nothing else tells.
type Record struct {
	// Serves is the host and port where the API server answers.
	Serves string
	Host
	// InitialCluster and InitialClusterState are etcd's.
	InitialCluster      []Member
	InitialClusterState string
	// EtcdTag is the tag of etcd's image.
	EtcdTag string
	// Storage is where etcd keeps its data.
	Storage Storage
}

// Decode reads a manifest. It is lenient about fields it does not know, as the
// kubelet is.
func Decode(manifest []byte) (*corev1.Pod, error) {
	doc, err := yaml.YAMLToJSON(manifest)
	if err != nil {
		return nil, fault.New(fault.Conflict, "not YAML: %w", err)
	}
	pod := &corev1.Pod{}
	if err := strictjson.UnmarshalCaseSensitivePreserveInts(doc, pod); err != nil {
		return nil, fault.New(fault.Conflict, "not a pod: %w", err)
	}
	if pod.APIVersion != "v1" || pod.Kind != "Pod" {
		return nil, fault.New(fault.Conflict, "not a pod: apiVersion %q, kind %q", pod.APIVersion, pod.Kind)
	}
	return pod, nil
}

// Recorded extracts from a manifest what it was made with. The name is the
// pod's: a manifest that describes another one, or none, gives an error.
//
// A proxy variable counts unless extraEnvs sets it: one that extraEnvs once set
// and no longer does cannot be told from one of the machine, and stays.
func Recorded(name string, manifest []byte, c *kubeadm.ClusterConfiguration) (Record, error) {
	pod, err := Decode(manifest)
	if err != nil {
		return Record{}, err
	}
	container := own(pod)
	if container == nil || pod.Name != name {
		return Record{}, fault.New(fault.Conflict, "describes the pod %q instead of %q", pod.Name, name)
	}
	var r Record
	if name == APIServer {
		check := Health(pod)
		r.Serves = net.JoinHostPort(check.Host, check.Port)
	}
	if name == Etcd {
		args := effectiveArgs(pod)
		r.InitialCluster, r.InitialClusterState = members(args["initial-cluster"]), args["initial-cluster-state"]
		r.EtcdTag = tag(container.Image)
		r.Storage, _ = EtcdStorage(pod) // what of it can be told
		return r, nil
	}
	extra := c.APIServer.ControlPlaneComponent
	switch name {
	case ControllerManager:
		extra = c.ControllerManager
	case Scheduler:
		extra = c.Scheduler
	}
	for _, e := range container.Env {
		users := slices.ContainsFunc(extra.ExtraEnvs, func(x corev1.EnvVar) bool { return x.Name == e.Name })
		if strings.HasSuffix(strings.ToLower(e.Name), "_proxy") && e.Value != "" && e.ValueFrom == nil && !users {
			r.ProxyEnv = append(r.ProxyEnv, e.Name+"="+e.Value)
		}
	}
	slices.Sort(r.ProxyEnv)
	for _, d := range optionalCADirs() {
		if slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
			return v.Name == d.volume && v.HostPath != nil && v.HostPath.Path == d.path
		}) {
			r.CADirs = append(r.CADirs, d.path)
		}
	}
	return r, nil
}

// AdvertisedAddress is the address that the pod of an API server is at: it is
// told it, and tells it the other control planes. Empty if the two differ,
// because somebody edited one.
func AdvertisedAddress(pod *corev1.Pod) string {
	host, _, err := net.SplitHostPort(pod.Annotations[AnnotationAPIServer])
	if err != nil || host != effectiveArgs(pod)["advertise-address"] {
		return ""
	}
	return host
}

// members parses "name=url,name=url". Of one name with several URLs each is an entry.
func members(initialCluster string) []Member {
	var out []Member
	for _, entry := range strings.Split(initialCluster, ",") {
		if name, peer, found := strings.Cut(entry, "="); found {
			out = append(out, Member{Name: name, PeerURL: peer})
		}
	}
	return out
}

// tag is the part of an image's name after the last colon that is no port.
func tag(image string) string {
	image, _, _ = strings.Cut(image, "@")
	i := strings.LastIndex(image, ":")
	if i < strings.LastIndex(image, "/") || i < 0 {
		return ""
	}
	return image[i+1:]
}

// HostChanged says how a machine differs from what is recorded in the manifest
// of a pod. That is no drift: the manifest stays as it is. A variable's value
// may hold a password, so that only its name is told.
func HostChanged(name string, r Record, now Host) []reconcile.Finding {
	var seen []string
	if name != Etcd {
		seen = append(seen, difference("the variable", keys(r.ProxyEnv), keys(now.ProxyEnv))...)
		for n, was := range keys(r.ProxyEnv) {
			if is, found := keys(now.ProxyEnv)[n]; found && is != was {
				seen = append(seen, "the variable "+n+" has another value")
			}
		}
	}
	if name == APIServer || name == ControllerManager {
		seen = append(seen, difference("the directory", keys(r.CADirs), keys(now.CADirs))...)
	}
	if len(seen) == 0 {
		return nil
	}
	slices.SortFunc(seen, cmp.Compare[string])
	return []reconcile.Finding{{Severity: reconcile.SeverityInfo, Name: FindingHostChanged, Address: Address(name),
		Seen: "the manifest keeps what it was made with, the machine has changed since: " + strings.Join(seen, ", "),
		Hint: "remove " + Path(name) + " and apply again to take over what is here now"}}
}

func keys(assignments []string) map[string]string {
	out := map[string]string{}
	for _, a := range assignments {
		k, v, _ := strings.Cut(a, "=")
		out[k] = v
	}
	return out
}

func difference(what string, was, is map[string]string) []string {
	var out []string
	for k := range was {
		if _, found := is[k]; !found {
			out = append(out, what+" "+k+" is gone")
		}
	}
	for k := range is {
		if _, found := was[k]; !found {
			out = append(out, what+" "+k+" is new")
		}
	}
	return out
}
