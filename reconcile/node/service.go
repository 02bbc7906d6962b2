package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

// KubeletService is the address of the kubelet's unit.
const KubeletService reconcile.Address = "service:kubelet"

const kubeletUnit = "kubelet"

// serviceResource keeps the kubelet enabled, running, and running with the
// configuration that is on disk.
type serviceResource struct {
	nodeName string
	// restartFiles are read by the kubelet when it starts, and never again.
	restartFiles []string
	healthz      string // host:port; empty when the endpoint is off
	timeout      time.Duration
	ports        Ports
	after        []reconcile.Address
}

func (r *serviceResource) Address() reconcile.Address { return KubeletService }
func (r *serviceResource) After() []reconcile.Address { return r.after }

// serviceObservation is the unit's state, and for how long it has been so.
type serviceObservation struct {
	host.ServiceState
	uptime time.Duration
	// args are those that the process got by way of KubeletFlagsPath, if known.
	args  []string
	known bool
}

func (r *serviceResource) Observe(ctx context.Context) (reconcile.Observation, error) {
	st, err := r.ports.Services.State(ctx, kubeletUnit)
	o := serviceObservation{ServiceState: st}
	if !st.StartedAt.IsZero() {
		o.uptime = r.ports.Now().Sub(st.StartedAt)
	}
	if err == nil && st.Active {
		o.args, o.known = r.startedWith(st)
	}
	return o, err
}

// startedWith are the arguments that the kubelet got from its environment file.
// systemd hands it the file's variables, so that its own environment tells, where
// nobody else sets the variable and the unit uses it; only root may read that.
func (r *serviceResource) startedWith(st host.ServiceState) (args []string, known bool) {
	if st.Manager != "systemd" || st.MainPID == 0 || !runsKubelet(st) || !strings.Contains(st.ExecStart, "$"+flagsVariable) ||
		!slices.Contains(st.EnvironmentFiles, KubeletFlagsPath) {
		return nil, false
	}
	for _, path := range st.EnvironmentFiles {
		if path == KubeletFlagsPath {
			continue
		}
		o := observeFile(r.ports.Files, path)
		if strings.ContainsAny(path, "*?[") || o.state.Denied || o.problem != "" || bytes.Contains(o.content, []byte(flagsVariable)) {
			return nil, false
		}
	}
	environment := observeFile(r.ports.Files, fmt.Sprintf("/proc/%d/environ", st.MainPID))
	if environment.state.Denied || environment.problem != "" {
		return nil, false
	}
	for entry := range bytes.SplitSeq(environment.content, []byte{0}) {
		if value, ok := bytes.CutPrefix(entry, []byte(flagsVariable+"=")); ok {
			return strings.Fields(string(value)), true
		}
	}
	return nil, false
}

// registrationGrace is how long a kubelet that just started may take to
// register its Node: it retries with up to 7 seconds in between.
const registrationGrace = 20 * time.Second

func (r *serviceResource) Change(own reconcile.Observation, v reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	st := own.(serviceObservation)
	switch {
	case st.Manager == "":
		return nil, []reconcile.Finding{{Severity: reconcile.SeverityWarning, Name: "NoInitSystem", Address: KubeletService,
			Seen: "neither systemd nor OpenRC is here to run the kubelet",
			Hint: "start the kubelet by your own means once the files are written, restart it when they change, and then run plan again"}}, nil
	case st.Unknown != "":
		return nil, []reconcile.Finding{notCompared(KubeletService, st.Unknown, "run as root to compare it")}, nil
	case !st.Found:
		return nil, []reconcile.Finding{{Severity: reconcile.SeverityError, Name: "Service-kubelet", Address: KubeletService,
			Seen: "there is no kubelet service", Hint: "install the kubelet package of the cluster's minor version"}}, nil
	case st.Masked:
		return nil, []reconcile.Finding{{Severity: reconcile.SeverityError, Name: "Service-kubelet", Address: KubeletService,
			Seen: "the kubelet service is masked", Hint: "systemctl unmask kubelet"}}, nil
	}
	c := &reconcile.Change{Address: KubeletService, Disruption: reconcile.NoDisruption}
	if !st.Enabled {
		c.Fields = append(c.Fields, reconcile.Field{Path: "enabled", Before: "false", After: "true"})
	}
	for _, a := range r.after {
		if ch := v.Changed(a); ch != nil && ch.Disruption != reconcile.NoDisruption && r.readAtStart(a) {
			c.Because = append(c.Because, a)
		}
	}
	node := nodeAddress(r.nodeName)
	if o, ok := v.Observed(node).(nodeObservation); ok && o.seen && o.info == nil && st.Active && st.uptime > registrationGrace && len(c.Because) == 0 && credentialServes(v) {
		// The kubelet registers its Node only when it starts (behaviour catalogue §9.5 W10).
		c.Because = append(c.Because, node)
	}
	switch {
	case !st.Active:
		c.Action, c.Reason = reconcile.Start, reconcile.Drift
		c.Summary = "does not run (" + st.State + ")"
		if len(c.Because) > 0 {
			c.Reason, c.Summary = reconcile.Missing, "starts with the new configuration"
		}
		c.Fields = append(c.Fields, reconcile.Field{Path: "active", Before: st.State, After: "running"})
	case len(c.Because) > 0:
		c.Action, c.Summary = reconcile.Restart, "reads its configuration only when it starts"
		if ch := v.Changed(c.Because[0]); ch != nil {
			c.Reason = ch.Reason
		}
		if c.Because[0] == node {
			c.Reason, c.Summary = reconcile.Drift, "registers its Node only when it starts"
		}
		c.Disruption = reconcile.KubeletRestart
	default:
		if path := r.outdated(st.ServiceState, v); path != "" {
			c.Action, c.Reason, c.Disruption = reconcile.Restart, reconcile.Drift, reconcile.KubeletRestart
			c.Summary = "runs since before " + path + " was written"
			break
		}
		if differing := otherArgs(st, v); len(differing) > 0 {
			c.Action, c.Reason, c.Disruption = reconcile.Restart, reconcile.Drift, reconcile.KubeletRestart
			c.Summary, c.Fields = "runs with other arguments than those of "+KubeletFlagsPath, append(c.Fields, differing...)
			break
		}
		if len(c.Fields) == 0 {
			return nil, replacedSince(st.ServiceState, v), nil
		}
		c.Action, c.Reason, c.Summary = reconcile.Update, reconcile.Drift, "is not enabled to start at boot"
	}
	return c, nil, nil
}

// unmanaged tells whether there is nobody who could run the kubelet but the
// user: then there is nothing to wait for either.
func unmanaged(v reconcile.View) bool {
	o, ok := v.Observed(KubeletService).(serviceObservation)
	return ok && o.Manager == ""
}

// readAtStart tells whether the kubelet reads the file at an address when it
// starts, and never again.
func (r *serviceResource) readAtStart(a reconcile.Address) bool {
	return a.Name() == BootstrapKubeconfigPath || slices.Contains(r.restartFiles, a.Name())
}

// credentialServes tells whether the kubelet needs no other credential.
func credentialServes(v reconcile.View) bool {
	o, ok := v.Observed(KubeletCredential).(credentialObservation)
	return ok && o.State == cluster.CredentialValid && o.wrong == ""
}

// outdated names a file that was written after the kubelet started: a run was
// killed between the two.
func (r *serviceResource) outdated(st host.ServiceState, v reconcile.View) string {
	paths := r.restartFiles
	if _, managed := v.Observed(KubeletCredential).(credentialObservation); managed && !credentialServes(v) {
		// A kubelet that runs since before does not know its bootstrap credential.
		paths = append(slices.Clone(paths), BootstrapKubeconfigPath)
	}
	for _, path := range paths {
		if o, ok := v.Observed(FileAddress(path)).(fileObservation); ok && olderThan(st.StartedAt, o.state) {
			return path
		}
	}
	return ""
}

// otherArgs says in what the running kubelet's arguments differ from its file: an
// older file that was moved back, say, looks as if it had always been there. What
// systemd may read in another way than this package does is not judged.
func otherArgs(st serviceObservation, v reconcile.View) []reconcile.Field {
	o, ok := v.Observed(FileAddress(KubeletFlagsPath)).(fileObservation)
	if !ok || !st.known || o.state.Denied || o.problem != "" || bytes.ContainsRune(o.content, '\\') {
		return nil
	}
	args, _, err := parseFlags(o.content)
	if err != nil || slices.ContainsFunc(args, func(a string) bool { return strings.ContainsFunc(a, breaksWords) }) {
		return nil
	}
	fields, _, err := compareFlags([]byte(flagsVariable+"="+strings.Join(st.args, " ")+"\n"), o.content)
	if err != nil {
		return nil
	}
	return fields
}

// replacedSince remarks on a configuration that looks older than the kubelet's
// process and got its place, or its mode, later. Which of the two cannot be seen, and
// a mode is no reason to restart.
func replacedSince(st host.ServiceState, v reconcile.View) []reconcile.Finding {
	o, ok := v.Observed(FileAddress(KubeletConfigPath)).(fileObservation)
	if !ok || !o.state.Exists() || st.StartedAt.IsZero() || !o.state.ChangeTime.After(st.StartedAt) {
		return nil
	}
	return []reconcile.Finding{{Severity: reconcile.SeverityInfo, Name: "Advisory", Address: FileAddress(KubeletConfigPath),
		Seen: "was put back, or got another mode or owner, since the kubelet started: whether the kubelet runs with this content cannot be seen",
		Hint: "if somebody put an older file back, run `systemctl restart kubelet`"}}
}

func (r *serviceResource) Apply(ctx context.Context, c reconcile.Change, v reconcile.View, say func(reconcile.Progress)) error {
	for _, f := range c.Fields {
		if f.Path == "enabled" {
			if err := r.ports.Services.Enable(ctx, kubeletUnit); err != nil {
				return err
			}
		}
	}
	if c.Action == reconcile.Update {
		return nil
	}
	if replacesCredential(v) || v.Changed(nodeAddress(r.nodeName)) != nil {
		// The certificate and the Node prove more, and come sooner.
		return r.ports.Services.Restart(ctx, kubeletUnit)
	}
	return r.restart(ctx, say)
}

// restart returns when the kubelet is healthy.
func (r *serviceResource) restart(ctx context.Context, say func(reconcile.Progress)) error {
	begin := r.ports.Now()
	if err := r.ports.Services.Restart(ctx, kubeletUnit); err != nil || r.healthz == "" {
		return err
	}
	return r.waitHealthy(ctx, begin, say)
}

// healthzEvery is how often the kubelet is asked whether it is healthy: it has
// no event for that, and the question costs a millisecond on loopback.
const healthzEvery = 50 * time.Millisecond

// waitHealthy returns when the kubelet answers its health endpoint, and tells
// meanwhile why it does not.
func (r *serviceResource) waitHealthy(ctx context.Context, begin time.Time, say func(reconcile.Progress)) error {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	crash := reportCrashes(ctx, r.ports, begin, say)
	tick := time.NewTicker(healthzEvery)
	defer tick.Stop()
	var last error
	for {
		err := r.ports.Healthz(ctx, r.healthz)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err // and not that the time was over
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if cause := context.Cause(ctx); !errors.Is(cause, context.DeadlineExceeded) {
				return cause
			}
			return fault.New(fault.Timeout, "not healthy after %s (timeouts.kubeletHealthCheck): %w", r.timeout, last).
				WithHint("%s", crash.hint("look at `journalctl -u kubelet`"))
		}
	}
}
