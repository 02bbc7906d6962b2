package node

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/host"
	"github.com/kubejoin/kubejoin/reconcile/pki"
)

// pkiMachine is a control plane's PKI in real files below a directory.
type pkiMachine struct {
	t      *testing.T
	root   string
	files  *testFiles
	in     pki.Input
	bundle map[string][]byte // what the Secret has, opened
	sealed bool              // there is no Secret any more
	key    bool              // the configuration has a certificate key
	now    time.Time
	shared *pki.Shared
}

// newPKI is a machine with nothing on it, and a Secret to join with.
func newPKI(t *testing.T) *pkiMachine {
	t.Helper()
	m := &pkiMachine{t: t, root: t.TempDir(), bundle: sharedSet(t), now: time.Now().Truncate(time.Second), key: true}
	h, err := host.Open(m.root)
	m.must(err)
	t.Cleanup(func() { _ = h.Close() })
	m.files = &testFiles{Host: h}
	m.in = pki.Input{NodeName: "cp2", Endpoint: kubeadm.APIEndpoint{AdvertiseAddress: "10.0.0.5", BindPort: 6443},
		Cluster: &kubeadm.ClusterConfiguration{ControlPlaneEndpoint: "api.example.com:6443", Networking: kubeadm.Networking{ServiceSubnet: "10.96.0.0/12"}}}
	return m
}

// joinedPKI is a machine that has it all, and no Secret any more.
func joinedPKI(t *testing.T) *pkiMachine {
	t.Helper()
	m := newPKI(t)
	m.apply(nil)
	m.sealed, m.key = true, false
	for _, name := range []string{"kube-controller-manager", "kube-scheduler"} {
		m.write("/etc/kubernetes/manifests/"+name+".yaml", []byte("kind: Pod\n"))
	}
	return m
}

// sharedSet is what `kubeadm init` makes and uploads.
func sharedSet(t *testing.T) map[string][]byte {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	out := map[string][]byte{}
	for _, name := range []string{"ca", "front-proxy-ca", "etcd-ca"} {
		key, err := pki.NewKey("ECDSA-P256")
		must(err)
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0), KeyUsage: x509.KeyUsageCertSign}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		must(err)
		cert, err := x509.ParseCertificate(der)
		must(err)
		out[name+".crt"], err = certutil.EncodeCertificates(cert)
		must(err)
		out[name+".key"], err = keyutil.MarshalPrivateKeyToPEM(key)
		must(err)
	}
	key, err := pki.NewKey("ECDSA-P256")
	must(err)
	out["sa.key"], err = keyutil.MarshalPrivateKeyToPEM(key)
	must(err)
	out["sa.pub"] = []byte{} // derived
	return out
}

func (m *pkiMachine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *pkiMachine) path(p string) string { return filepath.Join(m.root, p) }

func (m *pkiMachine) write(path string, content []byte) {
	m.t.Helper()
	m.must(os.MkdirAll(filepath.Dir(m.path(path)), 0o755))
	m.must(os.WriteFile(m.path(path), content, 0o600))
}

func (m *pkiMachine) read(path string) []byte {
	m.t.Helper()
	b, err := os.ReadFile(m.path(path))
	m.must(err)
	return b
}

func (m *pkiMachine) exists(path string) bool {
	_, err := os.Lstat(m.path(path))
	return err == nil
}

func (m *pkiMachine) remove(path string) { m.t.Helper(); m.must(os.Remove(m.path(path))) }

func (m *pkiMachine) resolve() (*pki.Shared, error) {
	leaves, _, err := pki.Leaves(m.in)
	m.must(err)
	kubeconfigs := pki.Kubeconfigs(m.in)
	s := pki.Sources{Cluster: m.in.Cluster, Discovered: m.bundle["ca.crt"], CertificateKey: m.key, Leaves: leaves, Kubeconfigs: kubeconfigs, Now: m.now,
		Disk: ReadPKI(m.files, pki.SharedFiles(m.in.Cluster), leaves, kubeconfigs)}
	if !m.sealed {
		s.Bundle = m.bundle
	}
	return pki.Resolve(s)
}

func (m *pkiMachine) set() *reconcile.Set {
	m.t.Helper()
	shared, err := m.resolve()
	m.must(err)
	m.shared = shared
	leaves, _, err := pki.Leaves(m.in)
	m.must(err)
	certificates, kubeconfigs := pkiResources(PKI{Shared: shared, Leaves: leaves, Kubeconfigs: pki.Kubeconfigs(m.in), Algorithm: "ECDSA-P256",
		Validity: 365 * 24 * time.Hour, RenewBefore: pki.DefaultRenewBefore, AnyOwner: os.Geteuid() != 0},
		Ports{Files: m.files, Now: func() time.Time { return m.now }})
	set, err := reconcile.NewSet(slices.Concat(certificates, kubeconfigs)...)
	m.must(err)
	return set
}

func (m *pkiMachine) plan() *reconcile.Computed {
	m.t.Helper()
	c, err := m.set().Compute(m.t.Context())
	m.must(err)
	for _, ch := range c.Changes {
		noSecret(m.t, ch)
	}
	return c
}

// apply makes what is missing, and proves that nothing is left although the
// machine is looked at anew.
func (m *pkiMachine) apply(allow []string) {
	m.t.Helper()
	set := m.set()
	c, err := set.Compute(m.t.Context())
	m.must(err)
	m.must(set.Apply(m.t.Context(), c, allow, func(reconcile.Event) {}))
	m.must(set.Converged(m.t.Context()))
	if left := m.plan(); len(left.Changes) > 0 {
		m.t.Errorf("left to do: %+v", left.Changes)
	}
}

// times are when each file was written.
func (m *pkiMachine) times() map[string]time.Time {
	m.t.Helper()
	out := map[string]time.Time{}
	m.must(filepath.WalkDir(m.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		out[strings.TrimPrefix(path, m.root)] = info.ModTime()
		return err
	}))
	return out
}

// lines are a plan's changes: what, why, at what cost.
func pkiLines(c *reconcile.Computed) []string {
	var out []string
	for _, ch := range c.Changes {
		line := strings.Join([]string{strings.Replace(string(ch.Address), "/etc/kubernetes/", "", 1), string(ch.Action), string(ch.Reason), ch.Summary}, " | ")
		if ch.Disruption != reconcile.NoDisruption {
			line += " | " + string(ch.Disruption)
		}
		if ch.Allow != "" {
			line += " | " + ch.Allow
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

const pkiDir = "/etc/kubernetes/pki/"

func TestPKIOfANewMachine(t *testing.T) {
	m := newPKI(t)
	c := m.plan()
	if len(c.Changes) != 8+7+3 || len(c.Findings) > 0 {
		t.Fatalf("%q, %+v", pkiLines(c), c.Findings)
	}
	for _, ch := range c.Changes {
		if ch.Action != reconcile.Create || ch.Reason != reconcile.Missing || ch.Disruption != reconcile.NoDisruption {
			t.Errorf("%+v", ch)
		}
	}
	if written := m.times(); len(written) > 0 {
		t.Fatalf("planning wrote %v", written)
	}
	m.apply(nil)
	for path := range m.times() {
		info, err := os.Stat(m.path(path))
		m.must(err)
		want := fs.FileMode(0o600)
		if strings.HasSuffix(path, ".crt") || strings.HasSuffix(path, ".pub") {
			want = 0o644
		}
		if info.Mode() != want {
			t.Errorf("%s: %s", path, info.Mode())
		}
	}
	if n := len(m.times()); n != 8+2*7+3 {
		t.Errorf("%d files", n)
	}
}

// The rows of catalogue §9.4, of §9.5 C1 to C5 and C17, and appendix B 11: each
// gives its changes and no other, and apply puts it right without writing more.
func TestPKIDrift(t *testing.T) {
	tests := map[string]struct {
		spoil    func(*pkiMachine)
		want     []string
		findings []string
		allow    []string
	}{
		"everything present":       {spoil: func(*pkiMachine) {}},
		"the Secret is there, too": {spoil: func(m *pkiMachine) { m.sealed, m.key = false, true }},
		"apiserver.key without .crt (C3)": {spoil: func(m *pkiMachine) { m.remove(pkiDir + "apiserver.crt") },
			want: []string{"certificate:pki/apiserver.crt | update | missing | does not exist, its key does"}},
		"apiserver.crt without .key": {spoil: func(m *pkiMachine) { m.remove(pkiDir + "apiserver.key") },
			want: []string{"certificate:pki/apiserver.crt | update | missing | has no key beside it"}},
		"a pair gone": {spoil: func(m *pkiMachine) { m.remove(pkiDir + "etcd/peer.key"); m.remove(pkiDir + "etcd/peer.crt") },
			want: []string{"certificate:pki/etcd/peer.crt | create | missing | does not exist"}},
		"ca.key without ca.crt": {spoil: func(m *pkiMachine) { m.remove(pkiDir + "ca.crt") },
			want: []string{"file:pki/ca.crt | create | missing | does not exist"}},
		"ca.crt without ca.key, all leaves present": {spoil: func(m *pkiMachine) { m.remove(pkiDir + "ca.key") }},
		"… and a leaf that its CA has to renew": {spoil: func(m *pkiMachine) {
			m.remove(pkiDir + "ca.key")
			m.in.Cluster.APIServer.CertSANs = []string{"more.example.com"}
		}, findings: []string{"ExternalCA: lacks SAN more.example.com, and its CA's key is not here"}},
		"sa.pub missing (C4)": {spoil: func(m *pkiMachine) { m.remove(pkiDir + "sa.pub") },
			want: []string{"file:pki/sa.pub | create | missing | does not exist; is derived from sa.key"}},
		"empty admin.conf (C5)": {spoil: func(m *pkiMachine) { m.write(pki.AdminConf, nil) },
			want: []string{"kubeconfig:admin.conf | update | drift | is empty"}},
		"truncated scheduler.conf (C5)": {spoil: func(m *pkiMachine) { m.write(pki.SchedulerConf, []byte("a\n\t[")) },
			want: []string{"kubeconfig:scheduler.conf | update | drift | is not a kubeconfig | pod-restart(kube-scheduler)"}},
		"advertiseAddress changed (C17)": {spoil: func(m *pkiMachine) { m.in.Endpoint.AdvertiseAddress = "10.0.0.6" }, want: []string{
			"certificate:pki/apiserver.crt | update | intent | lacks SAN 10.0.0.6",
			"certificate:pki/etcd/peer.crt | update | intent | lacks SAN 10.0.0.6",
			"certificate:pki/etcd/server.crt | update | intent | lacks SAN 10.0.0.6",
			"kubeconfig:controller-manager.conf | update | intent | points to https://10.0.0.5:6443 instead of https://10.0.0.6:6443 | pod-restart(kube-controller-manager)",
			"kubeconfig:scheduler.conf | update | intent | points to https://10.0.0.5:6443 instead of https://10.0.0.6:6443 | pod-restart(kube-scheduler)",
		}},
		"node name changed": {spoil: func(m *pkiMachine) { m.in.NodeName = "cp9" }, want: []string{
			"certificate:pki/apiserver.crt | update | intent | lacks SAN cp9",
			`certificate:pki/etcd/peer.crt | update | intent | is of "cp2", not of "cp9"; lacks SAN cp9`,
			`certificate:pki/etcd/server.crt | update | intent | is of "cp2", not of "cp9"; lacks SAN cp9`,
		}},
		"bindPort changed": {spoil: func(m *pkiMachine) { m.in.Endpoint.BindPort = 7443 }, want: []string{
			"kubeconfig:controller-manager.conf | update | intent | points to https://10.0.0.5:6443 instead of https://10.0.0.5:7443 | pod-restart(kube-controller-manager)",
			"kubeconfig:scheduler.conf | update | intent | points to https://10.0.0.5:6443 instead of https://10.0.0.5:7443 | pod-restart(kube-scheduler)",
		}},
		"all leaves end soon": {spoil: func(m *pkiMachine) { m.now = m.now.AddDate(0, 0, 362) }, want: []string{
			"certificate:pki/apiserver-etcd-client.crt | update | drift | expires in 3 days",
			"certificate:pki/apiserver-kubelet-client.crt | update | drift | expires in 3 days",
			"certificate:pki/apiserver.crt | update | drift | expires in 3 days",
			"certificate:pki/etcd/healthcheck-client.crt | update | drift | expires in 3 days",
			"certificate:pki/etcd/peer.crt | update | drift | expires in 3 days",
			"certificate:pki/etcd/server.crt | update | drift | expires in 3 days",
			"certificate:pki/front-proxy-client.crt | update | drift | expires in 3 days",
			"kubeconfig:admin.conf | update | drift | its client certificate expires in 3 days",
			"kubeconfig:controller-manager.conf | update | drift | its client certificate expires in 3 days | pod-restart(kube-controller-manager)",
			"kubeconfig:scheduler.conf | update | drift | its client certificate expires in 3 days | pod-restart(kube-scheduler)",
		}},
		"expired leaf": {spoil: func(m *pkiMachine) { m.reissue(pki.FrontProxyClient, m.now.AddDate(-2, 0, 0), nil) },
			want: []string{"certificate:pki/front-proxy-client.crt | update | drift | expired 365 days ago"}},
		"wrong EKU": {spoil: func(m *pkiMachine) {
			m.reissue(pki.EtcdServer, m.now, func(l *pki.Leaf) { l.Usages = l.Usages[:1] })
		}, want: []string{"certificate:pki/etcd/server.crt | update | drift | lacks the usage client auth"}},
		"key not matching certificate": {spoil: func(m *pkiMachine) { m.write(pkiDir+"apiserver.key", m.read(pkiDir+"etcd/peer.key")) },
			want: []string{"certificate:pki/apiserver.crt | update | drift | belongs to another key than the one beside it"}},
		"modes changed": {spoil: func(m *pkiMachine) {
			for _, p := range []string{pkiDir + "ca.key", pkiDir + "apiserver.key", pki.AdminConf, pkiDir + "sa.pub"} {
				m.must(os.Chmod(m.path(p), 0o666))
			}
		}, want: []string{
			"certificate:pki/apiserver.crt | update | drift | content is right, mode or owner is not",
			"file:pki/ca.key | update | drift | content is right, mode or owner is not",
			"file:pki/sa.pub | update | drift | content is right, mode or owner is not",
			"kubeconfig:admin.conf | update | drift | content is right, mode or owner is not",
		}},
		"modes stricter, as of kubeadm init": {spoil: func(m *pkiMachine) {
			m.must(os.Chmod(m.path(pkiDir+"sa.pub"), 0o600))
			m.must(os.Chmod(m.path(pkiDir+"ca.crt"), 0o444))
		}},
		"interrupted writes": {spoil: func(m *pkiMachine) {
			m.write(pkiDir+".ca.key.kubejoin-tmp", []byte("half"))
			m.write(pkiDir+".apiserver.key.kubejoin-tmp", []byte("half"))
			m.write("/etc/kubernetes/.admin.conf.kubejoin-tmp", []byte("half"))
		}, want: []string{
			"certificate:pki/apiserver.crt | delete | drift | " + summaryLeftover,
			"file:pki/ca.key | delete | drift | " + summaryLeftover,
			"kubeconfig:admin.conf | delete | drift | " + summaryLeftover,
		}},
		"half a set, and the Secret (C1)": {spoil: func(m *pkiMachine) {
			m.sealed, m.key = false, true
			m.remove(pkiDir + "ca.key")
			m.remove(pkiDir + "front-proxy-ca.crt")
			m.write(pkiDir+"sa.key", m.read(pkiDir + "sa.key")[:100])
		}, want: []string{
			"file:pki/ca.key | create | missing | does not exist",
			"file:pki/front-proxy-ca.crt | create | missing | does not exist",
			"file:pki/sa.key | update | drift | holds no private key, or a broken one",
		}},
		"the key of another cluster": {spoil: func(m *pkiMachine) {
			m.sealed, m.key = false, true
			m.write(pkiDir+"front-proxy-ca.key", m.read(pkiDir+"etcd/ca.key"))
		}, want: []string{"file:pki/front-proxy-ca.key | replace | drift | holds another key than the cluster's | destructive | replace-ca"}, allow: []string{allowCA}},
		"foreign ca.crt, as of a worker": {spoil: func(m *pkiMachine) {
			m.sealed, m.key = false, true
			m.write(pkiDir+"ca.crt", m.read(pkiDir+"etcd/ca.crt"))
			m.must(os.Chmod(m.path(pkiDir+"ca.crt"), 0o644))
		}, want: []string{"file:pki/ca.crt | replace | drift | holds the CA of another cluster | destructive | replace-ca"}, allow: []string{allowCA}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := joinedPKI(t)
			tt.spoil(m)
			before := m.times()
			c := m.plan()
			if diff := cmp.Diff(tt.want, pkiLines(c)); diff != "" {
				t.Fatal(diff)
			}
			if diff := cmp.Diff(before, m.times()); diff != "" {
				t.Fatal("planning wrote: ", diff)
			}
			var findings []string
			for _, f := range c.Findings {
				findings = append(findings, f.Name+": "+f.Seen)
			}
			if diff := cmp.Diff(tt.findings, findings); diff != "" {
				t.Fatal(diff)
			}
			if len(findings) > 0 {
				return
			}
			if len(tt.allow) > 0 {
				if err := m.set().Apply(t.Context(), c, nil, func(reconcile.Event) {}); fault.ClassOf(err) != fault.Conflict {
					t.Fatalf("not refused: %v", err)
				}
			}
			m.apply(tt.allow)
			m.onlyWritten(before, c)
		})
	}
}

// onlyWritten wants no other file written than those that a plan names.
func (m *pkiMachine) onlyWritten(before map[string]time.Time, c *reconcile.Computed) {
	m.t.Helper()
	planned := map[string]bool{}
	for _, ch := range c.Changes {
		name := ch.Address.Name()
		planned[name] = true
		planned[strings.TrimSuffix(name, ".crt")+".key"] = ch.Address.Kind() == "certificate"
		if onlyOwnership(ch.Fields) || ch.Action == reconcile.Delete {
			clear(planned)
		}
	}
	for path, at := range m.times() {
		if !planned[path] && !at.Equal(before[path]) {
			m.t.Errorf("%s was written", path)
		}
		if strings.Contains(path, "kubejoin-tmp") {
			m.t.Errorf("%s is still there", path)
		}
	}
}

// reissue makes a leaf another way, with the cluster's CA.
func (m *pkiMachine) reissue(name string, at time.Time, change func(*pki.Leaf)) {
	m.t.Helper()
	leaves, _, err := pki.Leaves(m.in)
	m.must(err)
	for _, l := range leaves {
		if l.Name != name {
			continue
		}
		if change != nil {
			change(&l)
		}
		cert, key, err := pki.Issue(l.Identity, m.shared.CAs[l.Authority], "ECDSA-P256", at, 365*24*time.Hour)
		m.must(err)
		m.write(l.CertPath, cert)
		m.write(l.KeyPath, key)
	}
}

// Without root the keys cannot be read: that is told, and is no error.
func TestPKIWithoutRoot(t *testing.T) {
	m := joinedPKI(t)
	m.files.denied = map[string]bool{}
	secret := 0
	for path := range m.times() {
		if !strings.HasSuffix(path, ".crt") && !strings.HasSuffix(path, ".pub") && !strings.HasSuffix(path, ".yaml") {
			m.files.denied[path] = true
			secret++
		}
	}
	c := m.plan()
	if len(c.Changes) > 0 || len(c.Findings) != secret {
		t.Errorf("%d secrets, %q, %+v", secret, pkiLines(c), c.Findings)
	}
	for _, f := range c.Findings {
		if f.Name != FindingNotCompared {
			t.Errorf("%+v", f)
		}
	}
	// What can be seen without the key is still told, and cannot be mended.
	m.in.Endpoint.AdvertiseAddress = "10.0.0.6"
	set := m.set()
	c, err := set.Compute(t.Context())
	m.must(err)
	if len(c.Changes) != 3 {
		t.Fatalf("%q", pkiLines(c))
	}
	if err := set.Apply(t.Context(), c, nil, func(reconcile.Event) {}); fault.ClassOf(err) != fault.Preflight || fault.HintOf(err) != "run as root" {
		t.Error(err)
	}
}

// A key that went away between plan and apply is made anew with its
// certificate, and one that came back is left alone.
func TestCertificateIsObservedAgain(t *testing.T) {
	m := joinedPKI(t)
	saved := m.read(pkiDir + "apiserver.crt")
	m.remove(pkiDir + "apiserver.crt")
	set := m.set()
	c, err := set.Compute(t.Context())
	m.must(err)
	m.write(pkiDir+"apiserver.crt", saved)
	var skipped int
	m.must(set.Apply(t.Context(), c, nil, func(e reconcile.Event) {
		if e.Type == reconcile.EventSkip {
			skipped++
		}
	}))
	if skipped != 1 || string(m.read(pkiDir+"apiserver.crt")) != string(saved) {
		t.Errorf("%d skipped", skipped)
	}
}

// Certificates come after the CA that signs them, and do not wait for another.
func TestCertificatesComeAfterTheirCA(t *testing.T) {
	m := newPKI(t)
	shared, err := m.resolve()
	m.must(err)
	leaves, _, err := pki.Leaves(m.in)
	m.must(err)
	apiServer := StaticPodAddress("kube-apiserver")
	certificates, kubeconfigs := pkiResources(PKI{Shared: shared, Leaves: leaves, Kubeconfigs: pki.Kubeconfigs(m.in), KubeconfigsAfter: []reconcile.Address{apiServer}},
		Ports{Files: m.files, Now: time.Now})
	for _, r := range slices.Concat(certificates, kubeconfigs) {
		want := []reconcile.Address(nil)
		switch r.Address() {
		case CertificateAddress(pkiDir + "etcd/peer.crt"), CertificateAddress(pkiDir + "apiserver-etcd-client.crt"):
			want = []reconcile.Address{FileAddress(pkiDir + "etcd/ca.crt"), FileAddress(pkiDir + "etcd/ca.key")}
		case CertificateAddress(pkiDir + "apiserver.crt"):
			want = []reconcile.Address{FileAddress(pkiDir + "ca.crt"), FileAddress(pkiDir + "ca.key")}
		case KubeconfigAddress(pki.AdminConf):
			want = []reconcile.Address{FileAddress(pkiDir + "ca.crt"), FileAddress(pkiDir + "ca.key"), apiServer}
		default:
			if r.Address().Kind() != "file" {
				continue
			}
		}
		if diff := cmp.Diff(want, r.After()); diff != "" {
			t.Errorf("%s: %s", r.Address(), diff)
		}
	}
}

func TestOwners(t *testing.T) {
	kas := Owner{UID: 101, GID: 102, Mode: 0o640}
	p := PKI{Owners: map[string]Owner{"/a": kas}}
	state := func(mode fs.FileMode, uid, gid int) host.FileState {
		return host.FileState{Kind: host.File, Mode: mode, UID: uid, GID: gid}
	}
	for name, tt := range map[string]struct {
		owner  Owner
		state  host.FileState
		fields int
	}{
		"as wanted":              {p.owner("/a", 0o600), state(0o640, 101, 102), 0},
		"root's":                 {p.owner("/a", 0o600), state(0o640, 0, 0), 1},
		"too strict for a group": {p.owner("/a", 0o600), state(0o600, 101, 102), 1},
		"stricter, and root's":   {p.owner("/b", 0o644), state(0o600, 0, 0), 0},
		"looser":                 {p.owner("/b", 0o600), state(0o604, 0, 0), 1},
		"no one may read it":     {p.owner("/b", 0o600), state(0, 0, 0), 1},
		"somebody else's":        {p.owner("/b", 0o600), state(0o600, 7, 0), 1},
		"any owner":              {PKI{AnyOwner: true}.owner("/b", 0o600), state(0o600, 7, 0), 0},
	} {
		if got := tt.owner.differs("", tt.state); len(got) != tt.fields {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestReadAtStart(t *testing.T) {
	c := &kubeadm.ClusterConfiguration{}
	for component, want := range map[string]string{
		"kube-apiserver":          "file:/etc/kubernetes/pki/sa.pub file:/etc/kubernetes/pki/sa.key file:/etc/kubernetes/pki/etcd/ca.crt",
		"kube-controller-manager": "file:/etc/kubernetes/pki/ca.crt file:/etc/kubernetes/pki/sa.key kubeconfig:/etc/kubernetes/controller-manager.conf",
		"kube-scheduler":          "kubeconfig:/etc/kubernetes/scheduler.conf",
		"etcd":                    "file:/etc/kubernetes/pki/etcd/ca.crt",
	} {
		var got []string
		for _, a := range readAtStart(component, c) {
			got = append(got, string(a))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %s", component, got)
		}
	}
}

// Each resource stands for itself: a run that ends between the key and the
// certificate leaves a half pair, which the next one makes whole.
func TestCertificateInterrupted(t *testing.T) {
	m := newPKI(t)
	ctx, cancel := context.WithCancel(t.Context())
	set := m.set()
	c, err := set.Compute(ctx)
	m.must(err)
	inTheWay := m.path(pkiDir + ".apiserver.crt.kubejoin-tmp")
	m.must(os.MkdirAll(filepath.Join(inTheWay, "x"), 0o755)) // the certificate cannot be written
	err = set.Apply(ctx, c, nil, func(reconcile.Event) {})
	cancel()
	if err == nil {
		t.Fatal("no error")
	}
	m.must(os.RemoveAll(inTheWay))
	if !m.exists(pkiDir+"apiserver.key") || m.exists(pkiDir+"apiserver.crt") {
		t.Fatal("no half pair")
	}
	m.apply(nil)
}
