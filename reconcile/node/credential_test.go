package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

func TestCredentialChanges(t *testing.T) {
	own := func(edit func(*cluster.Credential)) cluster.Credential {
		c := cluster.Credential{State: cluster.CredentialValid, CommonName: "system:node:w1", Serial: "1",
			Paths: []string{KubeletKubeconfigPath, KubeletCertificatePath}}
		if edit != nil {
			edit(&c)
		}
		return c
	}
	foreign := bundle(t, false)
	tests := map[string]struct {
		credential cluster.Credential
		refused    string
		want       *change
		summary    string
	}{
		"serves":                  {credential: own(nil)},
		"serves, CA is not known": {credential: own(func(c *cluster.Credential) { c.CA = []byte("no certificate") })},
		"absent": {cluster.Credential{State: cluster.CredentialAbsent}, "",
			&change{Action: reconcile.Create, Reason: reconcile.Missing, Disruption: reconcile.KubeletRestart}, "the kubelet asks for a client certificate"},
		"pending": {cluster.Credential{State: cluster.CredentialPending}, "",
			&change{Action: reconcile.Wait, Reason: reconcile.Missing, Disruption: reconcile.KubeletRestart}, "the kubelet asked for a client certificate and has none yet"},
		"expired": {cluster.Credential{State: cluster.CredentialExpired, Why: "expired at noon"}, "",
			&change{Action: reconcile.Replace, Reason: reconcile.Drift, Disruption: reconcile.KubeletRestart}, "expired at noon"},
		"broken": {cluster.Credential{State: cluster.CredentialBroken, Why: "does not parse"}, "",
			&change{Action: reconcile.Replace, Reason: reconcile.Drift, Disruption: reconcile.KubeletRestart}, "does not parse"},
		"another node's": {own(func(c *cluster.Credential) { c.CommonName = "system:node:other" }), "",
			&change{Action: reconcile.Replace, Reason: reconcile.Drift, Disruption: reconcile.Destructive, Allow: "replace-identity"}, "is system:node:other, not system:node:w1"},
		"another cluster's": {own(func(c *cluster.Credential) { c.CA = foreign }), "",
			&change{Action: reconcile.Replace, Reason: reconcile.Drift, Disruption: reconcile.Destructive, Allow: "replace-identity"}, "belongs to another cluster"},
		"refused": {own(nil), "unauthorized",
			&change{Action: reconcile.Replace, Reason: reconcile.Drift, Disruption: reconcile.KubeletRestart}, "is refused by the API server: unauthorized"},
		"refused, and not the kubelet's own": {own(func(c *cluster.Credential) { c.Paths = []string{KubeletKubeconfigPath} }), "unauthorized",
			&change{Action: reconcile.Replace, Reason: reconcile.Drift, Disruption: reconcile.Destructive, Allow: "replace-identity"}, "is refused by the API server: unauthorized"},
		"refused, but that was the one before": {own(func(c *cluster.Credential) { c.Serial = "2" }), "unauthorized", nil, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := joined(t)
			m.in.Cluster.Bootstrap, m.in.Cluster.CredentialRefused, m.options.Serial = []byte("b"), tt.refused, "1"
			m.setCredential(tt.credential)
			c := m.plan()
			var got *change
			for i, ch := range changesOf(c) {
				if ch.Address == KubeletCredential {
					got = &ch
					got.Address = ""
					if c.Changes[i].Summary != tt.summary {
						t.Errorf("summary %q", c.Changes[i].Summary)
					}
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Mode and owner of the node's own credential are part of the state. To correct
// them the kubelet needs no restart: it reads the files with each rotation.
func TestCredentialOwnership(t *testing.T) {
	const pem = "/var/lib/kubelet/pki/kubelet-client-2026.pem"
	update := []change{{KubeletCredential, reconcile.Update, reconcile.Drift, reconcile.NoDisruption, "", nil}}
	for name, tt := range map[string]struct {
		act    func(t *testing.T, m *machine)
		want   []change
		fields []reconcile.Field
	}{
		"right":                {func(*testing.T, *machine) {}, nil, nil},
		"tighter than it made": {func(_ *testing.T, m *machine) { m.must(os.Chmod(m.path(KubeletKubeconfigPath), 0o400)) }, nil, nil},
		"kubelet.conf": {func(_ *testing.T, m *machine) { m.must(os.Chmod(m.path(KubeletKubeconfigPath), 0o666)) }, update,
			[]reconcile.Field{{Path: "kubelet.conf mode", Before: "0666", After: "0600"}}},
		"certificate behind its link": {func(_ *testing.T, m *machine) { m.must(os.Chmod(m.path(pem), 0o644)) }, update,
			[]reconcile.Field{{Path: "certificate mode", Before: "0644", After: "0600"}}},
		"owner": {func(t *testing.T, m *machine) {
			if os.Geteuid() != 0 {
				t.Skip("only root can give a file away")
			}
			m.must(os.Chown(m.path(pem), 65534, 65534))
		}, update, []reconcile.Field{{Path: "certificate owner", Before: "65534:65534", After: "0:0"}}},
		"while it joins": {func(_ *testing.T, m *machine) {
			m.must(os.Chmod(m.path(pem), 0o644))
			m.must(m.files.WriteFile(BootstrapKubeconfigPath, []byte("b"), host.WriteOptions{Mode: 0o600, UID: -1, GID: -1}))
		}, []change{{FileAddress(BootstrapKubeconfigPath), reconcile.Delete, reconcile.Drift, reconcile.NoDisruption, "", nil}, update[0]},
			[]reconcile.Field{{Path: "certificate mode", Before: "0644", After: "0600"}}},
		"expired": {func(_ *testing.T, m *machine) {
			m.in.Cluster.Bootstrap = []byte("b")
			m.must(os.Chmod(m.path(KubeletKubeconfigPath), 0o644))
			m.setCredential(cluster.Credential{State: cluster.CredentialExpired, Paths: m.own().Paths})
			m.files.changed = make(chan struct{}, 1)
			go func() { // the kubelet's part
				for !slices.Contains(m.services.made(), "restart") {
					time.Sleep(time.Millisecond)
				}
				m.setCredential(m.own())
				m.files.changed <- struct{}{}
			}()
		}, []change{
			{FileAddress(BootstrapKubeconfigPath), reconcile.Create, reconcile.Missing, reconcile.KubeletRestart, "", nil},
			restartFor(FileAddress(BootstrapKubeconfigPath), reconcile.Missing),
			{KubeletCredential, reconcile.Replace, reconcile.Drift, reconcile.KubeletRestart, "", nil},
		}, []reconcile.Field{{Path: "certificate", After: "system:node:w1, " + reconcile.KnownAfterApply}, {Path: "kubelet.conf mode", Before: "0644", After: "0600"}}},
	} {
		t.Run(name, func(t *testing.T) {
			m := joined(t)
			m.must(m.files.WriteFile(KubeletKubeconfigPath, []byte("k"), host.WriteOptions{Mode: 0o600, UID: -1, GID: -1}))
			m.must(m.files.WriteFile(pem, []byte("p"), host.WriteOptions{Mode: 0o600, UID: -1, GID: -1, DirMode: 0o755}))
			m.must(os.Symlink(pem, m.path(KubeletCertificatePath)))
			tt.act(t, m)
			c := m.plan()
			if diff := cmp.Diff(tt.want, changesOf(c)); diff != "" {
				t.Fatal(diff)
			}
			if n := len(c.Changes); n > 0 {
				if diff := cmp.Diff(tt.fields, c.Changes[n-1].Fields); diff != "" {
					t.Error(diff)
				}
			}
			m.apply()
			if tt.want != nil && len(tt.want) < 3 && len(m.services.calls) > 0 {
				t.Errorf("the kubelet was touched: %v", m.services.calls)
			}
		})
	}
}

// A control plane's kubelet is not turned, and not waited for, because its
// credential was too open.
func TestCredentialUpdateIsNoJoin(t *testing.T) {
	const server = "https://10.0.0.1:6443"
	r := &kubeletServerResource{server: server, endpoint: "https://cp:6443"}
	for action, want := range map[reconcile.Action]bool{reconcile.Update: false, reconcile.Replace: true, reconcile.Wait: true} {
		v := viewOf{changed: map[reconcile.Address]*reconcile.Change{KubeletCredential: {Action: action}}}
		c, _, err := r.Change(kubeletServerObservation{state: cluster.CredentialValid, server: server}, v)
		if err != nil || (c != nil) != want {
			t.Errorf("%s: %+v, %v", action, c, err)
		}
	}
}

func TestCredentialWithoutBootstrap(t *testing.T) {
	m := joined(t)
	m.setCredential(cluster.Credential{State: cluster.CredentialExpired})
	_, err := m.set().Compute(t.Context())
	if fault.ClassOf(err) != fault.Denied || !strings.Contains(fault.HintOf(err), "kubeadm token create") {
		t.Errorf("%v, hint %q", err, fault.HintOf(err))
	}
	m.setCredential(cluster.Credential{State: cluster.CredentialUnreadable, Why: "may not be read"})
	if c := m.plan(); len(c.Changes) > 0 || len(c.Findings) != 1 || c.Findings[0].Name != FindingNotCompared {
		t.Errorf("%+v", c)
	}
}

// waiting is a credential resource in the middle of its wait.
func waiting(m *machine) *credentialResource {
	return &credentialResource{nodeName: "w1", clusterCA: m.in.Cluster.CA, bootstrap: true, timeout: 5 * time.Minute, ports: m.ports()}
}

// The real file events: the kubelet writes its certificate, and the bootstrap
// credential goes.
func TestCredentialWaitEndsWithAFileEvent(t *testing.T) {
	m := fresh(t)
	m.write(BootstrapKubeconfigPath, "b")
	m.write(KubeletKubeconfigPath, "kubelet.conf")
	m.setCredential(cluster.Credential{State: cluster.CredentialPending})
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	go func() { done <- waiting(m).Apply(ctx, reconcile.Change{}, viewOf{}, func(reconcile.Progress) {}) }()
	m.setCredential(m.own())
	m.write(KubeletCertificatePath, "pem")
	if err := <-done; err != nil || m.exists(BootstrapKubeconfigPath) {
		t.Errorf("%v, bootstrap credential there: %v", err, m.exists(BootstrapKubeconfigPath))
	}
}

func TestCredentialWait(t *testing.T) {
	const pendingText = "certificate signing request csr-1 is pending: somebody has to approve it"
	pending := func() cluster.CSRInfo {
		return cluster.CSRInfo{Name: "csr-1", State: cluster.CSRPending, Created: time.Now()}
	}
	tests := map[string]struct {
		act   func(m *machine)
		class fault.Class // 0 is success
		says  []reconcile.Progress
		err   string
		hint  string
		after time.Duration
		stays bool // the bootstrap credential
	}{
		"approved at once": {
			act: func(m *machine) {
				m.api.csrs <- pending()
				time.Sleep(pendingGrace / 2)
				m.setCredential(m.own())
				m.files.changed <- struct{}{}
			},
			after: pendingGrace / 2,
		},
		"approved by hand": {
			act: func(m *machine) {
				m.api.csrs <- pending()
				time.Sleep(time.Minute)
				m.api.csrs <- cluster.CSRInfo{Name: "csr-1", State: cluster.CSRIssued, Created: time.Now()}
				m.setCredential(m.own())
				m.files.changed <- struct{}{}
			},
			says:  []reconcile.Progress{{Message: pendingText, Hint: "kubectl certificate approve csr-1"}},
			after: time.Minute,
		},
		"approved, never signed": {
			act: func(m *machine) {
				m.api.csrs <- cluster.CSRInfo{Name: "csr-1", State: cluster.CSRApproved, Created: time.Now()}
			},
			says:  []reconcile.Progress{{Message: "certificate signing request csr-1 is approved, and waits for its signer"}},
			class: fault.Timeout, err: "no client certificate after 5m0s (timeouts.tlsBootstrap)", hint: "the bootstrap credential stays in place", after: 5 * time.Minute, stays: true,
		},
		"never approved": {
			act:   func(m *machine) { m.api.csrs <- pending() },
			says:  []reconcile.Progress{{Message: pendingText, Hint: "kubectl certificate approve csr-1"}},
			class: fault.Timeout, err: "no client certificate", hint: "kubectl certificate approve csr-1; the bootstrap credential stays in place", after: 5 * time.Minute, stays: true,
		},
		"denied": {
			act: func(m *machine) {
				m.api.csrs <- cluster.CSRInfo{Name: "csr-1", State: cluster.CSRDenied, Message: "not mine", Created: time.Now()}
			},
			class: fault.Denied, err: "certificate signing request csr-1 was denied: not mine", hint: "kubectl delete csr csr-1", stays: true,
		},
		"an earlier attempt was denied": {
			act: func(m *machine) {
				m.api.csrs <- cluster.CSRInfo{Name: "csr-0", State: cluster.CSRDenied, Created: time.Now().Add(-time.Hour)}
				time.Sleep(time.Second)
				m.setCredential(m.own())
				m.files.changed <- struct{}{}
			},
			after: time.Second,
		},
		"the kubelet crashes": {
			act: func(m *machine) {
				m.services.watch <- host.ServiceState{Active: true}
				m.services.watch <- host.ServiceState{Restarts: 1, LastExit: "exit status 1"}
			},
			says:  []reconcile.Progress{{Message: "the kubelet does not stay up (exit status 1)", Lines: []string{"no such flag"}}},
			class: fault.Timeout, err: "no client certificate", hint: "its last word: no such flag", after: 5 * time.Minute, stays: true,
		},
		"issued to another node": {
			act: func(m *machine) {
				c := m.own()
				c.CommonName = "system:node:other"
				m.setCredential(c)
				m.files.changed <- struct{}{}
			},
			class: fault.Timeout, err: "no client certificate", after: 5 * time.Minute, stays: true,
		},
		"the certificate does not work": {
			act: func(m *machine) {
				m.api.refuses = fault.New(fault.Denied, "unauthorized")
				m.setCredential(m.own())
				m.files.changed <- struct{}{}
			},
			class: fault.Denied, err: "the new client certificate does not work: unauthorized", stays: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := fresh(t)
			m.write(BootstrapKubeconfigPath, "b")
			m.setCredential(cluster.Credential{State: cluster.CredentialPending})
			synctest.Test(t, func(t *testing.T) {
				m.files.changed = make(chan struct{}, 1)
				m.api.csrs = make(chan cluster.CSRInfo, 2)
				m.services.watch = make(chan host.ServiceState, 2)
				m.services.logs = []string{"no such flag"}
				defer close(m.services.watch)
				go tt.act(m)
				begin := time.Now()
				var said told
				err := waiting(m).Apply(t.Context(), reconcile.Change{}, viewOf{}, said.say)
				if got := time.Since(begin); got != tt.after {
					t.Errorf("after %s, want %s", got, tt.after)
				}
				synctest.Wait()
				switch {
				case tt.class == 0 && err != nil:
					t.Error(err)
				case tt.class != 0 && (err == nil || fault.ClassOf(err) != tt.class || !strings.Contains(err.Error(), tt.err) || !strings.Contains(fault.HintOf(err), tt.hint)):
					t.Errorf("%v (%v), hint %q", err, fault.ClassOf(err), fault.HintOf(err))
				}
				if diff := cmp.Diff(tt.says, said.list()); diff != "" {
					t.Error(diff)
				}
			})
			if m.exists(BootstrapKubeconfigPath) != tt.stays {
				t.Errorf("bootstrap credential there: %v", !tt.stays)
			}
		})
	}
}

// A certificate issued in this run is not the one that was refused before it.
func TestCredentialAfterARefusedOne(t *testing.T) {
	m := fresh(t)
	r := waiting(m)
	r.refused, r.serial = "unauthorized", "1"
	refused := m.own()
	if o := r.judge(refused); !o.mustRemove() {
		t.Errorf("%+v", o)
	}
	issued := m.own()
	issued.Serial = "2"
	m.setCredential(issued)
	if err := r.Apply(t.Context(), reconcile.Change{}, viewOf{}, func(reconcile.Progress) {}); err != nil {
		t.Error(err)
	}
}

func TestCredentialWaitIsInterrupted(t *testing.T) {
	m := fresh(t)
	m.write(BootstrapKubeconfigPath, "b")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := waiting(m).Apply(ctx, reconcile.Change{}, viewOf{}, func(reconcile.Progress) {}); !errors.Is(err, context.Canceled) || !m.exists(BootstrapKubeconfigPath) {
		t.Errorf("%v", err)
	}
}

// A certificate that a lost kubelet.conf left behind is found by the kubelet,
// which then asks for none: it must be this node's and this cluster's.
func TestStrayCertificate(t *testing.T) {
	ca, key := newCA(t)
	other, otherKey := newCA(t)
	tests := map[string]struct {
		name string
		ca   *x509.Certificate
		key  *ecdsa.PrivateKey
		want string // of the summary, if it is in the way
	}{
		"this node's":       {"system:node:w1", ca, key, ""},
		"another node's":    {"system:node:w2", ca, key, "holds the certificate of system:node:w2, not system:node:w1"},
		"another cluster's": {"system:node:w1", other, otherKey, "holds a certificate of another cluster"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := joined(t)
			m.in.Cluster.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})
			m.in.Cluster.Bootstrap = []byte("b")
			m.setCredential(cluster.Credential{State: cluster.CredentialAbsent})
			m.must(m.files.WriteFile(KubeletCertificatePath, clientCertificate(t, tt.name, tt.ca, tt.key), host.WriteOptions{Mode: 0o600, UID: -1, GID: -1}))
			m.stray = cluster.ReadCertificate(m.files, KubeletCertificatePath, time.Now())
			if m.stray == nil {
				t.Fatal("not read")
			}
			for _, ch := range m.plan().Changes {
				switch ch.Address {
				case KubeletCredential:
					if tt.want == "" != (ch.Allow == "") || !strings.Contains(ch.Summary, tt.want) {
						t.Errorf("%+v", ch)
					}
				case FileAddress(BootstrapKubeconfigPath):
					removed := false
					for _, f := range ch.Fields {
						removed = removed || f.Path == KubeletCertificatePath
					}
					if removed != (tt.want != "") || (ch.Allow != "") != (tt.want != "") {
						t.Errorf("%+v", ch)
					}
				}
			}
		})
	}
}

func newCA(t *testing.T) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kubernetes"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	return sign(t, template, template, key.Public(), key), key
}

// clientCertificate is a kubelet's certificate and key in one PEM file.
func clientCertificate(t *testing.T, name string, ca *x509.Certificate, caKey *ecdsa.PrivateKey) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	cert := sign(t, template, ca, key.Public(), caKey)
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})...)
}

func sign(t *testing.T, template, parent *x509.Certificate, public any, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
