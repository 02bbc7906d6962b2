package session

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/node"
)

func save(t *testing.T, r *Run) *reconcile.Saved {
	t.Helper()
	saved, err := r.Save("v1", reconcile.Input{Directory: "/"})
	if err != nil {
		t.Fatal(err)
	}
	return saved
}

// What moves between the comparison and the lock is seen under the lock: nothing is
// written then.
func TestHeldPlanIsComparedUnderTheLock(t *testing.T) {
	o := options(t, nil)
	saved := save(t, open(t, o))
	r := open(t, o)
	if err := r.Hold(saved, "v1"); err != nil {
		t.Fatal(err)
	}
	flags := filepath.Join(o.Root, node.KubeletFlagsPath)
	if err := os.WriteFile(flags, []byte("KUBELET_KUBEADM_ARGS=\"--v=9\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	err := r.Apply(t.Context(), nil, func(e reconcile.Event) { t.Errorf("%s %s", e.Type, e.Address) })
	if fault.ClassOf(err) != fault.Conflict || !strings.Contains(err.Error(), node.KubeletFlagsPath) {
		t.Errorf("%v", err)
	}
}

func TestHeldPlanIsApplied(t *testing.T) {
	o := options(t, nil)
	saved := save(t, open(t, o))
	r := open(t, o)
	if err := r.Hold(saved, "v1"); err != nil {
		t.Fatal(err)
	}
	if err := r.Apply(t.Context(), nil, func(reconcile.Event) {}); err != nil {
		t.Fatal(err)
	}
	if err := open(t, o).Hold(saved, "v1"); fault.ClassOf(err) != fault.Conflict {
		t.Errorf("the plan is applied twice: %v", err)
	}
	if err := open(t, o).Hold(saved, "v2"); fault.ClassOf(err) != fault.Conflict || !strings.Contains(err.Error(), "v1") {
		t.Errorf("another program applies the plan: %v", err)
	}
}

// Whether it is only a try is not part of what was planned.
func TestDryRunIsTheSamePlan(t *testing.T) {
	o := options(t, nil)
	saved := save(t, open(t, o))
	o.Join.Config.DryRun = true
	r := open(t, o)
	if err := r.Hold(saved, "v1"); err != nil || !r.DryRun() {
		t.Error(err)
	}
}
