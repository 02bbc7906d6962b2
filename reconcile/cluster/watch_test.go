package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/fault"
)

func event(kind string, object any) string {
	line, err := json.Marshal(map[string]any{"type": kind, "object": object})
	if err != nil {
		panic(err)
	}
	return string(line) + "\n"
}

var endOfInitial = event("BOOKMARK", map[string]any{"kind": "Node", "metadata": map[string]any{"annotations": map[string]string{"k8s.io/initial-events-end": "true"}}})

// stream sends events, and then ends the watch, or keeps it open.
func stream(open bool, events ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, e := range events {
			fmt.Fprint(w, e)
			w.(http.Flusher).Flush()
		}
		if open {
			<-r.Context().Done()
		}
	}
}

// nodeClient is what an apply watches with.
func nodeClient(t *testing.T) (*apiServer, *Client) {
	t.Helper()
	s, o := joined(t)
	c, _, _, err := connect(t, s, o)
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

// story is a Node as a test tells it: "absent", "ready" or "not ready".
func story(n *NodeInfo) string {
	switch {
	case n == nil:
		return "absent"
	case n.Ready:
		return "ready"
	}
	return "not ready"
}

func TestWatchNode(t *testing.T) {
	notReady, isReady := node(ready("False")), node()
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		want    []string
	}{
		"is there":           {stream(true, event("ADDED", isReady), endOfInitial), []string{"ready"}},
		"becomes ready":      {stream(true, event("ADDED", notReady), endOfInitial, event("MODIFIED", notReady), event("MODIFIED", isReady)), []string{"not ready", "not ready", "ready"}},
		"registers":          {stream(true, endOfInitial, event("ADDED", notReady), event("MODIFIED", isReady)), []string{"absent", "not ready", "ready"}},
		"is made anew":       {stream(true, event("ADDED", notReady), endOfInitial, event("DELETED", notReady), event("ADDED", isReady)), []string{"not ready", "absent", "ready"}},
		"other bookmarks":    {stream(true, endOfInitial, event("BOOKMARK", map[string]any{"kind": "Node"}), event("ADDED", isReady)), []string{"absent", "ready"}},
		"after a lost watch": {first(1, stream(false, event("ADDED", notReady), endOfInitial), stream(true, event("ADDED", isReady))), []string{"not ready", "ready"}},
		"after a compaction": {first(1, stream(true, endOfInitial, event("ERROR", map[string]any{"code": 410, "message": "too old"})), stream(true, event("ADDED", isReady))), []string{"absent", "ready"}},
		"after an outage":    {first(2, refuse(503, "starting"), stream(true, event("ADDED", isReady))), []string{"ready"}},
		"without WatchList":  {withoutWatchList(stream(true, event("ADDED", isReady))), []string{"absent", "ready"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c := nodeClient(t)
			s.on(nodesPath, func(w http.ResponseWriter, r *http.Request) {
				if q := r.URL.Query(); q.Get("watch") != "true" || q.Get("fieldSelector") != "metadata.name=w1" {
					t.Errorf("query %v", q)
				}
				tc.handler(w, r)
			})
			var told []string
			err := c.WatchNode(t.Context(), "w1", func(n *NodeInfo) bool {
				told = append(told, story(n))
				return n != nil && n.Ready
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, told); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A healthy watch is one request.
func TestWatchNodeRequests(t *testing.T) {
	s, c := nodeClient(t)
	s.on(nodesPath, stream(true, endOfInitial, event("ADDED", node())))
	before := c.Requests()
	if err := c.WatchNode(t.Context(), "w1", func(n *NodeInfo) bool { return n != nil }); err != nil {
		t.Fatal(err)
	}
	if n := c.Requests() - before; n != 1 || s.conns != 1 {
		t.Errorf("%d requests on %d connections", n, s.conns)
	}
}

// withoutWatchList answers as a server with that feature gate off.
func withoutWatchList(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("sendInitialEvents") {
			refuse(422, "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled")(w, r)
			return
		}
		h(w, r)
	}
}

func TestWatchNodeFails(t *testing.T) {
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		class   fault.Class
		says    string
	}{
		"forbidden":      {refuse(403, "not yours"), fault.Denied, "not yours"},
		"unauthorized":   {refuse(401, "expired"), fault.Denied, "expired"},
		"refused within": {stream(true, event("ERROR", map[string]any{"code": 403, "message": "no longer"})), fault.Denied, "no longer"},
		"not json":       {stream(true, "<html>\n"), fault.Unreachable, "not that of an API server"},
		"not a node":     {stream(true, event("ADDED", "canary")), fault.Unreachable, "not that of an API server"},
		"endless line": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(bytes.Repeat([]byte{'x'}, 2*fast.body))
		}, fault.Unreachable, "more than"},
		"never comes": {stream(true, endOfInitial), fault.Timeout, "waiting for node w1"},
		"always gone": {refuse(503, "starting"), fault.Timeout, "503"},
		"no answer":   {hang, fault.Timeout, "waiting for node w1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, c := nodeClient(t)
			s.on(nodesPath, tc.handler)
			budget := 20 * time.Second
			if tc.class == fault.Timeout {
				budget = 200 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), budget)
			defer cancel()
			err := c.WatchNode(ctx, "w1", func(*NodeInfo) bool { return false })
			expect(t, err, tc.class, tc.says, "node w1")
			noCanary(t, err)
		})
	}
}

func csr(t *testing.T, name, commonName string, status map[string]any) map[string]any {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: commonName, Organization: []string{"system:nodes"}}}, newKey())
	if err != nil {
		t.Fatal(err)
	}
	return map[string]any{
		"kind": "CertificateSigningRequest", "metadata": map[string]any{"name": name, "creationTimestamp": "2026-01-02T03:04:05Z"},
		"spec":   map[string]any{"username": "system:bootstrap:abcdef", "request": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})},
		"status": status,
	}
}

func condition(kind string) map[string]any {
	return map[string]any{"conditions": []any{map[string]any{"type": kind, "reason": "Policy", "message": "by\nhand"}}}
}

func TestWatchCSRs(t *testing.T) {
	s, o := joined(t)
	o.Credential = Credential{}
	c, _, _, err := connect(t, s, o)
	if err != nil {
		t.Fatal(err)
	}
	issued := condition("Approved")
	issued["certificate"] = []byte("pem")
	s.on(csrPath, func(w http.ResponseWriter, r *http.Request) {
		if got := r.URL.Query().Get("fieldSelector"); got != "spec.signerName=kubernetes.io/kube-apiserver-client-kubelet" {
			t.Errorf("selector %s", got)
		}
		if got := r.Header.Get("Authorization"); got != "Bearer "+token {
			t.Errorf("authorization %q", got)
		}
		stream(true,
			event("ADDED", csr(t, "of-another", "system:node:w10", nil)),
			event("ADDED", map[string]any{"metadata": map[string]any{"name": "no-request"}, "spec": map[string]any{"request": []byte("x")}}),
			event("ADDED", csr(t, "old", "system:node:w1", condition("Denied"))),
			endOfInitial,
			event("ADDED", csr(t, "new", "system:node:w1", nil)),
			event("DELETED", csr(t, "old", "system:node:w1", condition("Denied"))),
			event("MODIFIED", csr(t, "new", "system:node:w1", condition("Approved"))),
			event("MODIFIED", csr(t, "new", "system:node:w1", condition("Failed"))),
			event("MODIFIED", csr(t, "new", "system:node:w1", issued)),
		)(w, r)
	})
	var got []CSRInfo
	err = c.WatchCSRs(t.Context(), "w1", func(i CSRInfo) bool {
		got = append(got, i)
		return i.State == CSRIssued
	})
	if err != nil {
		t.Fatal(err)
	}
	info := func(name string, state CSRState, message string) CSRInfo {
		return CSRInfo{Name: name, Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Requestor: "system:bootstrap:abcdef", State: state, Message: message}
	}
	want := []CSRInfo{
		info("old", CSRDenied, "Policy: by hand"),
		info("new", CSRPending, ""),
		info("new", CSRApproved, ""),
		info("new", CSRFailed, "Policy: by hand"),
		info("new", CSRIssued, ""),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	s.on(csrPath, refuse(403, "cannot list certificatesigningrequests"))
	err = c.WatchCSRs(t.Context(), "w1", func(CSRInfo) bool { return true })
	expect(t, err, fault.Denied, "cannot list", "certificate signing requests of node w1")
	noCanary(t, err)
}
