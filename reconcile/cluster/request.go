package cluster

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"github.com/kubejoin/kubejoin/fault"
)

// request is one to an API server.
type request struct {
	method      string
	path        string
	query       url.Values
	contentType string
	body        []byte
}

// send gives the answer, whose body the caller closes, if it is 200, or 201 to
// a POST. Any other is a *statusError.
func (c *Client) send(ctx context.Context, q request) (*http.Response, error) {
	u := c.base.JoinPath(q.path)
	u.RawQuery = q.query.Encode()
	req, err := http.NewRequestWithContext(ctx, q.method, u.String(), bytes.NewReader(q.body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if q.contentType != "" {
		req.Header.Set("Content-Type", q.contentType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK && (q.method != http.MethodPost || resp.StatusCode != http.StatusCreated) {
		defer resp.Body.Close()
		return nil, c.run.refusal(resp)
	}
	return resp, nil
}

// call sends a request, once, and decodes the answer.
func (c *Client) call(ctx context.Context, q request, into any) error {
	resp, err := c.send(ctx, q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := c.run.body(resp.Body, c.address)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fault.New(fault.Unreachable, "the answer is not that of an API server: %s", c.run.clean(err.Error())).At(c.address).
			WithHint("check that this is the address of an API server, and what a proxy in between does")
	}
	return nil
}

// open sends a GET; see send.
func (c *Client) open(ctx context.Context, path string, query url.Values) (*http.Response, error) {
	return c.send(ctx, request{method: http.MethodGet, path: path, query: query})
}

// get reads one object, once.
func (c *Client) get(ctx context.Context, path string, into any) error {
	return c.call(ctx, request{method: http.MethodGet, path: path}, into)
}

// persist calls within timeouts.kubernetesAPICall.
func (c *Client) persist(ctx context.Context, what string, q request, into any) error {
	return c.run.retry(ctx, what+" from "+c.address, c.address, c.run.o.Join.Timeouts.KubernetesAPICall,
		func(ctx context.Context) error { return c.call(ctx, q, into) })
}

// user says whose credential the client has.
func (c *Client) user() string { return cmp.Or(c.who, "the credential") }

// refused gives the error of doing something its words: what is "read pods",
// say, and rbac what lets a credential do so.
func (c *Client) refused(err error, what, rbac string) *fault.Error {
	var s *statusError
	if !errors.As(err, &s) {
		return c.run.explain(c.address, err)
	}
	switch s.code {
	case http.StatusUnauthorized:
		return fault.New(fault.Denied, "%s is not accepted: %w", c.user(), s).At(c.address)
	case http.StatusForbidden:
		return fault.New(fault.Denied, "%s may not %s: %w", c.user(), what, s).At(c.address).WithHint("%s", rbac)
	}
	f := explainStatus(s)
	return fault.New(f.Class, "could not %s: %w", what, s).At(c.address).WithHint("%s", f.Hint)
}
