package node

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta4"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
	"github.com/kubejoin/kubejoin/reconcile/host"
	"github.com/kubejoin/kubejoin/reconcile/patch"
)

func read(t *testing.T, elem ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func decode[T any](t *testing.T, doc []byte) *T {
	t.Helper()
	v := new(T)
	if err := yaml.UnmarshalStrict(doc, v); err != nil {
		t.Fatal(err)
	}
	return v
}

// recorded is the input of one of kubeadm's recorded runs.
func recorded(t *testing.T, dir string) Input {
	t.Helper()
	join := decode[v1beta4.JoinConfiguration](t, read(t, dir, "join.yaml"))
	v1beta4.SetDefaultsJoinConfiguration(join)
	config := v1beta4.ToInternalJoinConfiguration(join)
	facts := host.Facts{Hostname: "vm"}
	if err := kubeadm.SetDynamicDefaults(config, kubeadm.Machine{Hostname: facts.Hostname}); err != nil {
		t.Fatal(err)
	}
	conf := decode[v1beta4.ClusterConfiguration](t, read(t, dir, "cluster.yaml"))
	v1beta4.SetDefaultsClusterConfiguration(conf)
	in := Input{
		Config: config,
		Cluster: &cluster.State{
			CA:            read(t, "testdata", "ca.crt"),
			Configuration: v1beta4.ToInternalClusterConfiguration(conf),
			KubeletConfig: read(t, dir, "kubelet-config.yaml"),
		},
		Facts: facts,
	}
	if config.Patches != nil && config.Patches.Directory != "" {
		in.Patches = patches(t, os.DirFS(filepath.Join(dir, config.Patches.Directory)))
	}
	return in
}

func patches(t *testing.T, fsys fs.FS) *patch.Set {
	t.Helper()
	set, err := patch.Load(fsys, "/patches")
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// What kubejoin writes is, byte for byte, what kubeadm wrote: see
// testdata/kubeadm/README.md.
func TestFilesAreKubeadms(t *testing.T) {
	dirs, err := filepath.Glob("testdata/kubeadm/*/join.yaml")
	if err != nil || len(dirs) == 0 {
		t.Fatal("no recorded runs", err)
	}
	for _, d := range dirs {
		dir := filepath.Dir(d)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			in := recorded(t, dir)
			desired, _, err := Compute(in)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range desired.Files {
				want := in.Cluster.CA
				if f.Format != FormatCABundle {
					want = read(t, dir, filepath.Base(f.Path))
				}
				if diff := cmp.Diff(string(want), string(f.Content)); diff != "" {
					t.Errorf("%s (-kubeadm +kubejoin):\n%s", f.Path, diff)
				}
				if equal, fields, notes := Compare(f.Format, want, f.Content); !equal || fields != nil || notes != nil {
					t.Errorf("%s is not equal to itself: %v, %v", f.Path, fields, notes)
				}
			}
		})
	}
}

// base is the input of the plainest run.
func base(t *testing.T) Input { return recorded(t, "testdata/kubeadm/plain") }

func compute(t *testing.T, in Input) (*Desired, []reconcile.Finding) {
	t.Helper()
	d, findings, err := Compute(in)
	if err != nil {
		t.Fatal(err)
	}
	return d, findings
}

// content is that of the file at a path; empty if there is none.
func content(d *Desired, path string) string {
	for _, f := range d.Files {
		if f.Path == path {
			return string(f.Content)
		}
	}
	return ""
}

func TestFilesOfAWorker(t *testing.T) {
	d, findings := compute(t, base(t))
	var got []File
	for _, f := range d.Files {
		f.Content = nil
		got = append(got, f)
	}
	want := []File{
		{Path: "/etc/kubernetes/pki/ca.crt", Format: FormatCABundle, Mode: 0o644, DirMode: 0o755},
		{Path: "/var/lib/kubelet/instance-config.yaml", Format: FormatInstanceConfig, Mode: 0o644, DirMode: 0o700},
		{Path: "/var/lib/kubelet/config.yaml", Format: FormatKubeletConfig, Mode: 0o644, DirMode: 0o700, RestartsKubelet: true},
		{Path: "/var/lib/kubelet/kubeadm-flags.env", Format: FormatKubeletFlags, Mode: 0o644, DirMode: 0o700, RestartsKubelet: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if d.NodeName != "w1" || d.HealthzAddress != "127.0.0.1:10248" || findings != nil {
		t.Errorf("got %q, %q, %v", d.NodeName, d.HealthzAddress, findings)
	}
}

func TestComputeRefuses(t *testing.T) {
	tests := map[string]struct {
		edit  func(*Input)
		class fault.Class
		want  string
	}{
		"no runtime": {func(in *Input) { in.Config.NodeRegistration.CRISocket = "" },
			fault.InvalidConfig, "nodeRegistration.criSocket: no container runtime endpoint"},
		"broken CA": {func(in *Input) { in.Cluster.CA = in.Cluster.CA[:len(in.Cluster.CA)/2] },
			fault.Untrusted, "the cluster's CA bundle has no usable certificate"},
		"service range": {func(in *Input) { in.Cluster.Configuration.Networking.ServiceSubnet = "10.96.0.0" },
			fault.InvalidConfig, "configmap kube-system/kubeadm-config: networking.serviceSubnet"},
		"published: no YAML": {func(in *Input) { in.Cluster.KubeletConfig = []byte("a: [") },
			fault.InvalidConfig, "configmap kube-system/kubelet-config: "},
		"published: wrong type": {func(in *Input) { in.Cluster.KubeletConfig = append(in.Cluster.KubeletConfig, "maxPods: many\n"...) },
			fault.InvalidConfig, "configmap kube-system/kubelet-config: json: cannot unmarshal string"},
		"published: another version": {func(in *Input) {
			in.Cluster.KubeletConfig = []byte("apiVersion: kubelet.config.k8s.io/v1\nkind: KubeletConfiguration\n")
		}, fault.InvalidConfig, `configmap kube-system/kubelet-config: apiVersion "kubelet.config.k8s.io/v1", kind "KubeletConfiguration" is not kubelet.config.k8s.io/v1beta1`},
		"published: another kind": {func(in *Input) {
			in.Cluster.KubeletConfig = []byte("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: CredentialProviderConfig\n")
		}, fault.InvalidConfig, `kind "CredentialProviderConfig"`},
		"published: empty": {func(in *Input) { in.Cluster.KubeletConfig = []byte{} }, fault.InvalidConfig, `apiVersion ""`},
		"patch: wrong type": {func(in *Input) { in.Patches = kubeletPatch(t, "maxPods: many") },
			fault.InvalidConfig, "/patches/kubeletconfiguration.yaml:1: document 1, strategic patch of kubeletconfiguration: "},
		"patch: kind": {func(in *Input) { in.Patches = kubeletPatch(t, "kind: Other") },
			fault.InvalidConfig, "/patches/kubeletconfiguration.yaml: a patch must not change apiVersion or kind"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := base(t)
			tt.edit(&in)
			_, _, err := Compute(in)
			if err == nil || !strings.Contains(err.Error(), tt.want) || fault.ClassOf(err) != tt.class {
				t.Errorf("got %v (%v); want %q (%v)", err, fault.ClassOf(err), tt.want, tt.class)
			}
		})
	}
}

func TestWhatIsNotSeenIsLeftOut(t *testing.T) {
	tests := map[string]struct {
		edit    func(*cluster.State)
		missing string
		seen    string
	}{
		"kubelet-config": {func(s *cluster.State) {
			s.KubeletConfig = nil
			s.Unseen = []cluster.Unseen{{What: "kubelet-config", Why: "forbidden"}, {What: "node w1", Why: "x"}}
		}, KubeletConfigPath, "kubelet-config could not be read: forbidden"},
		"kubeadm-config": {func(s *cluster.State) { s.Configuration = nil }, KubeletConfigPath, "the cluster's kubelet configuration is not known"},
		"CA":             {func(s *cluster.State) { s.CA = nil }, "/etc/kubernetes/pki/ca.crt", "the cluster's CA is not known"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := base(t)
			tt.edit(in.Cluster)
			d, findings := compute(t, in)
			if content(d, tt.missing) != "" || len(d.Files) != 3 {
				t.Errorf("%s is there", tt.missing)
			}
			if len(findings) != 1 || findings[0].Name != FindingNotCompared || findings[0].Address != FileAddress(tt.missing) || findings[0].Seen != tt.seen {
				t.Errorf("got %+v", findings)
			}
			if d.HealthzAddress != "127.0.0.1:10248" {
				t.Errorf("got %q", d.HealthzAddress)
			}
		})
	}
}

func TestComputeIsPure(t *testing.T) {
	in, again := recorded(t, "testdata/kubeadm/patches"), recorded(t, "testdata/kubeadm/patches")
	first, _ := compute(t, in)
	second, _ := compute(t, in)
	if diff := cmp.Diff(first, second); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(again.Config, in.Config) + cmp.Diff(again.Cluster.Configuration, in.Cluster.Configuration); diff != "" {
		t.Errorf("the input changed: %s", diff)
	}
}

func TestSensitiveFiles(t *testing.T) {
	in := base(t)
	in.Cluster.KubeletConfig = append(in.Cluster.KubeletConfig, "staticPodURLHeader: {Authorization: [hunter2]}\n"...)
	in.Config.NodeRegistration.KubeletExtraArgs = []kubeadm.Arg{{Name: "manifest-url-header", Value: "A:hunter2"}}
	d, _ := compute(t, in)
	for _, f := range d.Files {
		if want := strings.Contains(string(f.Content), "hunter2"); f.Sensitive != want {
			t.Errorf("%s: sensitive %v, want %v", f.Path, f.Sensitive, want)
		}
	}
}

func TestTaintsOfAWorker(t *testing.T) {
	in := base(t)
	in.Config.NodeRegistration.Taints = []corev1.Taint{}
	d, _ := compute(t, in)
	if got := content(d, KubeletFlagsPath); strings.Contains(got, "taints") {
		t.Error(got)
	}
}
