package etcd

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Metrics are what a member tells of itself before it serves.
type Metrics struct {
	HasLeader bool
	// AppliesSnapshot says that it is about to take over a snapshot.
	AppliesSnapshot bool
	// Applied is the number of proposals that it has applied.
	Applied uint64
}

// maxMetrics is more than a member's metrics have, in bytes.
const maxMetrics = 4 << 20

// ReadMetrics asks a member's metrics endpoint ("http://127.0.0.1:2381"), which
// is on loopback and without TLS unless etcd.local.extraArgs says otherwise.
func ReadMetrics(ctx context.Context, endpoint string) (Metrics, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/metrics", nil)
	if err != nil {
		return Metrics{}, err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return Metrics{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return Metrics{}, fmt.Errorf("/metrics says %s", resp.Status)
	}
	return parseMetrics(io.LimitReader(resp.Body, maxMetrics))
}

// parseMetrics reads the three gauges, which have no labels, from the
// Prometheus text format.
func parseMetrics(r io.Reader) (Metrics, error) {
	values := map[string]float64{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if !ok || !strings.HasPrefix(name, "etcd_server_") {
			continue
		}
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			values[name] = v
		}
	}
	applied, known := values["etcd_server_proposals_applied_total"]
	if err := lines.Err(); err != nil || !known {
		return Metrics{}, fmt.Errorf("these are no metrics of etcd")
	}
	return Metrics{
		HasLeader:       values["etcd_server_has_leader"] == 1,
		AppliesSnapshot: values["etcd_server_snapshot_apply_in_progress_total"] > 0,
		Applied:         uint64(max(applied, 0)),
	}, nil
}
