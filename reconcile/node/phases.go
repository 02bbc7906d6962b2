package node

import (
	"fmt"
	"strings"

	"github.com/kubejoin/kubejoin/reconcile"
)

const waitBootstrap = "kubelet-wait-bootstrap"

// phaseOf is kubeadm's phase that makes a worker's resource; behaviour
// catalogue §5.
func phaseOf(a reconcile.Address) string {
	switch a.Kind() {
	case "credential", "node":
		return waitBootstrap
	}
	return "kubelet-start"
}

// Skip leaves the resources of phases out of management: they are still
// observed, because others depend on what they are, and never changed. The
// findings say what that means.
func Skip(resources []reconcile.Resource, phases []string) ([]reconcile.Resource, []reconcile.Finding) {
	skipped := make(map[string][]string, len(phases))
	for _, p := range phases {
		skipped[p] = nil
	}
	out := make([]reconcile.Resource, len(resources))
	for i, r := range resources {
		p := phaseOf(r.Address())
		if _, ok := skipped[p]; ok {
			skipped[p] = append(skipped[p], string(r.Address()))
			r = observeOnly{r}
		} else if _, ok := skipped[waitBootstrap]; ok && r.Address() == FileAddress(BootstrapKubeconfigPath) {
			r = keepOnly{r} // it is that phase that removes it
		}
		out[i] = r
	}
	var findings []reconcile.Finding
	for _, p := range phases {
		if addresses := skipped[p]; len(addresses) > 0 {
			findings = append(findings, reconcile.Finding{Severity: reconcile.SeverityInfo, Name: "SkippedPhase",
				Seen: fmt.Sprintf("%s is skipped: %s not managed", p, strings.Join(addresses, ", ")+areOrIs(addresses))})
			skipped[p] = nil // a phase that is named twice is told once
		}
	}
	return out, findings
}

func areOrIs(list []string) string {
	if len(list) == 1 {
		return " is"
	}
	return " are"
}

// observeOnly is a resource that is not managed.
type observeOnly struct{ reconcile.Resource }

func (observeOnly) Change(reconcile.Observation, reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	return nil, nil, nil
}

// keepOnly is a resource that is made and never removed.
type keepOnly struct{ reconcile.Resource }

func (r keepOnly) Change(o reconcile.Observation, v reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	c, findings, err := r.Resource.Change(o, v)
	if c != nil && c.Action == reconcile.Delete {
		c = nil
	}
	return c, findings, err
}
