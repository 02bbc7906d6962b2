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
	memory   float64 // peak of the largest process, MB: the program or one that it started
	own      float64 // peak of the program itself, MB
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

	t := newTable(b)
	t.compare("fresh join s", "%.2f", median(joins[0], wall), median(joins[1], wall), 0.9)
	t.compare("fresh join MB", "%.1f", median(joins[0], memory), median(joins[1], memory), 0.7)
	t.compare("fresh join own MB", "%.1f", median(joins[0], own), median(joins[1], own), -1)
	t.compare("fresh join requests", "%.0f", median(joins[0], requests), median(joins[1], requests), -1)
	t.compare("version s", "%.3f", median(versions[0], wall), median(versions[1], wall), -1)
	t.compare("version MB", "%.1f", median(versions[0], memory), median(versions[1], memory), 0.6)
	t.compare("binary MB", "%.1f", sizes[0], sizes[1], 0.5)
	t.alone("converged apply s", "%.3f", median(converged, wall), 0.15)
	t.alone("converged apply MB", "%.1f", median(converged, memory), -1)
	t.alone("converged apply requests", "%.0f", median(converged, requests), 3)
	t.alone("converged apply writes and unit operations", "%.0f", float64(writes), 0)
	t.print(fmt.Sprintf("%d fresh machines each, in turn", rounds))
}

// BenchmarkControlPlane measures kubeadm and kubejoin in turn, each on fresh machines that become the second control plane of a
// cluster and leave it again, and prints medians.
func BenchmarkControlPlane(b *testing.B) {
	f := alone(b, shared137)
	var joins [2][]measured // kubeadm's, kubejoin's
	var converged []measured
	var writes, restarts int
	const rounds = 5
	for range b.N {
		for round := range rounds {
			for i, program := range []string{"kubeadm", "kubejoin"} {
				m := f.controlPlane(b)
				f.configureControlPlane(b, m)
				token, err := f.cluster.Token(b.Context(), time.Hour)
				if err != nil {
					b.Fatal(err)
				}
				join := fmt.Sprintf("kubeadm join %s --token %s --discovery-token-ca-cert-hash %s --control-plane --certificate-key %s "+
					"--apiserver-advertise-address %s --ignore-preflight-errors=all",
					f.cluster.Endpoint(), token, f.cluster.CAHash, f.cluster.CertificateKey, m.Address)
				if program == "kubejoin" {
					join = apply
				}
				joins[i] = append(joins[i], f.measure(b, m, program, join))
				if err := f.cluster.WaitReady(b.Context(), m.Name); err != nil {
					b.Fatal(err)
				}
				f.healthy(b, f.cluster.ControlPlane, m)
				if program == "kubejoin" {
					before := f.containers(b, m)
					for range 5 {
						converged = append(converged, f.measure(b, m, program, apply))
					}
					if f.containers(b, m) != before {
						restarts++
					}
				}
				if program == "kubejoin" && round == rounds-1 {
					writes = f.writes(b, m)
				}
				f.leave(b, m)
			}
		}
	}

	t := newTable(b)
	t.compare("control plane join s", "%.2f", median(joins[0], wall), median(joins[1], wall), 0.7)
	t.compare("control plane join MB", "%.1f", median(joins[0], memory), median(joins[1], memory), -1)
	t.compare("control plane join own MB", "%.1f", median(joins[0], own), median(joins[1], own), -1)
	t.compare("control plane join requests", "%.0f", median(joins[0], requests), median(joins[1], requests), -1)
	t.alone("converged apply s", "%.3f", median(converged, wall), 0.3)
	t.alone("converged apply MB", "%.1f", median(converged, memory), -1)
	t.alone("converged apply requests", "%.0f", median(converged, requests), -1)
	t.alone("converged apply writes and unit operations", "%.0f", float64(writes), 0)
	t.alone("converged applies that restarted a container", "%.0f", float64(restarts), 0)
	t.print(fmt.Sprintf("%d fresh machines each, in turn", rounds))
}

// BenchmarkManyMembers measures what a plan on a control plane costs as etcd grows, and when some of its members do not answer.
func BenchmarkManyMembers(b *testing.B) {
	f := alone(b, shared137)
	// A pod of a machine that has left is an endpoint of etcd that does not answer, until it is collected.
	until(b, "no pods are left of other benchmarks' machines", func() bool {
		pods, err := f.cluster.Kubectl(b.Context(), "get pods --namespace=kube-system --selector=component=etcd --output=name")
		return err == nil && len(strings.Fields(pods)) == 1
	})
	t := newTable(b)
	var machines []*lab.Machine
	grow := func(members int) {
		for 1+len(machines) < members {
			m := f.controlPlane(b)
			f.configureControlPlane(b, m)
			must(b, m.Run(b.Context(), apply))
			machines = append(machines, m)
		}
	}
	cost := func(name string, wanted float64) {
		var costs []measured
		for range b.N {
			for range rounds {
				costs = append(costs, f.measure(b, machines[0], "kubejoin", "kubejoin plan -f /etc/join.yaml"))
			}
		}
		t.alone(name+" s", "%.3f", median(costs, wall), wanted)
		t.alone(name+" requests", "%.0f", median(costs, requests), -1)
	}
	grow(3)
	cost("plan with 3 members", -1)
	grow(7)
	cost("plan with 7 members", -1)
	for _, m := range machines[len(machines)-2:] {
		f.cluster.Audit.Remove(m) // it logs nothing more
		if err := m.CutPower(); err != nil {
			b.Fatal(err)
		}
	}
	cost("plan with 7 members, 2 of them dead", -1)
	t.print("one machine")
}

// containers tells which processes the control plane's pods are: another start gives another text.
func (f *fixture) containers(b *testing.B, m *lab.Machine) string {
	b.Helper()
	return must(b, m.Run(b.Context(), "ctr --namespace k8s.io tasks list | sort")).Stdout
}

// BenchmarkPreflight measures all checks on a machine that is ready to join, beside kubeadm's, in turn.
func BenchmarkPreflight(b *testing.B) {
	f := use(b)
	m := f.worker(b)
	token, err := f.cluster.Token(b.Context(), time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	flags := fmt.Sprintf(" %s --token %s --discovery-token-ca-cert-hash %s", f.cluster.Endpoint(), token, f.cluster.CAHash)
	commands := [2]string{"kubeadm join phase preflight" + flags + " --ignore-preflight-errors=all", "kubejoin preflight" + flags}
	var costs [2][]measured
	for range b.N {
		for range rounds {
			for i, program := range []string{"kubeadm", "kubejoin"} {
				costs[i] = append(costs[i], f.measure(b, m, program, commands[i]))
			}
		}
	}
	t := newTable(b)
	t.compare("preflight s", "%.3f", median(costs[0], wall), median(costs[1], wall), -1)
	t.alone("preflight alone s", "%.3f", median(costs[1], wall), 0.5)
	t.compare("preflight MB", "%.1f", median(costs[0], memory), median(costs[1], memory), -1)
	t.compare("preflight requests", "%.0f", median(costs[0], requests), median(costs[1], requests), -1)
	t.compare("preflight programs started", "%.0f", float64(len(f.started(b, m, commands[0]))), float64(len(f.started(b, m, commands[1]))), -1)
	t.print("one machine, in turn")
}

// BenchmarkConfiguration measures checking and migrating a file of usual size beside kubeadm's check, in turn, and a large one
// alone.
func BenchmarkConfiguration(b *testing.B) {
	f := use(b)
	m := f.worker(b)
	write := func(name, content string) {
		if err := m.WriteFile(name, []byte(content), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	old, err := os.ReadFile("testdata/v1beta3/worker.yaml")
	if err != nil {
		b.Fatal(err)
	}
	must(b, m.Run(b.Context(), "mkdir -p /etc/kubernetes/patches"))
	write("/etc/old.yaml", string(old))
	must(b, m.Run(b.Context(), "kubejoin config migrate --old-config /etc/old.yaml --new-config /etc/new.yaml"))
	// 10 MB of a thousand documents: one of them is ours.
	var big strings.Builder
	for i := range 999 {
		fmt.Fprintf(&big, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c%d}\ndata:\n", i)
		for line := range 200 {
			fmt.Fprintf(&big, "  key-%d: %s # a comment\n", line, strings.Repeat("v", 24))
		}
		big.WriteString("---\n")
	}
	big.Write(old)
	write("/etc/big.yaml", big.String())

	commands := []string{
		"kubeadm config validate --config /etc/new.yaml",
		"kubejoin config validate -f /etc/new.yaml",
		"kubejoin config migrate -f /etc/old.yaml",
		"kubejoin config validate -f /etc/big.yaml",
		"kubejoin config migrate --old-config /etc/big.yaml --new-config /dev/shm/big.yaml",
		"kubejoin config migrate -f /etc/big.yaml --diff",
	}
	costs := make([][]measured, len(commands))
	for range b.N {
		for range rounds {
			for i, command := range commands {
				costs[i] = append(costs[i], f.measure(b, m, "kubejoin", command))
			}
		}
	}
	t := newTable(b)
	t.compare("validate s", "%.3f", median(costs[0], wall), median(costs[1], wall), 0.6)
	t.compare("validate MB", "%.1f", median(costs[0], memory), median(costs[1], memory), 0.6)
	t.compare("migrate beside validate s", "%.3f", median(costs[0], wall), median(costs[2], wall), 0.6)
	t.compare("migrate beside validate MB", "%.1f", median(costs[0], memory), median(costs[2], memory), 0.6)
	for i, name := range []string{"validate", "migrate", "migrate --diff"} {
		t.alone(fmt.Sprintf("%s %.0f MB s", name, float64(big.Len())/1e6), "%.2f", median(costs[3+i], wall), 2)
		t.alone(fmt.Sprintf("%s %.0f MB MB", name, float64(big.Len())/1e6), "%.0f", median(costs[3+i], memory), 268)
	}
	t.print("one machine, in turn")
}

// table is what a benchmark prints: medians, and the ratio where kubeadm does the same.
type table struct {
	b    *testing.B
	text bytes.Buffer
	w    *tabwriter.Writer
}

func newTable(b *testing.B) *table {
	t := &table{b: b}
	t.w = tabwriter.NewWriter(&t.text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t.w, "median\tkubeadm\tkubejoin\tkubejoin/kubeadm\twanted")
	return t
}

func (t *table) compare(name, format string, kubeadm, kubejoin, wanted float64) {
	fmt.Fprintf(t.w, "%s\t"+format+"\t"+format+"\t%.2f\t%s\n", name, kubeadm, kubejoin, kubejoin/kubeadm, atMost("%.2f", wanted))
	unit := strings.ReplaceAll(name, " ", "-")
	t.b.ReportMetric(kubejoin, unit)
	t.b.ReportMetric(kubejoin/kubeadm, unit+"-ratio")
}

func (t *table) alone(name, format string, kubejoin, wanted float64) {
	fmt.Fprintf(t.w, "%s\t\t"+format+"\t\t%s\n", name, kubejoin, atMost(format, wanted))
	t.b.ReportMetric(kubejoin, strings.ReplaceAll(name, " ", "-"))
}

func (t *table) print(how string) {
	if err := t.w.Flush(); err != nil {
		t.b.Fatal(err)
	}
	t.b.ReportMetric(0, "ns/op") // of this program, which says nothing
	t.b.Logf("%s\n%s", how, &t.text)
}

func atMost(format string, wanted float64) string {
	if wanted < 0 {
		return ""
	}
	return "at most " + fmt.Sprintf(format, wanted)
}

func wall(m measured) float64     { return m.wall.Seconds() }
func memory(m measured) float64   { return m.memory }
func own(m measured) float64      { return m.own }
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
	r, peak := m.RunMeasured(b.Context(), program, "exec /usr/bin/time --format=%M --output=/dev/shm/memory "+command)
	must(b, r)
	all, err := f.cluster.Audit.Since(b.Context(), mark)
	if err != nil {
		b.Fatal(err)
	}
	cost := measured{wall: r.Took, own: float64(peak) / 1e6}
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
