package staticpod

import (
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	strictjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/patch"
)

// The names of the findings.
const (
	// FindingArgDropped: an extra argument is to be merged with a built-in one
	// that does not exist.
	FindingArgDropped = "StaticPodArgDropped"
	// FindingUnknownField: a patch sets a field that pods do not have.
	FindingUnknownField = "StaticPodUnknownField"
	// FindingEtcdTag: etcd runs with another version than a new member would.
	FindingEtcdTag = "EtcdImageVersion"
	// FindingHostChanged: the machine's proxies or CA directories are not those
	// in the manifest.
	FindingHostChanged = "StaticPodHostChanged"
)

// The annotations that tell other control planes where this one is.
const (
	AnnotationAPIServer = "kubeadm.kubernetes.io/kube-apiserver.advertise-address.endpoint"
	AnnotationEtcd      = "kubeadm.kubernetes.io/etcd.advertise-client-urls"
)

const probePort = "probe-port"

// flexVolumeDir is where kube-controller-manager looks for FlexVolume plugins.
const flexVolumeDir = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec"

// Address is the address of a pod in plans.
func Address(name string) reconcile.Address { return reconcile.Address("static-pod:" + name) }

// Build gives the pods as they should be: kube-apiserver,
// kube-controller-manager, kube-scheduler and, unless it is external, etcd.
// Layers, from the bottom: built-in, ClusterConfiguration, users without root,
// patches (behaviour catalogue A.3). A version that is not supported has class
// fault.Preflight; an argument or patch that cannot be used, InvalidConfig.
func Build(in Input) ([]Pod, []reconcile.Finding, error) {
	row, err := For(in.Cluster.KubernetesVersion)
	if err != nil {
		return nil, nil, err
	}
	rootless := row.Gate(GateRootless, in.Cluster.FeatureGates)
	if rootless && in.Users == nil {
		return nil, nil, fault.New(fault.Preflight, "the cluster runs its control plane without root (%s), and the users for it are not known", GateRootless).
			At("featureGates of configmap kube-system/kubeadm-config")
	}
	specs := []*spec{in.apiServer(), in.controllerManager(row), in.scheduler()}
	if in.Cluster.Etcd.External == nil {
		if in.Cluster.Etcd.Local == nil {
			c := *in.Cluster
			c.Etcd.Local = &kubeadm.LocalEtcd{DataDir: kubeadm.DefaultEtcdDataDir}
			in.Cluster = &c
		}
		specs = append(specs, in.etcd(row))
	}
	var out []Pod
	var findings []reconcile.Finding
	for _, s := range specs {
		findings = append(findings, s.findings...)
		if rootless {
			in.Users.apply(s.pod)
		}
		pod, more, err := applyPatches(s.name, s.pod, in.Patches)
		if err != nil {
			return nil, nil, err
		}
		findings = append(findings, more...)
		manifest, err := yaml.Marshal(pod)
		if err != nil {
			return nil, nil, err
		}
		out = append(out, Pod{Name: s.name, Path: Path(s.name), Pod: pod, Manifest: manifest})
	}
	return out, findings, nil
}

// spec is a pod in the making.
type spec struct {
	name     string
	pod      *corev1.Pod
	findings []reconcile.Finding
}

// component is what differs between the four.
type component struct {
	name, image     string
	annotation      [2]string
	base, extraArgs []kubeadm.Arg
	volumes         []kubeadm.HostPathMount
	env             []corev1.EnvVar
	requests        corev1.ResourceList
	port            int32
	host            string // of the probes; empty if they go to the node's own address
	scheme          corev1.URIScheme
	// The paths of the probes; readiness may have none.
	live, ready, startup string
}

func (in *Input) apiServer() *spec {
	c := in.Cluster.APIServer
	volumes := in.certificateVolumes(APIServer)
	if in.Cluster.Etcd.External != nil {
		volumes = append(volumes, in.externalEtcdVolumes()...)
	}
	return in.build(component{
		name: APIServer, image: in.image(APIServer),
		annotation: [2]string{AnnotationAPIServer, net.JoinHostPort(in.Endpoint.AdvertiseAddress, strconv.Itoa(int(in.Endpoint.BindPort)))},
		base:       in.apiServerArgs(), extraArgs: c.ExtraArgs,
		volumes: append(volumes, c.ExtraVolumes...), env: environment(in.host(APIServer).ProxyEnv, c.ExtraEnvs),
		requests: cpu("250m"), port: in.Endpoint.BindPort, host: specific(in.Endpoint.AdvertiseAddress), scheme: corev1.URISchemeHTTPS,
		live: "/livez", ready: "/readyz", startup: "/livez",
	})
}

func (in *Input) controllerManager(row Row) *spec {
	c := in.Cluster.ControllerManager
	volumes := append(in.certificateVolumes(ControllerManager), volume("kubeconfig", controllerManagerConf, true, corev1.HostPathFileOrCreate))
	if row.FlexVolumes {
		dir := flexVolumeDir
		if a, found := lastArg(c.ExtraArgs, "flex-volume-plugin-dir"); found {
			dir = a.Value
		}
		volumes = append(volumes, volume("flexvolume-dir", dir, false, corev1.HostPathDirectoryOrCreate))
	}
	return in.build(component{
		name: ControllerManager, image: in.image(ControllerManager),
		base: in.controllerManagerArgs(), extraArgs: c.ExtraArgs,
		volumes: append(volumes, c.ExtraVolumes...), env: environment(in.host(ControllerManager).ProxyEnv, c.ExtraEnvs),
		requests: cpu("200m"), port: controllerManagerPort, host: bindAddress(c.ExtraArgs), scheme: corev1.URISchemeHTTPS,
		live: "/healthz", startup: "/healthz",
	})
}

func (in *Input) scheduler() *spec {
	c := in.Cluster.Scheduler
	volumes := []kubeadm.HostPathMount{volume("kubeconfig", schedulerConf, true, corev1.HostPathFileOrCreate)}
	return in.build(component{
		name: Scheduler, image: in.image(Scheduler),
		base: in.schedulerArgs(), extraArgs: c.ExtraArgs,
		volumes: append(volumes, c.ExtraVolumes...), env: environment(in.host(Scheduler).ProxyEnv, c.ExtraEnvs),
		requests: cpu("100m"), port: schedulerPort, host: bindAddress(c.ExtraArgs), scheme: corev1.URISchemeHTTPS,
		live: "/livez", ready: "/readyz", startup: "/livez",
	})
}

func (in *Input) etcd(row Row) *spec {
	c := in.Cluster.Etcd.Local
	scheme, host, port := in.metricsEndpoint()
	requests := cpu("100m")
	requests[corev1.ResourceMemory] = resource.MustParse("100Mi")
	tag, findings := in.etcdTag(row)
	s := in.build(component{
		name: Etcd, image: in.etcdImage(tag),
		annotation: [2]string{AnnotationEtcd, "https://" + net.JoinHostPort(in.Endpoint.AdvertiseAddress, "2379")},
		base:       in.etcdArgs(row, tag), extraArgs: c.ExtraArgs, env: environment(nil, c.ExtraEnvs),
		volumes: []kubeadm.HostPathMount{
			volume("etcd-data", c.DataDir, false, corev1.HostPathDirectoryOrCreate),
			volume("etcd-certs", in.Cluster.CertificatesDir+"/etcd", false, corev1.HostPathDirectoryOrCreate),
		},
		requests: requests, port: port, host: host, scheme: scheme,
		live: "/livez", ready: "/readyz", startup: "/readyz",
	})
	// kubeadm leaves the mounts of this pod alone in their order.
	slices.Reverse(s.pod.Spec.Containers[0].VolumeMounts)
	s.findings = append(s.findings, findings...)
	return s
}

func cpu(quantity string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(quantity)}
}

// build puts together what the four have in common (behaviour catalogue §5.5).
func (in *Input) build(c component) *spec {
	probe := func(path string, delay, threshold, period int32) *corev1.Probe {
		if path == "" {
			return nil
		}
		return &corev1.Probe{
			ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
				Host: c.host, Path: path, Port: intstr.FromString(probePort), Scheme: c.scheme}},
			InitialDelaySeconds: delay, TimeoutSeconds: 15, FailureThreshold: threshold, PeriodSeconds: period,
		}
	}
	words, dropped := command(c.name, c.base, c.extraArgs)
	pod := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Name: c.name, Namespace: metav1.NamespaceSystem,
			Labels: map[string]string{"component": c.name, "tier": "control-plane"},
		},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{
				Name: c.name, Image: c.image, ImagePullPolicy: corev1.PullIfNotPresent, Command: words, Env: c.env,
				Ports:          []corev1.ContainerPort{{Name: probePort, ContainerPort: c.port, Protocol: corev1.ProtocolTCP}},
				Resources:      corev1.ResourceRequirements{Requests: c.requests},
				LivenessProbe:  probe(c.live, 10, 8, 10),
				ReadinessProbe: probe(c.ready, 0, 3, 1),
				StartupProbe:   probe(c.startup, 10, startupThreshold(in.StartupTimeout), 10),
			}},
			HostNetwork: true, Priority: new(int32(2000001000)), PriorityClassName: "system-node-critical",
			SecurityContext: &corev1.PodSecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
		},
	}
	if c.annotation[0] != "" {
		pod.Annotations = map[string]string{c.annotation[0]: c.annotation[1]}
	}
	setVolumes(&pod.Spec, c.volumes)
	s := &spec{name: c.name, pod: pod}
	for _, name := range dropped {
		s.findings = append(s.findings, reconcile.Finding{Severity: reconcile.SeverityWarning, Name: FindingArgDropped, Address: Address(c.name),
			Seen: fmt.Sprintf("the extra argument %q of %s has a mergeMethod, but there is no built-in argument to merge it with", name, c.name),
			Hint: "remove its mergeMethod in the ClusterConfiguration to set the argument"})
	}
	return s
}

// startupThreshold is how often a startup probe may fail, ten seconds apart.
func startupThreshold(timeout time.Duration) int32 {
	return int32(math.Ceil(timeout.Seconds() / 10))
}

// specific is an address to which a probe can go; empty for a wildcard.
func specific(address string) string {
	if ip := net.ParseIP(address); ip != nil && ip.IsUnspecified() {
		return ""
	}
	return address
}

// bindAddress is the host of a component's probes. Its port is fixed, whatever
// secure-port says (behaviour catalogue §11 #62).
func bindAddress(extra []kubeadm.Arg) string {
	if a, found := lastArg(extra, "bind-address"); found {
		return specific(a.Value)
	}
	return "127.0.0.1"
}

// metricsEndpoint is where etcd answers probes: the first of its metrics URLs,
// with what it does not say from the built-in one.
func (in *Input) metricsEndpoint() (corev1.URIScheme, string, int32) {
	scheme, host, port := corev1.URISchemeHTTP, in.loopback(), int32(etcdMetricsPort)
	urls, found := lastArg(in.Cluster.Etcd.Local.ExtraArgs, "listen-metrics-urls")
	if !found {
		return scheme, host, port
	}
	first, _, _ := strings.Cut(urls.Value, ",")
	u, err := url.Parse(first)
	if err != nil {
		return scheme, host, port
	}
	if u.Scheme == "https" {
		scheme = corev1.URISchemeHTTPS
	}
	if h := u.Hostname(); h != "" {
		host = h
	}
	if p, err := strconv.ParseInt(u.Port(), 10, 32); err == nil {
		port = int32(p)
	}
	return scheme, host, port
}

// apply makes a pod run without root (behaviour catalogue §5.5).
func (u *Users) apply(pod *corev1.Pod) {
	container := &pod.Spec.Containers[0]
	container.SecurityContext = &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(false),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
	var ug UserGroup
	switch pod.Name {
	case APIServer:
		ug = u.APIServer
		pod.Spec.SecurityContext.SupplementalGroups = []int64{u.SAKeyReaders}
		// It may listen on a port below 1024.
		container.SecurityContext.AllowPrivilegeEscalation = nil
		container.SecurityContext.Capabilities.Add = []corev1.Capability{"NET_BIND_SERVICE"}
	case ControllerManager:
		ug = u.ControllerManager
		pod.Spec.SecurityContext.SupplementalGroups = []int64{u.SAKeyReaders}
	case Scheduler:
		ug = u.Scheduler
	case Etcd:
		ug = u.Etcd
	}
	pod.Spec.SecurityContext.RunAsUser, pod.Spec.SecurityContext.RunAsGroup = new(ug.UID), new(ug.GID)
}

// applyPatches patches a pod. A pod's target has the pod's name.
func applyPatches(name string, pod *corev1.Pod, patches *patch.Set) (*corev1.Pod, []reconcile.Finding, error) {
	target := patch.Target(name)
	files := patches.Files(target)
	if len(files) == 0 {
		return pod, nil, nil
	}
	doc, err := json.Marshal(pod)
	if err != nil {
		return nil, nil, err
	}
	if doc, err = patches.Apply(target, doc); err != nil {
		return nil, nil, err
	}
	out := &corev1.Pod{}
	unknown, err := strictjson.UnmarshalStrict(doc, out)
	if err != nil {
		return nil, nil, err // Apply has checked the types
	}
	where := strings.Join(files, ", ")
	if out.TypeMeta != pod.TypeMeta {
		return nil, nil, fault.New(fault.InvalidConfig, "a patch must not change apiVersion or kind").At(where)
	}
	var findings []reconcile.Finding
	for _, u := range unknown {
		findings = append(findings, reconcile.Finding{Severity: reconcile.SeverityWarning, Name: FindingUnknownField, Address: Address(name),
			Seen: "patches set what pods do not have, it is left out: " + u.Error(), Hint: "check the spelling in " + where})
	}
	return out, findings, nil
}
