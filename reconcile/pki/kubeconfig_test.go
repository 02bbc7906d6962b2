package pki

import (
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// The table of catalogue §5.4.
func TestKubeconfigs(t *testing.T) {
	tests := map[string]struct {
		change        func(*Input)
		public, local string
	}{
		"a port in the endpoint":    {func(*Input) {}, "https://api.example.com:8443", "https://10.0.0.5:6443"},
		"none":                      {func(in *Input) { in.Cluster.ControlPlaneEndpoint = "api.example.com" }, "https://api.example.com:6443", "https://10.0.0.5:6443"},
		"none, and another port":    {func(in *Input) { in.Cluster.ControlPlaneEndpoint = "api.example.com"; in.Endpoint.BindPort = 7443 }, "https://api.example.com:6443", "https://10.0.0.5:7443"},
		"IPv6":                      {func(in *Input) { in.Cluster.ControlPlaneEndpoint = "fd00::9"; in.Endpoint.AdvertiseAddress = "fd00::5" }, "https://[fd00::9]:6443", "https://[fd00::5]:6443"},
		"IPv6 with a port":          {func(in *Input) { in.Cluster.ControlPlaneEndpoint = "[fd00::9]:8443" }, "https://[fd00::9]:8443", "https://10.0.0.5:6443"},
		"no endpoint, no port":      {func(in *Input) { in.Cluster.ControlPlaneEndpoint = ""; in.Endpoint.BindPort = 0 }, "https://10.0.0.5:6443", "https://10.0.0.5:6443"},
		"another name of a cluster": {func(in *Input) { in.Cluster.ClusterName = "prod" }, "https://api.example.com:8443", "https://10.0.0.5:6443"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := input()
			tt.change(&in)
			var got []string
			for _, k := range Kubeconfigs(in) {
				got = append(got, strings.Join([]string{k.Path, k.CommonName, strings.Join(k.Organization, ","), k.Server, k.ClusterName, k.ReadBy}, " "))
			}
			n := in.Cluster.ClusterName
			want := []string{
				"/etc/kubernetes/admin.conf kubernetes-admin kubeadm:cluster-admins " + tt.public + " " + n + " ",
				"/etc/kubernetes/controller-manager.conf system:kube-controller-manager  " + tt.local + " " + n + " kube-controller-manager",
				"/etc/kubernetes/scheduler.conf system:kube-scheduler  " + tt.local + " " + n + " kube-scheduler",
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestIssueKubeconfig(t *testing.T) {
	ca, caPEM, _ := authority(t, "kubernetes", now.Add(9*year))
	k := Kubeconfigs(input())[0]
	content, err := IssueKubeconfig(k, ca, "ECDSA-P256", now, year)
	must(t, err)
	c, err := clientcmd.Load(content)
	must(t, err)
	user := c.AuthInfos["kubernetes-admin"]
	cluster := c.Clusters["kubernetes"]
	if c.CurrentContext != "kubernetes-admin@kubernetes" || cluster == nil || user == nil || len(c.Contexts) != 1 ||
		string(cluster.CertificateAuthorityData) != string(caPEM) || cluster.Server != "https://api.example.com:8443" {
		t.Fatalf("%s", c.CurrentContext)
	}
	certs, err := parseCertificates(user.ClientCertificateData)
	must(t, err)
	// Unlike a certificate in a file: catalogue §11 #16.
	if leaf := certs[0]; !leaf.NotBefore.Equal(ca.Certificates[0].NotBefore) || !leaf.NotAfter.Equal(now.Add(year)) || leaf.IsCA ||
		leaf.Subject.String() != "CN=kubernetes-admin,O=kubeadm:cluster-admins" || len(leaf.ExtKeyUsage) != 1 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
		t.Errorf("%+v", leaf)
	}
	if m := InspectKubeconfig(k, content, nil, ca, now, Threshold(DefaultRenewBefore, year)); len(m) > 0 {
		t.Errorf("what was just made is not right: %+v", m)
	}
	if _, err := IssueKubeconfig(k, &CA{Certificates: ca.Certificates}, "", now, year); err == nil {
		t.Error("signed without a key")
	}
}

// What can be wrong with a kubeconfig, most of which kubeadm does not see
// (catalogue §9.4, §9.5 C5, §11 #24 and #25).
func TestInspectKubeconfig(t *testing.T) {
	ca, caPEM, _ := authority(t, "kubernetes", now.Add(9*year))
	other, otherPEM, _ := authority(t, "kubernetes", now.Add(9*year))
	k := Kubeconfigs(input())[0]
	made := func(change func(*Kubeconfig), by *CA, at time.Time) []byte {
		spec := k
		if change != nil {
			change(&spec)
		}
		out, err := IssueKubeconfig(spec, by, "ECDSA-P256", at, year)
		must(t, err)
		return out
	}
	good := made(nil, ca, now)
	edited := func(edit func(*clientcmdapi.Config)) []byte {
		c, err := clientcmd.Load(good)
		must(t, err)
		edit(c)
		out, err := clientcmd.Write(*c)
		must(t, err)
		return out
	}
	cluster := func(c *clientcmdapi.Config) *clientcmdapi.Cluster { return c.Clusters["kubernetes"] }
	user := func(c *clientcmdapi.Config) *clientcmdapi.AuthInfo { return c.AuthInfos[UserAdmin] }
	config, err := clientcmd.Load(good)
	must(t, err)
	cert, key := user(config).ClientCertificateData, user(config).ClientKeyData
	outside := edited(func(c *clientcmdapi.Config) {
		cluster(c).CertificateAuthorityData, cluster(c).CertificateAuthority = nil, "pki/ca.crt"
		user(c).ClientCertificateData, user(c).ClientCertificate = nil, "/x/a.crt"
		user(c).ClientKeyData, user(c).ClientKey = nil, "/x/a.key"
	})
	tests := map[string]struct {
		content []byte
		files   map[string][]byte
		want    []string
		intent  bool
	}{
		"as made":                    {content: good},
		"other names":                {content: made(func(s *Kubeconfig) { s.ClusterName = "prod" }, ca, now)},
		"of an older release":        {content: made(func(s *Kubeconfig) { s.Organization = []string{GroupMasters} }, ca, now)},
		"a server written otherwise": {content: edited(func(c *clientcmdapi.Config) { cluster(c).Server = "https://API.example.com:8443/" })},
		"a further CA":               {content: edited(func(c *clientcmdapi.Config) { cluster(c).CertificateAuthorityData = slices.Concat(otherPEM, caPEM) })},
		"in files":                   {content: outside, files: map[string][]byte{"/etc/kubernetes/pki/ca.crt": caPEM, "/x/a.crt": cert, "/x/a.key": key}},
		"in files that are gone":     {content: outside, want: []string{"its CA is empty", "holds no client certificate"}},
		"in files, the key gone":     {content: outside, files: map[string][]byte{"/etc/kubernetes/pki/ca.crt": caPEM, "/x/a.crt": cert}, want: []string{"its client certificate and key are not a pair"}},
		"empty (C5)":                 {content: nil, want: []string{"is empty"}},
		"cut off (C5)":               {content: good[:len(good)/2], want: []string{"has no current context", "is not a kubeconfig"}},
		"no kubeconfig":              {content: []byte("token: abcdef.0123456789abcdef\n\t["), want: []string{"is not a kubeconfig"}},
		"no current context":         {content: edited(func(c *clientcmdapi.Config) { c.CurrentContext = "x" }), want: []string{"has no current context"}},
		"no cluster":                 {content: edited(func(c *clientcmdapi.Config) { clear(c.Clusters) }), want: []string{"lacks the cluster of its current context"}},
		"no user":                    {content: edited(func(c *clientcmdapi.Config) { clear(c.AuthInfos) }), want: []string{"lacks the user of its current context"}},
		"another port":               {content: made(func(s *Kubeconfig) { s.Server = "https://api.example.com:6443" }, ca, now), want: []string{"points to https://api.example.com:6443 instead of https://api.example.com:8443"}, intent: true},
		"a password in the server":   {content: edited(func(c *clientcmdapi.Config) { cluster(c).Server = "https://u:hunter2@api.example.com:8443" }), want: []string{"points to https://(sensitive)@api.example.com:8443 instead of https://api.example.com:8443"}, intent: true},
		"a server that is not checked": {content: edited(func(c *clientcmdapi.Config) {
			cluster(c).InsecureSkipTLSVerify, cluster(c).CertificateAuthorityData = true, nil
		}), want: []string{"does not verify the server"}},
		"another CA":      {content: edited(func(c *clientcmdapi.Config) { cluster(c).CertificateAuthorityData = otherPEM }), want: []string{"trusts another CA than the cluster's"}},
		"by another CA":   {content: made(nil, other, now), want: []string{"trusts another CA than the cluster's", "its client certificate is not signed by the cluster's CA"}},
		"a token":         {content: edited(func(c *clientcmdapi.Config) { *user(c) = clientcmdapi.AuthInfo{Token: "hunter2"} }), want: []string{"holds no client certificate"}},
		"no key":          {content: edited(func(c *clientcmdapi.Config) { user(c).ClientKeyData = nil }), want: []string{"its client certificate and key are not a pair"}},
		"another user":    {content: made(func(s *Kubeconfig) { s.CommonName = "mallory" }, ca, now), want: []string{`its client certificate is of "mallory", not of "kubernetes-admin"`}, intent: true},
		"another group":   {content: made(func(s *Kubeconfig) { s.Organization = nil }, ca, now), want: []string{`its client certificate has the organization "" instead of "kubeadm:cluster-admins"`}},
		"expired":         {content: made(nil, ca, now.Add(-2*year)), want: []string{"its client certificate expired 365 days ago"}},
		"three days left": {content: made(nil, ca, now.Add(-year+73*time.Hour)), want: []string{"its client certificate expires in 3 days"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var texts []string
			for _, m := range InspectKubeconfig(k, tt.content, tt.files, ca, now, DefaultRenewBefore) {
				texts = append(texts, m.Text)
				if m.Intent != tt.intent {
					t.Errorf("%+v", m)
				}
				if strings.Contains(m.Text+m.Before+m.After, "hunter2") {
					t.Errorf("a secret shows: %+v", m)
				}
			}
			if name == "cut off (C5)" && len(texts) == 1 { // where it was cut decides
				tt.want = []string{tt.want[map[bool]int{true: 1}[texts[0] == tt.want[1]]]}
			}
			if diff := cmp.Diff(tt.want, texts); diff != "" {
				t.Error(diff)
			}
		})
	}
	if got := References(k, outside); !cmp.Equal(got, []string{"/etc/kubernetes/pki/ca.crt", "/x/a.crt", "/x/a.key"}) {
		t.Errorf("%q", got)
	}
}
