package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
)

// The labels of a control plane: behaviour catalogue §5.10. A kubelet may not
// set the first by itself (§9.7 item 5).
const (
	controlPlaneLabel = "node-role.kubernetes.io/control-plane"
	excludeLabel      = "node.kubernetes.io/exclude-from-external-load-balancers"
)

// FindingNodeTaints is a worker's Node whose taints are not those of the
// configuration, and cannot be changed with what this run has.
const FindingNodeTaints = "NodeTaints"

// podEviction is the disruption of a NoExecute taint on a Node that has pods.
const podEviction reconcile.Disruption = "pod-eviction"

// NodeMarker reads and marks Nodes. *cluster.Client is one.
//
//nolint:revive // a marker alone does not say of what
type NodeMarker interface {
	Node(ctx context.Context, name string) (*cluster.NodeInfo, error)
	WatchNode(ctx context.Context, name string, fn func(*cluster.NodeInfo) (done bool)) error
	// PatchNodeMarks gives the Node as it is then; cluster.ErrChanged is in the
	// error's chain if it was not what the patch was computed for.
	PatchNodeMarks(ctx context.Context, name string, p cluster.MarksPatch) (*cluster.NodeInfo, error)
	// MayMarkNode tells whether the marker's credential is enough.
	MayMarkNode(ctx context.Context, name string) (bool, error)
}

// marksAddress is the address of the labels and taints of a Node.
func marksAddress(name string) reconcile.Address { return reconcile.Address("node-marks:" + name) }

// marksObservation is what the Node has, and whether that can be changed.
type marksObservation struct {
	seen bool
	info *cluster.NodeInfo
	why  string // if not seen
	may  bool   // a worker's marks, where they differ
}

// marksResource is the labels and taints of this machine's Node. A control
// plane's are set by an administrator; a worker's kubelet sets its taints when
// it registers the Node, and who may change them later depends on discovery.
type marksResource struct {
	name         string
	controlPlane bool
	taints       []corev1.Taint // nil: a worker's configuration says nothing of them
	// elsewhere says that an argument of the worker's kubelet decides instead.
	elsewhere bool
	machineID string // empty: unknown, not compared
	timeout   time.Duration
	// marker gives the API as one sees it who may mark Nodes; nil, or giving nil,
	// if this run has no such credential. A control plane's may exist only when
	// it is asked for.
	marker func() (NodeMarker, error)
	after  []reconcile.Address

	// last is the newest that is known, at first the cluster's state.
	last marksObservation
	// read says that last has been given once: the next one is read anew.
	read bool
}

// registersTaints tells whether an argument of the kubelet replaces or extends
// nodeRegistration.taints.
func registersTaints(cfg *kubeadm.JoinConfiguration) bool {
	return slices.ContainsFunc(cfg.NodeRegistration.KubeletExtraArgs, func(a kubeadm.Arg) bool { return a.Name == "register-with-taints" })
}

func (r *marksResource) api() (NodeMarker, error) {
	if r.marker == nil {
		return nil, nil
	}
	return r.marker()
}

func (r *marksResource) Address() reconcile.Address { return marksAddress(r.name) }
func (r *marksResource) After() []reconcile.Address {
	return append(slices.Clone(r.after), nodeAddress(r.name))
}

// Observe keeps to what it saw before if it cannot be read any more: what was
// planned must not pass for done.
func (r *marksResource) Observe(ctx context.Context) (reconcile.Observation, error) {
	first := !r.read
	r.read = true
	if first && r.last.seen {
		return r.judge(ctx), nil
	}
	api, err := r.api()
	if err == nil && api != nil {
		var info *cluster.NodeInfo
		if info, err = api.Node(ctx, r.name); err == nil {
			r.last = marksObservation{seen: true, info: info}
		}
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil && !r.last.seen:
		r.last.why = err.Error()
	case !r.last.seen:
		r.last.why = "no credential that may read it"
	}
	return r.judge(ctx), nil
}

// judge asks whether a worker's marks can be changed if they have to be.
func (r *marksResource) judge(ctx context.Context) marksObservation {
	o := r.last
	if r.controlPlane || o.info == nil || r.elsewhere || r.marking(o.info) == nil {
		return o
	}
	if api, err := r.api(); err == nil && api != nil {
		// Without an answer there is a finding, as without the right.
		o.may, _ = api.MayMarkNode(ctx, r.name)
	}
	return o
}

func (r *marksResource) Change(own reconcile.Observation, v reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	o := own.(marksObservation)
	info := o.info
	switch {
	case !r.controlPlane && (info == nil || r.elsewhere || r.foreign(info)):
		return nil, nil, nil // its kubelet registers it with its taints
	case !o.seen:
		return nil, []reconcile.Finding{notCompared(r.Address(), o.why, "")}, nil
	case info == nil && unmanaged(v):
		return nil, nil, nil
	case info == nil:
		info = &cluster.NodeInfo{Name: r.name}
	case r.foreign(info) && v.Changed(nodeAddress(r.name)) == nil:
		return nil, []reconcile.Finding{notCompared(r.Address(), "the Node is another machine", "")}, nil
	}
	m := r.marking(info)
	if !r.controlPlane && !o.may {
		return nil, r.advice(info, m), nil
	}
	if m == nil {
		return nil, nil, nil
	}
	c := &reconcile.Change{Address: r.Address(), Action: reconcile.Update, Reason: m.reason, Fields: m.fields,
		Summary: "labels and taints differ from the configuration", Disruption: reconcile.NoDisruption}
	if m.reason == reconcile.Missing {
		c.Action, c.Summary = reconcile.Create, "the Node is not marked as a control plane"
	}
	if m.evicts && o.info != nil {
		c.Disruption = podEviction
	}
	return c, nil, nil
}

func (r *marksResource) foreign(n *cluster.NodeInfo) bool {
	return r.machineID != "" && n.MachineID != "" && n.MachineID != r.machineID
}

// Apply sets the marks on a Node that its kubelet has registered. The kubelet
// and the controllers write the Node at the same time: what is not the latest
// is read and computed again.
func (r *marksResource) Apply(ctx context.Context, _ reconcile.Change, v reconcile.View, say func(reconcile.Progress)) error {
	api, err := r.api()
	switch {
	case err != nil:
		return err
	case api == nil:
		return fault.New(fault.Denied, "no credential that may change labels and taints").At(string(r.Address()))
	}
	o, _ := v.Observed(r.Address()).(marksObservation)
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	err = r.mark(ctx, api, o.info, say)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fault.New(fault.Timeout, "not marked after %s (timeouts.kubernetesAPICall): %w", r.timeout, err).WithHint("run again to go on")
	}
	return err
}

func (r *marksResource) mark(ctx context.Context, api NodeMarker, n *cluster.NodeInfo, say func(reconcile.Progress)) error {
	for {
		if r.lacks(n) != "" {
			var err error
			if n, err = r.await(ctx, api, say); err != nil {
				return err
			}
		}
		m := r.marking(n)
		if m == nil {
			r.last = marksObservation{seen: true, info: n}
			return nil
		}
		is, err := api.PatchNodeMarks(ctx, r.name, m.patch)
		switch {
		case err == nil:
			if m := r.marking(is); m != nil {
				return fault.New(fault.Conflict, "the API server stored something else than it was sent: %s", m.paths()).
					WithHint("an admission webhook or policy of the cluster changes Nodes")
			}
			r.last = marksObservation{seen: true, info: is}
			return nil
		case !errors.Is(err, cluster.ErrChanged):
			return err
		}
		pause := time.NewTimer(rand.N(markPause))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return err
		}
		if n, err = api.Node(ctx, r.name); err != nil {
			return err
		}
	}
}

// markPause bounds the pause before another attempt at a Node that others
// write, too.
const markPause = 200 * time.Millisecond

// lacks says why a Node cannot be marked yet; empty if it can. kubeadm waits
// for the same label, and takes an expired wait for success: behaviour
// catalogue §11 #28.
func (r *marksResource) lacks(n *cluster.NodeInfo) string {
	switch {
	case n == nil:
		return "the Node is not registered yet"
	case r.foreign(n):
		return "the Node still shows the machine it was before"
	case n.Marks.Labels[corev1.LabelHostname] == "":
		return "the Node has no label " + corev1.LabelHostname + " yet"
	}
	return ""
}

func (r *marksResource) await(ctx context.Context, api NodeMarker, say func(reconcile.Progress)) (*cluster.NodeInfo, error) {
	var found *cluster.NodeInfo
	lack := ""
	err := api.WatchNode(ctx, r.name, func(n *cluster.NodeInfo) bool {
		found = n
		l := r.lacks(n)
		if l != "" && l != lack {
			say(reconcile.Progress{Message: l})
		}
		lack = l
		return l == ""
	})
	if err != nil && lack != "" {
		return nil, fmt.Errorf("%s: %w", lack, err)
	}
	return found, err
}

// marking is what has to change on a Node.
type marking struct {
	patch  cluster.MarksPatch
	fields []reconcile.Field
	reason reconcile.Reason
	evicts bool
}

func (m *marking) paths() string {
	var out []string
	for _, f := range m.fields {
		out = append(out, f.Path)
	}
	return strings.Join(out, ", ")
}

// marking is nil if the Node has what is wanted, and nothing that kubejoin or
// kubeadm set and the configuration no longer wants. That holds without a
// record of who set it: nodes that kubeadm made are taken as they are.
func (r *marksResource) marking(n *cluster.NodeInfo) *marking {
	is := n.Marks
	m := &marking{patch: cluster.MarksPatch{ResourceVersion: is.ResourceVersion, Labels: map[string]*string{}}}
	// A control plane's own label is the last thing that makes it one: before,
	// every mark is missing, afterwards it was taken away.
	_, marked := is.Labels[controlPlaneLabel]
	fresh := r.controlPlane && !marked && len(is.Managed.Labels)+len(is.Managed.Taints) == 0
	m.reason = reconcile.Intent
	if fresh {
		m.reason = reconcile.Missing
	}
	differs := func(f reconcile.Field, drift bool) {
		m.fields = append(m.fields, f)
		if drift && !fresh {
			m.reason = reconcile.Drift
		}
	}

	wanted := map[string]string{}
	if r.controlPlane {
		wanted = map[string]string{controlPlaneLabel: "", excludeLabel: ""}
	}
	for _, key := range slices.Sorted(maps.Keys(wanted)) {
		m.patch.Managed.Labels = append(m.patch.Managed.Labels, key)
		value, have := is.Labels[key]
		if want := wanted[key]; !have || value != want {
			m.patch.Labels[key] = &want
			f := reconcile.Field{Path: "labels[" + key + "]", After: strconv.Quote(want)}
			if have {
				f.Before = strconv.Quote(value)
			}
			differs(f, true)
		}
	}
	for _, key := range []string{controlPlaneLabel, excludeLabel} {
		// A kubelet may write the record of its own Node: it decides about no
		// label but those that kubejoin sets.
		value, have := is.Labels[key]
		if _, want := wanted[key]; have && !want && slices.Contains(is.Managed.Labels, key) {
			m.patch.Labels[key] = nil
			differs(reconcile.Field{Path: "labels[" + key + "]", Before: strconv.Quote(value)}, false)
		}
	}

	m.taints(r, is, fresh, differs)
	if len(m.fields) == 0 {
		return nil
	}
	if before, after := record(is.Managed), record(m.patch.Managed); before != after {
		m.fields = append(m.fields, reconcile.Field{Path: "annotations[" + cluster.ManagedAnnotation + "]", Before: before, After: after})
	}
	return m
}

// taints compares by key and effect, of which a Node has at most one of each.
func (m *marking) taints(r *marksResource, is cluster.NodeMarks, fresh bool, differs func(reconcile.Field, bool)) {
	wanted := map[string]corev1.Taint{}
	for _, t := range r.taints {
		if !ofControllers(t) {
			wanted[taintID(t)] = t
		}
	}
	list := []corev1.Taint{}
	before := len(m.fields)
	for _, t := range is.Taints {
		id := taintID(t)
		want, wants := wanted[id]
		delete(wanted, id)
		f := reconcile.Field{Path: "taints[" + id + "]", Before: strconv.Quote(t.Value)}
		switch {
		case wants && t.Value != want.Value:
			f.After = strconv.Quote(want.Value)
			differs(f, true)
			m.evicts = m.evicts || t.Effect == corev1.TaintEffectNoExecute
			list = append(list, want)
		case !wants && r.ownTaint(is.Managed, t):
			differs(f, false)
		default:
			list = append(list, t)
		}
		if wants {
			m.patch.Managed.Taints = append(m.patch.Managed.Taints, id)
		}
	}
	for _, t := range r.taints {
		id := taintID(t)
		if _, missing := wanted[id]; !missing {
			continue
		}
		delete(wanted, id)
		m.patch.Managed.Taints = append(m.patch.Managed.Taints, id)
		if startup(t) && !fresh {
			continue
		}
		// Of a taint that is not in the record, the configuration may be newer.
		differs(reconcile.Field{Path: "taints[" + id + "]", After: strconv.Quote(t.Value)},
			slices.Contains(is.Managed.Taints, id) || id == defaultTaint)
		m.evicts = m.evicts || t.Effect == corev1.TaintEffectNoExecute
		list = append(list, t)
	}
	slices.Sort(m.patch.Managed.Taints)
	if len(m.fields) > before {
		m.patch.Taints = &list
	}
}

func taintID(t corev1.Taint) string { return t.Key + ":" + string(t.Effect) }

// defaultTaint is the one that a control plane gets if its configuration names
// none.
const defaultTaint = kubeadm.ControlPlaneTaint + ":" + string(corev1.TaintEffectNoSchedule)

// ownTaint tells whether kubejoin, or kubeadm before it, set a taint.
func (r *marksResource) ownTaint(managed cluster.ManagedMarks, t corev1.Taint) bool {
	id := taintID(t)
	return !ofControllers(t) && (slices.Contains(managed.Taints, id) || r.controlPlane && id == defaultTaint)
}

// ofControllers tells taints that the cluster's controllers set and remove:
// behaviour catalogue appendix B 10.
func ofControllers(t corev1.Taint) bool {
	return strings.HasPrefix(t.Key, "node.kubernetes.io/") || strings.HasPrefix(t.Key, "node.cloudprovider.kubernetes.io/")
}

// startup tells taints that a node begins with, and that an agent removes when
// it is ready to serve it (node.cilium.io/agent-not-ready,
// ebs.csi.aws.com/agent-not-ready). They are set with the first marks only.
func startup(t corev1.Taint) bool { return strings.HasSuffix(t.Key, "/agent-not-ready") }

func record(m cluster.ManagedMarks) string {
	if len(m.Labels)+len(m.Taints) == 0 {
		return ""
	}
	data, _ := json.Marshal(m) // strings only
	return string(data)
}

// advice says what a worker's Node has and this run may not change.
func (r *marksResource) advice(n *cluster.NodeInfo, m *marking) []reconcile.Finding {
	var out []reconcile.Finding
	command := "kubectl taint node " + r.name + " --overwrite"
	find := func(severity reconcile.Severity, seen, hint string) {
		out = append(out, reconcile.Finding{Severity: severity, Name: FindingNodeTaints, Address: r.Address(), Seen: seen, Hint: hint})
	}
	if m != nil {
		var seen, args []string
		for _, f := range m.fields {
			id, ok := strings.CutPrefix(f.Path, "taints[")
			if !ok {
				continue
			}
			id = strings.TrimSuffix(id, "]")
			key, effect, _ := strings.Cut(id, ":")
			value, _ := strconv.Unquote(f.After)
			switch {
			case f.After == "":
				seen, args = append(seen, id+" is not wanted any more"), append(args, id+"-")
			case f.Before == "":
				seen, args = append(seen, id+" is missing"), append(args, key+"="+value+":"+effect)
			default:
				seen, args = append(seen, id+" has the value "+f.Before+", not "+f.After), append(args, key+"="+value+":"+effect)
			}
		}
		find(reconcile.SeverityWarning, "the Node's taints are not those of nodeRegistration.taints: "+strings.Join(seen, ", "),
			"a kubelet sets them only when it registers its Node; as an administrator: "+command+" "+strings.Join(args, " "))
	}
	if r.taints == nil {
		return out
	}
	var more, args []string
	for _, t := range n.Marks.Taints {
		known := slices.ContainsFunc(r.taints, func(w corev1.Taint) bool { return taintID(w) == taintID(t) })
		if !known && !ofControllers(t) && !r.ownTaint(n.Marks.Managed, t) {
			more, args = append(more, t.ToString()), append(args, taintID(t)+"-")
		}
	}
	if len(more) > 0 {
		find(reconcile.SeverityInfo, "the Node has taints that nodeRegistration.taints does not list: "+strings.Join(more, ", "),
			"somebody may have set them on purpose, they are left alone; "+command+" "+strings.Join(args, " ")+" removes them")
	}
	return out
}

// RBACFindings tell what an older cluster has to be given for this control plane.
func RBACFindings(gaps []cluster.RBACGap) []reconcile.Finding {
	var out []reconcile.Finding
	for _, g := range gaps {
		out = append(out, reconcile.Finding{Severity: reconcile.SeverityWarning, Name: "RBACGap", Seen: g.Seen, Hint: "on a control plane: " + g.Command})
	}
	return out
}
