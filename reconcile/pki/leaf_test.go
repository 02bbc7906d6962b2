package pki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/fault"
)

func leafOf(t *testing.T, in Input, name string) Leaf {
	t.Helper()
	leaves, _, err := Leaves(in)
	must(t, err)
	for _, l := range leaves {
		if l.Name == name {
			return l
		}
	}
	t.Fatalf("no %s", name)
	return Leaf{}
}

// The table of catalogue §5.3.
func TestLeaves(t *testing.T) {
	leaves, notes, err := Leaves(input())
	must(t, err)
	var got []string
	for _, l := range leaves {
		var usages []string
		for _, u := range l.Usages {
			usages = append(usages, usageName(u))
		}
		got = append(got, strings.Join([]string{l.CertPath, string(l.Authority), l.CommonName, strings.Join(l.Organization, ","),
			strings.Join(usages, "+"), strings.Join(sanText(l.DNSNames, l.IPs), ",")}, " | "))
		if strings.TrimSuffix(l.KeyPath, ".key") != strings.TrimSuffix(l.CertPath, ".crt") {
			t.Errorf("%s", l.KeyPath)
		}
	}
	want := []string{
		"/etc/kubernetes/pki/apiserver.crt | ca | kube-apiserver |  | server auth | api.example.com,cp2,kubernetes,kubernetes.default,kubernetes.default.svc,kubernetes.default.svc.cluster.local,10.96.0.1,10.0.0.5",
		"/etc/kubernetes/pki/apiserver-kubelet-client.crt | ca | kube-apiserver-kubelet-client |  | client auth | ",
		"/etc/kubernetes/pki/front-proxy-client.crt | front-proxy-ca | front-proxy-client |  | client auth | ",
		"/etc/kubernetes/pki/etcd/server.crt | etcd/ca | cp2 |  | server auth+client auth | cp2,localhost,10.0.0.5,127.0.0.1,::1",
		"/etc/kubernetes/pki/etcd/peer.crt | etcd/ca | cp2 |  | server auth+client auth | cp2,localhost,10.0.0.5,127.0.0.1,::1",
		"/etc/kubernetes/pki/etcd/healthcheck-client.crt | etcd/ca | kube-etcd-healthcheck-client |  | client auth | ",
		"/etc/kubernetes/pki/apiserver-etcd-client.crt | etcd/ca | kube-apiserver-etcd-client |  | client auth | ",
	}
	if diff := cmp.Diff(want, got); diff != "" || len(notes) > 0 {
		t.Errorf("%s%q", diff, notes)
	}
}

func TestLeavesOfOtherClusters(t *testing.T) {
	sans := func(name, want string) func(*testing.T, Input) {
		return func(t *testing.T, in Input) {
			l := leafOf(t, in, name)
			if got := strings.Join(sanText(l.DNSNames, l.IPs), ","); got != want {
				t.Errorf("%s", got)
			}
		}
	}
	names := "cp2,kubernetes,kubernetes.default,kubernetes.default.svc,kubernetes.default.svc.cluster.local"
	tests := map[string]struct {
		change func(*Input)
		check  func(*testing.T, Input)
	}{
		"dual stack": {func(in *Input) { in.Cluster.Networking.ServiceSubnet = "fd00:1::/112,10.96.0.0/12" },
			sans(APIServer, "api.example.com,"+names+",fd00:1::1,10.0.0.5")},
		"IPv6": {func(in *Input) {
			in.Cluster.Networking.ServiceSubnet, in.Endpoint.AdvertiseAddress, in.Cluster.ControlPlaneEndpoint = "fd00:1::/112", "fd00::5", "[fd00::9]:6443"
		}, sans(APIServer, names+",fd00:1::1,fd00::5,fd00::9")},
		"an endpoint that is an address":   {func(in *Input) { in.Cluster.ControlPlaneEndpoint = "10.0.0.9" }, sans(APIServer, names+",10.96.0.1,10.0.0.5,10.0.0.9")},
		"an endpoint that is this machine": {func(in *Input) { in.Cluster.ControlPlaneEndpoint = "10.0.0.5:6443" }, sans(APIServer, names+",10.96.0.1,10.0.0.5")},
		"no endpoint":                      {func(in *Input) { in.Cluster.ControlPlaneEndpoint = "" }, sans(APIServer, names+",10.96.0.1,10.0.0.5")},
		"another domain, and nothing defaulted": {func(in *Input) {
			in.Cluster = &kubeadm.ClusterConfiguration{Networking: kubeadm.Networking{DNSDomain: "k.example"}}
		}, sans(APIServer, "cp2,kubernetes,kubernetes.default,kubernetes.default.svc,kubernetes.default.svc.k.example,10.96.0.1,10.0.0.5")},
		"certSANs": {func(in *Input) {
			in.Cluster.APIServer.CertSANs = []string{"*.example.com", "192.0.2.1", "cp2", "192.0.2.1"}
		},
			sans(APIServer, "*.example.com,api.example.com,"+names+",10.96.0.1,10.0.0.5,192.0.2.1")},
		"etcd SANs": {func(in *Input) {
			in.Cluster.Etcd.Local = &kubeadm.LocalEtcd{ServerCertSANs: []string{"s.example.com"}, PeerCertSANs: []string{"192.0.2.2"}}
		}, func(t *testing.T, in Input) {
			sans(EtcdServer, "cp2,localhost,s.example.com,10.0.0.5,127.0.0.1,::1")(t, in)
			sans(EtcdPeer, "cp2,localhost,10.0.0.5,127.0.0.1,::1,192.0.2.2")(t, in)
		}},
		"a name that can be in no certificate": {func(in *Input) { in.Cluster.APIServer.CertSANs = []string{"a b"} }, func(t *testing.T, in Input) {
			_, notes, err := Leaves(in)
			if err != nil || len(notes) != 1 || !strings.Contains(notes[0], `apiServer.certSANs[0]: "a b"`) {
				t.Errorf("%q, %v", notes, err)
			}
		}},
		"external etcd": {func(in *Input) { in.Cluster.Etcd.External = &kubeadm.ExternalEtcd{} }, func(t *testing.T, in Input) {
			if leaves, _, err := Leaves(in); err != nil || len(leaves) != 3 {
				t.Errorf("%+v, %v", leaves, err)
			}
		}},
		"an older minor": {func(in *Input) { in.Organizations = map[string][]string{APIServerKubeletClient: {GroupClusterAdmins}} }, func(t *testing.T, in Input) {
			if l := leafOf(t, in, APIServerKubeletClient); !slices.Equal(l.Organization, []string{GroupClusterAdmins}) {
				t.Errorf("%+v", l)
			}
		}},
		"no service range": {func(in *Input) { in.Cluster.Networking.ServiceSubnet = "x" }, func(t *testing.T, in Input) {
			if _, _, err := Leaves(in); fault.ClassOf(err) != fault.InvalidConfig {
				t.Error(err)
			}
		}},
		"another folder": {func(in *Input) { in.Cluster.CertificatesDir = "/pki" }, func(t *testing.T, in Input) {
			if l := leafOf(t, in, EtcdPeer); l.KeyPath != "/pki/etcd/peer.key" {
				t.Error(l.KeyPath)
			}
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := input()
			tt.change(&in)
			tt.check(t, in)
		})
	}
}

func TestIssue(t *testing.T) {
	rsaKey, err := NewKey("")
	must(t, err)
	ecdsaCA, _, _ := authority(t, "kubernetes", now.Add(9*year))
	rsaCA, _, _ := authorityWith(t, "kubernetes", now.Add(9*year), rsaKey)
	leaf := leafOf(t, input(), EtcdServer)
	for algorithm, want := range map[string]struct {
		block string
		bits  int
	}{
		"": {"RSA PRIVATE KEY", 2048}, "RSA-2048": {"RSA PRIVATE KEY", 2048}, "RSA-3072": {"RSA PRIVATE KEY", 3072}, "RSA-4096": {"RSA PRIVATE KEY", 4096},
		"ECDSA-P256": {"EC PRIVATE KEY", 256}, "ECDSA-P384": {"EC PRIVATE KEY", 384},
	} {
		t.Run(algorithm, func(t *testing.T) {
			t.Parallel()
			for _, ca := range []*CA{ecdsaCA, rsaCA} {
				certPEM, keyPEM, err := Issue(leaf.Identity, ca, algorithm, now, year)
				must(t, err)
				if block, _ := pem.Decode(keyPEM); block == nil || block.Type != want.block {
					t.Fatalf("%s", keyPEM)
				}
				certs, err := parseCertificates(certPEM)
				must(t, err)
				c := certs[0]
				if bits := publicBits(c); bits != want.bits {
					t.Errorf("%d bits", bits)
				}
				switch {
				case c.KeyUsage != x509.KeyUsageDigitalSignature|x509.KeyUsageKeyEncipherment, c.IsCA, !c.BasicConstraintsValid,
					!c.NotBefore.Equal(now.Add(-5 * time.Minute)), !c.NotAfter.Equal(now.Add(year)), c.SerialNumber.Sign() <= 0, c.SerialNumber.BitLen() > 63,
					len(ca.Certificates[0].SubjectKeyId) > 0 && !bytes.Equal(c.AuthorityKeyId, ca.Certificates[0].SubjectKeyId):
					t.Errorf("%+v", c)
				}
				if m := Inspect(leaf.Identity, certPEM, keyPEM, ca, now, Threshold(DefaultRenewBefore, year)); len(m) > 0 {
					t.Errorf("what was just made is not right: %+v", m)
				}
			}
		})
	}
	if _, _, err := Issue(leaf.Identity, ecdsaCA, "RSA-1024", now, year); fault.ClassOf(err) != fault.InvalidConfig {
		t.Error(err)
	}
	if _, _, err := Issue(leaf.Identity, &CA{Certificates: ecdsaCA.Certificates}, "", now, year); fault.ClassOf(err) != fault.Preflight {
		t.Error(err)
	}
}

func publicBits(c *x509.Certificate) int {
	switch k := c.PublicKey.(type) {
	case interface{ Size() int }:
		return 8 * k.Size()
	default:
		return map[int]int{91: 256, 120: 384}[len(c.RawSubjectPublicKeyInfo)]
	}
}

// A certificate with a short life must not be due for renewal when it is made.
func TestThreshold(t *testing.T) {
	for _, tt := range []struct{ before, validity, want time.Duration }{
		{DefaultRenewBefore, year, DefaultRenewBefore}, {DefaultRenewBefore, 99 * time.Hour, 33 * time.Hour}, {0, year, 0}, {-1, year, 0},
	} {
		if got := Threshold(tt.before, tt.validity); got != tt.want {
			t.Errorf("%v: %s", tt, got)
		}
	}
}

// Every respect in which a certificate can be wrong, one at a time; among them
// what kubeadm accepts (catalogue §9.4, §11 #19 and #20).
func TestInspect(t *testing.T) {
	ca, _, _ := authority(t, "kubernetes", now.Add(9*year))
	other, _, _ := authority(t, "kubernetes", now.Add(9*year))
	between, betweenPEM, _ := intermediate(t, ca)
	renewed, _, _ := authorityWith(t, "kubernetes", now.Add(10*year-time.Hour), ca.Key)
	want := leafOf(t, input(), APIServer).Identity
	issue := func(change func(*Identity), by *CA, at time.Time) (cert, key []byte) {
		id := want
		id.DNSNames, id.IPs = slices.Clone(want.DNSNames), slices.Clone(want.IPs)
		if change != nil {
			change(&id)
		}
		cert, key, err := Issue(id, by, "ECDSA-P256", at, year)
		must(t, err)
		return cert, key
	}
	cert, key := issue(nil, ca, now)
	_, otherKey := issue(nil, ca, now)
	// of is a pair made otherwise.
	of := func(change func(*Identity), by *CA, at time.Time) func() ([]byte, []byte) {
		return func() ([]byte, []byte) { return issue(change, by, at) }
	}
	pair := func(c, k []byte) func() ([]byte, []byte) { return func() ([]byte, []byte) { return c, k } }
	chained := func() ([]byte, []byte) {
		c, k := issue(nil, between, now)
		return slices.Concat(c, betweenPEM), k
	}
	tests := map[string]struct {
		pair   func() ([]byte, []byte)
		by     *CA // nil: ca
		want   []string
		intent bool
	}{
		"as made":                     {pair: pair(cert, key)},
		"a key that may not be read":  {pair: pair(cert, nil)},
		"more names than wanted":      {pair: of(func(id *Identity) { id.DNSNames = append(id.DNSNames, "x") }, ca, now)},
		"more usages than wanted":     {pair: of(func(id *Identity) { id.Usages = append(slices.Clone(id.Usages), x509.ExtKeyUsageClientAuth) }, ca, now)},
		"a wildcard":                  {pair: of(func(id *Identity) { id.DNSNames[0] = "*.example.com" }, ca, now)},
		"by an intermediate":          {pair: chained},
		"31 days left":                {pair: of(nil, ca, now.Add(-year+31*24*time.Hour))},
		"29 days left":                {pair: of(nil, ca, now.Add(-year+29*24*time.Hour)), want: []string{"expires in 29 days"}},
		"older than its renewed CA":   {pair: of(nil, ca, now.Add(-3*year)), by: renewed, want: []string{"expired 730 days ago"}},
		"an hour left":                {pair: of(nil, ca, now.Add(-year+90*time.Minute)), want: []string{"expires in 1 hour"}},
		"expired":                     {pair: of(nil, ca, now.Add(-year-49*time.Hour)), want: []string{"expired 2 days ago"}},
		"not yet valid":               {pair: of(nil, ca, now.Add(24*time.Hour)), want: []string{"is not valid before 2026-05-02T11:55:00Z"}},
		"empty":                       {pair: pair(nil, key), want: []string{"is empty"}},
		"cut off":                     {pair: pair(cert[:100], key), want: []string{"holds no certificate, or a broken one"}},
		"an empty key":                {pair: pair(cert, []byte{}), want: []string{"its key file is empty"}},
		"another key":                 {pair: pair(cert, otherKey), want: []string{"belongs to another key than the one beside it"}},
		"another CA of the same name": {pair: of(nil, other, now), want: []string{"is not signed by the cluster's CA"}},
		"another node":                {pair: of(func(id *Identity) { id.CommonName = "kube" }, ca, now), want: []string{`is of "kube", not of "kube-apiserver"`}, intent: true},
		"an organization":             {pair: of(func(id *Identity) { id.Organization = []string{GroupMasters} }, ca, now), want: []string{`has the organization "system:masters" instead of ""`}},
		"the wrong usage":             {pair: of(func(id *Identity) { id.Usages = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }, ca, now), want: []string{"lacks the usage server auth"}},
		"an address less":             {pair: of(func(id *Identity) { id.IPs = id.IPs[:1] }, ca, now), want: []string{"lacks SAN 10.0.0.5"}, intent: true},
		"names less":                  {pair: of(func(id *Identity) { id.DNSNames = id.DNSNames[2:] }, ca, now), want: []string{"lacks SAN api.example.com, cp2"}, intent: true},
		"no names at all":             {pair: of(func(id *Identity) { id.DNSNames, id.IPs = nil, nil }, ca, now), want: []string{"lacks SAN api.example.com, cp2, kubernetes, kubernetes.default, kubernetes.default.svc, kubernetes.default.svc.cluster.local, 10.96.0.1, 10.0.0.5"}, intent: true},
		"much":                        {pair: of(func(id *Identity) { id.IPs = id.IPs[1:] }, other, now.Add(-2*year)), want: []string{"is not signed by the cluster's CA", "lacks SAN 10.96.0.1", "expired 365 days ago"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, k := tt.pair()
			if c == nil {
				c = []byte{}
			}
			by := tt.by
			if by == nil {
				by = ca
			}
			got := Inspect(want, c, k, by, now, DefaultRenewBefore)
			var texts []string
			for _, m := range got {
				texts = append(texts, m.Text)
				if m.Intent != tt.intent && len(tt.want) == 1 {
					t.Errorf("%+v", m)
				}
				noSecret(t, m.Text+m.Before+m.After, k)
			}
			if diff := cmp.Diff(tt.want, texts); diff != "" {
				t.Error(diff)
			}
		})
	}
	kubelet := leafOf(t, input(), APIServerKubeletClient).Identity
	for _, o := range [][]string{nil, {GroupClusterAdmins}, {GroupMasters}, {"others"}} {
		id := kubelet
		id.Organization = o
		c, k, err := Issue(id, ca, "ECDSA-P256", now, year)
		must(t, err)
		if got := Inspect(kubelet, c, k, ca, now, 0); (len(got) == 0) != !slices.Equal(o, []string{"others"}) {
			t.Errorf("%q: %+v", o, got)
		}
	}
}

// intermediate is a CA that the cluster's CA has signed.
func intermediate(t *testing.T, ca *CA) (*CA, []byte, []byte) {
	t.Helper()
	sub, _, key := authority(t, "between", now.Add(5*year))
	template := sub.Certificates[0]
	template.NotBefore = now.Add(-time.Hour)
	der, err := x509.CreateCertificate(nil, template, ca.Certificates[0], sub.Key.Public(), ca.Key)
	must(t, err)
	c, err := x509.ParseCertificate(der)
	must(t, err)
	return &CA{Certificates: []*x509.Certificate{c}, Key: sub.Key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key
}

// A server with one of the certificates and a client with another understand
// each other.
func TestCertificatesServe(t *testing.T) {
	ca, caPEM, _ := authority(t, "kubernetes", time.Now().Add(year))
	at := time.Now()
	in := input()
	in.Endpoint.AdvertiseAddress = "127.0.0.1"
	cert, key, err := Issue(leafOf(t, in, APIServer).Identity, ca, "ECDSA-P384", at, time.Hour)
	must(t, err)
	serving, err := tls.X509KeyPair(cert, key)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(caPEM)
	who := make(chan string, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		who <- r.TLS.PeerCertificates[0].Subject.String()
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{serving}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	server.StartTLS()
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	must(t, err)

	clientCert, clientKey, err := ClientCertificate(ca, UserAdmin, []string{GroupClusterAdmins}, at, time.Minute)
	must(t, err)
	memory, err := tls.X509KeyPair(clientCert, clientKey)
	must(t, err)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{memory}}}}
	ask := func(c *http.Client, want string) {
		t.Helper()
		r, err := c.Get("https://127.0.0.1:" + port)
		must(t, err)
		must(t, r.Body.Close())
		if got := <-who; got != want {
			t.Errorf("%s", got)
		}
	}
	ask(client, "CN=kubernetes-admin,O=kubeadm:cluster-admins")

	k := Kubeconfigs(in)[2]
	k.Server = "https://127.0.0.1:" + port
	content, err := IssueKubeconfig(k, ca, "", at, time.Hour)
	must(t, err)
	config, err := clientcmd.RESTConfigFromKubeConfig(content)
	must(t, err)
	ours, err := tls.X509KeyPair(config.CertData, config.KeyData)
	must(t, err)
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(config.CAData)
	ask(&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted, Certificates: []tls.Certificate{ours}}}}, "CN=system:kube-scheduler")
}
