package node

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
)

// fakeMarker keeps one Node and patches it as an API server does. It is a fake;
// reconcile/cluster patches a server that merges, the lab has a real one.
type fakeMarker struct {
	node    *cluster.NodeInfo
	events  chan *cluster.NodeInfo
	denied  bool
	refuses error
	// meanwhile happens between reading and patching, as often as it is long.
	meanwhile []func(*cluster.NodeInfo)
	admission func(*cluster.NodeInfo)
	patches   int
}

func (f *fakeMarker) Node(context.Context, string) (*cluster.NodeInfo, error) {
	return copyNode(f.node), f.refuses
}

func copyNode(n *cluster.NodeInfo) *cluster.NodeInfo {
	if n == nil {
		return nil
	}
	out := *n
	out.Marks.Labels, out.Marks.Taints = maps.Clone(n.Marks.Labels), slices.Clone(n.Marks.Taints)
	return &out
}

func (f *fakeMarker) WatchNode(ctx context.Context, _ string, fn func(*cluster.NodeInfo) bool) error {
	return deliver(ctx, f.events, func(n *cluster.NodeInfo) bool {
		f.node = copyNode(n)
		return fn(n)
	})
}

func (f *fakeMarker) MayMarkNode(context.Context, string) (bool, error) { return !f.denied, nil }

func (f *fakeMarker) PatchNodeMarks(_ context.Context, _ string, p cluster.MarksPatch) (*cluster.NodeInfo, error) {
	f.patches++
	if f.refuses != nil {
		return nil, f.refuses
	}
	if len(f.meanwhile) > 0 {
		f.meanwhile[0](f.node)
		f.node.Marks.ResourceVersion += "+"
		f.meanwhile = f.meanwhile[1:]
	}
	m := &f.node.Marks
	if p.ResourceVersion != m.ResourceVersion {
		return nil, fault.New(fault.Conflict, "%w", cluster.ErrChanged)
	}
	m.ResourceVersion += "+"
	m.Labels = maps.Clone(m.Labels)
	for k, v := range p.Labels {
		if v == nil {
			delete(m.Labels, k)
		} else {
			m.Labels[k] = *v
		}
	}
	if p.Taints != nil {
		m.Taints = slices.Clone(*p.Taints)
	}
	m.Managed = p.Managed
	if f.admission != nil {
		f.admission(f.node)
	}
	return copyNode(f.node), nil
}

func taint(s string) corev1.Taint {
	key, effect, _ := strings.Cut(s, ":")
	key, value, _ := strings.Cut(key, "=")
	return corev1.Taint{Key: key, Value: value, Effect: corev1.TaintEffect(effect)}
}

func taintList(words ...string) []corev1.Taint {
	out := []corev1.Taint{}
	for _, w := range words {
		out = append(out, taint(w))
	}
	return out
}

const cpTaint = "node-role.kubernetes.io/control-plane:NoSchedule"

// markable is a registered Node with labels and taints, all given as in kubectl.
func markable(labels string, taints ...string) *cluster.NodeInfo {
	n := &cluster.NodeInfo{Name: "cp2", MachineID: "m1", Marks: cluster.NodeMarks{ResourceVersion: "7",
		Labels: map[string]string{corev1.LabelHostname: "cp2"}, Taints: taintList(taints...)}}
	for _, l := range strings.Fields(labels) {
		k, v, _ := strings.Cut(l, "=")
		n.Marks.Labels[k] = v
	}
	return n
}

func managed(n *cluster.NodeInfo, taints ...string) *cluster.NodeInfo {
	n.Marks.Managed = cluster.ManagedMarks{Labels: []string{controlPlaneLabel, excludeLabel}, Taints: taints}
	return n
}

func marks(api *fakeMarker, taints []corev1.Taint) *marksResource {
	return &marksResource{name: "cp2", controlPlane: true, taints: taints, machineID: "m1", timeout: time.Minute,
		marker: func() (NodeMarker, error) { return api, nil },
		last:   marksObservation{seen: true, info: copyNode(api.node)}}
}

func marksSet(t *testing.T, r *marksResource) (*reconcile.Set, *reconcile.Computed) {
	t.Helper()
	set, err := reconcile.NewSet(r)
	if err != nil {
		t.Fatal(err)
	}
	c, err := set.Compute(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return set, c
}

const bothLabels = controlPlaneLabel + "= " + excludeLabel + "="

func TestControlPlaneMarks(t *testing.T) {
	const ann = "annotations[kubejoin.io/managed]"
	l1, l2 := "labels["+controlPlaneLabel+"]", "labels["+excludeLabel+"]"
	tests := map[string]struct {
		node   *cluster.NodeInfo
		want   []corev1.Taint
		reason reconcile.Reason // empty: no change
		fields []string         // path: before → after, without the annotation
		taints []string         // afterwards
		owns   []string
	}{
		"as kubeadm made it":  {node: markable(bothLabels, cpTaint), want: taintList(cpTaint)},
		"as kubejoin made it": {node: managed(markable(bothLabels, cpTaint), cpTaint), want: taintList(cpTaint)},
		"registered": {node: markable(""), want: taintList(cpTaint), reason: reconcile.Missing,
			fields: []string{l1 + `: → ""`, l2 + `: → ""`, `taints[` + cpTaint + `]: → ""`}, taints: []string{cpTaint}, owns: []string{cpTaint}},
		"registered, foreign taints": {node: markable("", "node.kubernetes.io/not-ready:NoSchedule", "gpu=a:NoSchedule"), want: taintList(cpTaint), reason: reconcile.Missing,
			fields: []string{l1 + `: → ""`, l2 + `: → ""`, `taints[` + cpTaint + `]: → ""`},
			taints: []string{"node.kubernetes.io/not-ready:NoSchedule", "gpu=a:NoSchedule", cpTaint}, owns: []string{cpTaint}},
		"none wanted, registered": {node: markable(""), want: taintList(), reason: reconcile.Missing, fields: []string{l1 + `: → ""`, l2 + `: → ""`}},
		"none wanted, as kubeadm made it": {node: markable(bothLabels, cpTaint, "gpu=a:NoSchedule"), want: taintList(), reason: reconcile.Intent,
			fields: []string{`taints[` + cpTaint + `]: "" →`}, taints: []string{"gpu=a:NoSchedule"}},
		"an own one is not wanted any more": {node: managed(markable(bothLabels, cpTaint, "gpu=a:NoSchedule", "gpu=a:NoExecute"), "gpu:NoSchedule", cpTaint), want: taintList(cpTaint),
			reason: reconcile.Intent, fields: []string{`taints[gpu:NoSchedule]: "a" →`}, taints: []string{cpTaint, "gpu=a:NoExecute"}, owns: []string{cpTaint}},
		"a new one": {node: managed(markable(bothLabels, cpTaint), cpTaint), want: taintList(cpTaint, "gpu=a:NoSchedule"),
			reason: reconcile.Intent, fields: []string{`taints[gpu:NoSchedule]: → "a"`}, taints: []string{cpTaint, "gpu=a:NoSchedule"}, owns: []string{"gpu:NoSchedule", cpTaint}},
		"an own one was removed": {node: managed(markable(bothLabels), cpTaint), want: taintList(cpTaint),
			reason: reconcile.Drift, fields: []string{`taints[` + cpTaint + `]: → ""`}, taints: []string{cpTaint}, owns: []string{cpTaint}},
		"the default one was removed": {node: markable(bothLabels), want: taintList(cpTaint),
			reason: reconcile.Drift, fields: []string{`taints[` + cpTaint + `]: → ""`}, taints: []string{cpTaint}, owns: []string{cpTaint}},
		// Both would be sent by kubeadm, and refused: behaviour catalogue §11 #31.
		"another value": {node: markable(bothLabels, "gpu=a:NoSchedule", cpTaint), want: taintList(cpTaint, "gpu=b:NoSchedule"),
			reason: reconcile.Drift, fields: []string{`taints[gpu:NoSchedule]: "a" → "b"`}, taints: []string{"gpu=b:NoSchedule", cpTaint}, owns: []string{"gpu:NoSchedule", cpTaint}},
		"a label was removed": {node: markable(controlPlaneLabel+"=", cpTaint), want: taintList(cpTaint),
			reason: reconcile.Drift, fields: []string{l2 + `: → ""`}, taints: []string{cpTaint}, owns: []string{cpTaint}},
		"a label has another value": {node: managed(markable(controlPlaneLabel+"=x "+excludeLabel+"=", cpTaint), cpTaint), want: taintList(cpTaint),
			reason: reconcile.Drift, fields: []string{l1 + `: "x" → ""`}, taints: []string{cpTaint}, owns: []string{cpTaint}},
		"a controller's, wanted":         {node: markable(bothLabels), want: taintList("node.kubernetes.io/unschedulable:NoSchedule")},
		"a controller's, in the record":  {node: managed(markable(bothLabels, "node.cloudprovider.kubernetes.io/uninitialized:NoSchedule"), "node.cloudprovider.kubernetes.io/uninitialized:NoSchedule"), want: taintList()},
		"an agent removed its own":       {node: managed(markable(bothLabels, cpTaint), cpTaint), want: taintList(cpTaint, "node.cilium.io/agent-not-ready=true:NoExecute")},
		"an own one is gone as intended": {node: managed(markable(bothLabels), cpTaint), want: taintList()},
		"an agent's, at first": {node: markable(""), want: taintList("node.cilium.io/agent-not-ready=true:NoExecute"), reason: reconcile.Missing,
			fields: []string{l1 + `: → ""`, l2 + `: → ""`, `taints[node.cilium.io/agent-not-ready:NoExecute]: → "true"`},
			taints: []string{"node.cilium.io/agent-not-ready=true:NoExecute"}, owns: []string{"node.cilium.io/agent-not-ready:NoExecute"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			api := &fakeMarker{node: tt.node}
			set, c := marksSet(t, marks(api, tt.want))
			if len(c.Findings) > 0 {
				t.Errorf("%+v", c.Findings)
			}
			if tt.reason == "" {
				if len(c.Changes) > 0 {
					t.Errorf("%+v", c.Changes)
				}
				return
			}
			if len(c.Changes) != 1 {
				t.Fatalf("%+v", c.Changes)
			}
			ch := c.Changes[0]
			var fields []string
			for _, f := range ch.Fields {
				if f.Path != ann {
					fields = append(fields, f.Path+": "+strings.TrimSpace(f.Before+" → "+f.After))
				}
			}
			action := reconcile.Update
			if tt.reason == reconcile.Missing {
				action = reconcile.Create
			}
			if diff := cmp.Diff(tt.fields, fields); diff != "" || ch.Reason != tt.reason || ch.Action != action || ch.Allow != "" {
				t.Errorf("%s %s %s", ch.Action, ch.Reason, diff)
			}
			if err := set.Apply(t.Context(), c, nil, func(reconcile.Event) {}); err != nil {
				t.Fatal(err)
			}
			if err := set.Converged(t.Context()); err != nil {
				t.Error(err)
			}
			is := api.node.Marks
			if diff := cmp.Diff(taintList(tt.taints...), is.Taints); diff != "" {
				t.Error(diff)
			}
			want := cluster.ManagedMarks{Labels: []string{controlPlaneLabel, excludeLabel}, Taints: tt.owns}
			if diff := cmp.Diff(want, is.Managed); diff != "" {
				t.Error(diff)
			}
			if _, ok := is.Labels[excludeLabel]; !ok || is.Labels[controlPlaneLabel] != "" || api.patches != 1 {
				t.Errorf("labels %v after %d patches", is.Labels, api.patches)
			}
		})
	}
}

func TestMarksOfANodeThatIsNotThere(t *testing.T) {
	unseen := marks(&fakeMarker{refuses: fault.New(fault.Denied, "no")}, nil)
	unseen.last = marksObservation{}
	other := markable("")
	other.MachineID = "m2"
	tests := map[string]struct {
		r        *marksResource
		view     viewOf
		changes  bool
		findings string
	}{
		"absent":                       {r: marks(&fakeMarker{}, taintList(cpTaint)), changes: true},
		"absent, unmanaged":            {r: marks(&fakeMarker{}, nil), view: viewOf{observed: map[reconcile.Address]reconcile.Observation{KubeletService: serviceObservation{}}}},
		"unseen":                       {r: unseen, findings: "no"},
		"another machine":              {r: marks(&fakeMarker{node: other}, nil), findings: "the Node is another machine"},
		"another machine, is replaced": {r: marks(&fakeMarker{node: other}, nil), view: viewOf{changed: map[reconcile.Address]*reconcile.Change{nodeAddress("cp2"): {}}}, changes: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o, err := tt.r.Observe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			c, findings, err := tt.r.Change(o, tt.view)
			if err != nil || (c != nil) != tt.changes || (len(findings) > 0) != (tt.findings != "") {
				t.Fatalf("%+v %+v %v", c, findings, err)
			}
			if tt.findings != "" && (findings[0].Name != FindingNotCompared || findings[0].Seen != tt.findings) {
				t.Errorf("%+v", findings)
			}
		})
	}
}

// What a NoExecute taint costs is said, unless there is no Node yet.
func TestMarksThatEvict(t *testing.T) {
	evicting := taintList("gpu=a:NoExecute")
	for name, tt := range map[string]struct {
		node *cluster.NodeInfo
		want reconcile.Disruption
	}{
		"with a Node":    {markable(bothLabels), "pod-eviction"},
		"without a Node": {nil, reconcile.NoDisruption},
		"has it":         {markable("", "gpu=a:NoExecute"), reconcile.NoDisruption},
	} {
		t.Run(name, func(t *testing.T) {
			_, c := marksSet(t, marks(&fakeMarker{node: tt.node}, evicting))
			if len(c.Changes) != 1 || c.Changes[0].Disruption != tt.want {
				t.Errorf("%+v", c.Changes)
			}
		})
	}
}

func TestMarkingWaits(t *testing.T) {
	bare := markable("")
	delete(bare.Marks.Labels, corev1.LabelHostname)
	other := markable("")
	other.MachineID = "m2"
	tests := map[string]struct {
		node  *cluster.NodeInfo
		sends []*cluster.NodeInfo
		says  []string
		err   string
	}{
		"is there":            {node: markable("")},
		"registers":           {sends: []*cluster.NodeInfo{nil, bare, markable("")}, says: []string{"the Node is not registered yet", "the Node has no label kubernetes.io/hostname yet"}},
		"becomes ours":        {node: other, sends: []*cluster.NodeInfo{other, markable("")}, says: []string{"the Node still shows the machine it was before"}},
		"is marked meanwhile": {sends: []*cluster.NodeInfo{nil, markable(bothLabels, cpTaint)}, says: []string{"the Node is not registered yet"}},
		// kubeadm reports success here: behaviour catalogue §11 #28.
		"never has the label": {node: bare, sends: []*cluster.NodeInfo{bare}, says: []string{"the Node has no label kubernetes.io/hostname yet"},
			err: "not marked after 1m0s (timeouts.kubernetesAPICall): the Node has no label kubernetes.io/hostname"},
		"never registers": {sends: []*cluster.NodeInfo{nil}, says: []string{"the Node is not registered yet"}, err: "the Node is not registered yet"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := &fakeMarker{node: tt.node, events: make(chan *cluster.NodeInfo, len(tt.sends))}
				for _, n := range tt.sends {
					api.events <- n
				}
				r := marks(api, taintList(cpTaint))
				var said told
				err := r.Apply(t.Context(), reconcile.Change{}, viewOf{observed: map[reconcile.Address]reconcile.Observation{r.Address(): r.last}}, said.say)
				var says []string
				for _, p := range said.list() {
					says = append(says, p.Message)
				}
				if diff := cmp.Diff(tt.says, says); diff != "" {
					t.Error(diff)
				}
				if tt.err != "" {
					if fault.ClassOf(err) != fault.Timeout || !strings.Contains(err.Error(), tt.err) || api.patches > 0 {
						t.Errorf("%v after %d patches", err, api.patches)
					}
					return
				}
				if err != nil || r.marking(api.node) != nil {
					t.Errorf("%v %+v", err, api.node)
				}
			})
		})
	}
}

// The Node is written by others all the time, the more so while it registers.
func TestMarkingBesideOthers(t *testing.T) {
	api := &fakeMarker{node: markable("")}
	for range 3 {
		api.meanwhile = append(api.meanwhile, func(n *cluster.NodeInfo) {
			n.Marks.Taints = append(n.Marks.Taints, taint("gpu"+n.Marks.ResourceVersion+"=a:NoSchedule"))
		})
	}
	set, c := marksSet(t, marks(api, taintList(cpTaint)))
	if err := set.Apply(t.Context(), c, nil, func(reconcile.Event) {}); err != nil {
		t.Fatal(err)
	}
	if len(api.node.Marks.Taints) != 4 || api.patches != 4 {
		t.Errorf("%d patches left %v", api.patches, api.node.Marks.Taints)
	}
}

func TestMarkingFails(t *testing.T) {
	no := fault.New(fault.Denied, "no")
	dead := marks(&fakeMarker{node: markable("")}, taintList(cpTaint))
	dead.marker = func() (NodeMarker, error) { return nil, no }
	for name, tt := range map[string]struct {
		r     *marksResource
		class fault.Class
		text  string
	}{
		"refused":            {marks(&fakeMarker{node: markable(""), refuses: no}, taintList(cpTaint)), fault.Denied, "no"},
		"undone by a policy": {marks(&fakeMarker{node: markable(""), admission: func(n *cluster.NodeInfo) { n.Marks.Taints = nil }}, taintList(cpTaint)), fault.Conflict, "taints[" + cpTaint + "]"},
		// What cannot be looked at again right before must not pass for done.
		"no credential": {dead, fault.Denied, "no"},
	} {
		t.Run(name, func(t *testing.T) {
			set, c := marksSet(t, tt.r)
			err := set.Apply(t.Context(), c, nil, func(reconcile.Event) {})
			if fault.ClassOf(err) != tt.class || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestWorkerTaints(t *testing.T) {
	const wants = "gpu=a:NoSchedule"
	tests := map[string]struct {
		node   *cluster.NodeInfo
		taints []corev1.Taint
		may    bool
		change []string // field paths
		seen   string   // of the finding
		hint   string
		info   bool
	}{
		"absent":         {taints: taintList(wants)},
		"has them":       {node: markable("", wants), taints: taintList(wants)},
		"says nothing":   {node: markable("", wants)},
		"is not ready":   {node: markable("", "node.kubernetes.io/not-ready:NoSchedule"), taints: taintList()},
		"agent is ready": {node: markable(""), taints: taintList("ebs.csi.aws.com/agent-not-ready:NoExecute")},
		"has a role":     {node: markable(bothLabels, cpTaint)},
		"lacks one":      {node: markable(""), taints: taintList(wants), seen: "gpu:NoSchedule is missing", hint: "kubectl taint node cp2 --overwrite gpu=a:NoSchedule"},
		"another value":  {node: markable("", "gpu=b:NoSchedule"), taints: taintList(wants), seen: `gpu:NoSchedule has the value "b", not "a"`, hint: "--overwrite gpu=a:NoSchedule"},
		"an own one":     {node: managed(markable("", wants), "gpu:NoSchedule"), seen: "gpu:NoSchedule is not wanted any more", hint: "--overwrite gpu:NoSchedule-"},
		"one too many":   {node: markable("", wants), taints: taintList(), seen: wants, hint: "gpu:NoSchedule- removes them", info: true},
		"may, lacks one": {node: markable(""), taints: taintList(wants), may: true, change: []string{"taints[gpu:NoSchedule]", "annotations[kubejoin.io/managed]"}},
		"may, an own one": {node: managed(markable(bothLabels, wants), "gpu:NoSchedule"), may: true,
			change: []string{"labels[" + controlPlaneLabel + "]", "labels[" + excludeLabel + "]", "taints[gpu:NoSchedule]", "annotations[kubejoin.io/managed]"}},
		"may, has them": {node: markable("", wants), taints: taintList(wants), may: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			api := &fakeMarker{node: tt.node, denied: !tt.may}
			r := marks(api, tt.taints)
			r.controlPlane = false
			set, c := marksSet(t, r)
			var paths []string
			for _, ch := range c.Changes {
				for _, f := range ch.Fields {
					paths = append(paths, f.Path)
				}
			}
			if diff := cmp.Diff(tt.change, paths); diff != "" {
				t.Error(diff)
			}
			if tt.seen == "" {
				if len(c.Findings) > 0 {
					t.Errorf("%+v", c.Findings)
				}
			} else if len(c.Findings) != 1 || c.Findings[0].Name != FindingNodeTaints || (c.Findings[0].Severity == reconcile.SeverityInfo) != tt.info ||
				!strings.HasSuffix(c.Findings[0].Seen, ": "+tt.seen) || !strings.Contains(c.Findings[0].Hint, tt.hint) {
				t.Errorf("%+v", c.Findings)
			}
			if err := set.Apply(t.Context(), c, nil, func(reconcile.Event) {}); err != nil {
				t.Fatal(err)
			}
			if err := set.Converged(t.Context()); err != nil || (api.patches > 0) != (tt.change != nil) {
				t.Errorf("%v, %d patches", err, api.patches)
			}
		})
	}
}

// A run without a credential for it still knows the Node from the cluster's state.
func TestWorkerTaintsWithoutMarker(t *testing.T) {
	r := marks(&fakeMarker{node: markable("")}, taintList("gpu=a:NoSchedule"))
	r.controlPlane, r.marker = false, func() (NodeMarker, error) { return nil, nil }
	for range 2 {
		_, c := marksSet(t, r)
		if len(c.Changes) > 0 || len(c.Findings) != 1 || c.Findings[0].Name != FindingNodeTaints {
			t.Errorf("%+v %+v", c.Changes, c.Findings)
		}
		r.marker = nil
	}
	r.elsewhere = true
	if _, c := marksSet(t, r); len(c.Changes)+len(c.Findings) > 0 {
		t.Errorf("%+v %+v", c.Changes, c.Findings)
	}
	r.elsewhere = false
	r.last = marksObservation{}
	if _, c := marksSet(t, r); len(c.Changes)+len(c.Findings) > 0 {
		t.Errorf("%+v %+v", c.Changes, c.Findings)
	}
}

func TestRegistersTaints(t *testing.T) {
	cfg := &kubeadm.JoinConfiguration{}
	cfg.NodeRegistration.KubeletExtraArgs = []kubeadm.Arg{{Name: "v", Value: "2"}}
	if registersTaints(cfg) {
		t.Error("without the argument")
	}
	cfg.NodeRegistration.KubeletExtraArgs = append(cfg.NodeRegistration.KubeletExtraArgs, kubeadm.Arg{Name: "register-with-taints"})
	if !registersTaints(cfg) {
		t.Error("with the argument")
	}
}

func TestDefaultTaint(t *testing.T) {
	if defaultTaint != cpTaint || kubeadm.ControlPlaneTaint != controlPlaneLabel {
		t.Errorf("%s %s", defaultTaint, kubeadm.ControlPlaneTaint)
	}
}

func TestRBACFindings(t *testing.T) {
	got := RBACFindings([]cluster.RBACGap{{Seen: "a gap", Command: "kubectl create it"}})
	want := []reconcile.Finding{{Severity: reconcile.SeverityWarning, Name: "RBACGap", Seen: "a gap", Hint: "on a control plane: kubectl create it"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
