package kubeadm_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/randfill"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	v1 "github.com/kubejoin/kubejoin/apis/kubeadm/v1"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta1"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta2"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta3"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta4"
)

// fill makes a random configuration out of bytes. Durations are never absent, as
// after the static defaults.
func fill[T any](data []byte) *T {
	out := new(T)
	randfill.NewFromGoFuzz(data).NilChance(0.3).NumElements(0, 3).Funcs(
		func(d **metav1.Duration, c randfill.Continue) {
			*d = &metav1.Duration{Duration: time.Duration(c.Int63())}
		},
		func(t *metav1.TypeMeta, _ randfill.Continue) { *t = metav1.TypeMeta{} },
		func(t **v1beta4.Timeouts, c randfill.Continue) { *t = &v1beta4.Timeouts{}; c.FillNoCustom(*t) },
		func(t **v1.Timeouts, c randfill.Continue) { *t = &v1.Timeouts{}; c.FillNoCustom(*t) },
		func(t *v1beta1.DNSType, _ randfill.Continue) { *t = "CoreDNS" },
		func(t *v1beta2.DNSType, _ randfill.Continue) { *t = "kube-dns" },
		func(t *metav1.Time, c randfill.Continue) { t.Time = time.Unix(c.Int63()%1e9, 0) },
		func(e *corev1.EnvVar, c randfill.Continue) { e.Name, e.Value = c.String(5), c.String(5) },
		func(t *corev1.Taint, c randfill.Continue) {
			*t = corev1.Taint{Key: c.String(5), TimeAdded: &metav1.Time{Time: time.Unix(c.Int63()%1e9, 0)}}
		},
	).Fill(out)
	return out
}

// both checks one kind of one version in both directions: what the version can
// express comes back from the internal version as it was, and what of an internal
// configuration does not come back is listed.
func both[External, Internal any](t *testing.T, data []byte, to func(*External) *Internal, from func(*Internal) (*External, []string), meta func(*External) *metav1.TypeMeta) {
	t.Helper()
	external := fill[External](data)
	again, lost := from(to(external))
	if typeMeta := meta(again); typeMeta.Kind == "" || typeMeta.APIVersion == "" {
		t.Errorf("%T has no type", again)
	}
	*meta(again) = metav1.TypeMeta{}
	if diff := gocmp.Diff(external, again); diff != "" || lost != nil {
		t.Fatalf("lost %v (-before +after):\n%s", lost, diff)
	}

	internal := fill[Internal](data)
	external, lost = from(internal)
	type sorted []kubeadm.Arg
	byName := gocmp.Transformer("sort", func(in []kubeadm.Arg) sorted {
		out := slices.Clone(in)
		slices.SortStableFunc(out, func(a, b kubeadm.Arg) int { return cmp.Compare(a.Name, b.Name) })
		return sorted(out)
	})
	for _, path := range lost {
		if path == "" || slices.Contains(strings.Split(path, "."), "") || strings.ToLower(path[:1]) != path[:1] {
			t.Errorf("not a path: %q", path)
		}
	}
	if diff := gocmp.Diff(internal, to(external), byName); (diff != "") != (len(lost) > 0) {
		t.Fatalf("lost %v (-before +after):\n%s", lost, diff)
	}
}

func roundTrip(t *testing.T, data []byte) {
	t.Helper()
	both(t, data, v1beta1.ToInternalJoinConfiguration, v1beta1.FromInternalJoinConfiguration, func(c *v1beta1.JoinConfiguration) *metav1.TypeMeta { return &c.TypeMeta })
	both(t, data, v1beta1.ToInternalInitConfiguration, v1beta1.FromInternalInitConfiguration, func(c *v1beta1.InitConfiguration) *metav1.TypeMeta { return &c.TypeMeta })
	both(t, data, v1beta1.ToInternalClusterConfiguration, v1beta1.FromInternalClusterConfiguration, func(c *v1beta1.ClusterConfiguration) *metav1.TypeMeta { return &c.TypeMeta })
	both(t, data, v1beta2.ToInternalJoinConfiguration, v1beta2.FromInternalJoinConfiguration, func(c *v1beta2.JoinConfiguration) *metav1.TypeMeta { return &c.TypeMeta })
	both(t, data, v1beta2.ToInternalInitConfiguration, v1beta2.FromInternalInitConfiguration, func(c *v1beta2.InitConfiguration) *metav1.TypeMeta { return &c.TypeMeta })
	both(t, data, v1beta2.ToInternalClusterConfiguration, v1beta2.FromInternalClusterConfiguration, func(c *v1beta2.ClusterConfiguration) *metav1.TypeMeta { return &c.TypeMeta })
	both(t, data, v1beta3.ToInternalJoinConfiguration, v1beta3.FromInternalJoinConfiguration, func(c *v1beta3.JoinConfiguration) *metav1.TypeMeta { return &c.TypeMeta })
	both(t, data, v1beta3.ToInternalInitConfiguration, v1beta3.FromInternalInitConfiguration, func(c *v1beta3.InitConfiguration) *metav1.TypeMeta { return &c.TypeMeta })
	both(t, data, v1beta3.ToInternalClusterConfiguration, v1beta3.FromInternalClusterConfiguration, func(c *v1beta3.ClusterConfiguration) *metav1.TypeMeta { return &c.TypeMeta })
	both(t, data, v1beta4.ToInternalJoinConfiguration, v1beta4.FromInternalJoinConfiguration, func(c *v1beta4.JoinConfiguration) *metav1.TypeMeta { return &c.TypeMeta })
	both(t, data, v1beta4.ToInternalInitConfiguration, v1beta4.FromInternalInitConfiguration, func(c *v1beta4.InitConfiguration) *metav1.TypeMeta { return &c.TypeMeta })
	both(t, data, v1beta4.ToInternalClusterConfiguration, v1beta4.FromInternalClusterConfiguration, func(c *v1beta4.ClusterConfiguration) *metav1.TypeMeta { return &c.TypeMeta })
	both(t, data, v1beta4.ToInternalResetConfiguration, v1beta4.FromInternalResetConfiguration, func(c *v1beta4.ResetConfiguration) *metav1.TypeMeta { return &c.TypeMeta })
	both(t, data, v1beta4.ToInternalUpgradeConfiguration, v1beta4.FromInternalUpgradeConfiguration, func(c *v1beta4.UpgradeConfiguration) *metav1.TypeMeta { return &c.TypeMeta })
	both(t, data, v1.ToInternalJoinConfiguration, v1.FromInternalJoinConfiguration, func(c *v1.JoinConfiguration) *metav1.TypeMeta { return &c.TypeMeta })
	both(t, data, v1.ToInternalInitConfiguration, v1.FromInternalInitConfiguration, func(c *v1.InitConfiguration) *metav1.TypeMeta { return &c.TypeMeta })
	both(t, data, v1.ToInternalClusterConfiguration, v1.FromInternalClusterConfiguration, func(c *v1.ClusterConfiguration) *metav1.TypeMeta { return &c.TypeMeta })
	both(t, data, v1.ToInternalResetConfiguration, v1.FromInternalResetConfiguration, func(c *v1.ResetConfiguration) *metav1.TypeMeta { return &c.TypeMeta })
	both(t, data, v1.ToInternalUpgradeConfiguration, v1.FromInternalUpgradeConfiguration, func(c *v1.UpgradeConfiguration) *metav1.TypeMeta { return &c.TypeMeta })
}

// FuzzRoundTrip: what a version can express survives there and back, and what it
// cannot is listed.
func FuzzRoundTrip(f *testing.F) {
	for seed := range 30 {
		var data []byte
		for i := range 4000 {
			data = append(data, byte((i*i+seed*7919)*(i+seed+1)>>3))
		}
		f.Add(data)
	}
	f.Fuzz(roundTrip)
}

// defaulted is an internal configuration as a version's defaults make it.
func defaulted() (*kubeadm.JoinConfiguration, *kubeadm.InitConfiguration, *kubeadm.ClusterConfiguration) {
	join, init, cluster := new(v1.JoinConfiguration), new(v1.InitConfiguration), new(v1.ClusterConfiguration)
	v1.SetDefaultsJoinConfiguration(join)
	v1.SetDefaultsInitConfiguration(init)
	v1.SetDefaultsClusterConfiguration(cluster)
	return v1.ToInternalJoinConfiguration(join), v1.ToInternalInitConfiguration(init), v1.ToInternalClusterConfiguration(cluster)
}

// lost gives the losses of the three common kinds in all versions, as
// "version Kind path".
func lost(join *kubeadm.JoinConfiguration, init *kubeadm.InitConfiguration, cluster *kubeadm.ClusterConfiguration) []string {
	var out []string
	add := func(version, kind string, paths []string) {
		for _, path := range paths {
			out = append(out, fmt.Sprintf("%s %s %s", version, kind, path))
		}
	}
	_, paths := v1beta1.FromInternalJoinConfiguration(join)
	add("v1beta1", "Join", paths)
	_, paths = v1beta1.FromInternalInitConfiguration(init)
	add("v1beta1", "Init", paths)
	_, paths = v1beta1.FromInternalClusterConfiguration(cluster)
	add("v1beta1", "Cluster", paths)
	_, paths = v1beta2.FromInternalJoinConfiguration(join)
	add("v1beta2", "Join", paths)
	_, paths = v1beta2.FromInternalInitConfiguration(init)
	add("v1beta2", "Init", paths)
	_, paths = v1beta2.FromInternalClusterConfiguration(cluster)
	add("v1beta2", "Cluster", paths)
	_, paths = v1beta3.FromInternalJoinConfiguration(join)
	add("v1beta3", "Join", paths)
	_, paths = v1beta3.FromInternalInitConfiguration(init)
	add("v1beta3", "Init", paths)
	_, paths = v1beta3.FromInternalClusterConfiguration(cluster)
	add("v1beta3", "Cluster", paths)
	_, paths = v1beta4.FromInternalJoinConfiguration(join)
	add("v1beta4", "Join", paths)
	_, paths = v1beta4.FromInternalInitConfiguration(init)
	add("v1beta4", "Init", paths)
	_, paths = v1beta4.FromInternalClusterConfiguration(cluster)
	add("v1beta4", "Cluster", paths)
	_, paths = v1.FromInternalJoinConfiguration(join)
	add("v1", "Join", paths)
	_, paths = v1.FromInternalInitConfiguration(init)
	add("v1", "Init", paths)
	_, paths = v1.FromInternalClusterConfiguration(cluster)
	add("v1", "Cluster", paths)
	return out
}

// TestLost is the matrix of what a version cannot express: behaviour catalogue
// §1.2 and §1.3.
func TestLost(t *testing.T) {
	all := []string{"v1beta1", "v1beta2", "v1beta3", "v1beta4", "v1"}
	type (
		join    = kubeadm.JoinConfiguration
		init    = kubeadm.InitConfiguration
		cluster = kubeadm.ClusterConfiguration
	)
	for _, tt := range []struct {
		want  string // kind and path
		in    []string
		spoil func(*join, *init, *cluster)
	}{
		{"", nil, func(*join, *init, *cluster) {}},
		{"Join dryRun", all[:3], func(j *join, _ *init, _ *cluster) { j.DryRun = true }},
		{"Join controlPlane.certificateKey", all[:1], func(j *join, _ *init, _ *cluster) {
			j.ControlPlane = &kubeadm.JoinControlPlane{CertificateKey: "x"}
		}},
		{"Join nodeRegistration.ignorePreflightErrors", all[:1], func(j *join, _ *init, _ *cluster) { j.NodeRegistration.IgnorePreflightErrors = []string{"all"} }},
		{"Join nodeRegistration.imagePullPolicy", all[:2], func(j *join, _ *init, _ *cluster) { j.NodeRegistration.ImagePullPolicy = "Never" }},
		{"Join nodeRegistration.imagePullSerial", all[:3], func(j *join, _ *init, _ *cluster) { j.NodeRegistration.ImagePullSerial = new(false) }},
		{"Join nodeRegistration.kubeletExtraArgs[0]", all[:3], func(j *join, _ *init, _ *cluster) {
			j.NodeRegistration.KubeletExtraArgs = []kubeadm.Arg{{Name: "v", Value: "1"}, {Name: "a"}, {Name: "v", Value: "2"}}
		}},
		{"Join nodeRegistration.kubeletExtraArgs[1].mergeMethod", all[:4], func(j *join, _ *init, _ *cluster) {
			j.NodeRegistration.KubeletExtraArgs = []kubeadm.Arg{{Name: "v"}, {Name: "a", MergeMethod: "append"}}
		}},
		{"", nil, func(j *join, _ *init, _ *cluster) {
			j.NodeRegistration.KubeletExtraArgs = []kubeadm.Arg{{Name: "v"}, {Name: "a"}}
		}},
		{"Join skipPhases", all[:2], func(j *join, _ *init, _ *cluster) { j.SkipPhases = []string{"preflight"} }},
		{"Join patches", all[:2], func(j *join, _ *init, _ *cluster) { j.Patches = &kubeadm.Patches{Directory: "x"} }},
		{"", nil, func(j *join, _ *init, _ *cluster) { j.Timeouts.Discovery = 0 }},
		{"Join timeouts.tlsBootstrap", all[:3], func(j *join, _ *init, _ *cluster) { j.Timeouts.TLSBootstrap = 0 }},
		{"Init timeouts.controlPlaneComponentHealthCheck", all[:3], func(_ *join, i *init, _ *cluster) { i.Timeouts.ControlPlaneComponentHealthCheck = 1 }},
		{"Init certificateKey", all[:1], func(_ *join, i *init, _ *cluster) { i.CertificateKey = "x" }},
		{"Init dryRun", all[:3], func(_ *join, i *init, _ *cluster) { i.DryRun = true }},
		{"Init skipPhases", all[:2], func(_ *join, i *init, _ *cluster) { i.SkipPhases = []string{} }},
		{"Cluster useHyperKubeImage", all[2:], func(_ *join, _ *init, c *cluster) { c.UseHyperKubeImage = true }},
		{"Cluster dns.type", all[2:], func(_ *join, _ *init, c *cluster) { c.DNS.Type = "kube-dns" }},
		{"Cluster apiServer.timeoutForControlPlane", all[3:], func(_ *join, _ *init, c *cluster) { c.APIServer.TimeoutForControlPlane = new(time.Minute) }},
		{"Cluster apiServer.extraEnvs", all[:3], func(_ *join, _ *init, c *cluster) { c.APIServer.ExtraEnvs = []corev1.EnvVar{{Name: "a"}} }},
		{"Cluster encryptionAlgorithm", all[:3], func(_ *join, _ *init, c *cluster) { c.EncryptionAlgorithm = "ECDSA-P256" }},
		{"Cluster certificateValidityPeriod", all[:3], func(_ *join, _ *init, c *cluster) { c.CertificateValidityPeriod = time.Hour }},
		{"Cluster caCertificateValidityPeriod", all[:3], func(_ *join, _ *init, c *cluster) { c.CACertificateValidityPeriod = time.Hour }},
		{"Cluster dns.disabled", all[:3], func(_ *join, _ *init, c *cluster) { c.DNS.Disabled = true }},
		{"Cluster proxy.disabled", all[:3], func(_ *join, _ *init, c *cluster) { c.Proxy.Disabled = true }},
		{"Cluster etcd.local.extraEnvs", all[:3], func(_ *join, _ *init, c *cluster) { c.Etcd.Local.ExtraEnvs = []corev1.EnvVar{{Name: "a"}} }},
		{"", nil, func(_ *join, _ *init, c *cluster) {
			c.Etcd.External = &kubeadm.ExternalEtcd{Endpoints: []string{"a"}, HTTPEndpoints: []string{"a"}}
		}},
		{"Cluster etcd.external.httpEndpoints[0]", all[:3], func(_ *join, _ *init, c *cluster) {
			c.Etcd.External = &kubeadm.ExternalEtcd{Endpoints: []string{"a"}, HTTPEndpoints: []string{"b"}}
		}},
	} {
		t.Run(cmp.Or(tt.want, "nothing"), func(t *testing.T) {
			join, init, cluster := defaulted()
			tt.spoil(join, init, cluster)
			var want []string
			for _, version := range tt.in {
				want = append(want, version+" "+tt.want)
			}
			if diff := gocmp.Diff(want, lost(join, init, cluster)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
