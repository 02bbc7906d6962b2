package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/host"
	"github.com/kubejoin/kubejoin/reconcile/host/cri"
)

// StaticPodAddress is the address of a component's static pod.
func StaticPodAddress(component string) reconcile.Address {
	return reconcile.Address("static-pod:" + component)
}

// PodRestart is the disruption of a change that starts a static pod again.
func PodRestart(component string) reconcile.Disruption {
	return reconcile.Disruption("pod-restart(" + component + ")")
}

const (
	manifestMode    = fs.FileMode(0o600)
	manifestDirMode = fs.FileMode(0o700)
	// afterFailure is how long a changed pod may take to serve when another
	// change has failed: the kubelet gives the one before its grace, the API
	// server's takes up to 20 s then, and what needs an API server as long again.
	afterFailure = stopGrace + 45*time.Second
	// patience is how often the container of a changed pod may exit before what
	// did serve is put back. With the kubelet's pauses that takes about a minute.
	patience = 4
	// stopGrace is the kubelet's own grace for a pod that names none.
	stopGrace = 30 * time.Second
	// outdatedEvery is how often it is asked whether the manifest of a pod that does
	// not serve is still the right one.
	outdatedEvery = time.Second
	// probeAgain is the pause before a component that did not answer is asked
	// a second time: one lost answer is no reason for a change.
	probeAgain = 250 * time.Millisecond
)

// StaticPod is a component of the control plane as it should run on this
// machine. It comes after the kubelet's service and all that the component
// needs to become healthy: applying it waits for that.
type StaticPod struct {
	// Name of the component: "kube-apiserver".
	Name string
	// NodeName is part of the pod's name.
	NodeName string
	// Path of the manifest.
	Path string
	// Want is the manifest. Where Render is set, this is what a plan shows.
	Want []byte
	// Compare tells whether a manifest means what is wanted (behaviour
	// catalogue, appendix B). Its fields hold no secret.
	Compare func(existing []byte) (equal bool, fields []reconcile.Field, err error)
	// Consent says what it means to replace an existing manifest, and what --allow
	// has to name for it; empty if it destroys nothing. May be nil.
	Consent func(existing []byte) (summary, allow string)
	// Render gives the manifest right before it is written, where a part of it
	// is known only then. May be nil.
	Render func(context.Context) ([]byte, error)
	// Outdated tells whether what Render gave has been overtaken since, so that the
	// pod of this manifest cannot start: it is asked now and then while that does
	// not serve, and the manifest is rendered anew. May be nil.
	Outdated func(ctx context.Context, manifest []byte) bool
	// Health asks the component once; nil means that it serves.
	Health func(context.Context) error
	// Served asks the component of another manifest, which may serve elsewhere.
	// May be nil if it does not.
	Served func(ctx context.Context, manifest []byte) error
	// RestartOn are files that the component reads only when it starts
	// ("kubeconfig:/etc/kubernetes/scheduler.conf"): a newer one than the
	// running container is a reason to start it again.
	RestartOn []reconcile.Address
	After     []reconcile.Address
	// Withdrawn is the resource before whose change the manifest is taken away.
	Withdrawn reconcile.Address
	// Guard returns when the pod may be ended that runs, with what is called when
	// the next one serves, or with the error why it does not; its own error is why
	// it may not. It is not asked for a pod that had no manifest. May be nil.
	Guard func(ctx context.Context, say func(reconcile.Progress)) (done func(error), err error)
	// Begins, if set, waits for the health of a pod that is created, where it is
	// to change itself: then it is enough here that the pod runs.
	Begins reconcile.Address
	// Timeout is timeouts.controlPlaneComponentHealthCheck.
	Timeout time.Duration
	// AnyOwner leaves the owner of the manifest alone.
	AnyOwner bool
	// FilesOnly keeps the manifest alone: below a root directory that is not
	// the live machine nothing runs.
	FilesOnly bool
	// NoHealth is content with what is written: whether the component serves is
	// neither asked nor waited for.
	NoHealth bool
	Files    Files
	Services host.Services
	// Runtime may be nil: then a changed manifest cannot be applied, because
	// nobody could tell the new pod from the old.
	Runtime Runtime
}

// StaticPodResource keeps a static pod.
func StaticPodResource(p StaticPod) reconcile.Resource { return &staticPodResource{p} }

type staticPodResource struct{ StaticPod }

func (r *staticPodResource) Address() reconcile.Address { return StaticPodAddress(r.Name) }
func (r *staticPodResource) After() []reconcile.Address {
	return slices.Concat(r.StaticPod.After, r.RestartOn)
}

// staticPodObservation is the manifest, and what has become of the pod.
type staticPodObservation struct {
	file fileObservation
	// wants are the images of the wanted pod.
	wants []string
	// asked says that the component of this manifest was asked whether it serves;
	// health is its answer.
	asked  bool
	health error
	// looked says that the runtime answered.
	looked bool
	pods   []cri.Pod
	podErr error
	// written is when the files of RestartOn were written.
	written map[reconcile.Address]time.Time
}

// Observe reads the manifest and asks the component. The runtime is asked only
// where that can matter.
func (r *staticPodResource) Observe(ctx context.Context) (reconcile.Observation, error) {
	o := staticPodObservation{file: observeFile(r.Files, r.Path), wants: podImages(r.Want)}
	if !o.file.state.Exists() || o.file.state.Denied || o.file.problem != "" || r.FilesOnly {
		return o, nil
	}
	o.written = make(map[reconcile.Address]time.Time)
	for _, a := range r.RestartOn {
		if st, err := r.Files.Stat(a.Name()); err == nil && st.Exists() {
			o.written[a] = st.ModTime
		}
	}
	if r.NoHealth {
		if len(r.RestartOn) > 0 {
			r.look(ctx, &o)
		}
		return o, ctx.Err()
	}
	health := r.Health
	if equal, _, err := r.Compare(o.file.content); r.Served != nil && err == nil && !equal {
		health = func(ctx context.Context) error { return r.Served(ctx, o.file.content) }
	}
	asked := make(chan error, 1)
	go func() { asked <- askTwice(ctx, health) }()
	if len(r.RestartOn) > 0 {
		r.look(ctx, &o)
	}
	o.asked, o.health = true, <-asked
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if o.health != nil && !o.looked && o.podErr == nil {
		r.look(ctx, &o)
	}
	return o, nil
}

func askTwice(ctx context.Context, health func(context.Context) error) error {
	err := health(ctx)
	if err == nil {
		return nil
	}
	pause := time.NewTimer(probeAgain)
	defer pause.Stop()
	select {
	case <-pause.C:
		return health(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *staticPodResource) look(ctx context.Context, o *staticPodObservation) {
	if r.Runtime == nil {
		return
	}
	o.pods, o.podErr = r.Runtime.Pods(ctx, staticPodNamespace, r.podName())
	o.looked = o.podErr == nil
}

// podName is how the kubelet names a static pod.
func (r *staticPodResource) podName() string { return r.Name + "-" + strings.ToLower(r.NodeName) }

func (r *staticPodResource) Change(own reconcile.Observation, v reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	o := own.(staticPodObservation)
	c := reconcile.Change{Address: r.Address(), Disruption: reconcile.NoDisruption}
	switch {
	case o.file.state.Denied:
		return nil, []reconcile.Finding{notCompared(r.Address(), "this user may not read it", "run as root to compare it")}, nil
	case o.file.problem != "":
		return nil, unexpected(r.Address(), o.file.problem), nil
	case !o.file.state.Exists():
		c.Action, c.Reason, c.Summary = reconcile.Create, reconcile.Missing, r.Path+" "+o.file.missing()
		c.Diff = manifestDiff(r.Path, nil, r.Want)
		return &c, nil, nil
	}
	var findings []reconcile.Finding
	if o.podErr != nil && len(r.RestartOn) > 0 {
		findings = append(findings, notCompared(r.Address(), "whether it runs with its current files is not known: "+o.podErr.Error(), fault.HintOf(o.podErr)))
	}
	owner := r.ownership(o.file.state)
	equal, fields, err := r.Compare(o.file.content)
	if err != nil || !equal {
		c.Action, c.Reason, c.Disruption = reconcile.Update, reconcile.Drift, PodRestart(r.Name)
		c.Summary = "the manifest describes another pod"
		c.Fields, c.Diff = slices.Concat(fields, owner), manifestDiff(r.Path, o.file.content, r.Want)
		if err != nil {
			// Nobody knows what it is, and an error may quote it.
			c.Summary, c.Diff = "the manifest does not parse", manifestDiff(r.Path, nil, r.Want)
			c.Fields = append([]reconcile.Field{{Path: "(file)", Before: "not parseable"}}, owner...)
		} else if r.Consent != nil {
			if summary, allow := r.Consent(o.file.content); allow != "" {
				c.Reason, c.Summary, c.Disruption, c.Allow = reconcile.Intent, summary, reconcile.Destructive, allow
			}
		}
		return &c, findings, nil
	}
	c.Fields, c.Because = owner, r.outdated(o, v)
	if ch := v.Changed(r.Withdrawn); r.Withdrawn != "" && ch != nil {
		c.Action, c.Reason, c.Disruption, c.Because = reconcile.Update, ch.Reason, PodRestart(r.Name), []reconcile.Address{r.Withdrawn}
		c.Summary = "starts anew"
		return &c, findings, nil
	}
	switch {
	case len(c.Because) > 0:
		c.Action, c.Reason, c.Disruption = reconcile.Restart, reconcile.Drift, PodRestart(r.Name)
		c.Summary = "reads " + c.Because[0].Name() + " only when it starts"
		if ch := v.Changed(c.Because[0]); ch != nil {
			c.Reason = ch.Reason
		}
	case len(owner) > 0:
		c.Action, c.Reason, c.Summary = reconcile.Update, reconcile.Drift, "the manifest is right, its mode or owner is not"
	case o.file.state.Leftover:
		c.Action, c.Reason = reconcile.Delete, reconcile.Drift
		c.Summary = "an interrupted write left its temporary file beside the manifest"
	case o.asked && o.health != nil:
		c.Action, c.Reason, c.Summary = reconcile.Wait, reconcile.Drift, "does not serve: "+oneLine(o.health.Error())
		if o.looked {
			if why := describePod(o.pods); why != "" {
				c.Summary += "; " + why
			}
		}
	default:
		return nil, findings, nil
	}
	return &c, findings, nil
}

// ownership is what is wrong with mode and owner. A stricter mode than kubeadm's
// is fine: the kubelet is root.
func (r *staticPodResource) ownership(st host.FileState) []reconcile.Field {
	var out []reconcile.Field
	if st.Mode&^manifestMode != 0 {
		out = append(out, reconcile.Field{Path: "mode", Before: fmt.Sprintf("%#o", st.Mode), After: fmt.Sprintf("%#o", manifestMode)})
	}
	if !r.AnyOwner && (st.UID != 0 || st.GID != 0) {
		out = append(out, reconcile.Field{Path: "owner", Before: fmt.Sprintf("%d:%d", st.UID, st.GID), After: "0:0"})
	}
	return out
}

// outdated names the files that are, or will be, newer than the container that
// read them. A container that does not run reads them when it starts.
func (r *staticPodResource) outdated(o staticPodObservation, v reconcile.View) []reconcile.Address {
	if r.FilesOnly || r.Runtime == nil {
		return nil
	}
	c := running(o.pods)
	if c == nil {
		return nil
	}
	var out []reconcile.Address
	for _, a := range r.RestartOn {
		ch := v.Changed(a)
		changes := ch != nil && ch.Action != reconcile.Delete && !onlyOwnership(ch.Fields)
		if changes || o.written[a].After(c.Started) {
			out = append(out, a)
		}
	}
	return out
}

func (r *staticPodResource) Apply(ctx context.Context, c reconcile.Change, v reconcile.View, say func(reconcile.Progress)) error {
	o, _ := v.Observed(r.Address()).(staticPodObservation)
	content := c.Action == reconcile.Create || c.Action == reconcile.Update && !onlyOwnership(c.Fields)
	if !content && len(c.Fields) > 0 {
		if err := r.Files.SetOwnership(r.Path, manifestMode, r.owner(), r.owner()); err != nil {
			return err
		}
	}
	if !content && o.file.state.Leftover {
		if err := r.Files.RemoveLeftover(r.Path); err != nil {
			return err
		}
	}
	switch {
	case c.Action == reconcile.Create:
		fresh := r.afterLeaving(ctx)
		if err := r.write(ctx); err != nil {
			return err
		}
		if r.Begins != "" && v.Changed(r.Begins) != nil && r.Runtime != nil {
			return r.waitFor(ctx, r.runs, fresh, say)
		}
		return r.joined(r.wait(ctx, fresh, say), v)
	case content:
		return r.joined(r.replace(ctx, o, say), v)
	case c.Action == reconcile.Restart:
		return r.joined(r.restart(ctx, say), v)
	}
	return r.joined(r.wait(ctx, nil, say), v)
}

func (r *staticPodResource) owner() int {
	if r.AnyOwner {
		return -1
	}
	return 0
}

func (r *staticPodResource) put(content []byte) error {
	return r.Files.WriteFile(r.Path, content, host.WriteOptions{Mode: manifestMode, UID: r.owner(), GID: r.owner(), DirMode: manifestDirMode})
}

func (r *staticPodResource) write(ctx context.Context) error {
	content := r.Want
	if r.Render != nil {
		var err error
		if content, err = r.Render(ctx); err != nil {
			return err
		}
	}
	return r.put(content)
}

// replace writes another manifest and waits until its pod serves. If it does
// not, and the one before did, that is put back: nothing is left worse than it
// was found.
func (r *staticPodResource) replace(ctx context.Context, o staticPodObservation, say func(reconcile.Progress)) (err error) {
	if r.FilesOnly || r.NoHealth {
		return r.write(ctx)
	}
	if r.Runtime == nil {
		return fault.New(fault.Preflight, "there is no container runtime to ask what becomes of the pod")
	}
	done, err := r.guard(ctx, say)
	if err != nil {
		return err
	}
	defer func() { done(err) }()
	before, err := r.Runtime.Pods(ctx, staticPodNamespace, r.podName())
	if err != nil {
		return err // nothing was changed
	}
	if err := r.write(ctx); err != nil {
		return err
	}
	w := r.waiting(r.Health, notAmong(before), say)
	if o.asked && o.health == nil {
		w.patience = patience
	}
	err = w.run(ctx, say)
	if outer, yes := reconcile.Stopped(ctx); yes {
		ctx = outer
		if errors.Is(err, context.Canceled) {
			// This manifest is as new as the one that failed, and nobody else would
			// find out whether it has to be put back.
			say(reconcile.Progress{Message: "another change failed; this pod is still waited for, to know whether it serves"})
			again := r.waiting(r.Health, notAmong(before), say)
			again.patience, again.timeout, again.limit = w.patience, min(w.timeout, afterFailure), "as another change failed"
			err = again.run(ctx, say)
		}
	}
	if err == nil || ctx.Err() != nil {
		return err
	}
	if !o.asked || o.health != nil {
		return fault.New(fault.Unhealthy, "%w; the previous manifest did not serve either, and is not put back", err).WithHint("%s", fault.HintOf(err))
	}
	if back := r.put(o.file.content); back != nil {
		return fault.New(fault.Unhealthy, "%w; and the previous manifest could not be put back: %w", err, back).WithHint("%s", fault.HintOf(err))
	}
	say(reconcile.Progress{Message: "the changed pod does not serve: the previous manifest is put back"})
	return fault.New(fault.Unhealthy, "%w; the previous manifest is back in place", err).WithHint("%s", fault.HintOf(err))
}

// notAmong keeps the sandboxes that came after a change. The kubelet gives the
// pod of another manifest another UID, and a pod it starts anew another sandbox.
func notAmong(before []cri.Pod) func([]cri.Pod) []cri.Pod {
	old := make(map[string]bool)
	uid := ""
	for _, p := range before {
		old[p.ID] = true
		if p.Ready {
			uid = p.UID
		}
	}
	return func(pods []cri.Pod) []cri.Pod {
		return slices.DeleteFunc(slices.Clone(pods), func(p cri.Pod) bool {
			return old[p.ID] || uid != "" && p.UID == uid
		})
	}
}

func (r *staticPodResource) guard(ctx context.Context, say func(reconcile.Progress)) (done func(error), err error) {
	if r.Guard == nil {
		return func(error) {}, nil
	}
	return r.Guard(ctx, say)
}

// withdraw takes the manifest away, and returns when no container runs.
func (r *staticPodResource) withdraw(ctx context.Context, say func(reconcile.Progress)) (err error) {
	done, err := r.guard(ctx, say)
	if err != nil {
		return err
	}
	defer func() { done(err) }()
	if err := r.Files.Remove(r.Path); err != nil || r.Runtime == nil {
		return err
	}
	return r.stop(ctx)
}

// stop ends the pod's containers; the kubelet starts the next ones.
func (r *staticPodResource) stop(ctx context.Context) error {
	pods, err := r.Runtime.Pods(ctx, staticPodNamespace, r.podName())
	if err != nil {
		return err
	}
	for _, p := range pods {
		for _, c := range p.Containers {
			if c.State != cri.Running {
				continue
			}
			if err := r.Runtime.StopContainer(ctx, c.ID, stopGrace); err != nil {
				return err
			}
		}
	}
	return nil
}

// restart ends the component's container, and waits until the one that the
// kubelet starts in its place serves.
func (r *staticPodResource) restart(ctx context.Context, say func(reconcile.Progress)) (err error) {
	done, err := r.guard(ctx, say)
	if err != nil {
		return err
	}
	defer func() { done(err) }()
	pods, err := r.Runtime.Pods(ctx, staticPodNamespace, r.podName())
	if err != nil {
		return err
	}
	stopped := make(map[string]bool)
	for _, p := range pods {
		for _, c := range p.Containers {
			stopped[c.ID] = true
			if c.State != cri.Running {
				continue
			}
			if err := r.Runtime.StopContainer(ctx, c.ID, stopGrace); err != nil {
				return err
			}
		}
	}
	return r.wait(ctx, without(stopped), say)
}

// afterLeaving picks what the kubelet starts for a manifest that was not there.
// A pod that runs without one is being ended, and may serve until it is: half a
// minute, for an API server.
func (r *staticPodResource) afterLeaving(ctx context.Context) func([]cri.Pod) []cri.Pod {
	if r.FilesOnly || r.Runtime == nil {
		return nil
	}
	pods, err := r.Runtime.Pods(ctx, staticPodNamespace, r.podName())
	if err != nil || running(pods) == nil {
		return nil // waiting tells what the runtime says
	}
	leaving := make(map[string]bool)
	for _, p := range pods {
		for _, c := range p.Containers {
			leaving[c.ID] = true
		}
	}
	return without(leaving)
}

// without leaves containers out, by their IDs.
func without(ids map[string]bool) func([]cri.Pod) []cri.Pod {
	return func(pods []cri.Pod) []cri.Pod {
		var out []cri.Pod
		for _, p := range pods {
			p.Containers = slices.DeleteFunc(slices.Clone(p.Containers), func(c cri.Container) bool { return ids[c.ID] })
			out = append(out, p)
		}
		return out
	}
}

func (r *staticPodResource) wait(ctx context.Context, fresh func([]cri.Pod) []cri.Pod, say func(reconcile.Progress)) error {
	return r.waitFor(ctx, r.Health, fresh, say)
}

// runs is nil if the pod's container runs, whether it serves or not.
func (r *staticPodResource) runs(ctx context.Context) error {
	pods, err := r.Runtime.Pods(ctx, staticPodNamespace, r.podName())
	if err == nil && running(pods) == nil {
		err = errors.New("no container runs")
	}
	return err
}

func (r *staticPodResource) waitFor(ctx context.Context, health func(context.Context) error, fresh func([]cri.Pod) []cri.Pod, say func(reconcile.Progress)) error {
	if r.FilesOnly || r.NoHealth {
		return nil
	}
	return r.waiting(health, fresh, say).run(ctx, say)
}

func (r *staticPodResource) waiting(health func(context.Context) error, fresh func([]cri.Pod) []cri.Pod, say func(reconcile.Progress)) *podWait {
	w := &podWait{
		name: r.Name, pod: r.podName(), path: r.Path, images: podImages(r.Want),
		health: r.renewing(health, say), runtime: r.Runtime, timeout: r.Timeout, limit: "timeouts.controlPlaneComponentHealthCheck", fresh: fresh,
	}
	if r.Services != nil {
		w.services = kubeletUnderServices{r.Services}
	}
	if st, err := r.Files.Stat(r.Path); err == nil && st.Exists() {
		w.written = st.ChangeTime // also of a file that was moved back
	}
	return w
}

// renewing asks for a component's health, and renders a manifest anew that has
// been overtaken.
func (r *staticPodResource) renewing(health func(context.Context) error, say func(reconcile.Progress)) func(context.Context) error {
	if r.Outdated == nil || r.Render == nil {
		return health
	}
	asked := time.Now()
	return func(ctx context.Context) error {
		err := health(ctx)
		if err == nil || ctx.Err() != nil || time.Since(asked) < outdatedEvery {
			return err
		}
		asked = time.Now()
		o := observeFile(r.Files, r.Path)
		if !o.state.Exists() || o.problem != "" || !r.Outdated(ctx, o.content) {
			return err
		}
		if err := r.write(ctx); err != nil {
			return err // and tries again
		}
		say(reconcile.Progress{Message: "what the manifest names has changed since it was written: it is written anew"})
		return err
	}
}

// joined adds to an unhealthy component's error that the node is one already.
func (r *staticPodResource) joined(err error, v reconcile.View) error {
	var e *fault.Error
	node, ok := v.Observed(nodeAddress(r.NodeName)).(nodeObservation)
	if !ok || node.info == nil || !errors.As(err, &e) || e.Class != fault.Unhealthy || e.Address != "" {
		return err
	}
	return fault.New(fault.Unhealthy, "the node has joined, and this component is unhealthy: %w", err).WithHint("%s", fault.HintOf(err))
}

// podImages are the images that a manifest names.
func podImages(manifest []byte) []string {
	var pod corev1.Pod
	if yaml.Unmarshal(manifest, &pod) != nil {
		return nil
	}
	var out []string
	for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		out = append(out, c.Image)
	}
	return out
}

// manifestDiff shows how a manifest changes, in one layout for both sides. The
// values of environment variables are hidden, a proxy's may hold a password, and
// so are passwords in URLs.
func manifestDiff(path string, have, want []byte) string {
	return UnifiedDiff(path, hideEnv(have), hideEnv(want))
}

// hideEnv masks the values of a manifest's environment variables. What is no
// manifest is not shown at all.
func hideEnv(manifest []byte) []byte {
	if len(manifest) == 0 {
		return nil
	}
	pod, err := decodeMapping(manifest)
	if err != nil || pod["kind"] != "Pod" || bytes.Contains(manifest, []byte("PRIVATE KEY-----")) {
		return []byte("# not a pod's manifest\n") // it could be anything, a credential too
	}
	spec, _ := pod["spec"].(map[string]any)
	for _, list := range []string{"initContainers", "containers", "ephemeralContainers"} {
		containers, _ := spec[list].([]any)
		for _, c := range containers {
			container, _ := c.(map[string]any)
			env, _ := container["env"].([]any)
			for _, e := range env {
				entry, _ := e.(map[string]any)
				if value, ok := entry["value"]; ok {
					entry["value"] = reconcile.Mask(fmt.Append(nil, value))
				}
			}
		}
	}
	out, err := yaml.Marshal(pod)
	if err != nil {
		return []byte("# cannot be shown\n")
	}
	return userinfo.ReplaceAllFunc(out, func(match []byte) []byte {
		return fmt.Appendf(nil, "://%s@", reconcile.Mask(match[len("://"):len(match)-1]))
	})
}

// userinfo is a name and password in a URL, wherever it stands.
var userinfo = regexp.MustCompile(`://[^/\s"']*@`)
