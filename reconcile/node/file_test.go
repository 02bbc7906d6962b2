package node

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

const caPath = "/etc/kubernetes/pki/ca.crt"

// change is the part of a change that these tests compare.
type change struct {
	Address    reconcile.Address
	Action     reconcile.Action
	Reason     reconcile.Reason
	Disruption reconcile.Disruption
	Allow      string
	Because    []reconcile.Address
}

func changesOf(c *reconcile.Computed) []change {
	var out []change
	for _, ch := range c.Changes {
		out = append(out, change{ch.Address, ch.Action, ch.Reason, ch.Disruption, ch.Allow, ch.Because})
	}
	return out
}

// restartFor is the restart that a change of a file brings with it: it has the
// same reason.
func restartFor(a reconcile.Address, r reconcile.Reason) change {
	return change{Address: KubeletService, Action: reconcile.Restart, Reason: r,
		Disruption: reconcile.KubeletRestart, Because: []reconcile.Address{a}}
}

func (m *machine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

// leftover is the temporary file of an interrupted write of KubeletConfigPath.
const leftover = "/var/lib/kubelet/.config.yaml.kubejoin-tmp"

func TestJoinedMachineNeedsNothing(t *testing.T) {
	m := joined(t)
	if c := m.plan(); len(c.Changes)+len(c.Findings) > 0 {
		t.Errorf("%+v", c)
	}
}

// Each thing that can go wrong with a file gives its own change and no other,
// and apply puts it right without touching more than that.
func TestFileDrift(t *testing.T) {
	config := FileAddress(KubeletConfigPath)
	tests := map[string]struct {
		spoil   func(*machine)
		want    []change
		summary string
		fields  []reconcile.Field
	}{
		"missing": {
			spoil:   func(m *machine) { m.must(os.Remove(m.path(KubeletConfigPath))) },
			want:    []change{{config, reconcile.Create, reconcile.Missing, reconcile.KubeletRestart, "", nil}, restartFor(config, reconcile.Missing)},
			summary: "does not exist",
		},
		"truncated": {
			spoil:   func(m *machine) { m.must(os.Truncate(m.path(KubeletConfigPath), 0)) },
			want:    []change{{config, reconcile.Update, reconcile.Drift, reconcile.KubeletRestart, "", nil}, restartFor(config, reconcile.Drift)},
			summary: "is empty",
			fields:  brokenFile(),
		},
		"not YAML": {
			spoil:   func(m *machine) { m.write(KubeletConfigPath, "token: abcdef."+secretToken+"\n\t[") },
			want:    []change{{config, reconcile.Update, reconcile.Drift, reconcile.KubeletRestart, "", nil}, restartFor(config, reconcile.Drift)},
			summary: "does not parse",
			fields:  brokenFile(),
		},
		"a kubeconfig": {
			spoil: func(m *machine) {
				m.write(KubeletConfigPath, "kind: Config\nusers: [{token: abcdef."+secretToken+"}]\n")
			},
			want:    []change{{config, reconcile.Update, reconcile.Drift, reconcile.KubeletRestart, "", nil}, restartFor(config, reconcile.Drift)},
			summary: "does not parse",
			fields:  brokenFile(),
		},
		"mode": {
			spoil:   func(m *machine) { m.must(os.Chmod(m.path(KubeletConfigPath), 0o666)) },
			want:    []change{{config, reconcile.Update, reconcile.Drift, reconcile.NoDisruption, "", nil}},
			summary: "content is right, mode or owner is not",
			fields:  []reconcile.Field{{Path: "mode", Before: "0666", After: "0644"}},
		},
		"leftover": {
			spoil:   func(m *machine) { m.write(leftover, "half") },
			want:    []change{{config, reconcile.Delete, reconcile.Drift, reconcile.NoDisruption, "", nil}},
			summary: "an interrupted write left its temporary file beside it",
		},
		"mode and leftover": {
			spoil: func(m *machine) {
				m.must(os.Chmod(m.path(KubeletConfigPath), 0o600))
				m.write(leftover, "half")
			},
			want:    []change{{config, reconcile.Update, reconcile.Drift, reconcile.NoDisruption, "", nil}},
			summary: "content is right, mode or owner is not",
			fields:  []reconcile.Field{{Path: "mode", Before: "0600", After: "0644"}},
		},
		"a file that the kubelet watches": {
			spoil:   func(m *machine) { m.must(os.Remove(m.path(caPath))) },
			want:    []change{{FileAddress(caPath), reconcile.Create, reconcile.Missing, reconcile.NoDisruption, "", nil}},
			summary: "does not exist",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := joined(t)
			tt.spoil(m)
			c := m.plan()
			if diff := cmp.Diff(tt.want, changesOf(c)); diff != "" {
				t.Fatal(diff)
			}
			if diff := cmp.Diff(tt.fields, c.Changes[0].Fields); diff != "" || c.Changes[0].Summary != tt.summary {
				t.Errorf("%s: %s", c.Changes[0].Summary, diff)
			}
			m.apply()
			restarts := strings.Join(m.services.calls, " ")
			if want := len(tt.want) > 1; (restarts == "restart") != want || !want && restarts != "" {
				t.Errorf("calls %q", restarts)
			}
			if m.exists(leftover) {
				t.Error("the leftover is still there")
			}
		})
	}
}

// A leftover is cleared without a new modification time: that would be a reason
// to restart the kubelet.
func TestLeftoverIsClearedWithoutTouchingTheFile(t *testing.T) {
	m := joined(t)
	before, err := os.Stat(m.path(KubeletConfigPath))
	m.must(err)
	m.services.state.StartedAt = time.Now() // after all files were written
	m.write(leftover, "half")
	m.apply()
	after, err := os.Stat(m.path(KubeletConfigPath))
	m.must(err)
	if !before.ModTime().Equal(after.ModTime()) || !os.SameFile(before, after) || len(m.services.calls) > 0 {
		t.Errorf("written again; calls %v", m.services.calls)
	}
}

func TestOwnerDrift(t *testing.T) {
	m := joined(t)
	m.options.AnyOwner = false
	m.files.uid = map[string]int{}
	for _, p := range []string{caPath, InstanceConfigPath, KubeletConfigPath, KubeletFlagsPath} {
		m.files.uid[p] = 0
	}
	m.files.uid[KubeletFlagsPath] = 1000
	if os.Getegid() != 0 {
		return // the group of the files is not root's, which is a drift of its own
	}
	c := m.plan()
	want := []change{{FileAddress(KubeletFlagsPath), reconcile.Update, reconcile.Drift, reconcile.NoDisruption, "", nil}}
	if diff := cmp.Diff(want, changesOf(c)); diff != "" {
		t.Fatal(diff)
	}
	if diff := cmp.Diff([]reconcile.Field{{Path: "owner", Before: "1000:0", After: "0:0"}}, c.Changes[0].Fields); diff != "" {
		t.Error(diff)
	}
	m.options.AnyOwner = true
	if c := m.plan(); len(c.Changes) > 0 {
		t.Errorf("the owner does not matter, and still: %+v", c.Changes)
	}
}

func TestIntentAndDrift(t *testing.T) {
	tests := map[string]struct {
		started time.Duration // after the file was written
		want    reconcile.Reason
	}{
		"nobody wrote since the kubelet started": {time.Minute, reconcile.Intent},
		"written while the kubelet runs":         {-time.Minute, reconcile.Drift},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := joined(t)
			st, err := os.Stat(m.path(KubeletConfigPath))
			m.must(err)
			m.services.state.StartedAt = st.ModTime().Add(tt.started)
			m.in.Cluster.KubeletConfig = append(m.in.Cluster.KubeletConfig, "maxPods: 42\n"...)
			c := m.plan()
			if c.Changes[0].Address != FileAddress(KubeletConfigPath) || c.Changes[0].Reason != tt.want || !strings.Contains(c.Changes[0].Diff, "+maxPods: 42") {
				t.Errorf("%+v", c.Changes[0])
			}
		})
	}
}

// bundle is a self-signed CA certificate and, if asked for, its key.
func bundle(t *testing.T, withKey bool) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now, NotAfter: now.Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if withKey {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
	}
	return out
}

func TestForeignCA(t *testing.T) {
	for name, withKey := range map[string]bool{"certificate": false, "with its private key": true} {
		t.Run(name, func(t *testing.T) {
			m := joined(t)
			m.write(caPath, string(bundle(t, withKey)))
			c := m.plan()
			want := []change{{FileAddress(caPath), reconcile.Replace, reconcile.Drift, reconcile.Destructive, "replace-ca", nil}}
			if diff := cmp.Diff(want, changesOf(c)); diff != "" {
				t.Fatal(diff)
			}
			if shown := c.Changes[0].Diff != ""; shown == withKey {
				t.Errorf("diff: %s", c.Changes[0].Diff)
			}
			if err := m.set().Apply(t.Context(), c, nil, func(reconcile.Event) {}); err == nil {
				t.Error("replaced without being allowed to")
			}
		})
	}
}

func TestFurtherCAIsAnAdvisory(t *testing.T) {
	m := joined(t)
	m.write(caPath, string(m.in.Cluster.CA)+string(bundle(t, false)))
	c := m.plan()
	if len(c.Changes) > 0 || len(c.Findings) != 1 || c.Findings[0].Severity != reconcile.SeverityInfo {
		t.Errorf("%+v", c)
	}
}

// What a link leads to can be made: the link stays.
func TestDanglingLink(t *testing.T) {
	m := joined(t)
	m.must(os.Remove(m.path(KubeletFlagsPath)))
	m.must(os.Symlink("/data/flags", m.path(KubeletFlagsPath)))
	c := m.plan()
	want := []change{{FileAddress(KubeletFlagsPath), reconcile.Create, reconcile.Missing, reconcile.KubeletRestart, "", nil}, restartFor(FileAddress(KubeletFlagsPath), reconcile.Missing)}
	if diff := cmp.Diff(want, changesOf(c)); diff != "" || c.Changes[0].Summary != "is a link to something that does not exist" {
		t.Fatalf("%s\n%+v", diff, c.Changes)
	}
	m.apply()
	if target, err := os.Readlink(m.path(KubeletFlagsPath)); target != "/data/flags" || !m.exists("/data/flags") {
		t.Errorf("%q, %v", target, err)
	}
}

func TestWhatIsNoFileIsAFinding(t *testing.T) {
	tests := map[string]struct {
		spoil func(*machine)
		want  reconcile.Finding
	}{
		"a directory": {
			func(m *machine) {
				m.must(os.Remove(m.path(KubeletConfigPath)))
				m.must(os.Mkdir(m.path(KubeletConfigPath), 0o755))
			},
			reconcile.Finding{Severity: reconcile.SeverityError, Name: "UnexpectedFile", Address: FileAddress(KubeletConfigPath)},
		},
		"links in a circle": {
			func(m *machine) {
				m.must(os.Remove(m.path(KubeletConfigPath)))
				m.must(os.Symlink("loop", m.path(KubeletConfigPath)))
				m.must(os.Symlink("config.yaml", m.path("/var/lib/kubelet/loop")))
			},
			reconcile.Finding{Severity: reconcile.SeverityError, Name: "UnexpectedFile", Address: FileAddress(KubeletConfigPath)},
		},
		"a file above": {
			func(m *machine) {
				m.must(os.RemoveAll(m.path("/etc/kubernetes")))
				m.write("/etc/kubernetes", "x")
				m.options.FilesOnly = true
			},
			reconcile.Finding{Severity: reconcile.SeverityError, Name: "UnexpectedFile", Address: FileAddress(caPath)},
		},
		"a drop-in in a circle": {
			func(m *machine) {
				m.services.state.ExecStart = "/usr/bin/kubelet"
				m.must(os.MkdirAll(filepath.Dir(m.path(DropInPath)), 0o755))
				m.must(os.Symlink(DropInPath, m.path(DropInPath)))
			},
			reconcile.Finding{Severity: reconcile.SeverityError, Name: "UnexpectedFile", Address: FileAddress(DropInPath)},
		},
		"a credential in a circle": {
			func(m *machine) {
				m.must(os.Symlink("kubelet.conf", m.path(KubeletKubeconfigPath)))
				m.setCredential(cluster.Credential{State: cluster.CredentialAbsent})
			},
			reconcile.Finding{Severity: reconcile.SeverityError, Name: "UnexpectedFile", Address: KubeletCredential},
		},
		"far too large": {
			func(m *machine) { m.must(os.Truncate(m.path(KubeletConfigPath), maxFile+1)) },
			reconcile.Finding{Severity: reconcile.SeverityError, Name: "UnexpectedFile", Address: FileAddress(KubeletConfigPath)},
		},
		"not for this user": {
			func(m *machine) { m.files.denied = map[string]bool{KubeletConfigPath: true} },
			reconcile.Finding{Severity: reconcile.SeverityWarning, Name: FindingNotCompared, Address: FileAddress(KubeletConfigPath)},
		},
		"bootstrap credential not for this user": {
			func(m *machine) {
				m.write(BootstrapKubeconfigPath, "x")
				m.files.denied = map[string]bool{BootstrapKubeconfigPath: true}
			},
			reconcile.Finding{Severity: reconcile.SeverityWarning, Name: FindingNotCompared, Address: FileAddress(BootstrapKubeconfigPath)},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := joined(t)
			tt.spoil(m)
			c := m.plan()
			if len(c.Changes) > 0 || len(c.Findings) != 1 || c.Findings[0].Seen == "" || c.Findings[0].Hint == "" {
				t.Fatalf("%+v", c)
			}
			got := c.Findings[0]
			got.Seen, got.Hint = "", ""
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestModesOfNewFiles(t *testing.T) {
	m := fresh(t)
	m.apply()
	want := map[string]fs.FileMode{
		"/etc/kubernetes/pki": 0o755, caPath: 0o644, "/var/lib/kubelet": 0o700,
		KubeletConfigPath: 0o644, KubeletFlagsPath: 0o644, InstanceConfigPath: 0o644,
	}
	for path, mode := range want {
		st, err := os.Stat(m.path(path))
		m.must(err)
		if st.Mode().Perm() != mode {
			t.Errorf("%s has mode %#o, want %#o", path, st.Mode().Perm(), mode)
		}
	}
}

// The bootstrap credential is there while the kubelet needs it, and only then.
func TestBootstrapFile(t *testing.T) {
	address := FileAddress(BootstrapKubeconfigPath)
	other := cluster.Credential{State: cluster.CredentialValid, CommonName: "system:node:other", Serial: "1"}
	kubeletMade := []string{KubeletKubeconfigPath, KubeletCertificatePath}
	tests := map[string]struct {
		credential cluster.Credential
		file       string // "" is absent
		refused    string
		want       *change
	}{
		"needed":            {cluster.Credential{State: cluster.CredentialAbsent}, "", "", &change{address, reconcile.Create, reconcile.Missing, reconcile.KubeletRestart, "", nil}},
		"expired":           {cluster.Credential{State: cluster.CredentialExpired}, "", "", &change{address, reconcile.Create, reconcile.Missing, reconcile.KubeletRestart, "", nil}},
		"there already":     {cluster.Credential{State: cluster.CredentialPending}, "same", "", nil},
		"there, and open":   {cluster.Credential{State: cluster.CredentialPending}, "open", "", &change{address, reconcile.Update, reconcile.Drift, reconcile.NoDisruption, "", nil}},
		"another token":     {cluster.Credential{State: cluster.CredentialPending}, "old", "", &change{address, reconcile.Update, reconcile.Intent, reconcile.KubeletRestart, "", nil}},
		"not needed":        {cluster.Credential{State: cluster.CredentialValid, Serial: "1"}, "", "", nil},
		"no longer needed":  {cluster.Credential{State: cluster.CredentialValid, Serial: "1"}, "same", "", &change{address, reconcile.Delete, reconcile.Drift, reconcile.NoDisruption, "", nil}},
		"other identity":    {other, "", "", &change{address, reconcile.Create, reconcile.Missing, reconcile.Destructive, "replace-identity", nil}},
		"other, there":      {other, "same", "", &change{address, reconcile.Update, reconcile.Drift, reconcile.Destructive, "replace-identity", nil}},
		"refused":           {cluster.Credential{State: cluster.CredentialValid, Serial: "1", Paths: kubeletMade}, "", "unknown authority", &change{address, reconcile.Create, reconcile.Missing, reconcile.KubeletRestart, "", nil}},
		"refused, by hand":  {cluster.Credential{State: cluster.CredentialValid, Serial: "1"}, "", "unknown authority", &change{address, reconcile.Create, reconcile.Missing, reconcile.Destructive, "replace-identity", nil}},
		"not for this user": {cluster.Credential{State: cluster.CredentialUnreadable}, "", "", nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			m := joined(t)
			m.in.Cluster.Bootstrap, m.in.Cluster.TokenID = []byte("token: abcdef."+secretToken+"\n"), "abcdef"
			m.in.Cluster.CredentialRefused, m.options.Serial = tt.refused, "1"
			m.setCredential(tt.credential)
			switch tt.file {
			case "same":
				m.must(m.files.WriteFile(BootstrapKubeconfigPath, m.in.Cluster.Bootstrap, host.WriteOptions{Mode: 0o600, UID: -1, GID: -1}))
			case "open":
				m.must(m.files.WriteFile(BootstrapKubeconfigPath, m.in.Cluster.Bootstrap, host.WriteOptions{Mode: 0o644, UID: -1, GID: -1}))
			case "old":
				m.must(m.files.WriteFile(BootstrapKubeconfigPath, []byte("old"), host.WriteOptions{Mode: 0o600, UID: -1, GID: -1}))
			}
			c := m.plan()
			var got *change
			for _, ch := range changesOf(c) {
				if ch.Address == address {
					got = &ch
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The kubelet goes on with any credential that parses: a foreign one must be
// out of its sight before the bootstrap credential appears.
func TestForeignCredentialIsRemovedFirst(t *testing.T) {
	m := fresh(t)
	m.write(KubeletKubeconfigPath, "theirs")
	m.write(KubeletCertificatePath, "theirs")
	r := &transientFile{content: m.in.Cluster.Bootstrap, tokenID: "abcdef", owner: Owner{Mode: 0o600}, files: m.files}
	if os.Geteuid() != 0 {
		r.files = anyOwner{m.files}
	}
	v := viewOf{observed: map[reconcile.Address]reconcile.Observation{
		KubeletCredential: credentialObservation{Credential: cluster.Credential{State: cluster.CredentialValid}, wrong: "is another's", foreign: true},
	}}
	o, err := r.Observe(t.Context())
	m.must(err)
	c, _, err := r.Change(o, v)
	m.must(err)
	noSecret(t, *c)
	if err := r.Apply(t.Context(), *c, v, nil); err != nil {
		t.Fatal(err)
	}
	if m.exists(KubeletKubeconfigPath) || m.exists(KubeletCertificatePath) {
		t.Error("the foreign credential is still there")
	}
	st, err := os.Stat(m.path(BootstrapKubeconfigPath))
	m.must(err)
	if st.Mode().Perm() != 0o600 {
		t.Errorf("mode %#o", st.Mode().Perm())
	}
}

// anyOwner lets these tests run without root.
type anyOwner struct{ *testFiles }

func (f anyOwner) WriteFile(path string, data []byte, o host.WriteOptions) error {
	o.UID, o.GID = -1, -1
	return f.testFiles.WriteFile(path, data, o)
}

// A cluster that renews its CA keeps the key: the old certificate ends all the
// same, and what it vouches for with it.
func TestRenewedCA(t *testing.T) {
	key := mustKey(t)
	old := certificateUntil(t, key, 1, time.Now().Add(-time.Hour))
	renewed := certificateUntil(t, key, 2, time.Now().Add(time.Hour))
	m := joined(t)
	m.in.Cluster.CA = []byte(renewed)
	m.setCredential(m.own())
	m.write(caPath, old)
	c := m.plan()
	want := []change{{FileAddress(caPath), reconcile.Update, reconcile.Drift, reconcile.NoDisruption, "", nil}}
	if diff := cmp.Diff(want, changesOf(c)); diff != "" || c.Changes[0].Summary != "holds an older certificate of the same key" {
		t.Fatalf("%s\n%+v", diff, c.Changes)
	}
	m.apply()
	if len(m.services.calls) > 0 {
		t.Errorf("the kubelet was touched, which reads it by itself: %v", m.services.calls)
	}
}
