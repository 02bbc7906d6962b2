package cluster

import (
	"net/http"
	"testing"
	"time"

	"github.com/kubejoin/kubejoin/fault"
)

// Without a budget there is one attempt, as kubeadm's timeouts of 0 mean.
func TestNoBudget(t *testing.T) {
	s := newCluster(t)
	o := options(s)
	o.Join.Timeouts.Discovery, o.Join.Timeouts.KubernetesAPICall = 0, 0
	if _, _, _, err := connect(t, s, o); err != nil {
		t.Fatal(err)
	}
	s.on(clusterInfoPath, refuse(503, "starting"))
	before := len(s.requests())
	_, _, waits, err := connect(t, s, o)
	expect(t, err, fault.Unreachable, "503")
	if n := len(s.requests()) - before; n != 1 || len(waits) != 0 {
		t.Errorf("%d requests, waits %v", n, waits)
	}
}

func TestRetryAfter(t *testing.T) {
	later := func(value string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", value)
			refuse(429, "later")(w, r)
		}
	}
	t.Run("is honoured", func(t *testing.T) {
		t.Parallel()
		s := newCluster(t)
		s.on(clusterInfoPath, first(1, later("1"), s.handler[clusterInfoPath]))
		o := options(s)
		start := time.Now()
		if _, _, _, err := connect(t, s, o); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d < time.Second {
			t.Errorf("came back after %s", d)
		}
	})
	t.Run("leaves one more attempt within the budget", func(t *testing.T) {
		t.Parallel()
		s := newCluster(t)
		s.on(clusterInfoPath, first(1, later("3600"), s.handler[clusterInfoPath]))
		o := options(s)
		o.Join.Timeouts.Discovery = 1200 * time.Millisecond
		start := time.Now()
		_, _, waits, err := connect(t, s, o)
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); len(waits) != 1 || d < time.Second || d > 10*time.Second {
			t.Errorf("waits %v, took %s", waits, d)
		}
	})
}

func TestRetryAfterForms(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"": 0, "2": 2 * time.Second, "-1": 0, "soon": 0, "99999999999": 0,
		time.Now().Add(time.Minute).UTC().Format(http.TimeFormat):  time.Minute,
		time.Now().Add(-time.Minute).UTC().Format(http.TimeFormat): 0,
	} {
		if got := retryAfter(value).Round(2 * time.Second); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

// The pause is a random part of a growing limit, never more than the cap.
func TestPause(t *testing.T) {
	r := &run{limits: defaultLimits}
	for attempt, limit := range map[int]time.Duration{1: 100 * time.Millisecond, 3: 400 * time.Millisecond, 7: 5 * time.Second, 1000: 5 * time.Second} {
		var longest time.Duration
		for range 1000 {
			longest = max(longest, r.pause(attempt, 0))
		}
		if longest > limit || longest < limit/2 {
			t.Errorf("attempt %d: longest of 1000 pauses %s, limit %s", attempt, longest, limit)
		}
	}
	if got := r.pause(1, time.Minute); got != time.Minute {
		t.Errorf("Retry-After of a minute: %s", got)
	}
}
