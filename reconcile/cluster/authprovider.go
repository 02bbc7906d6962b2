package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"k8s.io/client-go/rest"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubejoin/kubejoin/fault"
)

// BootstrapKubeconfigPath is where the kubelet's unit looks for its bootstrap
// credential. Behaviour catalogue §4.7.
const BootstrapKubeconfigPath = "/etc/kubernetes/bootstrap-kubelet.conf"

// provider is a kubeconfig's auth-provider: an OpenID Connect issuer that renews a
// token. client-go has one, too; it waits for an issuer without end, in the way of
// every other request, ends the program where nobody keeps the new token, and
// tells no errors apart. What the configuration's keys mean is client-go's.
type provider struct {
	run    *run
	config map[string]string
	issuer *url.URL
	client *http.Client
	turn   chan struct{} // holds one element while somebody asks the issuer

	// Guarded by turn.
	token, refreshToken string
}

// provided are the words of a configuration that are no secrets.
var provided = []string{"idp-issuer-url", "client-id", "idp-certificate-authority", "idp-certificate-authority-data", "extra-scopes"}

func newProvider(r *run, c *clientcmdapi.AuthProviderConfig) (*provider, error) {
	if c.Name != "oidc" {
		return nil, fmt.Errorf("no Auth Provider found for name %q: there is only oidc", c.Name)
	}
	p := &provider{run: r, config: c.Config, turn: make(chan struct{}, 1), token: c.Config["id-token"], refreshToken: c.Config["refresh-token"]}
	for _, name := range []string{"idp-issuer-url", "client-id"} {
		if c.Config[name] == "" {
			return nil, fmt.Errorf("the auth-provider has no %s", name)
		}
	}
	var err error
	if p.issuer, err = url.Parse(c.Config["idp-issuer-url"]); err != nil || p.issuer.Scheme != "https" || p.issuer.Host == "" || p.issuer.User != nil {
		return nil, errors.New("idp-issuer-url of the auth-provider is not of the form https://host/path")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if data := c.Config["idp-certificate-authority-data"]; data != "" {
		pem, err := base64.StdEncoding.DecodeString(data)
		roots := x509.NewCertPool()
		if err != nil || !roots.AppendCertsFromPEM(pem) {
			return nil, errors.New("idp-certificate-authority-data of the auth-provider is no certificate in base64")
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	p.client = &http.Client{
		Transport: transport,
		// A redirect would carry the refresh-token to wherever it points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return p, nil
}

// provide has the auth-provider of c put a token into each request; there is one
// for the whole run.
func (r *run) provide(c *rest.Config) error {
	auth := c.AuthProvider
	if c.AuthProvider = nil; auth == nil || c.BearerToken != "" || c.Username != "" {
		return nil // which are used as they are
	}
	r.mu.Lock()
	p := r.provider
	r.mu.Unlock()
	if p == nil {
		var err error
		if p, err = newProvider(r, auth); err != nil {
			return err
		}
		r.mu.Lock()
		r.provider = p
		r.mu.Unlock()
	}
	c.Wrap(func(next http.RoundTripper) http.RoundTripper { return &bearing{p, next} })
	return nil
}

type bearing struct {
	provider *provider
	next     http.RoundTripper
}

func (b *bearing) RoundTrip(req *http.Request) (*http.Response, error) {
	token, err := b.provider.bearer(req.Context())
	if err != nil {
		return nil, err
	}
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+token)
	return b.next.RoundTrip(req)
}

// enough is how long a token has to be valid for where it can be renewed: kubejoin
// hands it to a kubelet, which needs it until its request is signed.
const enough = time.Minute

// bearer is a token for a request, renewed if need be.
func (p *provider) bearer(ctx context.Context) (string, error) {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return "", p.failed(ctx.Err())
	}
	now := time.Now()
	c, err := claimsOf(p.token)
	if p.token != "" && err != nil {
		return "", &providerError{text: "its id-token " + err.Error(), class: fault.Denied, hint: logIn}
	}
	if c.validFor(enough, now) {
		return p.token, nil
	}
	if token := p.left(c, now); token != "" {
		p.token = token
		return token, nil
	}
	if p.refreshToken == "" {
		if c.validFor(0, now) {
			return p.token, nil
		}
		return "", &providerError{text: "its id-token has expired, and it has no refresh-token", class: fault.Denied, hint: logIn}
	}
	if err := p.renew(ctx); err != nil {
		return "", err
	}
	return p.token, nil
}

// left is the token that an earlier run renewed and left for the kubelet, if it is
// from this issuer, for this client and the same user. A run that was interrupted is
// taken up with it: another token would be another bootstrap kubeconfig, and some
// issuers renew only once.
func (p *provider) left(own claims, now time.Time) string {
	if p.run.o.Files == nil {
		return ""
	}
	data, err := through(p.run.o.Files)(BootstrapKubeconfigPath)
	if err != nil {
		return ""
	}
	config, err := parseKubeconfig(data)
	if err != nil || config.Contexts[config.CurrentContext] == nil {
		return ""
	}
	user := config.AuthInfos[config.Contexts[config.CurrentContext].AuthInfo]
	if user == nil {
		return ""
	}
	c, err := claimsOf(user.Token)
	if err != nil || c.Issuer != p.config["idp-issuer-url"] || !slices.Contains(c.Audience, p.config["client-id"]) ||
		own.Subject != "" && own.Subject != c.Subject || !c.validFor(enough, now) {
		return ""
	}
	return user.Token
}

// renew asks the issuer: OpenID Connect Discovery 1.0 §4, Core 1.0 §12.
func (p *provider) renew(ctx context.Context) error {
	endpoint, err := p.tokenEndpoint(ctx)
	if err != nil {
		return err
	}
	config := oauth2.Config{ClientID: p.config["client-id"], ClientSecret: p.config["client-secret"], Endpoint: oauth2.Endpoint{TokenURL: endpoint}}
	fresh, err := config.TokenSource(context.WithValue(ctx, oauth2.HTTPClient, p.client), &oauth2.Token{RefreshToken: p.refreshToken}).Token()
	if err != nil {
		return p.failed(err)
	}
	token, _ := fresh.Extra("id_token").(string)
	p.run.secret(token, fresh.AccessToken, fresh.RefreshToken)
	if _, err := claimsOf(token); err != nil {
		return &providerError{text: fmt.Sprintf("what %s gave is no id_token", p.issuer.Host), class: fault.Denied,
			hint: "log in with the scope openid; some issuers give no id_token for a refresh-token"}
	}
	if fresh.RefreshToken != "" && fresh.RefreshToken != p.refreshToken {
		// The file belongs to its user, and stays as it is.
		p.refreshToken = fresh.RefreshToken
		p.run.warn("the issuer replaced the refresh-token of the discovery file's auth-provider, and may not accept the file's own again: log in again before the file is used another time")
	}
	p.token = token
	return nil
}

func (p *provider) tokenEndpoint(ctx context.Context) (string, error) {
	const path = "/.well-known/openid-configuration"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(p.issuer.String(), "/")+path, http.NoBody)
	if err != nil {
		return "", p.failed(err)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return "", p.failed(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", p.refused(resp.StatusCode, "", "check idp-issuer-url of the kubeconfig's auth-provider")
	}
	var metadata struct {
		TokenEndpoint string `json:"token_endpoint"`
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxFile))
	if err != nil {
		return "", p.failed(err)
	}
	if json.Unmarshal(body, &metadata) != nil || !strings.HasPrefix(metadata.TokenEndpoint, "https://") {
		return "", &providerError{text: p.issuer.Host + " names no https token_endpoint", class: fault.Denied,
			hint: "check idp-issuer-url of the kubeconfig's auth-provider"}
	}
	return metadata.TokenEndpoint, nil
}

// failed classifies what came of a request to the issuer. What it said is not
// repeated, but for the error's code: it may echo secrets.
func (p *provider) failed(err error) error {
	var answer *oauth2.RetrieveError
	var u *url.Error
	switch {
	case errors.As(err, &answer) && answer.Response != nil:
		code := answer.Response.StatusCode
		if code == http.StatusOK {
			return &providerError{text: fmt.Sprintf("%s refused: %s", p.issuer.Host, p.run.clean(answer.ErrorCode)), class: fault.Denied, hint: logIn}
		}
		return p.refused(code, p.run.clean(answer.ErrorCode), logIn)
	case distrusted(err):
		return &providerError{text: fmt.Sprintf("the certificate of %s is not trusted", p.issuer.Host), class: fault.Untrusted,
			hint: "the machine does not know the issuer's CA: set idp-certificate-authority of the kubeconfig's auth-provider"}
	case errors.Is(err, context.DeadlineExceeded):
		err = errors.New("no answer in time")
	case errors.As(err, &u):
		err = u.Err // its URL may hold a secret
	}
	return &providerError{text: fmt.Sprintf("%s: %s", p.issuer.Host, p.run.clean(err.Error())), class: fault.Unreachable, again: true,
		hint: "check that idp-issuer-url of the kubeconfig's auth-provider can be reached from here"}
}

func (p *provider) refused(status int, code, hint string) error {
	text := fmt.Sprintf("%s answered %d %s", p.issuer.Host, status, strings.ToLower(http.StatusText(status)))
	if code != "" {
		text += " (" + code + ")"
	}
	if status == http.StatusTooManyRequests || status >= http.StatusInternalServerError {
		return &providerError{text: text, class: fault.Unreachable, again: true, hint: "the issuer is out of order; try again later"}
	}
	return &providerError{text: text, class: fault.Denied, hint: hint}
}

const logIn = "log in again, so that the kubeconfig has a valid id-token or refresh-token"

// providerError is that an auth-provider gave no token. It says nothing about the
// API server.
type providerError struct {
	text  string
	class fault.Class
	again bool // whether it may be another time
	hint  string
}

func (e *providerError) Error() string { return "the auth-provider gives no token: " + e.text }

// claims are what a JSON Web Token says of itself, which the API server verifies.
type claims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience audience `json:"aud"`
	Expires  float64  `json:"exp"` // seconds since 1970
}

// audience is a string or a list of them: RFC 7519 §4.1.3.
type audience []string

func (a *audience) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(a))
}

func claimsOf(token string) (claims, error) {
	var c claims
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return claims{}, errors.New("is no JSON Web Token")
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(data, &c) != nil || c.Expires == 0 {
		return claims{}, errors.New("is no JSON Web Token that expires")
	}
	return c, nil
}

func (c claims) validFor(d time.Duration, now time.Time) bool {
	return c.Expires > float64(now.Add(d).Unix())
}

// forKubelet is the access as a kubelet can use it, which has no auth-provider: with
// the token that the provider gave last.
func (r *run) forKubelet(a access) access {
	if a.user == nil || a.user.AuthProvider == nil {
		return a
	}
	user := *a.user
	user.AuthProvider = nil
	r.mu.Lock()
	p := r.provider
	r.mu.Unlock()
	if p != nil && user.Token == "" && user.Username == "" {
		p.turn <- struct{}{}
		user.Token = p.token
		<-p.turn
		if c, err := claimsOf(user.Token); err == nil && !c.validFor(enough, time.Now()) {
			r.warn("the id-token of the discovery file's auth-provider expires within a minute, and cannot be renewed: the kubelet may need it longer")
		}
	}
	a.user = &user
	return a
}

// offline is forKubelet where no issuer may be asked; false if the token has to be
// renewed.
func (a access) offline() (access, bool) {
	if a.user == nil || a.user.AuthProvider == nil {
		return a, true
	}
	user := *a.user
	user.AuthProvider = nil
	if user.Token == "" && user.Username == "" {
		user.Token = a.user.AuthProvider.Config["id-token"]
		if c, err := claimsOf(user.Token); err != nil || !c.validFor(enough, time.Now()) {
			return a, false
		}
	}
	a.user = &user
	return a, true
}
