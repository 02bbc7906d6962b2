package etcd

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kubejoin/kubejoin/e2e/lab"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster/etcd"
	"github.com/kubejoin/kubejoin/reconcile/host"
	"github.com/kubejoin/kubejoin/reconcile/node"
)

// ring is an etcd cluster whose members are processes of this machine.
type ring struct {
	t       *testing.T
	dir     string
	version string
	args    []string
	ca      *authority
	members []*member
}

// member is one machine with an etcd, as far as etcd sees a machine.
type member struct {
	r            *ring
	name         string
	version      string
	peer, client string // URLs
	root         string // of its file system
	wal          string // the directory of its log, if it has one of its own
	host         *host.Host
	cmd          *exec.Cmd
	log          *bytes.Buffer
	ended        chan struct{}
}

const dataDir = "/var/lib/etcd"

// newRing starts a cluster with a number of voters. All members get the arguments.
func newRing(t *testing.T, version string, voters int, args ...string) *ring {
	t.Helper()
	return newRingOf(t, newAuthority(t), version, voters, args...)
}

func newRingOf(t *testing.T, ca *authority, version string, voters int, args ...string) *ring {
	t.Helper()
	r := &ring{t: t, dir: t.TempDir(), version: version, ca: ca, args: args}
	cert, key := r.ca.issue(t, "kube-etcd")
	for name, data := range map[string][]byte{"ca.crt": r.ca.pem, "member.crt": cert, "member.key": key} {
		if err := os.WriteFile(filepath.Join(r.dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var peers []etcd.Peer
	for i := range voters {
		m := r.machine(fmt.Sprint("cp", i+1))
		peers = append(peers, etcd.Peer{Name: m.name, URL: m.peer})
	}
	for _, m := range r.members {
		m.start(peers, "new")
	}
	if voters > 0 {
		r.eventually("all voters are healthy", func() bool {
			c, err := r.look()
			return err == nil && len(c.Members) == voters && healthy(c) == voters && len(c.Unreachable()) == 0
		})
	}
	return r
}

// machine makes one that is no member yet.
func (r *ring) machine(name string) *member {
	r.t.Helper()
	return r.machineAt(name, "127.0.0.1")
}

func (r *ring) machineAt(name, ip string) *member {
	r.t.Helper()
	m := &member{r: r, name: name, version: r.version, root: r.t.TempDir(), peer: freeURL(r.t, ip), client: freeURL(r.t, ip)}
	h, err := host.Open(m.root)
	if err != nil {
		r.t.Fatal(err)
	}
	m.host = h
	r.t.Cleanup(func() { m.kill(); _ = h.Close() })
	r.members = append(r.members, m)
	return m
}

// given are the addresses of freeURL.
var given sync.Map

// freeURL is one where nothing listens, and that was not given before: the kernel draws its ports at random.
func freeURL(t *testing.T, ip string) string {
	t.Helper()
	for {
		l, err := net.Listen("tcp", ip+":0")
		if err != nil {
			t.Fatal(err)
		}
		address := l.Addr().String()
		l.Close()
		if _, again := given.LoadOrStore(address, true); !again {
			return "https://" + address
		}
	}
}

func (m *member) data() string { return filepath.Join(m.root, dataDir) }

// start runs etcd as a manifest of kubeadm does.
func (m *member) start(peers []etcd.Peer, state string) {
	m.r.t.Helper()
	binary, err := lab.Etcd(context.Background(), m.version)
	if err != nil {
		m.r.t.Fatal(err)
	}
	var initial []string
	for _, p := range peers {
		initial = append(initial, p.Name+"="+p.URL)
	}
	if err := os.MkdirAll(m.data(), 0o700); err != nil {
		m.r.t.Fatal(err)
	}
	pki := func(name string) string { return filepath.Join(m.r.dir, name) }
	m.cmd = exec.Command(binary, "--name="+m.name, "--data-dir="+m.data(), "--client-cert-auth=true", "--peer-client-cert-auth=true",
		"--advertise-client-urls="+m.client, "--listen-client-urls="+m.client,
		"--initial-advertise-peer-urls="+m.peer, "--listen-peer-urls="+m.peer,
		"--cert-file="+pki("member.crt"), "--key-file="+pki("member.key"), "--trusted-ca-file="+pki("ca.crt"),
		"--peer-cert-file="+pki("member.crt"), "--peer-key-file="+pki("member.key"), "--peer-trusted-ca-file="+pki("ca.crt"),
		"--initial-cluster="+strings.Join(initial, ","), "--initial-cluster-state="+state, "--initial-cluster-token="+m.r.dir,
		"--feature-gates=InitialCorruptCheck=true", "--snapshot-count=10000", "--watch-progress-notify-interval=5s", "--log-level=warn")
	m.cmd.Args = append(m.cmd.Args, m.r.args...)
	if m.wal != "" {
		m.cmd.Args = append(m.cmd.Args, "--wal-dir="+filepath.Join(m.root, m.wal))
	}
	m.log = &bytes.Buffer{}
	m.cmd.Stdout, m.cmd.Stderr = m.log, m.log
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // also if the test is killed
	if err := m.cmd.Start(); err != nil {
		m.r.t.Fatal(err)
	}
	m.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) { _ = cmd.Wait(); close(ended) }(m.cmd, m.ended)
}

func (m *member) runs() bool {
	if m.cmd == nil {
		return false
	}
	select {
	case <-m.ended:
		return false
	default:
		return true
	}
}

// kill ends the process as a power loss does.
func (m *member) kill() {
	if m.runs() {
		_ = m.cmd.Process.Kill()
		<-m.ended
	}
}

// asker makes a client that knows the endpoints of the members that have one.
func (r *ring) asker(more ...string) *etcd.Client {
	r.t.Helper()
	endpoints := slices.Clone(more)
	for _, m := range r.members {
		if m.cmd != nil {
			endpoints = append(endpoints, m.client)
		}
	}
	cert, key := r.ca.issue(r.t, "kube-etcd-healthcheck-client")
	c, err := etcd.New(endpoints, r.ca.pem, cert, key)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (r *ring) look() (etcd.Cluster, error) {
	return r.asker().Look(r.t.Context())
}

func healthy(c etcd.Cluster) int {
	n := 0
	for _, v := range c.Voters() {
		if v.Healthy {
			n++
		}
	}
	return n
}

// is ends the test unless the cluster has exactly these voters, all healthy, and nothing else.
func (r *ring) is(names ...string) {
	r.t.Helper()
	c, err := r.look()
	if err != nil {
		r.t.Fatal(err)
	}
	var got []string
	for _, m := range c.Members {
		got = append(got, m.Name)
	}
	slices.Sort(got)
	slices.Sort(names)
	if !slices.Equal(got, names) || healthy(c) != len(names) {
		r.t.Fatalf("the members are %v, %d healthy voters; want %v\n%+v", got, healthy(c), names, c)
	}
}

func (r *ring) eventually(what string, is func() bool) {
	r.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if is() {
			return
		}
	}
	for _, m := range r.members {
		if m.log != nil && !m.runs() {
			r.t.Logf("%s: %s", m.name, m.log)
		}
	}
	r.t.Fatalf("not so after a minute: %s", what)
}

// run is one run of kubejoin on a machine.
type run struct {
	m      *member
	in     node.EtcdInput
	client *etcd.Client
}

func (m *member) run() *run {
	m.r.t.Helper()
	c := m.r.asker()
	return &run{m: m, client: c, in: node.EtcdInput{
		NodeName: m.name, PeerURL: m.peer, ClientURL: m.client, DataDir: dataDir, WALDir: m.wal, Version: m.version,
		Client: c, Data: m.host, Timeout: time.Minute, Manifest: manifest,
	}}
}

func (r *run) set() *reconcile.Set {
	r.m.r.t.Helper()
	set, err := reconcile.NewSet(append(node.EtcdResources(r.in), &kubelet{r})...)
	if err != nil {
		r.m.r.t.Fatal(err)
	}
	return set
}

func (r *run) plan() *reconcile.Computed {
	r.m.r.t.Helper()
	c, err := r.set().Compute(r.m.r.t.Context())
	if err != nil {
		r.m.r.t.Fatal(err)
	}
	return c
}

// apply plans and applies until an address is done, if one is given: then the program is killed.
func (r *run) apply(killedAfter reconcile.Address, allow ...string) error {
	r.m.r.t.Helper()
	return r.applySet(r.set(), killedAfter, allow...)
}

func (r *run) applySet(set *reconcile.Set, killedAfter reconcile.Address, allow ...string) error {
	r.m.r.t.Helper()
	ctx, kill := context.WithCancel(r.m.r.t.Context())
	defer kill()
	c, err := set.Compute(ctx)
	if err != nil {
		return err
	}
	for _, f := range c.Findings {
		if f.Severity == reconcile.SeverityError {
			return fmt.Errorf("%s: %s", f.Name, f.Seen)
		}
	}
	err = set.Apply(ctx, c, allow, func(e reconcile.Event) {
		if e.Say != nil {
			r.m.r.t.Logf("%s: %s: %s", r.m.name, e.Address, e.Say.Message)
		}
		if e.Type == reconcile.EventDone && e.Address == killedAfter {
			kill()
		}
	})
	if err != nil {
		return err
	}
	return set.Converged(ctx)
}

func (r *run) must(err error) {
	r.m.r.t.Helper()
	if err != nil {
		r.m.r.t.Fatal(err)
	}
}

// kubelet plays the part of the machine between being added and promoted: with the manifest written, etcd runs.
type kubelet struct{ r *run }

const manifest reconcile.Address = "static-pod:etcd"

func (k *kubelet) Address() reconcile.Address { return manifest }
func (k *kubelet) After() []reconcile.Address {
	return []reconcile.Address{node.EtcdMemberAddress(k.r.m.name)}
}

func (k *kubelet) Observe(context.Context) (reconcile.Observation, error) { return k.r.m.runs(), nil }

func (k *kubelet) Change(o reconcile.Observation, _ reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	if o.(bool) {
		return nil, nil, nil
	}
	return &reconcile.Change{Address: manifest, Action: reconcile.Create, Reason: reconcile.Missing, Summary: "does not exist"}, nil, nil
}

func (k *kubelet) Apply(ctx context.Context, _ reconcile.Change, _ reconcile.View, _ func(reconcile.Progress)) error {
	peers, err := node.EtcdPeers(ctx, k.r.in)
	if err == nil {
		k.r.m.start(peers, "existing")
	}
	return err
}

// authority is the CA of a ring.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "etcd-ca"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert: cert, key: key, pem: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// issue makes a certificate for members and clients alike, for some addresses of loopback.
func (a *authority) issue(t *testing.T, name string) (certPEM, keyPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv4(127, 0, 0, 2)},
		KeyUsage:    x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
}
