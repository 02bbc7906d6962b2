package cluster

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	certutil "k8s.io/client-go/util/cert"
)

// Node reads one Node; nil if there is none. Its errors are those of Connect.
func (c *Client) Node(ctx context.Context, name string) (*NodeInfo, error) {
	st := &State{}
	r := read{object: theNode, what: "node " + name}
	r.err = c.run.retry(ctx, r.what+" from "+c.address, c.address, c.run.o.Join.Timeouts.KubernetesAPICall,
		func(ctx context.Context) error { return c.readNode(ctx, name, st) })
	if r.err != nil {
		return nil, c.explainRead(r, c.user())
	}
	return st.Node, nil
}

// MatchPEM tells whether a PEM bundle holds a pinned certificate.
func (p Pins) MatchPEM(bundle []byte) bool {
	certs, err := certutil.ParseCertsPEM(bundle)
	return err == nil && len(p.Match(certs)) > 0
}

// healthzTimeout bounds one question to the kubelet on this machine.
const healthzTimeout = 2 * time.Second

// Healthz asks the health endpoint of the kubelet, address being host:port on
// this machine, once. Nil means healthy. Proxies are not used: it is local.
func Healthz(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, healthzTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/healthz", nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 256)) // only for the message
		return fmt.Errorf("the kubelet says %s: %s", resp.Status, body)
	}
	return nil
}
