package cluster

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/kubejoin/kubejoin/fault"
)

const (
	accessPath = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
	secretPath = "/api/v1/namespaces/kube-system/secrets/bootstrap-token-" + tokenID
)

// asking is a client of a server that answers the join's three reads.
func asking(t *testing.T) (*apiServer, *Client) {
	t.Helper()
	s := newCluster(t)
	c, _, _, err := connect(t, s, options(s))
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

func TestAllowed(t *testing.T) {
	s, c := asking(t)
	asked := Access{Verb: "create", Group: "certificates.k8s.io", Resource: "certificatesigningrequests", Subresource: "nodeclient"}
	s.on(accessPath, func(w http.ResponseWriter, r *http.Request) {
		var q authorizationv1.SelfSubjectAccessReview
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil || q.Kind != "SelfSubjectAccessReview" {
			t.Errorf("%+v, %v", q, err)
		}
		a := q.Spec.ResourceAttributes
		if diff := cmp.Diff(asked, Access{a.Verb, a.Group, a.Resource, a.Subresource, a.Namespace, a.Name}); diff != "" {
			t.Error(diff)
		}
		q.Status.Allowed = a.Subresource == "nodeclient"
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(q)
	})
	if ok, err := c.Allowed(t.Context(), asked); err != nil || !ok {
		t.Errorf("%v, %v", ok, err)
	}
	asked.Subresource = ""
	if ok, err := c.Allowed(t.Context(), asked); err != nil || ok {
		t.Errorf("%v, %v", ok, err)
	}
	s.on(accessPath, refuse(403, "forbidden"))
	_, err := c.Allowed(t.Context(), asked)
	expect(t, err, fault.Denied, "may not ask what it may do")
	noCanary(t, err.Error())
}

// A check asks once: a server that fails is not asked again for a minute.
func TestAllowedAsksOnce(t *testing.T) {
	s, c := asking(t)
	s.on(accessPath, refuse(503, "busy"))
	before := len(s.requests())
	if _, err := c.Allowed(t.Context(), Access{Verb: "get"}); err == nil {
		t.Error("no error")
	}
	if n := len(s.requests()) - before; n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestTokenExpiry(t *testing.T) {
	ends := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	secret := func(data map[string]string) http.HandlerFunc {
		s := &corev1.Secret{Data: map[string][]byte{"token-secret": []byte(canary)}}
		for k, v := range data {
			s.Data[k] = []byte(v)
		}
		return answer(s)
	}
	tests := map[string]struct {
		handler http.HandlerFunc
		expires time.Time
		seen    bool
		fails   bool
	}{
		"seen":          {secret(map[string]string{"expiration": "2030-01-02T03:04:05Z"}), ends, true, false},
		"for ever":      {secret(nil), time.Time{}, true, false},
		"nonsense":      {secret(map[string]string{"expiration": "soon"}), time.Time{}, false, false},
		"may not":       {refuse(403, "forbidden"), time.Time{}, false, false},
		"not there":     {refuse(404, "not found"), time.Time{}, false, false},
		"out of order":  {refuse(500, "oops"), time.Time{}, false, true},
		"not a refusal": {refuse(401, "unauthorized"), time.Time{}, false, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s, c := asking(t)
			s.on(secretPath, tt.handler)
			expires, seen, err := c.TokenExpiry(t.Context(), tokenID)
			if !expires.Equal(tt.expires) || seen != tt.seen || (err != nil) != tt.fails {
				t.Errorf("%v, %v, %v", expires, seen, err)
			}
			if err != nil {
				noCanary(t, err.Error())
			}
		})
	}
}

// The server's clock is seen in passing, without a request of its own.
func TestClock(t *testing.T) {
	for name, ahead := range map[string]time.Duration{"right": 0, "ahead": time.Hour, "behind": -10 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			s := newCluster(t)
			s.on(nodePath, refuse(404, "not found"))
			for path, h := range s.handler {
				s.on(path, func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
					h(w, r)
				})
			}
			_, st, _, err := connect(t, s, options(s))
			if err != nil {
				t.Fatal(err)
			}
			if !st.Clock.Known || (st.Clock.Offset-ahead).Abs() > 2*time.Second {
				t.Errorf("%+v", st.Clock)
			}
		})
	}
	var c clock
	c.see(&http.Response{Header: http.Header{"Date": {"yesterday"}}})
	c.see(&http.Response{Header: http.Header{}})
	if c.seen().Known {
		t.Errorf("%+v", c.seen())
	}
}

func TestLookup(t *testing.T) {
	if list, err := Lookup(t.Context(), "localhost"); err != nil || len(list) == 0 || !list[0].IsLoopback() {
		t.Errorf("%v, %v", list, err)
	}
	if list, err := Lookup(t.Context(), "cp.invalid"); err == nil {
		t.Errorf("%v", list)
	}
}

func TestProxyFromEnvironment(t *testing.T) {
	target := &url.URL{Scheme: "https", Host: "10.96.0.1:443"}
	for no, want := range map[string]string{"": "http://proxy:3128", "10.96.0.0/12": "", "*": ""} {
		t.Setenv("HTTPS_PROXY", "http://proxy:3128")
		t.Setenv("NO_PROXY", no)
		got, err := ProxyFromEnvironment()(target)
		text := ""
		if got != nil {
			text = got.String()
		}
		if err != nil || !strings.EqualFold(text, want) {
			t.Errorf("NO_PROXY=%q: %q, %v", no, text, err)
		}
	}
}
