package e2e

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/kubejoin/kubejoin/e2e/lab"
)

// rounds is how often each program joins a fresh machine.
const rounds = 7

// measured is what one run of a program cost.
type measured struct {
	wall     time.Duration
	memory   float64 // peak of the largest process, MB
	requests int     // to the API server, by the program itself
}

// BenchmarkWorker measures kubeadm and kubejoin in turn, each on fresh machines of one cluster, and prints medians.
func BenchmarkWorker(b *testing.B) {
	f := use(b)
	var joins, versions [2][]measured // kubeadm's, kubejoin's
	var converged []measured
	var sizes [2]float64
	var writes int
	for range b.N {
		for round := range rounds {
			for i, program := range []string{"kubeadm", "kubejoin"} {
				m := f.worker(b)
				token, err := f.cluster.Token(b.Context(), time.Hour)
				if err != nil {
					b.Fatal(err)
				}
				join := fmt.Sprintf("kubeadm join %s --token %s --discovery-token-ca-cert-hash %s --ignore-preflight-errors=all",
					f.cluster.Endpoint(), token, f.cluster.CAHash)
				if program == "kubejoin" {
					config := joinConfig(byToken(f.cluster.Endpoint(), token, f.cluster.CAHash))
					if err := m.WriteFile("/etc/join.yaml", []byte(config), 0o600); err != nil {
						b.Fatal(err)
					}
					join = apply
				}
				for range 3 {
					versions[i] = append(versions[i], f.measure(b, m, program, program+" version"))
				}
				joins[i] = append(joins[i], f.measure(b, m, program, join))
				if err := f.cluster.WaitReady(b.Context(), m.Name); err != nil {
					b.Fatal(err)
				}
				info, err := os.Stat(m.Path(strings.TrimSpace(must(b, m.Run(b.Context(), "command -v "+program)).Stdout)))
				if err != nil {
					b.Fatal(err)
				}
				sizes[i] = float64(info.Size()) / 1e6
				if program == "kubejoin" {
					converged = append(converged, f.measure(b, m, program, apply))
				}
				if program == "kubejoin" && round == rounds-1 {
					for range 10 {
						converged = append(converged, f.measure(b, m, program, apply))
					}
					writes = f.writes(b, m)
				}
				f.remove(b, m)
			}
		}
	}

	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "median\tkubeadm\tkubejoin\tkubejoin/kubeadm\twanted")
	compare := func(name, format string, kubeadm, kubejoin, wanted float64) {
		fmt.Fprintf(w, "%s\t"+format+"\t"+format+"\t%.2f\t%s\n", name, kubeadm, kubejoin, kubejoin/kubeadm, atMost("%.2f", wanted))
		unit := strings.ReplaceAll(name, " ", "-")
		b.ReportMetric(kubejoin, unit)
		b.ReportMetric(kubejoin/kubeadm, unit+"-ratio")
	}
	alone := func(name, format string, kubejoin, wanted float64) {
		fmt.Fprintf(w, "%s\t\t"+format+"\t\t%s\n", name, kubejoin, atMost(format, wanted))
		b.ReportMetric(kubejoin, strings.ReplaceAll(name, " ", "-"))
	}
	compare("fresh join s", "%.2f", median(joins[0], wall), median(joins[1], wall), 0.9)
	compare("fresh join MB", "%.1f", median(joins[0], memory), median(joins[1], memory), 0.7)
	compare("fresh join requests", "%.0f", median(joins[0], requests), median(joins[1], requests), -1)
	compare("version s", "%.3f", median(versions[0], wall), median(versions[1], wall), -1)
	compare("version MB", "%.1f", median(versions[0], memory), median(versions[1], memory), 0.6)
	compare("binary MB", "%.1f", sizes[0], sizes[1], 0.5)
	alone("converged apply s", "%.3f", median(converged, wall), 0.15)
	alone("converged apply MB", "%.1f", median(converged, memory), -1)
	alone("converged apply requests", "%.0f", median(converged, requests), 3)
	alone("converged apply writes and unit operations", "%.0f", float64(writes), 0)
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(0, "ns/op") // of this program, which says nothing
	b.Logf("%d fresh machines each, in turn\n%s", rounds, &table)
}

func atMost(format string, wanted float64) string {
	if wanted < 0 {
		return ""
	}
	return "at most " + fmt.Sprintf(format, wanted)
}

func wall(m measured) float64     { return m.wall.Seconds() }
func memory(m measured) float64   { return m.memory }
func requests(m measured) float64 { return float64(m.requests) }

func median(all []measured, of func(measured) float64) float64 {
	var values []float64
	for _, m := range all {
		values = append(values, of(m))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// measure runs a command that has to succeed. Time includes entering the machine, about 10 ms.
func (f *fixture) measure(b *testing.B, m *lab.Machine, program, command string) measured {
	b.Helper()
	mark, err := f.cluster.Audit.Mark()
	if err != nil {
		b.Fatal(err)
	}
	r := must(b, m.RunSecret(b.Context(), "exec /usr/bin/time --format=%M --output=/dev/shm/memory "+command))
	all, err := f.cluster.Audit.Since(b.Context(), mark)
	if err != nil {
		b.Fatal(err)
	}
	cost := measured{wall: r.Took}
	for _, r := range all {
		if r.Source == m.Address && strings.HasPrefix(r.UserAgent, program+"/") {
			cost.requests++
		}
	}
	data, err := m.ReadFile("/dev/shm/memory")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := fmt.Sscan(string(data), &cost.memory); err != nil {
		b.Fatal(err)
	}
	cost.memory *= 1024.0 / 1e6
	return cost
}

// writes counts what an apply with nothing to do asks the kernel and systemd to change.
func (f *fixture) writes(b *testing.B, m *lab.Machine) int {
	b.Helper()
	before, err := m.Operations(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	_, calls, err := m.Trace(b.Context(), "root", apply)
	if err != nil {
		b.Fatal(err)
	}
	after, err := m.Operations(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	n := len(calls) + after.Jobs - before.Jobs
	if after.LoadedAt != before.LoadedAt {
		n++
	}
	return n
}
