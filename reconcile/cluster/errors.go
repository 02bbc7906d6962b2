package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubejoin/kubejoin/fault"
)

// statusError is an answer other than 200.
type statusError struct {
	code    int
	message string        // what the server says, made harmless
	after   time.Duration // Retry-After
}

func (e *statusError) Error() string {
	text := strings.TrimSpace(fmt.Sprintf("http status %d %s", e.code, strings.ToLower(http.StatusText(e.code))))
	if e.message != "" {
		text += ": " + e.message
	}
	return text
}

// status is the HTTP status in err's chain; 0 if there is none.
func status(err error) int {
	var s *statusError
	if errors.As(err, &s) {
		return s.code
	}
	return 0
}

// refusal reads what the server gives as reason.
func (r *run) refusal(resp *http.Response) error {
	e := &statusError{code: resp.StatusCode, after: retryAfter(resp.Header.Get("Retry-After"))}
	var s metav1.Status
	if body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10)); err == nil && json.Unmarshal(body, &s) == nil {
		e.message = r.clean(s.Message)
	}
	return e
}

// retryAfter reads both forms of the header: seconds and a date.
func retryAfter(v string) time.Duration {
	if s, err := strconv.Atoi(v); err == nil && s > 0 && s < 1<<20 {
		return time.Duration(s) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, time.Until(t))
	}
	return 0
}

// clean makes text from elsewhere fit for a terminal and a log: one short line
// without control characters and without the secrets of this run, which a
// server could echo.
func (r *run) clean(text string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.secrets {
		text = strings.ReplaceAll(text, s, "(sensitive)")
	}
	text = strings.Join(strings.FieldsFunc(text, func(c rune) bool {
		return unicode.IsSpace(c) || !unicode.IsGraphic(c)
	}), " ")
	if runes := []rune(text); len(runes) > 300 {
		text = string(runes[:300]) + "…"
	}
	return text
}

// secret registers values that clean hides. Very short ones would mangle
// ordinary words and are no secrets.
func (r *run) secret(values ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range values {
		if len(v) >= 6 && !slices.Contains(r.secrets, v) {
			r.secrets = append(r.secrets, v)
		}
	}
}

// distrusted tells whether the server's certificate was not accepted.
func distrusted(err error) bool {
	var verification *tls.CertificateVerificationError
	return errors.As(err, &verification)
}

// pluginFailure is what client-go says of an exec plugin that gave no
// credential; empty for any other error. It has no type of its own.
func pluginFailure(err error) string {
	var u *url.Error
	if errors.As(err, &u) && strings.HasPrefix(u.Err.Error(), "getting credentials: ") {
		return u.Err.Error()
	}
	return ""
}

// explain gives a request's error its class, and a hint for its kind. An error
// that is already classified only gets the address, if it has none.
func (r *run) explain(address string, err error) *fault.Error {
	var f *fault.Error
	if errors.As(err, &f) {
		if f.Address == "" {
			located := *f
			return located.At(address)
		}
		return f
	}
	var provider *providerError
	if errors.As(err, &provider) {
		return fault.New(provider.class, "%s", r.clean(provider.Error())).At(address).WithHint("%s", provider.hint)
	}
	if plugin := pluginFailure(err); plugin != "" {
		return fault.New(fault.Denied, "%s", r.clean(plugin)).At(address).
			WithHint("run the exec plugin of the kubeconfig by hand")
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // the method and URL say nothing that address does not
	}
	host := address
	if h, _, e := net.SplitHostPort(address); e == nil {
		host = h
	}
	var (
		s       *statusError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		unknown x509.UnknownAuthorityError
		dns     *net.DNSError
		op      *net.OpError
		record  tls.RecordHeaderError
		timeout net.Error
	)
	unreachable := fault.New(fault.Unreachable, "%s", r.clean(err.Error())).At(address)
	switch {
	case errors.As(err, &s):
		return explainStatus(s).At(address)
	case errors.As(err, &name):
		return fault.New(fault.Untrusted, "the server's certificate is for %s, not for %s",
			r.clean(certificateNames(name.Certificate)), name.Host).At(address).
			WithHint("use an address that the certificate names, or add %s to apiServer.certSANs of the cluster", name.Host)
	case errors.As(err, &unknown):
		return fault.New(fault.Untrusted, "the server's certificate is not signed by a trusted CA of the cluster").At(address).
			WithHint("another cluster or a proxy that intercepts TLS answers there; while a cluster changes its CA, every CA that signs the API server has to be trusted or pinned")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fault.New(fault.Untrusted, "%s", r.clean(err.Error())).At(address).
			WithHint("compare this machine's clock with the certificate's dates")
	case distrusted(err):
		return fault.New(fault.Untrusted, "%s", r.clean(err.Error())).At(address)
	case errors.As(err, &op) && op.Op == "proxyconnect":
		return unreachable.WithHint("a proxy is set by HTTPS_PROXY or proxy-url; NO_PROXY exempts %s", host)
	case errors.As(err, &dns):
		return unreachable.WithHint("%s has no address here: check the name, /etc/resolv.conf and /etc/hosts", r.clean(dns.Name))
	case errors.Is(err, syscall.ECONNREFUSED):
		return unreachable.WithHint("nothing listens there: check the port and that the API server runs")
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return fault.New(fault.Unreachable, "no answer in time").At(address).
			WithHint("check routes, firewalls and load balancers between this machine and %s", address)
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return unreachable.WithHint("what listens there does not speak TLS: check the port")
	}
	return unreachable
}

func explainStatus(s *statusError) *fault.Error {
	switch {
	case s.code == http.StatusUnauthorized, s.code == http.StatusForbidden:
		return fault.New(fault.Denied, "%w", s)
	case s.code >= 300 && s.code < 400:
		return fault.New(fault.Unreachable, "%w", s).
			WithHint("an API server does not redirect: check the address, and what a proxy in between does")
	case s.code >= 500 || s.code == http.StatusTooManyRequests:
		return fault.New(fault.Unreachable, "%w", s).
			WithHint("the API server or the load balancer before it is overloaded or starting")
	}
	return fault.New(fault.Unreachable, "%w", s).WithHint("check that this is the address of an API server")
}

// certificateNames are those a client can use.
func certificateNames(c *x509.Certificate) string {
	names := slices.Clone(c.DNSNames)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "no name"
	}
	return strings.Join(names, ", ")
}
