package cluster

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubejoin/kubejoin/fault"
)

const (
	certsPath = "/api/v1/namespaces/kube-system/secrets/kubeadm-certs"
	podsPath  = "/api/v1/namespaces/kube-system/pods"
	rbacPath  = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/"
)

// tokenClient has the bootstrap token, as a control plane that joins.
func tokenClient(t *testing.T, s *apiServer) *Client {
	t.Helper()
	c, _, _, err := connect(t, s, options(s))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// adminClient has a certificate that is in no file.
func adminClient(t *testing.T, s *apiServer) *Client {
	t.Helper()
	cert, key := s.ca.issue(admin)
	c, err := tokenClient(t, s).WithClientCertificate(s.URL, s.ca.pem, cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func admin(c *x509.Certificate) {
	c.Subject = pkix.Name{CommonName: "kubernetes-admin", Organization: []string{"kubeadm:cluster-admins"}}
}

// giveUp makes a client soon give up on a server that does not recover.
func giveUp(c *Client, class fault.Class) {
	c.run.o.Join.Timeouts.KubernetesAPICall = time.Minute
	if class == fault.Unreachable {
		c.run.o.Join.Timeouts.KubernetesAPICall = 500 * time.Millisecond
	}
}

// whoAsks records the common name of the client certificate of each request.
func whoAsks(who *[]string, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := ""
		if len(r.TLS.PeerCertificates) > 0 {
			name = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		*who = append(*who, name)
		h(w, r)
	}
}

func TestCertificateBundle(t *testing.T) {
	s := newCluster(t)
	c := tokenClient(t, s)
	sealed := []byte("canary sealed with the key")
	s.on(certsPath, first(1, refuse(503, "starting"), answer(&corev1.Secret{Data: map[string][]byte{"ca.crt": sealed, "ca.key": nil}})))
	data, err := c.CertificateBundle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(data.Files) != 2 || !bytes.Equal(data.Files["ca.crt"], sealed) || !data.Uploaded.IsZero() {
		t.Errorf("%v", data)
	}
	noCanary(t, c.run.clean("what the server echoes: "+string(sealed)+", "+b64(sealed)))

	for name, tt := range map[string]struct {
		handler  http.HandlerFunc
		class    fault.Class
		fragment []string
	}{
		"expired":      {refuse(404, "not found"), fault.Denied, []string{"has expired or was never uploaded", "kubeadm init phase upload-certs --upload-certs"}},
		"not allowed":  {refuse(403, "no"), fault.Denied, []string{"the bootstrap token abcdef may not read the Secret", "kube-system/kubeadm:kubeadm-certs"}},
		"bad token":    {refuse(401, "no"), fault.Denied, []string{"the bootstrap token abcdef is not accepted"}},
		"down":         {refuse(503, "no"), fault.Unreachable, []string{"could not read the Secret kube-system/kubeadm-certs", "overloaded"}},
		"not a Secret": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, fault.Unreachable, []string{"not that of an API server"}},
	} {
		t.Run(name, func(t *testing.T) {
			s.on(certsPath, tt.handler)
			giveUp(c, tt.class)
			_, err := c.CertificateBundle(t.Context())
			expect(t, err, tt.class, tt.fragment...)
			noCanary(t, err.Error(), fault.HintOf(err))
		})
	}
}

func TestUploaded(t *testing.T) {
	at := func(hour int) metav1.Time { return metav1.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC) }
	token := []metav1.OwnerReference{{APIVersion: "v1", Kind: "Secret", Name: "bootstrap-token-abcdef"}}
	again := at(5)
	for name, tt := range map[string]struct {
		of   metav1.ObjectMeta
		want time.Time
	}{
		"nobody's": {metav1.ObjectMeta{CreationTimestamp: at(1)}, time.Time{}},
		"once":     {metav1.ObjectMeta{CreationTimestamp: at(1), OwnerReferences: token}, at(1).Time},
		"again": {metav1.ObjectMeta{CreationTimestamp: at(1), OwnerReferences: token,
			ManagedFields: []metav1.ManagedFieldsEntry{{Time: &again}, {}}}, at(5).Time},
	} {
		if got := uploaded(tt.of); !got.Equal(tt.want) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// A node may not read the Secret; who holds the token may.
func TestBootstrapper(t *testing.T) {
	s, o := joined(t)
	c, _, _, err := connect(t, s, o)
	if err != nil {
		t.Fatal(err)
	}
	s.on(certsPath, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			refuse(403, "no")(w, r)
			return
		}
		answer(&corev1.Secret{Data: map[string][]byte{"ca.crt": []byte("sealed")}})(w, r)
	})
	_, err = c.CertificateBundle(t.Context())
	expect(t, err, fault.Denied, "may not read the Secret")
	b, err := c.Bootstrapper(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if data, err := b.CertificateBundle(t.Context()); err != nil || len(data.Files) != 1 {
		t.Errorf("%v %v", data, err)
	}
}

func TestWithClientCertificate(t *testing.T) {
	s := newCluster(t)
	var who []string
	s.on(nodePath, whoAsks(&who, answer(node())))
	c := adminClient(t, s)
	if n, err := c.Node(t.Context(), "w1"); err != nil || n.UID != "u-1" {
		t.Errorf("%v %v", n, err)
	}
	if who[len(who)-1] != "kubernetes-admin" {
		t.Errorf("asked as %v", who)
	}
	s.on(nodePath, refuse(403, "no"))
	_, err := c.Node(t.Context(), "w1")
	expect(t, err, fault.Denied, "the administrator's certificate may not read node w1")

	cert, key := s.ca.issue(admin)
	_, otherKey := s.ca.issue(admin)
	for name, tt := range map[string]struct {
		server        string
		ca, cert, key []byte
	}{
		"not a URL":      {"10.0.0.1:6443", s.ca.pem, cert, key},
		"no CA":          {s.URL, nil, cert, key},
		"no certificate": {s.URL, s.ca.pem, nil, key},
		"no pair":        {s.URL, s.ca.pem, cert, otherKey},
	} {
		if _, err := c.WithClientCertificate(tt.server, tt.ca, tt.cert, tt.key); err == nil || strings.Contains(err.Error(), "PRIVATE KEY") {
			t.Errorf("%s: %v", name, err)
		}
	}

	// Who answers with another CA is not the cluster.
	stranger, err := c.WithClientCertificate(s.URL, newAuthority("other").pem, cert, key)
	if err != nil {
		t.Fatal(err)
	}
	_, err = stranger.Node(t.Context(), "w1")
	expect(t, err, fault.Untrusted)
}

// The credential of admin.conf serves for every API server of the cluster.
func TestCredentialWithServer(t *testing.T) {
	s := newCluster(t)
	var who []string
	s.on(nodePath, whoAsks(&who, answer(node())))
	cert, key := s.ca.issue(admin)
	path := write(t, t.TempDir()+"/admin.conf", "apiVersion: v1\nkind: Config\ncurrent-context: a\n"+
		"clusters:\n- {name: k, cluster: {server: 'https://10.255.255.1:6443', certificate-authority-data: "+b64(s.ca.pem)+"}}\n"+
		"contexts:\n- {name: a, context: {cluster: k, user: u}}\n"+
		"users:\n- {name: u, user: {client-certificate-data: "+b64(cert)+", client-key-data: "+b64(key)+"}}\n")
	own := ReadCredential(diskFiles{}, path, time.Now())
	here, err := own.WithServer(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	if here.Server != s.URL || own.Server != "https://10.255.255.1:6443" {
		t.Errorf("%s from %s", here.Server, own.Server)
	}
	c, err := tokenClient(t, s).WithCredential(here)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Node(t.Context(), "w1"); err != nil || who[len(who)-1] != "kubernetes-admin" {
		t.Errorf("%v as %v", err, who)
	}
	s.on(nodePath, refuse(403, "no"))
	_, err = c.Node(t.Context(), "w1")
	expect(t, err, fault.Denied, "the credential of "+path+" may not read node w1")

	if _, err := own.WithServer("http://x"); err == nil {
		t.Error("goes without TLS")
	}
	if _, err := (Credential{State: CredentialExpired}).WithServer(s.URL); err == nil {
		t.Error("an expired credential")
	}
}

func TestDiscoveryFileUser(t *testing.T) {
	s, o := joined(t)
	cert, key := s.ca.issue(admin)
	ca := "certificate-authority-data: " + b64(s.ca.pem)
	user := "{client-certificate-data: " + b64(cert) + ", client-key-data: " + b64(key) + "}"
	file := func(cluster, user string) string {
		return "apiVersion: v1\nkind: Config\ncurrent-context: a\n" +
			"clusters:\n- {name: k, cluster: {server: '" + s.URL + "', " + cluster + "}}\n" +
			"contexts:\n- {name: a, context: {cluster: k, user: u}}\n" +
			"users:\n- {name: u, user: " + user + "}\n"
	}
	for name, tt := range map[string]struct {
		file string
		want bool
	}{
		"an administrator": {file(ca, user), true},
		"no credential":    {file(ca, "{}"), false},
		"no CA":            {file("tls-server-name: x", user), false},
		"unverified":       {file(ca+", insecure-skip-tls-verify: true", user), false},
		"gone":             {"", false},
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir() + "/discovery.conf"
			if tt.file != "" {
				write(t, path, tt.file)
			}
			o := withFile(o, path)
			c, _, _, err := connect(t, s, o)
			if err != nil {
				t.Fatal(err)
			}
			got, ok := c.DiscoveryFileUser()
			if ok != tt.want {
				t.Fatalf("%v", got)
			}
			if !ok {
				return
			}
			var who []string
			s.on(csrPath, whoAsks(&who, answer(node())))
			if err := got.get(t.Context(), csrPath, &struct{}{}); err != nil || who[0] != "kubernetes-admin" {
				t.Errorf("%v as %v", err, who)
			}
		})
	}
	o.Join.Discovery.File = nil
	c, _, _, err := connect(t, s, o)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := c.DiscoveryFileUser(); ok {
		t.Error("without a file")
	}
}

func etcdPod(name, node, urls string) corev1.Pod {
	p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{NodeName: node,
		Containers: []corev1.Container{{Name: "sidecar", Image: "x"}, {Name: "etcd", Image: "etcd:3.6.8"}}}}
	if urls != "" {
		p.Annotations = map[string]string{"kubeadm.kubernetes.io/etcd.advertise-client-urls": urls}
	}
	return p
}

func TestEtcdEndpoints(t *testing.T) {
	s := newCluster(t)
	c := adminClient(t, s)
	list := func(pods ...corev1.Pod) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if got := r.URL.Query().Get("labelSelector"); got != "component=etcd,tier=control-plane" {
				t.Errorf("selects %q", got)
			}
			answer(&corev1.PodList{Items: pods})(w, r)
		}
	}
	for name, tt := range map[string]struct {
		pods    []corev1.Pod
		want    []EtcdEndpoint
		missing []string
	}{
		"external etcd": {},
		"two": {pods: []corev1.Pod{etcdPod("etcd-cp2", "cp2", "https://10.0.0.2:2379"), etcdPod("etcd-cp1", "cp1", "https://[fd00::1]:2379")},
			want: []EtcdEndpoint{{Node: "cp1", PodName: "etcd-cp1", ClientURL: "https://[fd00::1]:2379", Image: "etcd:3.6.8"}, {Node: "cp2", PodName: "etcd-cp2", ClientURL: "https://10.0.0.2:2379", Image: "etcd:3.6.8"}}},
		"several URLs": {pods: []corev1.Pod{etcdPod("etcd-cp1", "cp1", "https://10.0.0.1:2379, https://10.1.0.1:2379")},
			want: []EtcdEndpoint{{Node: "cp1", PodName: "etcd-cp1", ClientURL: "https://10.0.0.1:2379", Image: "etcd:3.6.8"}, {Node: "cp1", PodName: "etcd-cp1", ClientURL: "https://10.1.0.1:2379", Image: "etcd:3.6.8"}}},
		"not annotated": {pods: []corev1.Pod{etcdPod("etcd-x", "x", ""), etcdPod("etcd-cp1", "cp1", "https://10.0.0.1:2379"), etcdPod("etcd-a", "a", "10.0.0.1")},
			want: []EtcdEndpoint{{Node: "cp1", PodName: "etcd-cp1", ClientURL: "https://10.0.0.1:2379", Image: "etcd:3.6.8"}}, missing: []string{"etcd-a", "etcd-x"}},
	} {
		t.Run(name, func(t *testing.T) {
			s.on(podsPath, list(tt.pods...))
			before := c.Requests()
			got, missing, err := c.EtcdEndpoints(t.Context())
			if err != nil || c.Requests() != before+1 {
				t.Errorf("%v after %d requests", err, c.Requests()-before)
			}
			if diff := cmp.Diff(tt.want, got) + cmp.Diff(tt.missing, missing); diff != "" {
				t.Error(diff)
			}
		})
	}
	s.on(podsPath, refuse(403, "no"))
	_, _, err := c.EtcdEndpoints(t.Context())
	expect(t, err, fault.Denied, "the administrator's certificate may not list the pods", "kubectl create clusterrolebinding kubeadm:cluster-admins")
}

func TestSigners(t *testing.T) {
	s := newCluster(t)
	c := adminClient(t, s)
	manager := func(node string, args ...string) corev1.Pod {
		return corev1.Pod{Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Command: append([]string{"kube-controller-manager"}, args...)}}}}
	}
	s.on(podsPath, answer(&corev1.PodList{Items: []corev1.Pod{
		manager("cp3", "--cluster-signing-cert-file=/pki/ca.crt", "--cluster-signing-key-file=/pki/ca.key"),
		manager("cp2", "--cluster-signing-cert-file=", "--cluster-signing-key-file="),
		{Spec: corev1.PodSpec{NodeName: "cp1", Containers: []corev1.Container{{Args: []string{"--cluster-signing-kubelet-client-key-file=/k"}}}}},
	}}))
	got, err := c.Signers(t.Context())
	if diff := cmp.Diff([]string{"cp1", "cp3"}, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	s.on(podsPath, refuse(403, "no"))
	_, err = c.Signers(t.Context())
	expect(t, err, fault.Denied, "the administrator's certificate may not list the pods", "kubectl create clusterrolebinding kubeadm:cluster-admins")
}

func TestRBACGaps(t *testing.T) {
	bind := func(role, kind, subject string) http.HandlerFunc {
		return answer(&rbacv1.ClusterRoleBinding{RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: role},
			Subjects: []rbacv1.Subject{{Kind: "Group", Name: "other"}, {Kind: kind, Name: subject}}})
	}
	const user = "kube-apiserver-kubelet-client"
	create := "kubectl create clusterrolebinding kubeadm:apiserver-kubelet-client --clusterrole=system:kubelet-api-admin --user=kube-apiserver-kubelet-client"
	for name, tt := range map[string]struct {
		kubelet http.HandlerFunc // of kubeadm:apiserver-kubelet-client
		admins  http.HandlerFunc // of kubeadm:cluster-admins; nil is right
		bare    bool
		want    []string // commands
	}{
		"nothing missing":          {kubelet: bind("system:kubelet-api-admin", "User", user), bare: true},
		"made by an older release": {kubelet: refuse(404, "no"), bare: true, want: []string{create}},
		"not needed":               {kubelet: refuse(404, "no")},
		"another role":             {kubelet: bind("view", "User", user), bare: true, want: []string{"kubectl delete clusterrolebinding kubeadm:apiserver-kubelet-client && " + create}},
		"a group":                  {kubelet: bind("system:kubelet-api-admin", "Group", user), bare: true, want: []string{"kubectl delete clusterrolebinding kubeadm:apiserver-kubelet-client && " + create}},
		"admin.conf has no power": {admins: refuse(404, "no"),
			want: []string{"kubectl create clusterrolebinding kubeadm:cluster-admins --clusterrole=cluster-admin --group=kubeadm:cluster-admins"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newCluster(t)
			if tt.admins == nil {
				tt.admins = bind("cluster-admin", "Group", "kubeadm:cluster-admins")
			}
			s.on(rbacPath+"kubeadm:cluster-admins", tt.admins)
			s.on(rbacPath+"kubeadm:apiserver-kubelet-client", tt.kubelet)
			gaps, err := adminClient(t, s).RBACGaps(t.Context(), tt.bare)
			if err != nil {
				t.Fatal(err)
			}
			var commands []string
			for _, g := range gaps {
				commands = append(commands, g.Command)
			}
			if diff := cmp.Diff(tt.want, commands); diff != "" {
				t.Error(diff)
			}
			for _, r := range s.requests() {
				if !strings.HasPrefix(r, "GET ") {
					t.Errorf("%s is not a read", r)
				}
			}
		})
	}
	s := newCluster(t)
	s.on(rbacPath+"kubeadm:cluster-admins", refuse(403, "no"))
	_, err := adminClient(t, s).RBACGaps(t.Context(), true)
	expect(t, err, fault.Denied, "may not read the ClusterRoleBinding kubeadm:cluster-admins")
}
