package e2e

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/e2e/lab"
)

// What cases call.
const (
	plan  = "kubejoin plan -f /etc/join.yaml --detailed-exitcode"
	apply = "kubejoin apply -f /etc/join.yaml"
)

// Addresses of a worker's resources.
const (
	caFile       = "file:/etc/kubernetes/pki/ca.crt"
	instanceFile = "file:/var/lib/kubelet/instance-config.yaml"
	configFile   = "file:/var/lib/kubelet/config.yaml"
	flagsFile    = "file:/var/lib/kubelet/kubeadm-flags.env"
	bootstrap    = "file:/etc/kubernetes/bootstrap-kubelet.conf"
	service      = "service:kubelet"
	credential   = "credential:kubelet"
)

// said is what kubejoin says with -o json, as docs/output.md describes it.
type said struct {
	lab.Result

	Plan *struct {
		Subject struct {
			Node, Cluster, Server, ClusterCA, KubernetesVersion string
		}
		Changes            []change
		Findings           []finding
		Incomplete, Unseen bool
	}
	Outcome *struct {
		Changes        int
		ElapsedSeconds float64
		APIRequests    int
	}
	Failure *failure
}

type failure struct {
	Class, Address, Message, Hint string
	ExitCode                      int
	Problems                      []struct{ Message string }
	Errors                        []failure // if there are several
}

type change struct {
	Address, Action, Reason, Summary, Diff, Disruption, Allow string
	Fields                                                    []struct{ Path, Before, After string }
	Because                                                   []string
}

type finding struct {
	Severity, Name, Address, Seen, Wanted, Why, Hint string

	Waived bool
}

// run runs a command with -o json and fails the test if its exit code is another.
func run(t *testing.T, m *lab.Machine, user, command string, code int) said {
	t.Helper()
	s := parse(t, m.RunAs(t.Context(), user, command+" -o json"))
	if s.Code != code {
		t.Fatalf("%s: %s as %s: exit code %d, want %d\n%s", m.Name, hidden(command), user, s.Code, code, s)
	}
	return s
}

// secrets are the flags of a command that carry one.
var secrets = regexp.MustCompile(`--(token|certificate-key)[ =]\S+`)

// hidden is a command for the messages of failed tests.
func hidden(command string) string { return secrets.ReplaceAllString(command, "--$1 (hidden)") }

// parse reads what a command with -o json wrote.
func parse(t *testing.T, r lab.Result) said {
	t.Helper()
	s := said{Result: r}
	for line := range strings.Lines(r.Stdout) {
		var head struct{ FormatVersion, Type string }
		if err := json.Unmarshal([]byte(line), &head); err != nil {
			t.Fatalf("not JSON: %v\n%s%s", err, r.Stdout, r.Stderr)
		}
		if head.FormatVersion != "1.0" {
			t.Errorf("format version %q in %s", head.FormatVersion, line)
		}
		var err error
		switch head.Type {
		case "plan":
			err = json.Unmarshal([]byte(line), &struct{ Plan any }{&s.Plan})
		case "preflight": // a plan's subject and findings
			err = json.Unmarshal([]byte(line), &s.Plan)
		case "result":
			err = json.Unmarshal([]byte(line), &s.Outcome)
		case "error":
			err = json.Unmarshal([]byte(line), &struct{ Error any }{&s.Failure})
		case "change", "progress", "note":
		default:
			t.Errorf("unknown type in %s", line)
		}
		if err != nil {
			t.Fatalf("%v: %s", err, line)
		}
	}
	if s.Stderr != "" {
		t.Errorf("%s wrote to standard error: %s", hidden(r.Command), r.Stderr)
	}
	if s.Failure != nil && s.Failure.ExitCode != r.Code {
		t.Errorf("%s: exit code %d, but %d in the error", hidden(r.Command), r.Code, s.Failure.ExitCode)
	}
	return s
}

// steps are the plan's changes, one string "action address reason" each.
func (s said) steps() []string {
	var steps []string
	if s.Plan != nil {
		for _, c := range s.Plan.Changes {
			steps = append(steps, c.Action+" "+c.Address+" "+c.Reason)
		}
	}
	return steps
}

// change returns the planned change of an address; an empty one if there is none.
func (s said) change(address string) change {
	if s.Plan != nil {
		for _, c := range s.Plan.Changes {
			if c.Address == address {
				return c
			}
		}
	}
	return change{}
}

// about returns the error about an address; an empty one if there is none.
func (f failure) about(address string) failure {
	for _, e := range append(f.Errors, f) {
		if e.Address == address {
			return e
		}
	}
	return failure{}
}

// found tells whether the plan has a finding of this name about an address, or about anything if that is empty.
func (s said) found(name, address string) bool {
	if s.Plan != nil {
		for _, f := range s.Plan.Findings {
			if f.Name == name && (address == "" || f.Address == address) {
				return true
			}
		}
	}
	return false
}

// String is for the messages of failed tests.
func (s said) String() string {
	var b strings.Builder
	if s.Plan != nil {
		for _, c := range s.Plan.Changes {
			fmt.Fprintf(&b, "  %s %s (%s): %s %v %v\n%s", c.Action, c.Address, c.Reason, c.Summary, c.Fields, c.Because, c.Diff)
		}
		for _, f := range s.Plan.Findings {
			fmt.Fprintf(&b, "  %s: %s %s: %s (%s)\n", f.Severity, f.Name, f.Address, f.Seen, f.Hint)
		}
	}
	for line := range strings.Lines(s.Stdout) {
		if !strings.Contains(line, `"type":"plan"`) {
			b.WriteString("  " + line)
		}
	}
	return b.String() + s.Stderr
}

// wantSteps compares the plan's changes.
func wantSteps(t *testing.T, s said, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, s.steps()); diff != "" {
		t.Errorf("plan (-want +got):\n%s\n%s", diff, s)
	}
}

// pending plans, touching nothing, and compares the changes.
func (f *fixture) pending(t *testing.T, m *lab.Machine, want ...string) said {
	t.Helper()
	var s said
	f.unchanged(t, m, func() { s = run(t, m, "root", plan, 2) })
	wantSteps(t, s, want...)
	return s
}

// inSync plans, touching nothing, and finds nothing to do.
func (f *fixture) inSync(t *testing.T, m *lab.Machine) said {
	t.Helper()
	var s said
	f.unchanged(t, m, func() { s = run(t, m, "root", plan, 0) })
	return s
}

// repair applies; the next plan is empty. It tells whether the kubelet was started anew.
func (f *fixture) repair(t *testing.T, m *lab.Machine, flags ...string) (restarted bool) {
	t.Helper()
	before := unit(t, m)
	run(t, m, "root", strings.Join(append([]string{apply}, flags...), " "), 0)
	f.inSync(t, m)
	return unit(t, m).InvocationID != before.InvocationID
}

// refused applies, which fails and touches nothing.
func (f *fixture) refused(t *testing.T, m *lab.Machine, code int) said {
	t.Helper()
	var s said
	f.unchanged(t, m, func() { s = run(t, m, "root", apply, code) })
	if s.Failure == nil {
		t.Fatalf("no error was said:\n%s", s)
	}
	return s
}

func unit(t *testing.T, m *lab.Machine) lab.Unit {
	t.Helper()
	u, err := m.Unit(t.Context(), "kubelet")
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// joinConfig is a JoinConfiguration with this discovery, and more sections after it. Unless they say otherwise, what fails
// fails soon.
func joinConfig(discovery string, more ...string) string {
	rest := strings.Join(more, "")
	if !strings.Contains(rest, "timeouts:") {
		rest += "timeouts:\n  tlsBootstrap: 40s\n  kubeletHealthCheck: 40s\n"
	}
	return "apiVersion: kubeadm.k8s.io/v1beta4\nkind: JoinConfiguration\ndiscovery:\n" + indent(discovery) + rest
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("  " + line)
	}
	return b.String()
}

// byToken is discovery by a token and pins.
func byToken(endpoint, token string, pins ...string) string {
	return fmt.Sprintf("bootstrapToken:\n  apiServerEndpoint: \"%s\"\n  token: %s\n  caCertHashes: [%s]\n", endpoint, token, strings.Join(pins, ", "))
}

// configure writes a JoinConfiguration with a token of its own to /etc/join.yaml, which everybody may read, and
// returns its discovery.
func (f *fixture) configure(t *testing.T, m *lab.Machine, more ...string) string {
	t.Helper()
	discovery := byToken(f.cluster.Endpoint(), f.token(t), f.cluster.CAHash)
	put(t, m, "/etc/join.yaml", joinConfig(discovery, more...))
	return discovery
}

func (f *fixture) token(t *testing.T) string {
	t.Helper()
	token, err := f.cluster.Token(t.Context(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// joined returns a fresh machine that kubejoin joined, and its discovery.
func (f *fixture) joined(t *testing.T) (*lab.Machine, string) {
	t.Helper()
	m := f.worker(t)
	discovery := f.configure(t, m)
	run(t, m, "root", apply, 0)
	f.ready(t, m)
	return m, discovery
}

// ready waits until the machine's Node is Ready, and tells the canary the machine's secrets.
func (f *fixture) ready(t *testing.T, m *lab.Machine) {
	t.Helper()
	if err := f.cluster.WaitReady(t.Context(), m.Name); err != nil {
		t.Fatal(err)
	}
	if err := f.cluster.LearnSecrets(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

// put writes a file that everybody may read.
func put(t *testing.T, m *lab.Machine, name, content string) {
	t.Helper()
	if err := m.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// kubectl runs kubectl as the administrator.
func (f *fixture) kubectl(t *testing.T, format string, args ...any) string {
	t.Helper()
	out, err := f.cluster.Kubectl(t.Context(), fmt.Sprintf(format, args...))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// leftovers fails if a run left a temporary file or a bootstrap credential.
func leftovers(t *testing.T, m *lab.Machine) {
	t.Helper()
	r := must(t, m.Run(t.Context(), `find /etc /var/lib/kubelet -ignore_readdir_race -xdev \( -name '*.kubejoin-tmp' -o -name 'bootstrap-kubelet.conf*' \)`))
	if r.Stdout != "" {
		t.Errorf("left behind: %s", r.Stdout)
	}
}

// listens is a command that waits until somebody listens on a port.
func listens(port string) string {
	return "timeout 20 sh -c 'until ss -ltn | grep -q :" + port + "; do sleep 0.1; done'"
}
