package node

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pmezard/go-difflib/difflib"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/staticpod"
)

// Selection says which resources are managed.
type Selection struct {
	// Skip are the phases that are left out, Only the ones that are done, all
	// others being left out. Of both nothing means all.
	Skip, Only []string
	// Targets are the addresses that are managed, all others being left out;
	// none means all.
	Targets []string
	// ControlPlane says that the machine is to be one.
	ControlPlane bool
}

// The names of the findings about what is not managed.
const (
	findingSkipped    = "SkippedPhase"
	findingOnly       = "OnlyPhases"
	findingTarget     = "OnlyTargets"
	findingNotManaged = "NotManaged"
)

// covers tells whether a phase is named, itself or by its parent.
func covers(names []string, phase string) bool {
	parent, _, _ := strings.Cut(phase, "/")
	return slices.Contains(names, phase) || slices.Contains(names, parent)
}

// Skips tells whether a phase is left out.
func (s Selection) Skips(phase string) bool {
	return covers(s.Skip, phase) || len(s.Only) > 0 && !covers(s.Only, phase)
}

// Narrow tells whether a few things are asked for, and not all but a few.
func (s Selection) Narrow() bool { return len(s.Only)+len(s.Targets) > 0 }

// Health tells whether the health of the control plane is waited for.
func (s Selection) Health() bool { return !s.Skips(phaseHealth) }

// HealthAlone tells whether the health of the control plane is waited for
// without its manifests being managed.
func (s Selection) HealthAlone() bool {
	return len(s.Only) > 0 && s.Skips(phaseManifests) && !s.Skips(phaseHealth)
}

// Preflight tells whether the machine is checked: like any phase that was not asked
// for, the checks are left out with targets, of which hardly any needs what a whole
// join needs.
func (s Selection) Preflight() bool { return !s.Skips(phasePreflight) && len(s.Targets) == 0 }

// PreflightAsked tells whether the machine is checked even if there is nothing
// to do.
func (s Selection) PreflightAsked() bool { return s.Preflight() && covers(s.Only, phasePreflight) }

// CheckEtcd tells whether the health of etcd is a reason not to begin. Only who
// skips that says it is none.
func (s Selection) CheckEtcd() bool { return !covers(s.Skip, phaseCheckEtcd) }

// SharedKeys tells whether something is managed, or checked, that needs the
// keys which all control planes share.
func (s Selection) SharedKeys() bool {
	phases := []string{phasePreflight, phaseDownload, phaseCerts, phaseKubeconfig, phaseManifests, phaseCheckEtcd, phaseEtcd}
	if len(s.Targets) > 0 {
		return slices.ContainsFunc(s.Targets, func(t string) bool {
			return slices.Contains(phases, PhaseOf(reconcile.Address(t), true))
		})
	}
	return slices.ContainsFunc(phases, func(p string) bool { return !s.Skips(p) })
}

// Runtime tells whether something is managed that needs to know which container
// runtime the node has: the kubelet's configuration, and a control plane's images
// and static pods.
func (s Selection) Runtime() bool {
	if len(s.Targets) > 0 {
		return slices.ContainsFunc(s.Targets, func(t string) bool {
			a := reconcile.Address(t)
			needs := a == FileAddress(InstanceConfigPath) || a == FileAddress(KubeletConfigPath) ||
				slices.Contains([]string{"image", "static-pod", "etcd-data", "etcd-voter"}, a.Kind())
			return needs && !s.Skips(PhaseOf(a, s.ControlPlane))
		})
	}
	pods := []string{phasePreflight, phaseManifests, phaseEtcd, phaseHealth}
	return !s.Skips(phaseKubelet) || s.ControlPlane && slices.ContainsFunc(pods, func(p string) bool { return !s.Skips(p) })
}

// Idle is the error of a selection that has nothing to do on a worker; nil if it
// has.
func (s Selection) Idle() error {
	if s.ControlPlane || len(s.Only) == 0 {
		return nil
	}
	for _, name := range s.Only {
		if p, ok := FindPhase(name); ok && p.OnWorkers() {
			return nil
		}
	}
	return fault.New(fault.InvalidConfig, "%s: only a control plane has this phase, and the configuration is a worker's", strings.Join(s.Only, ", ")).
		WithHint("add --control-plane, or controlPlane: {} to the configuration")
}

// Select leaves resources out of management: they are still observed, because
// others depend on what they are, and never changed. The findings say what that
// means. It fails for a target that is none of the resources.
func Select(resources []reconcile.Resource, s Selection) ([]reconcile.Resource, []reconcile.Finding, error) {
	for _, t := range s.Targets {
		if !slices.Contains(addresses(resources), t) {
			return nil, nil, noTarget(t, addresses(resources))
		}
	}
	skipped := map[string][]string{} // by phase
	left := 0
	out := make([]reconcile.Resource, len(resources))
	for i, r := range resources {
		a := r.Address()
		p := PhaseOf(a, s.ControlPlane)
		bootstrap := a == FileAddress(BootstrapKubeconfigPath)
		switch {
		case len(s.Targets) > 0 && !slices.Contains(s.Targets, string(a)):
			left++
			r = observeOnly{r, "it is not the --target"}
		case s.HealthAlone() && p == phaseManifests:
			r = waitOnly{r}
		case p == phaseEtcd && s.Skips(p) && covers(s.Only, phaseCheckEtcd) && !s.Skips(phaseCheckEtcd):
			left++
			r = checkOnly{r}
		case bootstrap && s.Skips(p) && !s.Skips(waitBootstrap):
			why := p + " is skipped"
			if !covers(s.Skip, p) {
				why = p + unasked
			}
			r = partly{observeOnly{r, why}, func(c reconcile.Action) bool { return c == reconcile.Delete }}
		case covers(s.Skip, p):
			skipped[p] = append(skipped[p], string(a))
			r = observeOnly{r, p + " is skipped"}
		case s.Skips(p):
			left++
			r = observeOnly{r, p + unasked}
		case bootstrap && s.Skips(waitBootstrap):
			// It is that phase that removes it.
			r = partly{observeOnly{r, waitBootstrap + " is left out"}, func(c reconcile.Action) bool { return c != reconcile.Delete }}
		}
		out[i] = r
	}
	var findings []reconcile.Finding
	for _, p := range Phases() {
		if addresses := skipped[p.Name]; len(addresses) > 0 {
			findings = append(findings, reconcile.Finding{Severity: reconcile.SeverityInfo, Name: findingSkipped,
				Seen: fmt.Sprintf("%s is skipped: %s not managed", p.Name, strings.Join(addresses, ", ")+areOrIs(addresses))})
		}
	}
	if left > 0 {
		f := reconcile.Finding{Severity: reconcile.SeverityInfo, Name: findingOnly,
			Seen: fmt.Sprintf("only %s: what else makes this node (%d resources) is not managed", strings.Join(s.Only, ", "), left)}
		if len(s.Targets) > 0 {
			f.Name, f.Seen = findingTarget, fmt.Sprintf("only %s: what else makes this node (%d resources) is not managed, and the machine is not checked", strings.Join(s.Targets, ", "), left)
		}
		findings = append(findings, f)
	}
	return out, findings, nil
}

// SkippedChecks say what is left out with those phases, or parts of them, that
// hold no resource: nothing else in the plan shows it.
func (s Selection) SkippedChecks() []reconcile.Finding {
	if len(s.Targets) > 0 {
		return nil
	}
	var out []reconcile.Finding
	for _, left := range []struct{ phase, what string }{
		{phasePreflight, "the machine is not checked"},
		{phaseCheckEtcd, "an etcd that takes no member now is no reason not to begin"},
		{phaseHealth, "nobody waits until the control plane is healthy"},
	} {
		if p, _ := FindPhase(left.phase); covers(s.Skip, left.phase) && (s.ControlPlane || p.Workers) {
			out = append(out, reconcile.Finding{Severity: reconcile.SeverityInfo, Name: findingSkipped, Seen: left.phase + " is skipped: " + left.what})
		}
	}
	return out
}

const unasked = " is not among the phases that were asked for"

// similar is the part of two addresses' letters that agree, from which on one is
// taken for the other.
const similar = 0.7

func noTarget(target string, known []string) error {
	e := fault.New(fault.InvalidConfig, "--target: there is no resource %q", target)
	letters := func(s string) []string { return strings.Split(s, "") }
	best, ratio := "", similar
	for _, k := range known {
		if r := difflib.NewMatcher(letters(target), letters(k)).Ratio(); r > ratio {
			best, ratio = k, r
		}
	}
	if best != "" {
		return e.WithHint("did you mean %q?", best)
	}
	return e.WithHint("the addresses are: %s", strings.Join(known, ", "))
}

// Judge gives the findings of a computed plan with the weight that they have:
// what is left as it is is worth a warning where a planned change comes after
// it. Where little was asked for, the rest is not mentioned.
func (s Selection) Judge(resources []reconcile.Resource, c *reconcile.Computed) []reconcile.Finding {
	planned := map[reconcile.Address]bool{}
	for _, change := range c.Changes {
		planned[change.Address] = true
	}
	needs := map[reconcile.Address]reconcile.Address{}
	for _, r := range resources {
		for _, a := range r.After() {
			if planned[r.Address()] && needs[a] == "" {
				needs[a] = r.Address()
			}
		}
	}
	var out []reconcile.Finding
	for _, f := range c.Findings {
		if f.Name == findingNotManaged && f.Severity == reconcile.SeverityInfo {
			switch dependent := needs[f.Address]; {
			case dependent != "" && f.Address.Kind() != "image": // which the kubelet pulls by itself
				f.Severity = reconcile.SeverityWarning
				f.Why = string(dependent) + " comes after it"
			case s.Narrow() && !covers(s.Skip, PhaseOf(f.Address, s.ControlPlane)):
				continue
			}
		}
		out = append(out, f)
	}
	return out
}

func addresses(resources []reconcile.Resource) []string {
	var out []string
	for _, r := range resources {
		out = append(out, string(r.Address()))
	}
	return out
}

func areOrIs(list []string) string {
	if len(list) == 1 {
		return " is"
	}
	return " are"
}

// observeOnly is a resource that is not managed.
type observeOnly struct {
	reconcile.Resource
	why string
}

// Change says what is left as it is: others may need it.
func (r observeOnly) Change(o reconcile.Observation, v reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	c, _, err := r.Resource.Change(o, v)
	seen := ""
	switch {
	case err != nil:
		seen = err.Error()
	case c != nil:
		seen = c.Summary
	default:
		return nil, nil, nil
	}
	return nil, []reconcile.Finding{{Severity: reconcile.SeverityInfo, Name: findingNotManaged, Address: r.Address(),
		Seen: seen + ": left as it is, because " + r.why}}, nil
}

// waitOnly is a static pod whose health is waited for, and nothing else done
// about. One that is not there will never serve.
type waitOnly struct{ reconcile.Resource }

func (r waitOnly) Change(own reconcile.Observation, v reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	c, findings, err := r.Resource.Change(own, v)
	o, ok := own.(staticPodObservation)
	switch {
	case err != nil || c == nil || !ok || c.Action == reconcile.Wait:
		return c, findings, err
	case c.Action == reconcile.Create:
		return nil, []reconcile.Finding{{Severity: reconcile.SeverityError, Name: findingNotManaged, Address: r.Address(),
			Seen: c.Summary + ", and it is not " + phaseManifests + " that was asked for",
			Hint: "`kubejoin join phase control-plane-prepare control-plane` writes the manifests"}}, nil
	case o.asked && o.health != nil:
		return &reconcile.Change{Address: r.Address(), Action: reconcile.Wait, Reason: reconcile.Drift, Disruption: reconcile.NoDisruption,
			Summary: "does not serve: " + oneLine(o.health.Error())}, findings, nil
	}
	return observeOnly{r.Resource, phaseManifests + unasked}.Change(own, v)
}

// checkOnly is a part of joining etcd that says what would be in the way, and is
// not managed.
type checkOnly struct{ reconcile.Resource }

func (r checkOnly) Change(o reconcile.Observation, v reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	_, findings, err := r.Resource.Change(o, v)
	return nil, findings, err
}

// partly is a resource of which some actions belong to a phase that is left out.
type partly struct {
	observeOnly
	managed func(reconcile.Action) bool
}

func (r partly) Change(o reconcile.Observation, v reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	c, findings, err := r.Resource.Change(o, v)
	if c != nil && !r.managed(c.Action) {
		return r.observeOnly.Change(o, v)
	}
	return c, findings, err
}

// CommonAddresses are addresses that a control plane has everywhere, and a
// worker in part: for completion.
func CommonAddresses() []string {
	out := []string{string(KubeletService), string(KubeletCredential), string(KubeletServer)}
	for _, path := range []string{KubeletConfigPath, KubeletFlagsPath, InstanceConfigPath, BootstrapKubeconfigPath} {
		out = append(out, string(FileAddress(path)))
	}
	for _, name := range []string{staticpod.APIServer, staticpod.ControllerManager, staticpod.Scheduler, staticpod.Etcd} {
		out = append(out, string(StaticPodAddress(name)))
	}
	return out
}
