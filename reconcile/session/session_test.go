package session

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/apis/load"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
	"github.com/kubejoin/kubejoin/reconcile/node"
)

func TestReadConfiguration(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "join.yaml")
	large := filepath.Join(dir, "large.yaml")
	for path, size := range map[string]int64{file: 3, large: load.MaxBytes + 1} {
		if err := os.WriteFile(path, []byte("abc"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]struct {
		path  string
		stdin io.Reader
		name  string
		data  string
		err   string
	}{
		"a file":          {file, nil, file, "abc", ""},
		"standard input":  {"-", strings.NewReader("xyz"), "<stdin>", "xyz", ""},
		"nothing":         {"-", strings.NewReader(""), "<stdin>", "", ""},
		"missing":         {dir + "/none", nil, dir + "/none", "", "none: no such file or directory"},
		"below a file":    {file + "/x", nil, file + "/x", "", "not a directory"},
		"a directory":     {dir, nil, dir, "", "is a directory"},
		"too large":       {large, nil, large, "", "has more than 32 MiB"},
		"endless input":   {"-", endless{}, "<stdin>", "", "has more than 32 MiB"},
		"an endless file": {"/dev/zero", nil, "/dev/zero", "", "has more than 32 MiB"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, data, err := ReadConfiguration(t.Context(), tt.path, tt.stdin)
			if got != tt.name || string(data) != tt.data {
				t.Errorf("%s: %q", got, data)
			}
			if tt.err == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if fault.ClassOf(err) != fault.InvalidConfig || fault.HintOf(err) == "" || !strings.Contains(err.Error(), tt.err) || !strings.HasPrefix(err.Error(), tt.name) {
				t.Errorf("%v (%v)", err, fault.ClassOf(err))
			}
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func ca(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// Whose credential it is decides whether the cluster may be asked with it.
func TestOurs(t *testing.T) {
	mine, other := ca(t), ca(t)
	pins := cluster.SPKIPins(mine)
	tests := map[string]struct {
		credential cluster.Credential
		pins       []string
		want       bool
		fails      bool
	}{
		"nothing there":         {credential: cluster.Credential{State: cluster.CredentialAbsent, CommonName: "x"}, pins: []string{"odd"}, want: true},
		"this node":             {credential: cluster.Credential{CommonName: "system:node:w1", CA: mine}, pins: pins, want: true},
		"another node":          {credential: cluster.Credential{CommonName: "system:node:w2", CA: mine}, pins: pins},
		"longer name":           {credential: cluster.Credential{CommonName: "system:node:w1x", CA: mine}, pins: pins},
		"another cluster":       {credential: cluster.Credential{CommonName: "system:node:w1", CA: other}, pins: pins},
		"an old and a new CA":   {credential: cluster.Credential{CommonName: "system:node:w1", CA: append(other, mine...)}, pins: pins, want: true},
		"no pins":               {credential: cluster.Credential{CommonName: "system:node:w1", CA: other}, want: true},
		"no CA":                 {credential: cluster.Credential{CommonName: "system:node:w1"}, pins: pins},
		"a pin that is no pin":  {credential: cluster.Credential{CommonName: "system:node:w1", CA: mine}, pins: []string{"sha256:x"}, fails: true},
		"not a certificate one": {credential: cluster.Credential{CA: mine}, pins: pins, want: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.credential.State == "" {
				tt.credential.State = cluster.CredentialValid
			}
			cfg := &kubeadm.JoinConfiguration{}
			cfg.Discovery.BootstrapToken = &kubeadm.BootstrapTokenDiscovery{CACertHashes: tt.pins}
			got, err := ours(tt.credential, "w1", cfg)
			if got != tt.want || (err != nil) != tt.fails {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	if got, err := ours(cluster.Credential{State: cluster.CredentialValid, CA: other}, "w1", &kubeadm.JoinConfiguration{}); !got || err != nil {
		t.Errorf("file discovery: %v, %v", got, err)
	}
}

const example = "../../testdata/example"

func options(t *testing.T, edit func(string) string) Options {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(example, "join.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	maps, err := os.ReadFile(filepath.Join(example, "cluster.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		data = []byte(edit(string(data)))
	}
	join, err := load.JoinConfiguration("join.yaml", data, nil)
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS(filepath.Join(example, "root"))); err != nil {
		t.Fatal(err)
	}
	return Options{Join: join, Root: root, BaseDir: t.TempDir(), ClusterFile: maps}
}

func open(t *testing.T, o Options) *Run {
	t.Helper()
	r, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func TestApplyAndNothingLeft(t *testing.T) {
	o := options(t, nil)
	r := open(t, o)
	if r.Plan.Empty() || r.Plan.Incomplete || r.Requests() != 0 || r.DryRun() {
		t.Fatalf("%+v", r.Plan)
	}
	if err := r.Apply(t.Context(), nil, func(reconcile.Event) {}); err != nil {
		t.Fatal(err)
	}
	again := open(t, o)
	if !again.Plan.Empty() {
		t.Errorf("%+v", again.Plan.Changes)
	}
	if err := again.Apply(t.Context(), nil, nil); err != nil {
		t.Error(err)
	}
}

// What cannot be put right is not "in sync", even if there is nothing to do.
func TestAnErrorWithoutAChangeFails(t *testing.T) {
	for name, waived := range map[string]bool{"blocks": false, "waived": true} {
		t.Run(name, func(t *testing.T) {
			o := options(t, func(s string) string {
				if waived {
					s = strings.Replace(s, "nodeRegistration:", "nodeRegistration:\n  ignorePreflightErrors: [UnexpectedFile]", 1)
				}
				return s
			})
			if err := open(t, o).Apply(t.Context(), nil, func(reconcile.Event) {}); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(o.Root, node.KubeletConfigPath)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
			r := open(t, o)
			err := r.Apply(t.Context(), nil, nil)
			if !r.Plan.Empty() || r.Plan.Incomplete == waived || (err == nil) != waived {
				t.Errorf("%+v, %v", r.Plan, err)
			}
			if !waived && fault.ClassOf(err) != fault.Preflight {
				t.Error(err)
			}
		})
	}
}

// A node stays with its runtime although another one answers now, or none.
func TestCurrentSocketIsKept(t *testing.T) {
	tests := map[string]struct{ content, want string }{
		"joined":     {`containerRuntimeEndpoint: "unix:///run/mine.sock"`, "unix:///run/mine.sock"},
		"not joined": {"", kubeadm.DefaultCRISocket},
		"broken":     {"{", kubeadm.DefaultCRISocket},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := options(t, func(s string) string {
				return strings.Replace(s, "  criSocket: unix:///var/run/containerd/containerd.sock\n", "", 1)
			})
			if err := os.WriteFile(filepath.Join(o.Root, node.InstanceConfigPath), []byte(tt.content), 0o600); err != nil {
				t.Fatal(err)
			}
			open(t, o)
			if diff := cmp.Diff(tt.want, o.Join.Config.NodeRegistration.CRISocket); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	tests := map[string]struct {
		config func(string) string
		edit   func(*Options)
		want   string
	}{
		"no root":                       {nil, func(o *Options) { o.Root += "/none" }, "not usable as the root"},
		"no address of a control plane": {func(s string) string { return s + "controlPlane: {}\n" }, func(*Options) {}, "controlPlane.localAPIEndpoint.advertiseAddress: is not given"},
		"no patches": {nil, func(o *Options) { _ = os.RemoveAll(filepath.Join(o.Root, "etc/kubernetes/patches")) },
			"join.yaml:20:14: patches.directory: "},
		"a broken cluster file": {nil, func(o *Options) { o.ClusterFile = []byte("a: [") }, "cluster file: does not parse"},
		"an empty cluster file": {nil, func(o *Options) { o.ClusterFile = []byte{} }, "cluster file: the cluster file has no ConfigMap"},
	}
	t.Run("a control plane without what all share", func(t *testing.T) {
		o := options(t, func(s string) string { return s + "controlPlane: {localAPIEndpoint: {advertiseAddress: 10.0.0.2}}\n" })
		_, err := Open(t.Context(), o)
		if fault.ClassOf(err) != fault.Preflight || !strings.Contains(err.Error(), "sa.key: is missing, and no controlPlane.certificateKey is given") {
			t.Errorf("%v (%v)", err, fault.ClassOf(err))
		}
	})
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := options(t, tt.config)
			tt.edit(&o)
			_, err := Open(t.Context(), o)
			if fault.ClassOf(err) != fault.InvalidConfig || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v (%v)", err, fault.ClassOf(err))
			}
		})
	}
}

// A pipe that nobody writes to does not hold up who was told to stop.
func TestReadConfigurationStops(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := ReadConfiguration(ctx, "-", r); fault.ClassOf(err) != fault.Interrupted {
		t.Errorf("%v", err)
	}
}

// An apply waits for etcd only where nothing else stands in its way.
func TestOnlyEtcd(t *testing.T) {
	etcd := reconcile.Finding{Severity: reconcile.SeverityError, Name: node.FindingEtcdMembership}
	swap := reconcile.Finding{Severity: reconcile.SeverityError, Name: "Swap"}
	waived, warning := swap, swap
	waived.Waived, warning.Severity = true, reconcile.SeverityWarning
	for name, c := range map[string]struct {
		findings []reconcile.Finding
		want     bool
	}{
		"nothing":              {},
		"etcd":                 {[]reconcile.Finding{warning, etcd}, true},
		"etcd and another":     {[]reconcile.Finding{etcd, swap}, false},
		"etcd and a waived":    {[]reconcile.Finding{waived, etcd}, true},
		"another":              {[]reconcile.Finding{swap}, false},
		"etcd does not answer": {[]reconcile.Finding{{Severity: reconcile.SeverityError, Name: "EtcdUnreachable"}}, false},
	} {
		if got := onlyEtcd(c.findings); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
