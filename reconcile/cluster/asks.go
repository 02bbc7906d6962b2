package cluster

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"golang.org/x/net/http/httpproxy"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
)

// askTimeout bounds a question that a check asks. It is asked once: a check that
// has no answer says so.
const askTimeout = 3 * time.Second

// Access is something that a credential may or may not do.
type Access struct {
	Verb, Group, Resource, Subresource string
	Namespace, Name                    string
}

// Allowed tells whether the client's credential may do something. It only asks
// about itself.
func (c *Client) Allowed(ctx context.Context, a Access) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	body, err := json.Marshal(&authorizationv1.SelfSubjectAccessReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SelfSubjectAccessReview"},
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: a.Verb, Group: a.Group, Resource: a.Resource, Subresource: a.Subresource, Namespace: a.Namespace, Name: a.Name,
		}},
	})
	if err != nil {
		return false, err
	}
	var answer authorizationv1.SelfSubjectAccessReview
	err = c.call(ctx, request{method: http.MethodPost, path: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
		contentType: "application/json", body: body}, &answer)
	if err != nil {
		return false, c.refused(err, "ask what it may do", "the cluster needs ClusterRoleBinding system:basic-user")
	}
	return answer.Status.Allowed, nil
}

// TokenExpiry is when a bootstrap token ends; the zero time if it never does.
// Few credentials may see that, a bootstrap token's own not among them.
func (c *Client) TokenExpiry(ctx context.Context, id string) (expires time.Time, seen bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	secret := &corev1.Secret{}
	err = c.get(ctx, "/api/v1/namespaces/kube-system/secrets/"+bootstrapapi.BootstrapTokenSecretPrefix+id, secret)
	switch status(err) {
	case http.StatusForbidden, http.StatusNotFound:
		return time.Time{}, false, nil
	}
	if err != nil {
		return time.Time{}, false, c.run.explain(c.address, err)
	}
	for _, value := range secret.Data {
		c.run.secret(string(value))
	}
	text := string(secret.Data[bootstrapapi.BootstrapTokenExpirationKey])
	if text == "" {
		return time.Time{}, true, nil
	}
	expires, err = time.Parse(time.RFC3339, text)
	return expires, err == nil, nil
}

// Clock is what the API server's answers say of the time.
type Clock struct {
	Known bool
	// Offset is how far the server's clock is ahead of this machine's; it is
	// exact to a second.
	Offset time.Duration
}

// clock remembers the last answer's.
type clock struct {
	mu   sync.Mutex
	last Clock
}

// see takes a response's Date (RFC 9110, 6.6.1), which has whole seconds, as the
// middle of its second.
func (c *clock) see(resp *http.Response) {
	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = Clock{Known: true, Offset: date.Add(time.Second / 2).Sub(time.Now().Round(0))}
}

func (c *clock) seen() Clock {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

// Lookup resolves a host name as a client of the cluster does.
func Lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
}

// ProxyFromEnvironment gives the proxy that the environment wants for a URL now;
// net/http looks at the environment once only.
func ProxyFromEnvironment() func(*url.URL) (*url.URL, error) {
	return httpproxy.FromEnvironment().ProxyFunc()
}
