package cluster

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"github.com/kubejoin/kubejoin/fault"
)

// run is what the clients of one run share.
type run struct {
	o        Options
	limits   limits
	requests atomic.Int64
	clock    clock

	mu       sync.Mutex // guards what follows, and calls of o.Wait
	secrets  []string
	warnings []string // that no read gave
	provider *provider
}

func newRun(o Options) *run {
	r := &run{o: o, limits: o.limits}
	if r.limits == (limits{}) {
		r.limits = defaultLimits
	}
	return r
}

// warn is for what happens in the middle of a request; State.Warnings has it.
func (r *run) warn(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.warnings, text) {
		r.warnings = append(r.warnings, text)
	}
}

func (r *run) waiting(w Waiting) {
	if r.o.Wait != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.o.Wait(w)
	}
}

// Client reads from an API server with one credential.
type Client struct {
	run     *run
	base    *url.URL
	address string // host:port
	who     string // whose credential it is, for errors
	http    *http.Client
}

// Requests counts the requests sent to API servers by this client and those
// that it was derived from or that were derived from it.
func (c *Client) Requests() int { return int(c.run.requests.Load()) }

// WithCredential is a client with another credential: the node's own, after
// bootstrap.
func (c *Client) WithCredential(credential Credential) (*Client, error) {
	return c.run.clientOf(credential)
}

func (r *run) clientOf(credential Credential) (*Client, error) {
	if credential.State != CredentialValid || len(credential.kubeconfig) == 0 {
		return nil, fault.New(fault.Internal, "%s is no credential to connect with", credential)
	}
	config, err := parseKubeconfig(credential.kubeconfig)
	if err != nil {
		return nil, fault.New(fault.Internal, "the node's credential %w", err)
	}
	context := config.Contexts[config.CurrentContext]
	c, err := r.client(access{
		clusterName: context.Cluster, contextName: config.CurrentContext, userName: context.AuthInfo,
		cluster: *config.Clusters[context.Cluster], user: config.AuthInfos[context.AuthInfo],
	})
	if err == nil {
		c.who = credential.owner()
	}
	return c, err
}

// client opens no connection yet.
func (r *run) client(a access) (*Client, error) {
	r.secret(a.secrets()...)
	base, err := url.Parse(a.cluster.Server)
	if err != nil {
		return nil, fault.New(fault.InvalidConfig, "the API server's URL does not parse")
	}
	address := base.Host
	if base.Port() == "" {
		address = net.JoinHostPort(base.Hostname(), "443")
	}
	invalid := func(err error) error {
		return fault.New(fault.InvalidConfig, "the kubeconfig cannot be used: %s", r.clean(err.Error())).At(address)
	}
	config, err := a.rest()
	if err != nil {
		return nil, invalid(err)
	}
	config.UserAgent = r.o.UserAgent
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &meter{run: r, next: next} })
	if err := r.provide(config); err != nil {
		return nil, invalid(err)
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, invalid(err)
	}
	if config.ExecProvider != nil {
		client.Transport = &impatient{next: client.Transport}
	}
	// A redirect would carry the credential to wherever it points.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{run: r, base: base, address: address, http: client}, nil
}

// meter sees requests as they are sent: it counts them, and learns credentials
// that an exec plugin gave, so that no text shows them.
type meter struct {
	run  *run
	next http.RoundTripper
}

func (m *meter) RoundTrip(req *http.Request) (*http.Response, error) {
	m.run.requests.Add(1)
	if _, credential, ok := strings.Cut(req.Header.Get("Authorization"), " "); ok {
		m.run.secret(credential)
	}
	resp, err := m.next.RoundTrip(req)
	if err == nil {
		m.run.clock.see(resp)
	}
	return resp, err
}

// impatient returns when the request's context ends even if the exec plugin
// that client-go runs before it hangs.
type impatient struct{ next http.RoundTripper }

func (i *impatient) RoundTrip(req *http.Request) (*http.Response, error) {
	type result struct {
		resp *http.Response
		err  error
	}
	done := make(chan result, 1)
	go func() {
		resp, err := i.next.RoundTrip(req)
		if err == nil && req.Context().Err() != nil {
			resp.Body.Close()
			err = req.Context().Err()
		}
		done <- result{resp, err}
	}()
	select {
	case r := <-done:
		return r.resp, r.err
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
}

// body reads a bounded answer.
func (r *run) body(body io.Reader, address string) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(body, int64(r.limits.body)+1))
	if err != nil {
		return nil, err
	}
	if len(data) > r.limits.body {
		return nil, fault.New(fault.Unreachable, "the answer has more than %d bytes", r.limits.body).At(address)
	}
	return data, nil
}

func (c *Client) configMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	cm := &corev1.ConfigMap{}
	return cm, c.get(ctx, "/api/v1/namespaces/"+namespace+"/configmaps/"+name, cm)
}
