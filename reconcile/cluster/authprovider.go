package cluster

import (
	"net/http"
	"strings"

	_ "k8s.io/client-go/plugin/pkg/client/auth/oidc" // the only authProvider that is left
	"k8s.io/client-go/rest"

	"github.com/kubejoin/kubejoin/fault"
)

// providerError is that an authProvider gave no token. It hides what it wraps: how
// a token's issuer answers says nothing about the API server.
type providerError struct{ text string }

func (e *providerError) Error() string { return "the auth-provider gives no token: " + e.text }

// transient tells whether the issuer may answer another time.
func (e *providerError) transient() bool {
	return strings.Contains(e.text, `Get "`) || strings.Contains(e.text, `Post "`) || // an *url.Error
		strings.Contains(e.text, "failed to query metadata endpoint")
}

func (e *providerError) explain(r *run, address string) *fault.Error {
	text := r.clean(e.Error())
	if e.transient() {
		return fault.New(fault.Unreachable, "%s", text).At(address).
			WithHint("check that idp-issuer-url of the kubeconfig's auth-provider can be reached from here")
	}
	return fault.New(fault.Denied, "%s", text).At(address).
		WithHint("log in again, so that the kubeconfig has a valid id-token or refresh-token")
}

// provide has client-go's authProvider put a token into each request. client-go
// would do so by itself, but end the program where a token is renewed and there is
// nobody to keep the new one.
func (r *run) provide(c *rest.Config) error {
	provider, err := rest.GetAuthProvider(c.Host, c.AuthProvider, (*keeper)(r))
	if err != nil {
		return err
	}
	c.AuthProvider, c.AuthConfigPersister = nil, nil
	c.Wrap(func(next http.RoundTripper) http.RoundTripper { return &provided{r, provider, next} })
	return nil
}

type provided struct {
	run      *run
	provider rest.AuthProvider
	next     http.RoundTripper
}

func (p *provided) RoundTrip(req *http.Request) (*http.Response, error) {
	asked := false
	resp, err := p.provider.WrapTransport(roundTripper(func(req *http.Request) (*http.Response, error) {
		asked = true
		token := strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")
		p.run.secret(token)
		p.run.mu.Lock()
		p.run.idToken = token
		p.run.mu.Unlock()
		return p.next.RoundTrip(req)
	})).RoundTrip(req)
	if err != nil && !asked {
		return nil, &providerError{err.Error()}
	}
	return resp, err
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// keeper is the run as the one who keeps what an issuer gave instead of an expired
// token: for this run only, the kubeconfig belongs to its user.
type keeper run

func (k *keeper) Persist(config map[string]string) error {
	r := (*run)(k)
	r.secret(config["id-token"], config["refresh-token"])
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refreshToken = config["refresh-token"]
	return nil
}

// bearer is the access as a kubelet can use it, which has no authProvider: with the
// token that the provider gave last.
func (r *run) bearer(a access, st *State) access {
	if a.user == nil || a.user.AuthProvider == nil {
		return a
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := a.user.AuthProvider.Config["refresh-token"]; r.refreshToken != "" && r.refreshToken != old {
		st.Warnings = append(st.Warnings, "the issuer replaced the refresh-token of the discovery file's auth-provider, and may not accept the file's own again: log in again before the file is used by another machine")
	}
	user := *a.user
	user.AuthProvider, user.Token = nil, r.idToken
	a.user = &user
	return a
}
