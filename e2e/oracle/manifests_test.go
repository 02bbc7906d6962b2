package oracle

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	v1 "github.com/kubejoin/kubejoin/apis/kubeadm/v1"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta4"
	"github.com/kubejoin/kubejoin/e2e/lab"
	"github.com/kubejoin/kubejoin/reconcile/patch"
	"github.com/kubejoin/kubejoin/reconcile/staticpod"
)

// binary builds each kubeadm once for all tests.
var binary = func() map[string]func() (string, error) {
	out := map[string]func() (string, error){}
	for _, v := range lab.Kubeadms {
		out[v] = sync.OnceValues(func() (string, error) { return lab.Kubeadm(context.Background(), v) })
	}
	return out
}()

// peer is the published kubeadm of a version.
func peer(t *testing.T, version string) string {
	t.Helper()
	p, err := binary[version]()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var authority = sync.OnceValues(NewAuthority)

// runs holds back more than two kubeadms at a time.
var runs = make(chan struct{}, 2)

// ask runs a published kubeadm.
func ask(t *testing.T, version string, c Case) *Result {
	t.Helper()
	a, err := authority()
	if err != nil {
		t.Fatal(err)
	}
	kubeadm := peer(t, version)
	runs <- struct{}{}
	defer func() { <-runs }()
	r, err := Run(t.Context(), t.TempDir(), kubeadm, a, c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// joining is one row of the matrix: what a cluster publishes, and who joins.
type joining struct {
	cluster string // added to the ClusterConfiguration
	api     string // its version; v1beta4 if empty
	only    string // the version of kubeadm that knows it; all if empty
	node    string // cp2 if empty
	address string // 192.0.2.2 if empty
	port    int32  // 6443 if 0
	timeout time.Duration
	env     []string
	dirs    []string
	patches map[string]string
	kubelet string // added to the KubeletConfiguration
	onDisk  bool   // instead of in the Secret, which kubeadm cannot download without the paths of all of etcd's files
}

const plain = "networking: {podSubnet: 10.244.0.0/16, serviceSubnet: 10.96.0.0/12, dnsDomain: cluster.local}\n"

func (j joining) document(version string) string {
	api := j.api
	if api == "" {
		api = "v1beta4"
	}
	doc := "apiVersion: kubeadm.k8s.io/" + api + "\nkind: ClusterConfiguration\n"
	if !strings.Contains(j.cluster, "kubernetesVersion:") {
		doc += "kubernetesVersion: v" + version + "\n"
	}
	if !strings.Contains(j.cluster, "controlPlaneEndpoint:") {
		doc += "controlPlaneEndpoint: cp.example:6443\n"
	}
	if !strings.Contains(j.cluster, "encryptionAlgorithm:") { // RSA keys take their time
		doc += "encryptionAlgorithm: ECDSA-P256\n"
	}
	if !strings.Contains(j.cluster, "networking:") {
		doc += plain
	}
	return doc + j.cluster
}

// configuration is the internal form of the published document.
func (j joining) configuration(t *testing.T, version string) *kubeadm.ClusterConfiguration {
	t.Helper()
	doc := []byte(j.document(version))
	if j.api == "v1" {
		c := &v1.ClusterConfiguration{}
		if err := yaml.UnmarshalStrict(doc, c); err != nil {
			t.Fatal(err)
		}
		v1.SetDefaultsClusterConfiguration(c)
		return v1.ToInternalClusterConfiguration(c)
	}
	c := &v1beta4.ClusterConfiguration{}
	if err := yaml.UnmarshalStrict(doc, c); err != nil {
		t.Fatal(err)
	}
	v1beta4.SetDefaultsClusterConfiguration(c)
	return v1beta4.ToInternalClusterConfiguration(c)
}

func (j joining) defaulted() joining {
	if j.node == "" {
		j.node = "cp2"
	}
	if j.address == "" {
		j.address = "192.0.2.2"
	}
	if j.port == 0 {
		j.port = 6443
	}
	if j.timeout == 0 {
		j.timeout = 4 * time.Minute
	}
	return j
}

func (j joining) kase(version string) Case {
	c := Case{Cluster: j.document(version), Node: j.node, Advertise: j.address, Port: j.port, Env: j.env, Dirs: j.dirs, Patches: j.patches, OnDisk: j.onDisk, Kubelet: kubeletDocument + j.kubelet,
		Join: fmt.Sprintf("timeouts: {controlPlaneComponentHealthCheck: %s}\n", j.timeout)}
	if strings.Contains(j.cluster, "external:") {
		a, _ := authority()
		c.External = map[string][]byte{"external-etcd-ca.crt": a.Files["etcd/ca.crt"], "external-etcd.crt": a.Files["etcd/ca.crt"], "external-etcd.key": a.Files["etcd/ca.key"]}
	}
	return c
}

func (j joining) input(t *testing.T, c *kubeadm.ClusterConfiguration) staticpod.Input {
	t.Helper()
	in := staticpod.Input{
		Cluster: c, Endpoint: kubeadm.APIEndpoint{AdvertiseAddress: j.address, BindPort: j.port}, NodeName: j.node, StartupTimeout: j.timeout,
		EtcdMembers: []staticpod.Member{{Name: j.node, PeerURL: staticpod.PeerURL(j.address)}},
	}
	for _, d := range j.dirs {
		in.Host.CADirs = append(in.Host.CADirs, "/"+d)
	}
	for _, e := range j.env {
		if name, value, _ := strings.Cut(e, "="); strings.HasSuffix(strings.ToLower(name), "_proxy") && value != "" {
			in.Host.ProxyEnv = append(in.Host.ProxyEnv, e)
		}
	}
	files := fstest.MapFS{}
	for name, content := range j.patches {
		files[name] = &fstest.MapFile{Data: []byte(content)}
	}
	set, err := patch.Load(files, "/patches")
	if err != nil {
		t.Fatal(err)
	}
	in.Patches = set
	return in
}

// matrix is behaviour catalogue §12 item 1.
var matrix = map[string]joining{
	"plain":                {},
	"IPv6":                 {address: "2001:db8::2", cluster: "networking: {podSubnet: 'fd00:1::/56', serviceSubnet: 'fd00:2::/112', dnsDomain: cluster.local}\n"},
	"dual stack":           {cluster: "networking: {podSubnet: '10.244.0.0/16,fd00:1::/56', serviceSubnet: '10.96.0.0/16,fd00:2::/112', dnsDomain: dual.example}\n"},
	"dual stack, IPv6":     {address: "2001:db8::2", cluster: "networking: {podSubnet: 'fd00:1::/56,10.244.0.0/16', serviceSubnet: 'fd00:2::/112,10.96.0.0/16'}\n"},
	"RSA":                  {cluster: "encryptionAlgorithm: RSA-2048\n"},
	"ECDSA-P384":           {cluster: "encryptionAlgorithm: ECDSA-P384\n"},
	"port, name, endpoint": {node: "node-7.example", port: 8443, cluster: "controlPlaneEndpoint: 198.51.100.9\nclusterName: other\n"},
	"no pod subnet":        {cluster: "networking: {serviceSubnet: 10.96.0.0/12}\n"},
	"version with build":   {cluster: "kubernetesVersion: v{version}+build.1\n"},
	"startup threshold":    {timeout: 95 * time.Second},
	"negative threshold":   {timeout: -95 * time.Second},
	"external etcd": {cluster: `
etcd: {external: {endpoints: ["https://192.0.2.9:2379", "https://192.0.2.10:2379"], caFile: /etc/etcd/tls/ca.crt, certFile: /etc/etcd/client.crt, keyFile: /etc/etcd/client.key}}
`},
	"external etcd, folders": {cluster: `
etcd: {external: {endpoints: ["https://192.0.2.9:2379"], caFile: /srv/b/ca.crt, certFile: /srv/a/client.crt, keyFile: /opt/key/client.key}}
`},
	"external etcd, parents": {dirs: []string{"etc/pki/ca-trust"}, cluster: `
etcd: {external: {endpoints: ["https://192.0.2.9:2379"], caFile: /etc/pki/ca-trust/x/ca.crt, certFile: /srv/a/b/client.crt, keyFile: /srv/a/client.key}}
`},
	// Even in a dry run kubeadm writes them to where they belong: afterwards the folder is there.
	"external etcd, in a CA folder": {dirs: []string{"usr/share/ca-certificates"}, cluster: `
etcd: {external: {endpoints: ["https://192.0.2.9:2379"], caFile: /usr/share/ca-certificates/ca.crt, certFile: /etc/ssl/certs/client.crt, keyFile: /etc/ssl/certs/x/client.key}}
`},
	"external etcd, kubeadm's folder": {cluster: `
etcd: {external: {endpoints: ["https://192.0.2.9:2379"], caFile: /etc/kubernetes/pki/etcd/ca.crt, certFile: /etc/kubernetes/client.crt, keyFile: /etc/kubernetes/client.key}}
`},
	"external etcd without TLS":    {onDisk: true, cluster: "\netcd: {external: {endpoints: ['http://192.0.2.9:2379']}}\n"},
	"external etcd with a CA only": {onDisk: true, cluster: "\netcd: {external: {endpoints: ['https://192.0.2.9:2379'], caFile: /srv/ca.crt}}\n"},
	"arguments": {cluster: `
apiServer: {extraArgs: [{name: v, value: "4"}, {name: tls-cipher-suites, value: a}, {name: v, value: "5"}, {name: secure-port, value: "7443"}, {name: bind-address, value: "192.0.2.2"}, {name: authorization-mode, value: "AlwaysAllow,Foo"}, {name: enable-admission-plugins, value: "a"}, {name: enable-admission-plugins, value: "b"}, {name: empty, value: ""}]}
controllerManager: {extraArgs: [{name: bind-address, value: 0.0.0.0}, {name: secure-port, value: "1"}, {name: node-cidr-mask-size, value: "24"}]}
scheduler: {extraArgs: [{name: bind-address, value: "192.0.2.2"}, {name: kubeconfig, value: /x}]}
`},
	"bind addresses": {cluster: `
controllerManager: {extraArgs: [{name: bind-address, value: "::"}]}
scheduler: {extraArgs: [{name: bind-address, value: "10.0.0.1"}, {name: bind-address, value: "10.0.0.2"}]}
`},
	"bind address empty": {cluster: `
controllerManager: {extraArgs: [{name: bind-address, value: ""}]}
scheduler: {extraArgs: [{name: bind-address, value: "localhost"}]}
`},
	"bind address, last a wildcard": {cluster: `
controllerManager: {extraArgs: [{name: bind-address, value: "10.0.0.1"}, {name: bind-address, value: "0.0.0.0"}]}
scheduler: {extraArgs: [{name: bind-address, value: "0.0.0.0"}, {name: bind-address, value: "10.0.0.1"}]}
`},
	"authorization-config":          {cluster: "apiServer: {extraArgs: [{name: authorization-config, value: /x}]}\n"},
	"authorization-config and mode": {cluster: "apiServer: {extraArgs: [{name: authorization-config, value: /x}, {name: authorization-mode, value: RBAC}]}\n"},
	"etcd arguments": {cluster: `
etcd: {local: {imageRepository: registry.example/etcds, imageTag: 3.5.0-custom, dataDir: /data/etcd, extraArgs: [{name: listen-metrics-urls, value: "https://192.0.2.2:9981,http://127.0.0.1:2381"}, {name: advertise-client-urls, value: "https://192.0.2.2:2379,https://etcd.example:2379"}, {name: quota-backend-bytes, value: "1"}], extraEnvs: [{name: B, value: b}, {name: A, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]}}
`},
	"etcd metrics, wildcard":  {cluster: "etcd: {local: {extraArgs: [{name: listen-metrics-urls, value: 'http://0.0.0.0:2381'}]}}\n"},
	"etcd metrics, IPv6":      {cluster: "etcd: {local: {extraArgs: [{name: listen-metrics-urls, value: 'http://[::1]:9381'}]}}\n"},
	"etcd metrics, no port":   {cluster: "etcd: {local: {extraArgs: [{name: listen-metrics-urls, value: 'http://10.0.0.1'}]}}\n"},
	"etcd metrics, twice":     {cluster: "etcd: {local: {extraArgs: [{name: listen-metrics-urls, value: 'http://10.0.0.1:1'}, {name: listen-metrics-urls, value: 'http://10.0.0.2:2'}]}}\n"},
	"etcd metrics, no URL":    {cluster: "etcd: {local: {extraArgs: [{name: listen-metrics-urls, value: '10.0.0.1:1'}]}}\n"},
	"etcd metrics, bad URL":   {cluster: "etcd: {local: {extraArgs: [{name: listen-metrics-urls, value: 'http://10.0.0.1:x'}]}}\n"},
	"etcd metrics, empty":     {cluster: "etcd: {local: {extraArgs: [{name: listen-metrics-urls, value: ''}]}}\n"},
	"etcd client URLs, twice": {cluster: "etcd: {local: {extraArgs: [{name: advertise-client-urls, value: 'https://a:1'}, {name: advertise-client-urls, value: 'https://b:2'}]}}\n"},
	"etcd image repository":   {cluster: "imageRepository: registry.example/all\netcd: {local: {dataDir: /var/lib/etcd}}\n"},
	"volumes": {cluster: `
apiServer: {extraVolumes: [{name: audit, hostPath: /var/log/a, mountPath: /log, pathType: FileOrCreate}, {name: k8s-certs, hostPath: /other, mountPath: /certs}, {name: zz, hostPath: /z, mountPath: /z, readOnly: true}, {name: zz, hostPath: /z2, mountPath: /z2}]}
controllerManager: {extraVolumes: [{name: etc-pki-ca-trust, hostPath: /own, mountPath: /own}]}
scheduler: {extraVolumes: [{name: kubeconfig, hostPath: /s.conf, mountPath: /s.conf, pathType: File}]}
`, dirs: []string{"etc/pki/ca-trust", "etc/pki/tls/certs", "etc/ca-certificates", "usr/share/ca-certificates", "usr/local/share/ca-certificates"}},
	"FlexVolumes":           {cluster: "controllerManager: {extraArgs: [{name: flex-volume-plugin-dir, value: /flex}]}\n"},
	"etcd 3.5":              {cluster: "etcd: {local: {imageTag: v3.5.24-0}}\n"},
	"etcd, name tag":        {cluster: "etcd: {local: {imageTag: latest}}\n"},
	"etcd 3.6 candidate":    {cluster: "etcd: {local: {imageTag: 3.6.0-rc.0}}\n"},
	"etcd 3.6":              {cluster: "etcd: {local: {imageTag: 3.6.0-0}}\n"},
	"etcd 3.5, two numbers": {cluster: "etcd: {local: {imageTag: '3.5'}}\n"},
	"etcd 3.5, build":       {cluster: "etcd: {local: {imageTag: 3.5.1_x}}\n"},
	"names": {node: "node.example", address: "2001:db8::2", cluster: `
controlPlaneEndpoint: "[2001:db8::9]:7443"
apiServer: {certSANs: [API.Example.org, "*.wild.example", 198.51.100.7, "2001:db8::7", 198.51.100.7, cp2]}
etcd: {local: {serverCertSANs: [ETCD.example, etcd.example, 198.51.100.8], peerCertSANs: [Peer.example]}}
certificateValidityPeriod: 100h
`},
	"names that are none":     {cluster: "apiServer: {certSANs: ['not a name', '-x', a_b]}\n"},
	"endpoint without a port": {port: 7443, cluster: "controlPlaneEndpoint: 198.51.100.9\n"},
	"kubelet":                 {kubelet: "clusterDNS: [10.9.9.9]\nrotateCertificates: false\nmaxPods: 7\ncgroupDriver: cgroupfs\nauthentication: {anonymous: {enabled: true}}\n"},
	"some CA folders":         {dirs: []string{"etc/ca-certificates", "usr/share/ca-certificates"}},
	"variables": {env: []string{"HTTP_PROXY=http://u:p@192.0.2.1:3128", "no_proxy=127.0.0.1,10.0.0.0/8", "HTTPS_PROXY=", "Foo_Proxy=x", "OTHER=1"}, cluster: `
apiServer: {extraEnvs: [{name: Z, value: "1"}, {name: HTTP_PROXY, value: own}, {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]}
controllerManager: {extraEnvs: [{name: A, value: "1"}, {name: A, value: "2"}]}
scheduler: {extraEnvs: [{name: FOO_PROXY, value: ""}]}
etcd: {local: {extraEnvs: [{name: HTTPS_PROXY, value: x}]}}
`},
	"images": {cluster: `
imageRepository: registry.example/k8s
dns: {imageRepository: registry.example/dns, imageTag: v9}
`},
	"no DNS, no proxy":                    {cluster: "dns: {disabled: true}\nproxy: {disabled: true}\n"},
	"DNS image in the project's registry": {cluster: "imageRepository: registry.example/k8s\ndns: {imageRepository: registry.k8s.io}\n"},
	"merge methods": {api: "v1", only: "1.37.2", cluster: `
apiServer: {extraArgs: [{name: enable-admission-plugins, value: ",NodeLocal", mergeMethod: append}, {name: service-cluster-ip-range, value: "10.0.0.0/16,", mergeMethod: prepend}, {name: unknown, value: x, mergeMethod: append}, {name: authorization-mode, value: ",Webhook", mergeMethod: append}]}
etcd: {local: {extraArgs: [{name: advertise-client-urls, value: ",https://b:2", mergeMethod: append}]}}
`},
	"patches": {patches: map[string]string{
		"kube-apiserver0.yaml":                "metadata: {annotations: {a: b}}\nspec: {containers: [{name: kube-apiserver, env: [{name: X, value: z}], resources: {limits: {memory: 2Gi}}}]}",
		"kube-apiserver1+json.yaml":           "[{op: add, path: /spec/containers/0/command/-, value: --v=9}]",
		"kube-controller-manager+merge.yaml":  "spec: {priority: null, terminationGracePeriodSeconds: 5}",
		"kube-scheduler.yaml":                 "spec: {containers: [{name: side, image: x}], dnsPolicy: Default}",
		"etcd+json.json":                      `[{"op":"replace","path":"/spec/containers/0/livenessProbe/failureThreshold","value":99}]`,
		"kubeletconfiguration+strategic.yaml": "maxPods: 7",
	}},
}

// What a control plane gets is what kubeadm of the cluster's version would write.
func TestJoinIsAsKubeadms(t *testing.T) {
	for name, j := range matrix {
		for _, version := range lab.Kubeadms {
			if j.only != "" && j.only != version {
				continue
			}
			t.Run(name+"/"+version, func(t *testing.T) {
				t.Parallel()
				j := j.defaulted()
				j.cluster = strings.ReplaceAll(j.cluster, "{version}", version)
				result := ask(t, version, j.kase(version))
				c := j.configuration(t, version)
				compareManifests(t, result, j.input(t, c))
				compareCertificates(t, result, c, j)
				compareKubeconfigs(t, result, c, j)
				compareKubelet(t, result, c, j)
			})
		}
	}
}

func compareManifests(t *testing.T, result *Result, in staticpod.Input) {
	t.Helper()
	pods, _, err := staticpod.Build(in)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range pods {
		names = append(names, p.Name+".yaml")
		manifest := result.Files[p.Name+".yaml"]
		// A node that kubeadm joined needs no change, whatever this machine is.
		if equal, fields, err := staticpod.Compare(manifest, p.Pod, staticpod.Options{EtcdHasData: true}); err != nil || !equal {
			t.Errorf("%s: %+v, %v", p.Name, fields, err)
		}
		theirs, ours := typed(t, manifest), p.Pod
		if p.Name == staticpod.Etcd {
			asInDryRun(ours)
		}
		if diff := cmp.Diff(theirs, ours); diff != "" {
			t.Errorf("%s (-kubeadm +kubejoin):\n%s", p.Name, diff)
			continue
		}
		text, err := yaml.Marshal(ours)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(manifest), string(text)); diff != "" {
			t.Errorf("%s is another text (-kubeadm +kubejoin):\n%s", p.Name, diff)
		}
	}
	compareRecorded(t, result, in, names)
	for file := range result.Files {
		if strings.HasSuffix(file, ".yaml") && file != "config.yaml" && file != "instance-config.yaml" && !slices.Contains(names, path.Base(file)) {
			t.Errorf("kubeadm writes %s", file)
		}
	}
}

// compareRecorded adopts kubeadm's manifests on a machine with other proxies and
// CA folders, when nobody has asked etcd for its members.
func compareRecorded(t *testing.T, result *Result, in staticpod.Input, files []string) {
	t.Helper()
	in.EtcdMembers, in.Recorded = nil, map[string]staticpod.Record{}
	in.Host = staticpod.Host{ProxyEnv: []string{"HTTPS_PROXY=http://other"}, CADirs: []string{"/etc/ca-certificates"}}
	for _, file := range files {
		name := strings.TrimSuffix(file, ".yaml")
		r, err := staticpod.Recorded(name, result.Files[file], in.Cluster)
		if err != nil {
			t.Fatal(err)
		}
		in.Recorded[name] = r
	}
	pods, _, err := staticpod.Build(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods {
		if equal, fields, err := staticpod.Compare(result.Files[p.Name+".yaml"], p.Pod, staticpod.Options{StartupThreshold: true}); err != nil || !equal {
			t.Errorf("%s, adopted: %+v, %v", p.Name, fields, err)
		}
	}
}

func typed(t *testing.T, manifest []byte) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{}
	if err := yaml.UnmarshalStrict(manifest, pod); err != nil {
		t.Fatal(err)
	}
	return pod
}

// asInDryRun takes away what kubeadm writes only in earnest (behaviour catalogue §0.3).
func asInDryRun(pod *corev1.Pod) {
	c := &pod.Spec.Containers[0]
	c.Command = slices.DeleteFunc(c.Command, func(a string) bool { return a == "--initial-cluster-state=existing" })
}
