package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

// Input is what the checks judge.
type Input struct {
	Config *kubeadm.JoinConfiguration
	Facts  host.Facts
}

// Run makes the checks that apply. Names: behaviour catalogue §6.2.
func Run(_ context.Context, in Input) []reconcile.Finding {
	var out []reconcile.Finding
	fail := func(name, seen, hint string) {
		out = append(out, reconcile.Finding{Severity: reconcile.SeverityError, Name: name, Seen: seen, Hint: hint})
	}
	if in.Facts.EffectiveUID != 0 {
		fail("IsPrivilegedUser", "apply has to be run as root", "run `sudo kubejoin apply …`; plan works without")
	}
	if s := in.Config.NodeRegistration.CRISocket; !slices.Contains(in.Facts.CRISockets, s) && slices.Contains(host.CRISockets(), s) {
		fail("CRI", "no container runtime answers at "+s, "start it, or set nodeRegistration.criSocket to the runtime's socket")
	}
	if in.Facts.KubeletPath == "" {
		fail("FileExisting-kubelet", "there is no kubelet in the usual binary directories", "install the kubelet package of the cluster's minor version")
	}
	return out
}

// Waive marks the errors that the user wants to ignore, by name or "all". They
// stay visible and block nothing.
func Waive(findings []reconcile.Finding, names []string) {
	for i := range findings {
		f := &findings[i]
		f.Waived = f.Severity == reconcile.SeverityError && slices.ContainsFunc(names, func(n string) bool {
			return strings.EqualFold(n, f.Name) || strings.EqualFold(n, "all")
		})
	}
}

// Blocking is the error of the findings that stand in the way of apply; nil if
// there is none.
func Blocking(findings []reconcile.Finding) error {
	var names, hints []string
	for _, f := range findings {
		if f.Severity == reconcile.SeverityError && !f.Waived {
			names = append(names, fmt.Sprintf("%s (%s)", f.Name, f.Seen))
			if f.Hint != "" {
				hints = append(hints, f.Hint)
			}
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fault.New(fault.Preflight, "this machine cannot do what the plan needs: %s", strings.Join(names, "; ")).
		WithHint("%s", strings.Join(hints, "; "))
}
