package cluster

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubejoin/kubejoin/fault"
)

// storedNode merges patches like an API server: the resource version in a patch
// is a condition.
type storedNode struct {
	t    *testing.T
	mu   sync.Mutex
	node corev1.Node
}

func (s *storedNode) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method == http.MethodPatch {
		if got := r.Header.Get("Content-Type"); got != "application/merge-patch+json" {
			s.t.Errorf("a patch of type %s", got)
		}
		patch, _ := io.ReadAll(r.Body)
		var condition metav1.PartialObjectMetadata
		if err := json.Unmarshal(patch, &condition); err != nil {
			s.t.Error(err)
		}
		if condition.ResourceVersion != s.node.ResourceVersion {
			refuse(409, "the object has been modified")(w, r)
			return
		}
		document, _ := json.Marshal(s.node)
		merged, err := jsonpatch.MergePatch(document, patch)
		var node corev1.Node
		if err == nil {
			err = json.Unmarshal(merged, &node)
		}
		if err != nil {
			s.t.Error(err)
		}
		s.node = node
		s.node.ResourceVersion += "1"
	}
	answer(s.node)(w, r)
}

func ptr[T any](v T) *T { return &v }

func TestPatchNodeMarks(t *testing.T) {
	s := newCluster(t)
	stored := &storedNode{t: t, node: corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "w1", ResourceVersion: "5", Labels: map[string]string{"a": "1", "old": "x"}, Annotations: map[string]string{"volumes": "y"}},
		Spec:       corev1.NodeSpec{PodCIDR: "10.1.0.0/24", Taints: []corev1.Taint{{Key: "gpu", Effect: "NoExecute", TimeAdded: ptr(metav1.Unix(1e9, 0))}}},
	}}
	s.on(nodePath, stored.serve)
	c := adminClient(t, s)
	n, err := c.Node(t.Context(), "w1")
	if err != nil {
		t.Fatal(err)
	}
	patch := MarksPatch{
		ResourceVersion: n.Marks.ResourceVersion,
		Labels:          map[string]*string{"new": ptr(""), "old": nil},
		Taints:          ptr(append(n.Marks.Taints, corev1.Taint{Key: "new", Value: "v", Effect: "NoSchedule"})),
		Managed:         ManagedMarks{Labels: []string{"new"}, Taints: []string{"new:NoSchedule"}},
	}
	after, err := c.PatchNodeMarks(t.Context(), "w1", patch)
	if err != nil {
		t.Fatal(err)
	}
	want := corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "w1", ResourceVersion: "51", Labels: map[string]string{"a": "1", "new": ""},
			Annotations: map[string]string{"volumes": "y", "kubejoin.io/managed": `{"labels":["new"],"taints":["new:NoSchedule"]}`}},
		Spec: corev1.NodeSpec{PodCIDR: "10.1.0.0/24", Taints: []corev1.Taint{
			{Key: "gpu", Effect: "NoExecute", TimeAdded: ptr(metav1.Unix(1e9, 0))}, {Key: "new", Value: "v", Effect: "NoSchedule"}}},
	}
	if diff := cmp.Diff(want, stored.node); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(NodeMarks{ResourceVersion: "51", Labels: want.Labels, Taints: want.Spec.Taints, Managed: patch.Managed}, after.Marks); diff != "" {
		t.Error(diff)
	}

	// The same again is a patch of what is not any more.
	_, err = c.PatchNodeMarks(t.Context(), "w1", patch)
	if !errors.Is(err, ErrChanged) {
		t.Errorf("%v", err)
	}
	if diff := cmp.Diff(want, stored.node); diff != "" {
		t.Error(diff)
	}

	// No taint is left, and nothing of ours; labels are left alone.
	if after, err = c.PatchNodeMarks(t.Context(), "w1", MarksPatch{ResourceVersion: "51", Taints: &[]corev1.Taint{}}); err != nil {
		t.Fatal(err)
	}
	if _, recorded := stored.node.Annotations[ManagedAnnotation]; recorded || len(after.Marks.Taints) > 0 || len(after.Marks.Labels) != 2 || len(stored.node.Annotations) != 1 {
		t.Errorf("%+v", stored.node)
	}
	// Without a word on taints, there is none in the patch.
	stored.node.Spec.Taints = want.Spec.Taints
	if after, err = c.PatchNodeMarks(t.Context(), "w1", MarksPatch{ResourceVersion: "511"}); err != nil || len(after.Marks.Taints) != 2 {
		t.Errorf("%+v %v", after, err)
	}
}

func TestPatchNodeMarksRefused(t *testing.T) {
	s := newCluster(t)
	c := adminClient(t, s)
	for code, tt := range map[int]struct {
		class    fault.Class
		changed  bool
		fragment string
	}{
		404: {fault.Conflict, true, "changed since it was read"},
		403: {fault.Denied, false, "may not change the labels and taints of node w1"},
		422: {fault.Internal, false, "check nodeRegistration.taints"},
		503: {fault.Unreachable, false, "could not change"},
	} {
		s.on(nodePath, refuse(code, "no"))
		giveUp(c, tt.class)
		_, err := c.PatchNodeMarks(t.Context(), "w1", MarksPatch{})
		expect(t, err, tt.class, tt.fragment)
		if errors.Is(err, ErrChanged) != tt.changed {
			t.Errorf("%d: %v", code, err)
		}
	}
}

// What a Node records of itself may be anything.
func TestManagedMarks(t *testing.T) {
	for record, want := range map[string]ManagedMarks{
		"":                        {},
		"yes":                     {},
		`{"taints": "a"}`:         {},
		`{"taints": ["a:b"]}`:     {Taints: []string{"a:b"}},
		`{"x": 1,"labels":["l"]}`: {Labels: []string{"l"}},
	} {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{ManagedAnnotation: record}}}
		if diff := cmp.Diff(want, nodeMarks(n).Managed); diff != "" {
			t.Errorf("%s: %s", record, diff)
		}
	}
}

func TestMayMarkNode(t *testing.T) {
	const selfPath, accessPath = "/apis/authentication.k8s.io/v1/selfsubjectreviews", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
	created := func(v any) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost {
				t.Errorf("%s %s", r.Method, r.URL.Path)
			}
			w.WriteHeader(http.StatusCreated)
			answer(v)(w, r)
		}
	}
	for name, tt := range map[string]struct {
		user    string
		allowed bool
		want    bool
	}{
		"an administrator": {"kubernetes-admin", true, true},
		"a stranger":       {"x", false, false},
		// NodeRestriction refuses it, and is not asked.
		"a kubelet": {"system:node:w1", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newCluster(t)
			c := adminClient(t, s)
			s.on(selfPath, created(&authenticationv1.SelfSubjectReview{Status: authenticationv1.SelfSubjectReviewStatus{UserInfo: authenticationv1.UserInfo{Username: tt.user}}}))
			s.on(accessPath, func(w http.ResponseWriter, r *http.Request) {
				var review authorizationv1.SelfSubjectAccessReview
				if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
					t.Error(err)
				}
				want := &authorizationv1.ResourceAttributes{Verb: "patch", Resource: "nodes", Name: "w1"}
				if diff := cmp.Diff(want, review.Spec.ResourceAttributes); diff != "" || review.Kind != "SelfSubjectAccessReview" {
					t.Errorf("%s %s", review.Kind, diff)
				}
				review.Status.Allowed = tt.allowed
				created(review)(w, r)
			})
			if got, err := c.MayMarkNode(t.Context(), "w1"); got != tt.want || err != nil {
				t.Errorf("%v %v", got, err)
			}
		})
	}
	s := newCluster(t)
	s.on(selfPath, refuse(403, "no"))
	_, err := adminClient(t, s).MayMarkNode(t.Context(), "w1")
	expect(t, err, fault.Denied, "system:basic-user")
}
