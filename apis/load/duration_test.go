package load

import (
	"strings"
	"testing"
)

// TestBadDuration names the fault of each, and what was probably meant.
func TestBadDuration(t *testing.T) {
	for value, want := range map[string]string{
		`"5"`:                   `the duration has no unit (did you mean "5m" or "5s"?)`,
		`"1.5"`:                 `the duration has no unit (did you mean "1.5m" or "1.5s"?)`,
		`5`:                     `expected a duration such as "4m0s" in quotes, got number`,
		`[5m]`:                  `expected a duration such as "4m0s" in quotes, got list`,
		`1d`:                    `a duration has no unit longer than hours (did you mean "24h"?)`,
		`"2 weeks"`:             `a duration has no unit longer than hours (did you mean "336h"?)`,
		`1Y`:                    `a duration has no unit longer than hours (did you mean "8760h"?)`,
		`5 minutes`:             `the units of a duration are h, m, s and ms (did you mean "5m"?)`,
		`5M`:                    `the units of a duration are lower-case letters (did you mean "5m"?)`,
		`""`:                    `expected a duration such as "4m0s", got an empty string`,
		`" 5m"`:                 `a duration has no blanks (did you mean "5m"?)`,
		`1h 30m`:                `a duration has no blanks (did you mean "1h30m"?)`,
		`9999999h`:              `the duration is too long (the longest one is 2562047h)`,
		`soon`:                  `expected a duration such as "4m0s" (the units are h, m, s and ms)`,
		`q7w8e9.q7w8e9r0t1y2u3`: `expected a duration such as "4m0s" (the units are h, m, s and ms)`,
	} {
		_, err := Load("x.yaml", []byte("apiVersion: kubeadm.k8s.io/v1beta4\nkind: JoinConfiguration\ntimeouts: {discovery: "+value+"}\n"))
		if err == nil || !strings.HasSuffix(err.Error(), "timeouts.discovery: "+want) {
			t.Errorf("%s: got  %v\nwant %s", value, err, want)
		}
	}
}
