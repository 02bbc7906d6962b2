package cluster

import (
	"context"
	"encoding/base64"
	"net/http"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubejoin/kubejoin/fault"
)

// certificateSecret holds the files that control planes share, each encrypted
// with the certificate key: behaviour catalogue §8.3.
const certificateSecret = "kube-system/kubeadm-certs"

// CertificateBundle reads the Secret with the encrypted files that control
// planes share, as the holder of the bootstrap token may (behaviour catalogue
// §4.6). What it returns is secret, although encrypted.
//
// Errors: fault.Denied if there is no such Secret or the credential may not read
// it, otherwise those of Connect.
func (c *Client) CertificateBundle(ctx context.Context) (map[string][]byte, error) {
	var secret corev1.Secret
	err := c.persist(ctx, "the Secret "+certificateSecret,
		request{method: http.MethodGet, path: "/api/v1/namespaces/kube-system/secrets/kubeadm-certs"}, &secret)
	if status(err) == http.StatusNotFound {
		// It expires two hours after its upload; the token lives longer.
		return nil, fault.New(fault.Denied, "the Secret %s has expired or was never uploaded", certificateSecret).At(c.address).
			WithHint("on a control plane: `kubeadm init phase upload-certs --upload-certs`, and give the key that it prints as certificateKey")
	}
	if err != nil {
		return nil, c.refused(err, "read the Secret "+certificateSecret,
			"the cluster needs Role and RoleBinding kube-system/kubeadm:kubeadm-certs for the groups of this credential; on a control plane, `kubeadm init phase upload-certs --upload-certs` makes them")
	}
	for _, value := range secret.Data {
		c.run.secret(string(value), base64.StdEncoding.EncodeToString(value))
	}
	return secret.Data, nil
}
