package cluster

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubejoin/kubejoin/fault"
)

// watchFor is how long the server is asked to keep one watch open, and grace
// how much longer it is believed to be alive.
const (
	watchFor   = 4 * time.Minute
	watchGrace = 30 * time.Second
)

// WatchNode tells fn about the Node, first as it is now and then at every
// change, until fn is done or ctx ends. It tells nil while there is no such
// Node. A lost watch is opened again, so that fn may see the same state twice,
// and with the server's feature gate WatchList off it sees nil first each time.
//
// Errors: fault.Denied if the Node may not be watched, fault.Untrusted,
// fault.Timeout and fault.Interrupted when ctx ends first, with the last reason
// why there was no watch.
func (c *Client) WatchNode(ctx context.Context, name string, fn func(*NodeInfo) (done bool)) error {
	w := watch{client: c, what: "node " + name, path: "/api/v1/nodes", selector: "metadata.name=" + name}
	seen := false
	return w.run(ctx, func(kind string, object []byte) (bool, error) {
		switch kind {
		case opened:
			seen = false
			return false, nil
		case synced:
			return !seen && fn(nil), nil
		case "DELETED":
			return fn(nil), nil
		}
		var node corev1.Node
		if err := json.Unmarshal(object, &node); err != nil {
			return false, w.garbled(err)
		}
		seen = true
		return fn(nodeInfo(&node)), nil
	})
}

// WatchCSRs tells fn about every request for the client certificate of a node's
// kubelet, first those that exist, in no particular order, and then each at
// every change, until fn is done or ctx ends. Errors are those of WatchNode.
func (c *Client) WatchCSRs(ctx context.Context, nodeName string, fn func(CSRInfo) (done bool)) error {
	w := watch{
		client:   c,
		what:     "certificate signing requests of node " + nodeName,
		path:     "/apis/certificates.k8s.io/v1/certificatesigningrequests",
		selector: "spec.signerName=" + certificatesv1.KubeAPIServerClientKubeletSignerName,
	}
	return w.run(ctx, func(kind string, object []byte) (bool, error) {
		if kind != "ADDED" && kind != "MODIFIED" {
			return false, nil
		}
		var csr certificatesv1.CertificateSigningRequest
		if err := json.Unmarshal(object, &csr); err != nil {
			return false, w.garbled(err)
		}
		if requestedName(csr.Spec.Request) != "system:node:"+nodeName {
			return false, nil
		}
		return fn(c.run.csrInfo(&csr)), nil
	})
}

// requestedName is the common name in a PEM request; empty if there is none.
func requestedName(request []byte) string {
	block, _ := pem.Decode(request)
	if block == nil {
		return ""
	}
	r, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return ""
	}
	return r.Subject.CommonName
}

func (r *run) csrInfo(csr *certificatesv1.CertificateSigningRequest) CSRInfo {
	info := CSRInfo{Name: csr.Name, Created: csr.CreationTimestamp.Time, Requestor: csr.Spec.Username, State: CSRPending}
	approved := false
	for _, c := range csr.Status.Conditions {
		switch c.Type {
		case certificatesv1.CertificateApproved:
			approved = true
		case certificatesv1.CertificateDenied:
			info.State, info.Message = CSRDenied, c.Reason+": "+c.Message
		case certificatesv1.CertificateFailed:
			info.State, info.Message = CSRFailed, c.Reason+": "+c.Message
		}
	}
	if approved && info.State == CSRPending {
		info.State = CSRApproved
		if len(csr.Status.Certificate) > 0 {
			info.State = CSRIssued
		}
	}
	info.Message = r.clean(strings.Trim(info.Message, ": "))
	return info
}

// What a watch reports besides the server's own event types.
const (
	opened = "opened" // a watch begins: what exists is told again
	synced = "synced" // what existed at the beginning has been told
)

// watch is a selection of objects.
type watch struct {
	client   *Client
	what     string
	path     string
	selector string
	// plain asks for no end of the initial events: the server has the feature
	// gate WatchList (on by default since 1.34) off.
	plain bool
}

// run watches, again and again, until on is done.
func (w *watch) run(ctx context.Context, on func(kind string, object []byte) (done bool, err error)) error {
	r := w.client.run
	var last error
	for attempt := 1; ; attempt++ {
		start := time.Now()
		done, err := w.once(ctx, on)
		if done {
			return nil
		}
		if ctx.Err() != nil {
			return r.ended(ctx, w.what, w.client.address, err, last)
		}
		var after time.Duration
		if err != nil {
			if code := status(err); !w.plain && (code == http.StatusBadRequest || code == http.StatusUnprocessableEntity) {
				w.plain = true
				continue
			}
			var ok bool
			if after, ok = transient(err); !ok {
				f := r.explain(w.client.address, err)
				return fault.New(f.Class, "watching %s: %w", w.what, f.Err).At(w.client.address).WithHint("%s", f.Hint)
			}
			r.waiting(Waiting{What: w.what, Err: r.explain(w.client.address, err).Err.Error(), Attempt: attempt})
		}
		if time.Since(start) > r.limits.longest {
			attempt = 1 // it was a watch, and not one failure after the other
		}
		if !pause(ctx, r.pause(attempt, after)) {
			return r.ended(ctx, w.what, w.client.address, err)
		}
		last = err
	}
}

// once opens one watch and reads it to its end.
func (w *watch) once(ctx context.Context, on func(string, []byte) (bool, error)) (done bool, err error) {
	query := url.Values{
		"watch":          {"true"},
		"fieldSelector":  {w.selector},
		"timeoutSeconds": {strconv.Itoa(int(watchFor.Seconds()))},
	}
	if !w.plain {
		// Without a resource version a watch begins with what exists, and this
		// makes the server say where that ends.
		query.Set("sendInitialEvents", "true")
		query.Set("resourceVersionMatch", "NotOlderThan")
		query.Set("allowWatchBookmarks", "true")
	}
	ctx, cancel := context.WithTimeout(ctx, watchFor+watchGrace)
	defer cancel()
	resp, err := w.client.openWatch(ctx, w.path, query)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if done, err := on(opened, nil); done || err != nil {
		return done, err
	}
	if w.plain {
		if done, err := on(synced, nil); done || err != nil {
			return done, err
		}
	}
	// An API server ends each event with a newline.
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, w.client.run.limits.body)
	for lines.Scan() {
		kind, object, err := w.event(lines.Bytes())
		if err != nil {
			return false, err
		}
		if kind == "" {
			continue
		}
		if done, err := on(kind, object); done || err != nil {
			return done, err
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return false, fault.New(fault.Unreachable, "an event has more than %d bytes", w.client.run.limits.body)
	}
	return false, lines.Err()
}

// openWatch waits for the answer's beginning no longer than for a whole answer
// of another kind.
func (c *Client) openWatch(ctx context.Context, path string, query url.Values) (*http.Response, error) {
	ctx, cancel := context.WithCancel(ctx)
	late := time.AfterFunc(c.run.limits.request, cancel)
	resp, err := c.open(ctx, path, query)
	if !late.Stop() {
		if err == nil {
			resp.Body.Close()
		}
		return nil, context.DeadlineExceeded
	}
	if err != nil {
		cancel()
		return nil, err
	}
	resp.Body = cancelBody{resp.Body, cancel}
	return resp, nil
}

// cancelBody ends the request when its body is closed.
type cancelBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b cancelBody) Close() error {
	b.cancel()
	return b.ReadCloser.Close()
}

// event reads one. A bookmark is only told if it ends the initial events, as
// synced.
func (w *watch) event(line []byte) (kind string, object []byte, err error) {
	var event struct {
		Type   string          `json:"type"`
		Object json.RawMessage `json:"object"`
	}
	if err := json.Unmarshal(line, &event); err != nil {
		return "", nil, w.garbled(err)
	}
	switch event.Type {
	case "BOOKMARK":
		var object metav1.PartialObjectMetadata
		if err := json.Unmarshal(event.Object, &object); err != nil {
			return "", nil, w.garbled(err)
		}
		if object.Annotations[metav1.InitialEventsAnnotationKey] == "true" {
			return synced, nil, nil
		}
		return "", nil, nil
	case "ERROR":
		var s metav1.Status
		if err := json.Unmarshal(event.Object, &s); err != nil {
			return "", nil, w.garbled(err)
		}
		refused := &statusError{code: int(s.Code), message: w.client.run.clean(s.Message)}
		if s.Code == http.StatusGone {
			return "", nil, again{refused} // the next watch begins with what exists then
		}
		return "", nil, refused
	case "ADDED", "MODIFIED", "DELETED":
		return event.Type, event.Object, nil
	}
	return "", nil, nil
}

func (w *watch) garbled(err error) error {
	return fault.New(fault.Unreachable, "an event is not that of an API server: %s", w.client.run.clean(err.Error()))
}
