package cluster

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/kubejoin/kubejoin/fault"
)

func TestNode(t *testing.T) {
	s, c := nodeClient(t)
	s.on("/api/v1/nodes/w2", first(1, refuse(503, "starting"), answer(node(ready("False")))))
	n, err := c.Node(t.Context(), "w2")
	if err != nil || story(n) != "not ready" {
		t.Errorf("%s, %v", story(n), err)
	}
	if n, err := c.Node(t.Context(), "w3"); err != nil || n != nil {
		t.Errorf("%s, %v", story(n), err)
	}
	s.on("/api/v1/nodes/w2", refuse(403, "not yours"))
	_, err = c.Node(t.Context(), "w2")
	expect(t, err, fault.Denied, "node w2", "not yours")
}

func TestMatchPEM(t *testing.T) {
	a, b := newAuthority("a"), newAuthority("b")
	pins, err := ParsePins([]string{b.pin()})
	if err != nil {
		t.Fatal(err)
	}
	if !pins.MatchPEM(append(a.pem, b.pem...)) || pins.MatchPEM(a.pem) || pins.MatchPEM(nil) {
		t.Error("a bundle matches if, and only if, it holds a pinned certificate")
	}
}

func TestHealthz(t *testing.T) {
	address := func(h http.HandlerFunc) string { return strings.TrimPrefix(httpServer(t, h), "http://") }
	if err := Healthz(t.Context(), address(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })); err != nil {
		t.Error(err)
	}
	sick := address(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(500)
		fmt.Fprint(w, "syncloop is stuck")
	})
	if err := Healthz(t.Context(), sick); err == nil || !strings.Contains(err.Error(), "syncloop is stuck") {
		t.Errorf("got %v", err)
	}
	if err := Healthz(t.Context(), "127.0.0.1:1"); err == nil {
		t.Error("nothing is healthy")
	}
}
