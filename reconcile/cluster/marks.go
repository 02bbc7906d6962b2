package cluster

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubejoin/kubejoin/fault"
)

// ManagedAnnotation records on a Node which of its marks kubejoin set. The
// taints of a Node are one list for server-side apply, so that the API server
// cannot tell whose each of them is.
const ManagedAnnotation = "kubejoin.io/managed"

func nodeMarks(n *corev1.Node) NodeMarks {
	m := NodeMarks{ResourceVersion: n.ResourceVersion, Labels: n.Labels, Taints: n.Spec.Taints}
	// One that does not parse records nothing; the next change replaces it.
	var managed ManagedMarks
	if json.Unmarshal([]byte(n.Annotations[ManagedAnnotation]), &managed) == nil {
		m.Managed = managed
	}
	return m
}

// PatchNodeMarks changes a Node's marks, and returns what the Node is then. If
// the Node is not any more what the patch was computed for, nothing is changed
// and ErrChanged is in the error's chain.
func (c *Client) PatchNodeMarks(ctx context.Context, name string, p MarksPatch) (*NodeInfo, error) {
	body, err := p.mergePatch()
	if err != nil {
		return nil, err
	}
	var node corev1.Node
	err = c.persist(ctx, "the change of node "+name, request{
		method: http.MethodPatch, path: "/api/v1/nodes/" + url.PathEscape(name),
		contentType: "application/merge-patch+json", body: body,
	}, &node)
	switch status(err) {
	case 0:
		if err != nil {
			return nil, c.run.explain(c.address, err)
		}
		return nodeInfo(&node), nil
	case http.StatusConflict, http.StatusNotFound:
		return nil, fault.New(fault.Conflict, "%w: %w", ErrChanged, err).At(c.address)
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return nil, fault.New(fault.Internal, "the API server does not accept the labels and taints of node %s: %w", name, err).At(c.address).
			WithHint("check nodeRegistration.taints, and the cluster's admission plugins")
	}
	return nil, c.refused(err, "change the labels and taints of node "+name, clusterAdminsHint)
}

// mergePatch is RFC 7386: null removes, and a list is replaced as a whole. The
// resource version makes the API server refuse the patch of another state.
func (p MarksPatch) mergePatch() ([]byte, error) {
	var managed any
	if len(p.Managed.Labels)+len(p.Managed.Taints) > 0 {
		record, err := json.Marshal(p.Managed)
		if err != nil {
			return nil, err
		}
		managed = string(record)
	}
	metadata := map[string]any{"resourceVersion": p.ResourceVersion, "annotations": map[string]any{ManagedAnnotation: managed}}
	if len(p.Labels) > 0 {
		metadata["labels"] = p.Labels
	}
	patch := map[string]any{"metadata": metadata}
	if p.Taints != nil {
		patch["spec"] = map[string]any{"taints": slices.Concat([]corev1.Taint{}, *p.Taints)}
	}
	return json.Marshal(patch)
}

// MayMarkNode tells whether the client's credential may change a Node's labels
// and taints. It only asks about itself. A kubelet may patch its Node, and the
// admission plugin NodeRestriction refuses what this is about: no review says so.
func (c *Client) MayMarkNode(ctx context.Context, name string) (bool, error) {
	question, err := json.Marshal(&authenticationv1.SelfSubjectReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "SelfSubjectReview"},
	})
	if err != nil {
		return false, err
	}
	var self authenticationv1.SelfSubjectReview
	err = c.persist(ctx, "a self-review", request{method: http.MethodPost, path: "/apis/authentication.k8s.io/v1/selfsubjectreviews",
		contentType: "application/json", body: question}, &self)
	if err != nil {
		return false, c.refused(err, "ask who it is", "the cluster needs ClusterRoleBinding system:basic-user")
	}
	if strings.HasPrefix(self.Status.UserInfo.Username, nodeUser) {
		return false, nil
	}
	return c.Allowed(ctx, Access{Verb: "patch", Resource: "nodes", Name: name})
}
