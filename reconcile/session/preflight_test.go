package session

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/node"
	"github.com/kubejoin/kubejoin/reconcile/preflight"
)

func named(findings []reconcile.Finding, name string) []reconcile.Finding {
	return slices.DeleteFunc(slices.Clone(findings), func(f reconcile.Finding) bool { return f.Name != name })
}

// The checks alone, of an image with a cluster file: the cluster's are made too.
func TestCheckBelowARoot(t *testing.T) {
	got, err := Check(t.Context(), options(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	if got.Subject.KubernetesVersion != "v1.37.2" || got.Subject.Node == "" || got.Made == 0 {
		t.Errorf("%+v", got)
	}
	if len(named(got.Findings, "FileExisting-kubelet")) != 1 || len(named(got.Findings, preflight.FindingNotChecked)) != 1 {
		t.Errorf("%+v", got.Findings)
	}
}

// Nothing has to be there yet but the configuration.
func TestCheckWithoutCluster(t *testing.T) {
	o := options(t, nil)
	o.ClusterFile = nil
	got, err := Check(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if not := named(got.Findings, preflight.FindingNotChecked); len(not) != 2 || !strings.Contains(not[1].Seen, "KubernetesVersion") {
		t.Errorf("%+v", not)
	}
}

// On the running machine a cluster that does not answer is a warning, and soon.
func TestCheckOfUnreachableCluster(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close() // nobody listens there now
	o := options(t, func(s string) string {
		s, _, _ = strings.Cut(s, "patches:")
		return strings.Replace(s, "cp1:6443", address, 1)
	})
	o.ClusterFile, o.Root = nil, ""
	begin := time.Now()
	got, err := Check(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if d := named(got.Findings, "Discovery"); len(d) != 1 || d[0].Severity != reconcile.SeverityWarning || !strings.Contains(d[0].Seen, address) {
		t.Errorf("%+v", got.Findings)
	}
	if took := time.Since(begin); took > 3*checkPatience {
		t.Errorf("took %s", took)
	}
}

func TestUnknownWaivers(t *testing.T) {
	waive := func(list string) func(string) string {
		return func(s string) string {
			return strings.Replace(s, "nodeRegistration:", "nodeRegistration:\n  ignorePreflightErrors: ["+list+"]", 1)
		}
	}
	for name, run := range map[string]func(Options) error{
		"plan":      func(o Options) error { _, err := Open(t.Context(), o); return err },
		"preflight": func(o Options) error { _, err := Check(t.Context(), o); return err },
	} {
		t.Run(name, func(t *testing.T) {
			err := run(options(t, waive("Swap, Memm")))
			if fault.ClassOf(err) != fault.InvalidConfig || !strings.HasPrefix(err.Error(), "join.yaml:") ||
				!strings.Contains(err.Error(), `nodeRegistration.ignorePreflightErrors[1]: there is no check "Memm"`) || fault.HintOf(err) != `did you mean "Mem"?` {
				t.Errorf("%v (%s)", err, fault.HintOf(err))
			}
		})
	}
}

// "all" waives whatever is found, and what that hides is told.
func TestAllIsTold(t *testing.T) {
	o := options(t, func(s string) string {
		return strings.Replace(s, "nodeRegistration:", "nodeRegistration:\n  ignorePreflightErrors: [all]", 1)
	})
	if err := os.MkdirAll(filepath.Join(o.Root, node.KubeletConfigPath), 0o755); err != nil {
		t.Fatal(err)
	}
	r := open(t, o)
	if w := named(r.Plan.Findings, preflight.FindingAllWaived); len(w) != 1 || !strings.Contains(w[0].Seen, "UnexpectedFile") {
		t.Errorf("%+v", r.Plan.Findings)
	}
}

// What lies around is no reason to take errors for warnings.
func TestIsNode(t *testing.T) {
	o := options(t, nil)
	r := open(t, o)
	if r.isNode(o.Join.Config) {
		t.Error("without a credential")
	}
	path := filepath.Join(o.Root, node.KubeletKubeconfigPath)
	if err := os.WriteFile(path, []byte("kind: Config"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r.isNode(o.Join.Config) {
		t.Error("with a broken credential")
	}
}
