package staticpod

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/patch"
)

var update = flag.Bool("update", false, "write the golden files anew")

func plain() Input {
	return Input{
		Cluster: &kubeadm.ClusterConfiguration{
			KubernetesVersion: "v1.37.2", ControlPlaneEndpoint: "cp.example:6443", ClusterName: "kubernetes",
			CertificatesDir: "/etc/kubernetes/pki", ImageRepository: "registry.k8s.io",
			Networking: kubeadm.Networking{ServiceSubnet: "10.96.0.0/12", PodSubnet: "10.244.0.0/16", DNSDomain: "cluster.local"},
			Etcd:       kubeadm.Etcd{Local: &kubeadm.LocalEtcd{DataDir: "/var/lib/etcd"}},
		},
		Endpoint: kubeadm.APIEndpoint{AdvertiseAddress: "192.0.2.2", BindPort: 6443}, NodeName: "cp2", StartupTimeout: 4 * time.Minute,
		EtcdMembers: []Member{{"cp1", "https://192.0.2.1:2380"}, {"cp2", "https://192.0.2.2:2380"}},
	}
}

func patches(t *testing.T, files map[string]string) *patch.Set {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, content := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(content)}
	}
	set, err := patch.Load(fsys, "/patches")
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func build(t *testing.T, in Input) map[string]Pod {
	t.Helper()
	pods, _, err := Build(in)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]Pod{}
	for _, p := range pods {
		out[p.Name] = p
	}
	return out
}

// Whether they are what kubeadm writes is the matter of e2e/oracle.
func TestBuildGolden(t *testing.T) {
	tests := map[string]func(*Input){
		"plain": func(*Input) {},
		"old-ipv6-rootless": func(in *Input) {
			in.Cluster.KubernetesVersion, in.Endpoint.AdvertiseAddress = "v1.34.4", "2001:db8::2"
			in.Cluster.FeatureGates = map[string]bool{GateRootless: true}
			in.Users = &Users{Etcd: UserGroup{901, 911}, APIServer: UserGroup{902, 912}, ControllerManager: UserGroup{903, 913}, Scheduler: UserGroup{904, 914}, SAKeyReaders: 920}
			in.EtcdMembers, in.ExternalCA = nil, true
		},
	}
	for name, edit := range tests {
		t.Run(name, func(t *testing.T) {
			in := plain()
			edit(&in)
			var got []byte
			pods, findings, err := Build(in)
			if err != nil || len(findings) > 0 {
				t.Fatal(findings, err)
			}
			for _, p := range pods {
				got = append(got, "# "+p.Path+"\n"+string(p.Manifest)...)
			}
			golden := filepath.Join("testdata", name+".yaml")
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestBuildRefuses(t *testing.T) {
	tests := map[string]struct {
		edit  func(*Input)
		class fault.Class
		want  string
		hint  string
	}{
		"older":            {func(in *Input) { in.Cluster.KubernetesVersion = "v1.33.9" }, fault.Preflight, "1.34, 1.35, 1.36, 1.37", "upgrade the cluster"},
		"newer":            {func(in *Input) { in.Cluster.KubernetesVersion = "v1.38.0" }, fault.Preflight, "1.34, 1.35, 1.36, 1.37", "newer kubejoin"},
		"no version":       {func(in *Input) { in.Cluster.KubernetesVersion = "stable-1" }, fault.Preflight, `"stable-1" is not a version`, "kubectl"},
		"users not known":  {func(in *Input) { in.Cluster.FeatureGates = map[string]bool{GateRootless: true} }, fault.Preflight, "RootlessControlPlane", ""},
		"kind by a patch":  {func(in *Input) { in.Patches = patches(t, map[string]string{"etcd+merge.yaml": "kind: Node"}) }, fault.InvalidConfig, "/patches/etcd+merge.yaml: a patch must not change", ""},
		"wrong type patch": {func(in *Input) { in.Patches = patches(t, map[string]string{"etcd+merge.yaml": "spec: 1"}) }, fault.InvalidConfig, "/patches/etcd+merge.yaml", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := plain()
			tt.edit(&in)
			_, _, err := Build(in)
			if err == nil || fault.ClassOf(err) != tt.class || !strings.Contains(err.Error(), tt.want) || !strings.Contains(fault.HintOf(err), tt.hint) {
				t.Errorf("%v, hint %q", err, fault.HintOf(err))
			}
		})
	}
}

func TestBuildFindings(t *testing.T) {
	in := plain()
	in.Cluster.Scheduler.ExtraArgs = []kubeadm.Arg{{Name: "v", Value: "1", MergeMethod: kubeadm.MergeAppend}}
	in.Patches = patches(t, map[string]string{"kube-scheduler.yaml": "spec: {hostNetwrk: true}"})
	_, findings, err := Build(in)
	if err != nil || len(findings) != 2 || findings[0].Name != FindingArgDropped || findings[1].Name != FindingUnknownField ||
		!strings.Contains(findings[1].Seen, "hostNetwrk") {
		t.Errorf("%+v, %v", findings, err)
	}
}

// A feature gate that a minor version does not know means nothing.
func TestGate(t *testing.T) {
	row, _ := For("1.37.0")
	old, _ := For("v1.34.0-rc.1+x")
	off := map[string]bool{GateLocalMode: false, GateRootless: true}
	if row.Gate(GateLocalMode, off) || old.Gate(GateLocalMode, off) || !old.Gate(GateLocalMode, nil) || !row.Gate(GateRootless, off) || row.Gate(GateRootless, nil) {
		t.Error("gates")
	}
	if old.KubeletClientBinding() || !row.KubeletClientBinding() {
		t.Error("the binding goes with the certificate without organization")
	}
}

func edited(t *testing.T, manifest []byte, replace ...string) []byte {
	t.Helper()
	for i := 0; i < len(replace); i += 2 {
		if !bytes.Contains(manifest, []byte(replace[i])) {
			t.Fatalf("no %q in the manifest", replace[i])
		}
	}
	return []byte(strings.NewReplacer(replace...).Replace(string(manifest)))
}

func TestCompare(t *testing.T) {
	in := plain()
	in.Host.ProxyEnv = []string{"HTTP_PROXY=http://u:hunter2@p"}
	in.Cluster.APIServer.ExtraVolumes = []kubeadm.HostPathMount{{Name: "x", HostPath: "/x", MountPath: "/y"}}
	pods := build(t, in)
	tests := map[string]struct {
		pod     string
		replace []string
		options Options
		want    []reconcile.Field
	}{
		"same": {pod: APIServer},
		"other order, defaults written out, another folder of the program": {pod: APIServer, replace: []string{
			"    - --allow-privileged=true\n", "", "    - --authorization-mode=Node,RBAC\n", "    - --authorization-mode=Node,RBAC\n    - --allow-privileged=true\n",
			"    - kube-apiserver\n", "    - /usr/local/bin/kube-apiserver\n",
			"  hostNetwork: true\n", "  hostNetwork: true\n  restartPolicy: Always\n  dnsPolicy: ClusterFirst\n  terminationGracePeriodSeconds: 30\n  tolerations: []\n",
			"      type: \"\"\n", "", "cpu: 250m", "cpu: 0.25", "status: {}\n", "",
		}},
		"nothing of how long to wait": {pod: Scheduler, replace: []string{"failureThreshold: 24", "failureThreshold: 9"}},
		"how long to wait, asked for": {pod: Scheduler, replace: []string{"failureThreshold: 24", "failureThreshold: 9"}, options: Options{StartupThreshold: true},
			want: []reconcile.Field{{Path: "startupProbe.failureThreshold", Before: "9", After: "24"}}},
		"arguments": {pod: APIServer, replace: []string{"--secure-port=6443", "--secure-port=6444\n    - --v=4\n    - --v=5", "    - --allow-privileged=true\n", ""},
			want: []reconcile.Field{{Path: "args[--allow-privileged]", After: "true"}, {Path: "args[--secure-port]", Before: "6444", After: "6443"}, {Path: "args[--v]", Before: "4 5"}}},
		"image, label, annotation": {pod: APIServer, replace: []string{"v1.37.2", "v1.36.0", "tier: control-plane", "tier: other", "endpoint: 192.0.2.2:6443", "endpoint: x"},
			want: []reconcile.Field{{Path: "annotations[" + AnnotationAPIServer + "]", Before: "x", After: "192.0.2.2:6443"},
				{Path: "image", Before: "registry.k8s.io/kube-apiserver:v1.36.0", After: "registry.k8s.io/kube-apiserver:v1.37.2"},
				{Path: "labels[tier]", Before: "other", After: "control-plane"}}},
		"variables are masked": {pod: Scheduler, replace: []string{"value: http://u:hunter2@p", "value: secret2\n    - name: NEW\n      value: secret3"},
			want: []reconcile.Field{
				{Path: "env[HTTP_PROXY].value", Before: reconcile.Mask([]byte("secret2")), After: reconcile.Mask([]byte("http://u:hunter2@p"))},
				{Path: "env[NEW]", Before: `{"name":"NEW","value":"` + reconcile.Mask([]byte("secret3")) + `"}`}}},
		"passwords in arguments are masked": {pod: Scheduler, replace: []string{"--leader-elect=true", "--leader-elect=https://u:hunter2@x"},
			want: []reconcile.Field{{Path: "args[--leader-elect]", Before: reconcile.Mask([]byte("https://u:hunter2@x")), After: "true"}}},
		"volumes": {pod: Etcd, replace: []string{"path: /var/lib/etcd\n", "path: /data\n", "    - mountPath: /etc/kubernetes/pki/etcd\n      name: etcd-certs\n", ""},
			want: []reconcile.Field{{Path: "mounts[/etc/kubernetes/pki/etcd]", After: `{"mountPath":"/etc/kubernetes/pki/etcd","name":"etcd-certs"}`},
				{Path: "volumes[etcd-data].hostPath.path", Before: "/data", After: "/var/lib/etcd"}}},
		"security of pod and container": {pod: Scheduler, replace: []string{"type: RuntimeDefault", "type: Unconfined", "    name: kube-scheduler\n    ports", "    name: kube-scheduler\n    securityContext: {runAsUser: 1}\n    ports"},
			want: []reconcile.Field{{Path: "pod securityContext.seccompProfile.type", Before: "Unconfined", After: "RuntimeDefault"},
				{Path: "securityContext", Before: `{"runAsUser":1}`}}},
		"another container, with a secret": {pod: Scheduler, replace: []string{"  hostNetwork: true\n", "  - {name: side, image: x, env: [{name: A, value: hunter2}]}\n  hostNetwork: true\n"},
			want: []reconcile.Field{{Path: "containers[side]", Before: `{"env":{"A":{"name":"A","value":"` + reconcile.Mask([]byte("hunter2")) +
				`"}},"image":"x","name":"side","terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File"}`}}},
		"a probe": {pod: ControllerManager, replace: []string{"path: /healthz", "path: /livez"},
			want: []reconcile.Field{{Path: "livenessProbe.httpGet.path", Before: "/livez", After: "/healthz"}, {Path: "startupProbe.httpGet.path", Before: "/livez", After: "/healthz"}}},
		"initial cluster without data": {pod: Etcd, replace: []string{"--initial-cluster=cp1=https://192.0.2.1:2380,cp2", "--initial-cluster=cp2", "    - --initial-cluster-state=existing\n", ""},
			want: []reconcile.Field{{Path: "args[--initial-cluster]", Before: "cp2=https://192.0.2.2:2380", After: "cp1=https://192.0.2.1:2380,cp2=https://192.0.2.2:2380"},
				{Path: "args[--initial-cluster-state]", After: "existing"}}},
		"initial cluster with data": {pod: Etcd, options: Options{EtcdHasData: true},
			replace: []string{"--initial-cluster=cp1=https://192.0.2.1:2380,cp2", "--initial-cluster=cp2", "    - --initial-cluster-state=existing\n", ""}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			want := pods[tt.pod]
			equal, fields, err := Compare(edited(t, want.Manifest, tt.replace...), want.Pod, tt.options)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, fields); diff != "" || equal != (len(tt.want) == 0) {
				t.Errorf("equal %t (-want +got):\n%s", equal, diff)
			}
		})
	}
}

// Volumes, mounts and variables are sets; command and args are one.
func TestCompareOrder(t *testing.T) {
	in := plain()
	in.Cluster.APIServer.ExtraEnvs = []corev1.EnvVar{{Name: "A", Value: "1"}, {Name: "B"}}
	want := build(t, in)[APIServer].Pod
	have := want.DeepCopy()
	c := &have.Spec.Containers[0]
	slices.Reverse(c.Env)
	slices.Reverse(c.VolumeMounts)
	slices.Reverse(have.Spec.Volumes)
	c.Command, c.Args = c.Command[:1], c.Command[1:]
	have.Status.Phase = corev1.PodRunning
	manifest, err := yaml.Marshal(have)
	if err != nil {
		t.Fatal(err)
	}
	if equal, fields, err := Compare(manifest, want, Options{}); !equal || err != nil {
		t.Errorf("%+v, %v", fields, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, doc := range []string{"", "a: [", "apiVersion: v1\nkind: Node\n", "apiVersion: v1\nkind: Pod\nspec: 1\n"} {
		if _, _, err := Compare([]byte(doc), &corev1.Pod{}, Options{}); err == nil {
			t.Errorf("%q is a pod", doc)
		}
	}
	if _, err := Recorded(Etcd, build(t, plain())[Scheduler].Manifest, plain().Cluster); err == nil {
		t.Error("another pod's record")
	}
}

// A plan from another shell, on a machine that has changed, finds nothing to do.
func TestRecorded(t *testing.T) {
	in := plain()
	in.Cluster.Scheduler.ExtraEnvs = []corev1.EnvVar{{Name: "OWN_PROXY", Value: "a"}}
	in.Host = Host{ProxyEnv: []string{"HTTP_PROXY=http://u:hunter2@p", "no_proxy=x"}, CADirs: []string{"/etc/ca-certificates"}}
	before := build(t, in)
	later := in
	later.Host = Host{ProxyEnv: []string{"HTTP_PROXY=other", "HTTPS_PROXY=new"}, CADirs: []string{"/usr/share/ca-certificates"}}
	later.Recorded, later.EtcdMembers = map[string]Record{}, nil
	for name, p := range before {
		r, err := Recorded(name, p.Manifest, in.Cluster)
		if err != nil {
			t.Fatal(err)
		}
		later.Recorded[name] = r
	}
	if diff := cmp.Diff(before, build(t, later)); diff != "" {
		t.Errorf("(-before +later):\n%s", diff)
	}

	want := map[string]string{
		APIServer: "the directory /etc/ca-certificates is gone, the directory /usr/share/ca-certificates is new, " +
			"the variable HTTPS_PROXY is new, the variable HTTP_PROXY has another value, the variable no_proxy is gone",
		Scheduler: "the variable HTTPS_PROXY is new, the variable HTTP_PROXY has another value, the variable no_proxy is gone",
		Etcd:      "",
	}
	for name, seen := range want {
		findings := HostChanged(name, later.Recorded[name], later.Host)
		if (seen == "") != (len(findings) == 0) || seen != "" && !strings.HasSuffix(findings[0].Seen, ": "+seen) {
			t.Errorf("%s: %+v", name, findings)
		}
		if more := HostChanged(name, later.Recorded[name], in.Host); more != nil {
			t.Errorf("%s: %+v", name, more)
		}
	}
}

func TestEtcdTag(t *testing.T) {
	tests := map[string]struct {
		configured, recorded, members, want string
		finding                             bool
	}{
		"the table's":             {want: "3.7.0-0"},
		"configured":              {"3.1-x", "3.7.0-0", "3.6.0-0", "3.1-x", false},
		"that of the members":     {members: "3.6.8-0", want: "3.6.8-0"},
		"newer stays":             {recorded: "3.8.0-0", want: "3.8.0-0", finding: true},
		"older patch stays":       {recorded: "3.7.0-rc.1", want: "3.7.0-rc.1", finding: true},
		"older minor is replaced": {recorded: "3.6.8-0", want: "3.7.0-0"},
		"nonsense is replaced":    {recorded: "latest", want: "3.7.0-0"},
		"as the members":          {recorded: "3.6.5-0", members: "3.6.8-0", want: "3.6.5-0", finding: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := plain()
			in.Cluster.Etcd.Local.ImageTag, in.EtcdTag = tt.configured, tt.members
			in.Recorded = map[string]Record{Etcd: {EtcdTag: tt.recorded}}
			pods, findings, err := Build(in)
			if err != nil {
				t.Fatal(err)
			}
			if image := pods[3].Pod.Spec.Containers[0].Image; image != "registry.k8s.io/etcd:"+tt.want || (len(findings) == 1) != tt.finding {
				t.Errorf("%s, %+v", image, findings)
			}
		})
	}
	for image, want := range map[string]string{"a/etcd:1": "1", "localhost:5000/etcd": "", "localhost:5000/etcd:3@sha256:a": "3", "etcd": ""} {
		if got := tag(image); got != want {
			t.Errorf("%s: %q", image, got)
		}
	}
}

func TestHealth(t *testing.T) {
	type args map[string]string
	tests := map[string]struct {
		address string
		extra   map[string]args
		want    [4]string
	}{
		"plain": {"192.0.2.2", nil, [4]string{"https://192.0.2.2:6443/livez", "https://127.0.0.1:10257/healthz", "https://127.0.0.1:10259/livez", "http://127.0.0.1:2381/readyz"}},
		"IPv6":  {"2001:db8::2", nil, [4]string{"https://[2001:db8::2]:6443/livez", "https://127.0.0.1:10257/healthz", "https://127.0.0.1:10259/livez", "http://[::1]:2381/readyz"}},
		"told otherwise": {"192.0.2.2", map[string]args{
			APIServer: {"bind-address": "192.0.2.3", "secure-port": "7443"}, ControllerManager: {"bind-address": "0.0.0.0", "secure-port": "1"},
			Scheduler: {"bind-address": "::"}, Etcd: {"listen-metrics-urls": "https://192.0.2.2:99,http://127.0.0.1:2381"},
		}, [4]string{"https://192.0.2.3:7443/livez", "https://127.0.0.1:1/healthz", "https://[::1]:10259/livez", "https://192.0.2.2:99/readyz"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := plain()
			in.Endpoint.AdvertiseAddress = tt.address
			for pod, set := range map[string]*[]kubeadm.Arg{APIServer: &in.Cluster.APIServer.ExtraArgs, ControllerManager: &in.Cluster.ControllerManager.ExtraArgs,
				Scheduler: &in.Cluster.Scheduler.ExtraArgs, Etcd: &in.Cluster.Etcd.Local.ExtraArgs} {
				for k, v := range tt.extra[pod] {
					*set = append(*set, kubeadm.Arg{Name: k, Value: v})
				}
			}
			pods := build(t, in)
			for i, pod := range []string{APIServer, ControllerManager, Scheduler, Etcd} {
				if got := Health(pods[pod].Pod).URL(); got != tt.want[i] {
					t.Errorf("%s: %s, want %s", pod, got, tt.want[i])
				}
			}
		})
	}
}

func TestImages(t *testing.T) {
	in := plain()
	all, err := Images(in)
	if err != nil || len(all) != 7 || all[4] != "registry.k8s.io/coredns/coredns:v1.14.6" || all[6] != "registry.k8s.io/etcd:3.7.0-0" {
		t.Errorf("%q, %v", all, err)
	}
	in.Cluster.DNS.Disabled, in.Cluster.Proxy.Disabled, in.Cluster.ImageRepository = true, true, "r:5000/x"
	in.Cluster.Etcd = kubeadm.Etcd{External: &kubeadm.ExternalEtcd{}}
	in.Cluster.KubernetesVersion = "1.36.3+a~b"
	few, err := Images(in)
	want := []string{"r:5000/x/kube-apiserver:v1.36.3_a_b", "r:5000/x/kube-controller-manager:v1.36.3_a_b", "r:5000/x/kube-scheduler:v1.36.3_a_b", "r:5000/x/pause:3.10.2"}
	if diff := cmp.Diff(want, few); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

// kubeadm would leave such a folder out and the API server could not start;
// whoever mounts it on purpose must not get it twice.
func TestExternalEtcdBesideTheCertificates(t *testing.T) {
	in := plain()
	in.Cluster.Etcd = kubeadm.Etcd{External: &kubeadm.ExternalEtcd{Endpoints: []string{"https://e:2379"}, CAFile: "/etc/kubernetes/pki-etcd/ca.crt"}}
	mounts := func() (out []string) {
		for _, m := range build(t, in)[APIServer].Pod.Spec.Containers[0].VolumeMounts {
			out = append(out, m.Name+"="+m.MountPath)
		}
		return out
	}
	if diff := cmp.Diff([]string{"ca-certs=/etc/ssl/certs", "etcd-certs-0=/etc/kubernetes/pki-etcd", "k8s-certs=/etc/kubernetes/pki"}, mounts()); diff != "" {
		t.Error(diff)
	}
	in.Cluster.APIServer.ExtraVolumes = []kubeadm.HostPathMount{{Name: "own", HostPath: "/h", MountPath: "/etc/kubernetes/pki-etcd"}}
	if diff := cmp.Diff([]string{"ca-certs=/etc/ssl/certs", "k8s-certs=/etc/kubernetes/pki", "own=/etc/kubernetes/pki-etcd"}, mounts()); diff != "" {
		t.Error(diff)
	}
}

// A URL that does not parse holds its password all the same.
func TestPasswordsInURLs(t *testing.T) {
	for text, want := range map[string]bool{
		"https://10.0.0.1:2379,http://me:pw@proxy": true, "http://me:ab=c@proxy": true, "http://me:100%@proxy": true, "x=http://token@proxy": true,
		"https://10.0.0.1:2379/a@b": false, "me@example.org": false,
	} {
		if holdsPassword(text) != want {
			t.Error(text)
		}
	}
}
