package cluster

import (
	"context"
	"net/http"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
)

// binding is a ClusterRoleBinding that a control plane relies on, and an older
// release did not make.
type binding struct {
	name, role, kind, subject string
	without                   string // what does not work without it
}

// Behaviour catalogue §4.6, §11 #13.
var (
	clusterAdmins = binding{"kubeadm:cluster-admins", "cluster-admin", rbacv1.GroupKind, "kubeadm:cluster-admins",
		"the credential of /etc/kubernetes/admin.conf may do nothing"}
	kubeletClient = binding{"kubeadm:apiserver-kubelet-client", "system:kubelet-api-admin", rbacv1.UserKind, "kube-apiserver-kubelet-client",
		"kubectl logs, exec and port-forward through this machine's API server are forbidden"}
)

var clusterAdminsHint = "if this is a credential that kubeadm made, the cluster may lack a ClusterRoleBinding: " + clusterAdmins.create()

func (b binding) create() string {
	return "kubectl create clusterrolebinding " + b.name + " --clusterrole=" + b.role + " --" + strings.ToLower(b.kind) + "=" + b.subject
}

// RBACGaps says what the cluster has to be given for a control plane of this
// release. Bare says that this one's kubelet client certificate has no
// organization, and so no power but by a binding of its own.
func (c *Client) RBACGaps(ctx context.Context, bare bool) ([]RBACGap, error) {
	needed := []binding{clusterAdmins}
	if bare {
		needed = append(needed, kubeletClient)
	}
	var gaps []RBACGap
	for _, b := range needed {
		var is rbacv1.ClusterRoleBinding
		err := c.persist(ctx, "ClusterRoleBinding "+b.name,
			request{method: http.MethodGet, path: "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/" + b.name}, &is)
		switch {
		case status(err) == http.StatusNotFound:
			gaps = append(gaps, RBACGap{Seen: "the cluster has no ClusterRoleBinding " + b.name + ": without it, " + b.without, Command: b.create()})
		case err != nil:
			return nil, c.refused(err, "read the ClusterRoleBinding "+b.name, clusterAdminsHint)
		case is.RoleRef.Kind != "ClusterRole" || is.RoleRef.Name != b.role || !slices.ContainsFunc(is.Subjects, func(s rbacv1.Subject) bool {
			return s.Kind == b.kind && s.Name == b.subject
		}):
			gaps = append(gaps, RBACGap{
				Seen: "the ClusterRoleBinding " + b.name + " does not give " + b.role + " to the " + strings.ToLower(b.kind) + " " + b.subject + ": " + b.without,
				// A binding's role cannot be changed.
				Command: "kubectl delete clusterrolebinding " + b.name + " && " + b.create()})
		}
	}
	return gaps, nil
}
