package oracle

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
	"github.com/kubejoin/kubejoin/reconcile/host"
	"github.com/kubejoin/kubejoin/reconcile/node"
	"github.com/kubejoin/kubejoin/reconcile/pki"
	"github.com/kubejoin/kubejoin/reconcile/staticpod"
)

// certificate is what two certificates for the same purpose have in common.
type certificate struct {
	Subject, Issuer, Key, KeyFile string
	DNS, IPs, Extensions          []string
	KeyUsage                      x509.KeyUsage
	Usages                        []x509.ExtKeyUsage
	CA                            bool
	Signature                     x509.SignatureAlgorithm
	Lifetime                      time.Duration // after now
	SinceCA                       bool          // it begins when the CA does
}

func describe(t *testing.T, cert, key []byte) certificate {
	t.Helper()
	c, err := parseCertificate(cert)
	if err != nil {
		t.Fatal(err)
	}
	a, err := authority()
	if err != nil {
		t.Fatal(err)
	}
	out := certificate{Subject: c.Subject.String(), Issuer: c.Issuer.String(), DNS: c.DNSNames, KeyUsage: c.KeyUsage, Usages: c.ExtKeyUsage, CA: c.IsCA,
		Signature: c.SignatureAlgorithm, SinceCA: c.NotBefore.Sub(a.ca.NotBefore).Abs() < 10*time.Second,
		Lifetime: time.Until(c.NotAfter).Round(time.Minute)}
	for _, ip := range c.IPAddresses {
		out.IPs = append(out.IPs, ip.String())
	}
	for _, e := range c.Extensions {
		out.Extensions = append(out.Extensions, fmt.Sprint(e.Id, e.Critical))
	}
	if !out.SinceCA {
		out.Lifetime = c.NotAfter.Sub(c.NotBefore) // both follow from the moment of the run
	}
	block, _ := pem.Decode(key)
	if block == nil {
		t.Fatal("no key")
	}
	out.KeyFile = block.Type
	switch k := c.PublicKey.(type) {
	case *rsa.PublicKey:
		out.Key = fmt.Sprint("RSA ", k.N.BitLen())
	case *ecdsa.PublicKey:
		out.Key = k.Curve.Params().Name
	}
	return out
}

// signer gives a CA of the authority as kubejoin has it on a machine.
func signer(t *testing.T, name string) *pki.CA {
	t.Helper()
	a, err := authority()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := parseCertificate(a.Files[name+".crt"])
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(a.Files[name+".key"])
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return &pki.CA{Certificates: []*x509.Certificate{cert}, Key: crypto.Signer(key)}
}

func (j joining) identities(t *testing.T, c *kubeadm.ClusterConfiguration) pki.Input {
	t.Helper()
	row, err := staticpod.For(c.KubernetesVersion)
	if err != nil {
		t.Fatal(err)
	}
	return pki.Input{Cluster: c, NodeName: j.node, Endpoint: kubeadm.APIEndpoint{AdvertiseAddress: j.address, BindPort: j.port},
		Organizations: map[string][]string{pki.APIServerKubeletClient: row.APIServerKubeletClientOrganizations}}
}

func compareCertificates(t *testing.T, result *Result, c *kubeadm.ClusterConfiguration, j joining) {
	t.Helper()
	leaves, _, err := pki.Leaves(j.identities(t, c))
	if err != nil {
		t.Fatal(err)
	}
	signers := map[pki.Authority]string{pki.ClusterCA: "ca", pki.FrontProxyCA: "front-proxy-ca", pki.EtcdCA: "etcd/ca"}
	known := []string{"ca.crt", "front-proxy-ca.crt", "etcd/ca.crt"}
	now := time.Now()
	for _, leaf := range leaves {
		known = append(known, leaf.Name+".crt")
		cert, key := result.Files[leaf.Name+".crt"], result.Files[leaf.Name+".key"]
		ca := signer(t, signers[leaf.Authority])
		// kubeadm's stays.
		if wrong := pki.Inspect(leaf.Identity, cert, key, ca, now, 0); len(wrong) > 0 {
			t.Errorf("%s: %+v", leaf.Name, wrong)
		}
		ourCert, ourKey, err := pki.Issue(leaf.Identity, ca, c.EncryptionAlgorithm, now, c.CertificateValidityPeriod)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(describe(t, cert, key), describe(t, ourCert, ourKey)); diff != "" {
			t.Errorf("%s (-kubeadm +kubejoin):\n%s", leaf.Name, diff)
		}
	}
	for file := range result.Files {
		if strings.HasSuffix(file, ".crt") && !slices.Contains(known, file) {
			t.Errorf("kubeadm writes %s", file)
		}
	}
}

func compareKubeconfigs(t *testing.T, result *Result, c *kubeadm.ClusterConfiguration, j joining) {
	t.Helper()
	ca, now := signer(t, "ca"), time.Now()
	for _, k := range pki.Kubeconfigs(j.identities(t, c)) {
		theirs := result.Files[path.Base(k.Path)]
		if wrong := pki.InspectKubeconfig(k, theirs, nil, ca, now, 0); len(wrong) > 0 {
			t.Errorf("%s: %+v", k.Path, wrong)
		}
		ours, err := pki.IssueKubeconfig(k, ca, c.EncryptionAlgorithm, now, c.CertificateValidityPeriod)
		if err != nil {
			t.Fatal(err)
		}
		theirDoc, theirCert, theirKey := takeApart(t, theirs)
		ourDoc, ourCert, ourKey := takeApart(t, ours)
		if diff := cmp.Diff(theirDoc, ourDoc); diff != "" {
			t.Errorf("%s (-kubeadm +kubejoin):\n%s", k.Path, diff)
		}
		if diff := cmp.Diff(describe(t, theirCert, theirKey), describe(t, ourCert, ourKey)); diff != "" {
			t.Errorf("certificate of %s (-kubeadm +kubejoin):\n%s", k.Path, diff)
		}
	}
}

// takeApart gives a kubeconfig without its credential, and the credential.
func takeApart(t *testing.T, kubeconfig []byte) (rest string, cert, key []byte) {
	t.Helper()
	var lines []string
	for line := range strings.Lines(string(kubeconfig)) {
		if !strings.Contains(line, "client-") {
			lines = append(lines, line)
		}
	}
	var doc struct {
		Users []struct {
			User struct {
				Cert []byte `json:"client-certificate-data"`
				Key  []byte `json:"client-key-data"`
			} `json:"user"`
		} `json:"users"`
	}
	if err := yaml.Unmarshal(kubeconfig, &doc); err != nil || len(doc.Users) != 1 {
		t.Fatalf("%d users, %v", len(doc.Users), err)
	}
	return strings.Join(lines, ""), doc.Users[0].User.Cert, doc.Users[0].User.Key
}

func compareKubelet(t *testing.T, result *Result, c *kubeadm.ClusterConfiguration, j joining) {
	t.Helper()
	a, err := authority()
	if err != nil {
		t.Fatal(err)
	}
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	row, err := staticpod.For(c.KubernetesVersion)
	if err != nil {
		t.Fatal(err)
	}
	cfg := &kubeadm.JoinConfiguration{CACertPath: kubeadm.DefaultCACertPath, ControlPlane: &kubeadm.JoinControlPlane{},
		NodeRegistration: kubeadm.NodeRegistration{Name: j.node, CRISocket: "unix:///x"}}
	if err := kubeadm.SetDynamicDefaults(cfg, kubeadm.Machine{}); err != nil {
		t.Fatal(err)
	}
	want, _, err := node.Compute(node.Input{Config: cfg, Patches: j.input(t, c).Patches, Facts: host.Facts{Hostname: hostname},
		Cluster: &cluster.State{CA: a.Files["ca.crt"], Configuration: c, KubeletConfig: []byte(kubeletDocument + j.kubelet)}})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range want.Files {
		theirs := result.Files[path.Base(f.Path)]
		if row.PodInfraContainerImage && f.Path == node.KubeletFlagsPath {
			// Its kubelets warn that the flag means nothing, later ones do not know it.
			theirs = bytes.Replace(theirs, []byte(" --pod-infra-container-image="+staticpod.PauseImage(c, row)), nil, 1)
		}
		if diff := cmp.Diff(string(theirs), string(f.Content)); diff != "" {
			t.Errorf("%s (-kubeadm +kubejoin):\n%s", f.Path, diff)
		}
	}
}
