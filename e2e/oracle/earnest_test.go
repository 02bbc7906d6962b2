package oracle

import (
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/e2e/lab"
	"github.com/kubejoin/kubejoin/reconcile/staticpod"
)

// A dry run does not tell everything (behaviour catalogue §0.3): other
// certificate folders, an external CA, and users without root. Phases of init
// render the same pods in earnest.
func TestManifestsInEarnest(t *testing.T) {
	for name, tt := range map[string]struct {
		cluster  string
		external bool // the CA's key is elsewhere
		root     bool // needs it, to give files to users
	}{
		"certificates elsewhere":    {cluster: "certificatesDir: /srv/pki\netcd: {local: {dataDir: /srv/etcd}}\n"},
		"external CA":               {external: true},
		"without root":              {root: true, cluster: "featureGates: {RootlessControlPlane: true}\n"},
		"without root, external CA": {root: true, external: true, cluster: "certificatesDir: /srv/pki/\nfeatureGates: {RootlessControlPlane: true}\n"},
	} {
		for _, version := range lab.Kubeadms {
			t.Run(name+"/"+version, func(t *testing.T) {
				if tt.root && os.Getuid() != 0 {
					t.Skip("only root can give files away")
				}
				t.Parallel()
				j := joining{cluster: tt.cluster}.defaulted()
				c := j.configuration(t, version)
				files := map[string][]byte{
					"/etc/passwd": []byte("root:x:0:0:root:/root:/bin/sh\n"), "/etc/group": []byte("root:x:0:\n"), "/tmp/.keep": nil,
					"/init.yaml": []byte("apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\n" +
						"nodeRegistration: {name: cp2, criSocket: unix:///x}\nlocalAPIEndpoint: {advertiseAddress: 192.0.2.2, bindPort: 6443}\n---\n" + j.document(version)),
				}
				a, err := authority()
				if err != nil {
					t.Fatal(err)
				}
				for file, content := range a.Files {
					files[path.Join(c.CertificatesDir, file)] = content
				}
				files[path.Join(c.Etcd.Local.DataDir, "x")] = nil
				binary := peer(t, version)
				runs <- struct{}{}
				defer func() { <-runs }()
				after, err := Generate(t.Context(), t.TempDir(), binary, files, "certs all", "kubeconfig all")
				if err != nil {
					t.Fatal(err)
				}
				for file, content := range after {
					files["/"+file] = content
				}
				if tt.external {
					delete(files, path.Join(c.CertificatesDir, "ca.key"))
				}
				after, err = Generate(t.Context(), t.TempDir(), binary, files, "control-plane all", "etcd local")
				if err != nil {
					t.Fatal(err)
				}
				in := j.input(t, c)
				in.ExternalCA = tt.external
				if tt.root {
					in.Users = users(t, after)
				}
				pods, _, err := staticpod.Build(in)
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range pods {
					if p.Name == staticpod.Etcd {
						asInDryRun(p.Pod) // init's cluster is new
					}
					if diff := cmp.Diff(typed(t, after[strings.TrimPrefix(p.Path, "/")]), p.Pod); diff != "" {
						t.Errorf("%s (-kubeadm +kubejoin):\n%s", p.Name, diff)
					}
				}
			})
		}
	}
}

// users are those that kubeadm has made.
func users(t *testing.T, files map[string][]byte) *staticpod.Users {
	t.Helper()
	id := func(file, name string) int64 {
		for line := range strings.Lines(string(files[file])) {
			if f := strings.Split(line, ":"); f[0] == name {
				n, err := strconv.ParseInt(f[2], 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
		t.Fatalf("no %s in %s:\n%s", name, file, files[file])
		return 0
	}
	both := func(name string) staticpod.UserGroup {
		return staticpod.UserGroup{UID: id("etc/passwd", name), GID: id("etc/group", name)}
	}
	return &staticpod.Users{Etcd: both("kubeadm-etcd"), APIServer: both("kubeadm-kas"), ControllerManager: both("kubeadm-kcm"), Scheduler: both("kubeadm-ks"),
		SAKeyReaders: id("etc/group", "kubeadm-sa-key-readers")}
}

// The table's images, and its feature gates.
func TestTable(t *testing.T) {
	for _, version := range lab.Kubeadms {
		row, err := staticpod.For(version)
		if err != nil || row.Released != version {
			t.Fatalf("%+v, %v", row, err)
		}
		for name, cluster := range map[string]string{
			"plain":             "",
			"elsewhere":         "imageRepository: r.example/x\ndns: {imageRepository: r.example/y, imageTag: z}\netcd: {local: {imageRepository: r.example/z, imageTag: 3.6.1-0}}\n",
			"the project's DNS": "imageRepository: r.example/x\ndns: {imageRepository: registry.k8s.io}\n",
			"less":              "dns: {disabled: true}\nproxy: {disabled: true}\netcd: {external: {endpoints: ['http://a:1']}}\n",
		} {
			t.Run(name+"/"+version, func(t *testing.T) {
				j := joining{cluster: cluster}
				dir := t.TempDir()
				for _, d := range []string{"tmp", "etc"} {
					if err := os.Mkdir(path.Join(dir, d), 0o755); err != nil {
						t.Fatal(err)
					}
				}
				if err := os.WriteFile(path.Join(dir, "c.yaml"), []byte(j.document(version)), 0o600); err != nil {
					t.Fatal(err)
				}
				out, err := chrooted(t.Context(), dir, nil, peer(t, version), "config", "images", "list", "--config", "/c.yaml")
				if err != nil {
					t.Fatal(err)
				}
				ours, err := staticpod.Images(staticpod.Input{Cluster: j.configuration(t, version)})
				if err != nil {
					t.Fatal(err)
				}
				theirs := slices.DeleteFunc(strings.Fields(out), func(w string) bool { return !strings.Contains(w, "/") || !strings.Contains(w, ":") })
				if diff := cmp.Diff(theirs, ours); diff != "" {
					t.Errorf("(-kubeadm +kubejoin):\n%s", diff)
				}
			})
		}
		help, err := chrooted(t.Context(), t.TempDir(), nil, peer(t, version), "init", "--help")
		if err != nil {
			t.Fatal(err)
		}
		for gate, on := range row.FeatureGates {
			at := strings.Index(help, gate+"=true|false")
			if at < 0 || !strings.Contains(help[at:min(len(help), at+90)], "default="+strconv.FormatBool(on)) {
				t.Errorf("kubeadm %s does not have %s, %t by default", version, gate, on)
			}
		}
	}
}

// What else the rows say, where kubeadm shows it in a dry run.
func TestTableKubelet(t *testing.T) {
	off := "featureGates: {" + staticpod.GateLocalMode + ": false, " + staticpod.GateCRISocket + ": false}\n"
	for _, version := range lab.Kubeadms {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			row, err := staticpod.For(version)
			if err != nil {
				t.Fatal(err)
			}
			for _, cluster := range []string{"", off} {
				j := joining{cluster: cluster, timeout: time.Minute}.defaulted()
				c := j.configuration(t, version)
				result := ask(t, version, j.kase(version))
				flags := string(result.Files["kubeadm-flags.env"])
				local := strings.Contains(string(result.Files["bootstrap-kubelet.conf"]), "server: https://192.0.2.2:6443\n")
				for what, pair := range map[string][2]bool{
					"the kubelet asks its own API server": {local, gate(row, staticpod.GateLocalMode, c)},
					"the runtime's socket is no flag":     {!strings.Contains(flags, "--container-runtime-endpoint"), gate(row, staticpod.GateCRISocket, c)},
					"the pause image is a flag":           {strings.Contains(flags, "--pod-infra-container-image"), row.PodInfraContainerImage},
				} {
					if pair[0] != pair[1] {
						t.Errorf("%s: kubeadm %t, the table %t (%s)", what, pair[0], pair[1], cluster)
					}
				}
			}
		})
	}
}

// gate tells whether a gate is on; one that is no more is on for good.
func gate(row staticpod.Row, name string, c *kubeadm.ClusterConfiguration) bool {
	_, known := row.FeatureGates[name]
	return !known || row.Gate(name, c.FeatureGates)
}
