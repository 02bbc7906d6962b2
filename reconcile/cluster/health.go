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
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// componentTimeout bounds one question to a component of the control plane
	// on this machine.
	componentTimeout = 2 * time.Second
	// maxHealth is how much of a health endpoint's answer is looked at.
	maxHealth = 8 << 10
)

// HealthzTLS asks a health endpoint of a control plane component on this
// machine once. Nil means healthy, that is status 200.
//
// The server is verified against caPEM. Without it nothing is verified: the
// controller manager and the scheduler serve certificates that they signed
// themselves, on loopback (behaviour catalogue §5.11). The client shows certPEM
// and keyPEM if given: a cluster may have turned anonymous requests off. A http
// URL uses none of them. Proxies are not used, and redirects not followed.
func HealthzTLS(ctx context.Context, endpoint string, caPEM, certPEM, keyPEM []byte) error {
	ctx, cancel := context.WithTimeout(ctx, componentTimeout)
	defer cancel()
	config := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: len(caPEM) == 0}
	if len(caPEM) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(caPEM) {
			return errors.New("the CA that it is verified against holds no certificate")
		}
	}
	if len(certPEM) > 0 {
		pair, err := tls.X509KeyPair(certPEM, keyPEM)
		if err != nil {
			return errors.New("the client certificate and its key do not fit together")
		}
		config.Certificates = []tls.Certificate{pair}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
	if err != nil {
		return err
	}
	client := http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, TLSClientConfig: config},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return noAnswer(err, req.URL)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxHealth)) // only for the message
	if why := failedChecks(string(body)); why != "" {
		return fmt.Errorf("%s says %s: %s", req.URL.Path, resp.Status, why)
	}
	return fmt.Errorf("%s says %s", req.URL.Path, resp.Status)
}

// noAnswer says in few words that a request got no answer.
func noAnswer(err error, u *url.URL) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	var op *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s does not answer within %s", u.Host, componentTimeout)
	case errors.As(err, &op) && op.Op == "dial":
		return fmt.Errorf("%s: %w", u.Host, op.Err)
	}
	return fmt.Errorf("%s: %w", u.Host, err)
}

// failedChecks takes the checks that failed out of a component's answer, which
// lists all of them, or its first line if it lists none. An API server that has
// not read its rules yet refuses everybody, with a Status.
func failedChecks(body string) string {
	var status metav1.Status
	if json.Unmarshal([]byte(body), &status) == nil && status.Kind == "Status" {
		return status.Message[:min(len(status.Message), 256)]
	}
	var failed []string
	for line := range strings.Lines(body) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "[-]"); ok {
			failed = append(failed, name)
		}
	}
	if len(failed) > 0 {
		return strings.Join(failed, ", ")
	}
	first, _, _ := strings.Cut(strings.TrimSpace(body), "\n")
	return first[:min(len(first), 256)]
}
