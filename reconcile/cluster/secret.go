package cluster

import (
	"context"
	"encoding/base64"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubejoin/kubejoin/fault"
)

// certificateSecret holds the files that control planes share, each encrypted
// with the certificate key: behaviour catalogue §8.3.
const certificateSecret = "kube-system/kubeadm-certs"

// Bundle is the content of that Secret.
type Bundle struct {
	// Files are encrypted, and secret all the same.
	Files map[string][]byte
	// Uploaded is when it was written last; zero if it does not say so, or is not to
	// be deleted: what kubeadm uploads ends with a token of its own.
	Uploaded time.Time
}

// CertificateBundle reads the Secret with the encrypted files that control
// planes share, as the holder of the bootstrap token may (behaviour catalogue
// §4.6).
//
// Errors: fault.Denied if there is no such Secret or the credential may not read
// it, otherwise those of Connect.
func (c *Client) CertificateBundle(ctx context.Context) (Bundle, error) {
	var secret corev1.Secret
	err := c.persist(ctx, "the Secret "+certificateSecret,
		request{method: http.MethodGet, path: "/api/v1/namespaces/kube-system/secrets/kubeadm-certs"}, &secret)
	if status(err) == http.StatusNotFound {
		// It expires two hours after its upload; the token lives longer.
		return Bundle{}, fault.New(fault.Denied, "the Secret %s has expired or was never uploaded", certificateSecret).At(c.address).
			WithHint("on a control plane: `kubeadm init phase upload-certs --upload-certs`, and give the key that it prints as certificateKey")
	}
	if err != nil {
		return Bundle{}, c.refused(err, "read the Secret "+certificateSecret,
			"the cluster needs Role and RoleBinding kube-system/kubeadm:kubeadm-certs for the groups of this credential; on a control plane, `kubeadm init phase upload-certs --upload-certs` makes them")
	}
	for _, value := range secret.Data {
		c.run.secret(string(value), base64.StdEncoding.EncodeToString(value))
	}
	return Bundle{secret.Data, uploaded(secret.ObjectMeta)}, nil
}

// uploaded is when a Secret was written last. A second upload changes the first
// one's Secret, and only its managers say when.
func uploaded(m metav1.ObjectMeta) time.Time {
	if !slices.ContainsFunc(m.OwnerReferences, func(o metav1.OwnerReference) bool { return o.Kind == "Secret" }) {
		return time.Time{}
	}
	last := m.CreationTimestamp.Time
	for _, f := range m.ManagedFields {
		if f.Time != nil && f.Time.After(last) {
			last = f.Time.Time
		}
	}
	return last
}
