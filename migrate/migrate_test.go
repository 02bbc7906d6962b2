package migrate

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/apis/load"
	"github.com/kubejoin/kubejoin/fault"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// report is what a case's report.txt holds.
func report(r *Result, err error) string {
	if err != nil {
		return err.Error() + "\n"
	}
	var out strings.Builder
	for _, c := range r.Changes {
		fmt.Fprintln(&out, c)
	}
	for _, l := range r.Losses {
		fmt.Fprintln(&out, "lost:", l)
	}
	return out.String()
}

func checkError(t *testing.T, err error) {
	t.Helper()
	var problems load.Problems
	if fault.ClassOf(err) != fault.InvalidConfig || !errors.As(err, &problems) || len(problems) == 0 {
		t.Errorf("not a classified list of problems: %v", err)
	}
}

// checkTwice: migrating again changes nothing.
func checkTwice(t *testing.T, data []byte, to string) {
	t.Helper()
	again, err := lenient("in.yaml", data, to)
	if err != nil {
		t.Errorf("the second time: %v", err)
		return
	}
	if !bytes.Equal(again.Data, data) || len(again.Changes)+len(again.Losses) > 0 {
		t.Errorf("the second time changes %v\n%s", again.Changes, cmp.Diff(string(data), string(again.Data)))
	}
}

// TestGolden runs testdata/<case>: in.yaml, out.yaml unless it is an error, and
// report.txt. The target is v1beta4, or what "-to-" in the case's name says.
func TestGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*/in.*")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	target := regexp.MustCompile(`-to-(v1(beta\d)?)`)
	for _, input := range inputs {
		dir := filepath.Dir(input)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			data, err := os.ReadFile(input)
			if err != nil {
				t.Fatal(err)
			}
			to := Default
			if m := target.FindStringSubmatch(dir); m != nil {
				to = m[1]
			}
			result, err := lenient(filepath.Base(input), data, to)
			golden(t, filepath.Join(dir, "report.txt"), []byte(report(result, err)))
			out := filepath.Join(dir, "out"+filepath.Ext(input))
			if err != nil {
				checkError(t, err)
				if _, err := os.Stat(out); err == nil {
					t.Errorf("%s is there, but there was an error", out)
				}
				return
			}
			golden(t, out, result.Data)
			checkTwice(t, result.Data, to)
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

const v3 = "apiVersion: kubeadm.k8s.io/v1beta3\nkind: "
const v4 = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: "

// TestBytes has the inputs that a text editor would spoil.
func TestBytes(t *testing.T) {
	const in = v3 + "JoinConfiguration\nnodeRegistration:\n  kubeletExtraArgs:\n    v: '5'\ndiscovery:\n  timeout: 3m\n  file: {kubeConfigPath: /x}\n"
	const out = v4 + "JoinConfiguration\nnodeRegistration:\n  kubeletExtraArgs:\n    - name: v\n      value: '5'\ndiscovery:\n  file: {kubeConfigPath: /x}\ntimeouts:\n  discovery: 3m\n"
	crlf := func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
	for _, tt := range []struct{ name, in, out string }{
		{"empty", "", ""},
		{"blank", " \n\n", " \n\n"},
		{"only a comment", "# x", "# x"},
		{"only separators", "---\n---\n", "---\n---\n"},
		{"CRLF", crlf(in), crlf(out)},
		{"byte order mark", "\ufeff" + in, "\ufeff" + out},
		{"no final newline", strings.TrimSuffix(in, "\n"), strings.TrimSuffix(out, "\n")},
		{"no final newline behind the moved field", strings.TrimSuffix(v3+"JoinConfiguration\ndiscovery:\n  tlsBootstrapToken: ''\n  timeout: 3m\n", "\n"),
			strings.TrimSuffix(v4+"JoinConfiguration\ndiscovery:\n  tlsBootstrapToken: ''\ntimeouts:\n  discovery: 3m\n", "\n")},
		{"end of document", in + "...\n# and a comment\n", out + "...\n# and a comment\n"},
		{"end of document, and another one without a separator", in + "...\na: b\n", out + "...\na: b\n"},
		{"separators", "---\n--- # x\n---\n" + in + "---\n---\n", "---\n--- # x\n---\n" + out + "---\n---\n"},
		{"directive", "# x\n%YAML 1.1\n---\n" + in, "# x\n%YAML 1.1\n---\n" + out},
		{"other documents with mistakes", in + "---\n\ta: [\n---\n- \xc3\xbc", out + "---\n\ta: [\n---\n- \xc3\xbc"},
		{"timeout used behind its new place", v3 + "JoinConfiguration\ndiscovery:\n  timeout: &d 3m0s\n  file: {}\nnodeRegistration: {kubeletExtraArgs: {x: *d}}\n",
			v4 + "JoinConfiguration\ndiscovery:\n  file: {}\ntimeouts:\n  discovery: &d 3m0s\nnodeRegistration: {kubeletExtraArgs: [{name: x, value: *d}]}\n"},
		{"tabs and blanks", v3 + "JoinConfiguration\t# a\tb \t\ndiscovery:\t# c\n  timeout:\t3m\t# d \n",
			v4 + "JoinConfiguration\t# a\tb \t\ndiscovery: {}\t# c\ntimeouts:\n  discovery: 3m\t# d\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			result, err := lenient("in.yaml", []byte(tt.in), Default)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.out, string(result.Data)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			checkTwice(t, result.Data, Default)
		})
	}
}

// TestRefused has what is never guessed.
func TestRefused(t *testing.T) {
	const join = v3 + "JoinConfiguration\n"
	const cluster = v3 + "ClusterConfiguration\n"
	for _, tt := range []struct{ name, in, want string }{
		{"not UTF-8", "a: \xff", "in.yaml:1:4: not a text file: "},
		{"UTF-16", "\xff\xfea\x00:\x00", "in.yaml: the file is UTF-16 text (save it as UTF-8)"},
		{"control character", join + "x: y\n\x00a: b\n", "in.yaml:4:1: not a text file: control characters are not allowed"},
		{"tab", "a: b\n---\n" + join + "nodeRegistration:\n\tname: x\n", "in.yaml:6:1: not valid YAML: a tab cannot be used for indentation (use spaces)"},
		{"open bracket", "a: b\n---\n" + join + "x: [\ny: 1\n", "(it starts at line 5, column 4)"},
		{"syntax", join + "a: b: c\n", "in.yaml:3:5: not valid YAML: mapping values"},
		{"syntax in a later document", "---\na: b\n---\n" + join + "a: 'x\n", "in.yaml:7:1: not valid YAML: while scanning a quoted scalar"},
		{"too deep", join + "a: " + strings.Repeat("[", 1000), "not valid YAML: "},
		{"alpha", "apiVersion: kubeadm.k8s.io/v1alpha3\nkind: JoinConfiguration\n", "in.yaml:1:13: apiVersion: unknown version kubeadm.k8s.io/v1alpha3 (kubeadm of"},
		{"future", "---\napiVersion: kubeadm.k8s.io/v2\nkind: JoinConfiguration\n", "in.yaml:2:13: apiVersion: unknown version kubeadm.k8s.io/v2 (known: v1beta1, "},
		{"no version", "apiVersion: kubeadm.k8s.io\nkind: JoinConfiguration\n", "in.yaml:1:13: apiVersion: unknown version"},
		{"no kind", "apiVersion: kubeadm.k8s.io/v1beta3\n", "in.yaml:1:1: the document has no kind"},
		{"unknown kind", v3 + "Join\n", "in.yaml:2:7: kind: there is no such kind in kubeadm.k8s.io"},
		{"kind of a newer version", v3 + "ResetConfiguration\n", "in.yaml:2:7: kind: v1beta3 has no ResetConfiguration"},
		{"merge key for what has no copy", cluster + "apiServer: {extraArgs: &a {v: 'a\n  b'}}\nscheduler:\n  extraArgs:\n    <<: *a\n    x: y\n",
			`in.yaml:7:5: scheduler.extraArgs: cannot be migrated: it merges the argument "v", the value of which is not on one line`},
		{"merge key for an anchor", cluster + "scheduler:\n  extraArgs: {<<: &a {v: '1'}, x: y}\napiServer: {extraArgs: {<<: *a}}\n",
			"in.yaml:4:15: scheduler.extraArgs: cannot be migrated: an alias elsewhere refers to what is merged"},
		{"merge key for a word", cluster + "scheduler: {extraArgs: {<<: a, x: y}}\n", "in.yaml:3:25: scheduler.extraArgs: cannot be migrated: the merge key does not stand for a mapping"},
		{"two merge keys", cluster + "scheduler: {extraArgs: {<<: {}, <<: {}}}\n", "in.yaml:3:33: scheduler.extraArgs: cannot be migrated: there is a second merge key"},
		{"anchor of a name", cluster + "scheduler:\n  extraArgs:\n    &k v: '1'\nx: *k\n", `in.yaml:5:5: scheduler.extraArgs: cannot be migrated: the name of the argument "v" has the anchor &k`},
		{"arguments from elsewhere", cluster + "x: &a {v: '1'}\nscheduler:\n  extraArgs: *a\n", "in.yaml:5:14: scheduler.extraArgs: cannot be migrated: it comes from an alias"},
		{"arguments used elsewhere", cluster + "scheduler:\n  extraArgs: &a {v: '1'}\nx: *a\n", "in.yaml:4:3: scheduler.extraArgs: cannot be migrated: an alias uses it elsewhere"},
		{"section used elsewhere", cluster + "scheduler: &a\n  extraArgs: {v: '1'}\nx: {<<: *a}\n", "in.yaml:4:3: scheduler.extraArgs: cannot be migrated: an alias uses it elsewhere"},
		{"timeout from elsewhere", join + "x: &a {timeout: 3m}\ndiscovery: *a\n", "in.yaml:4:12: discovery.timeout: cannot be migrated: it comes from an alias"},
		{"name of the timeout used elsewhere", join + "discovery: {&a timeout: 3m}\nx: *a\n", "in.yaml:3:13: discovery.timeout: cannot be migrated: an alias uses it elsewhere too"},
		{"timeout used before its new place", join + "discovery: {timeout: &a 3m, x: *a}\n", "in.yaml:3:32: discovery.timeout: cannot be migrated: the alias *a would be before what it refers to, which goes to timeouts.discovery"},
		{"timeout over several lines", join + "discovery:\n  timeout: >-\n    3m\n", "discovery.timeout: cannot be migrated: its value is not on one line"},
		{"timeouts before their time", join + "discovery: {timeout: 3m}\ntimeouts: {}\n", "discovery.timeout: cannot be migrated: there is a field timeouts"},
		{"the place is taken", v4 + "JoinConfiguration\ndiscovery: {timeout: 1m}\ntimeouts: {discovery: 3m}\n", "in.yaml:3:22: discovery.timeout: cannot be migrated: a field has to go here, and there is one already"},
		{"tagged arguments", cluster + "scheduler:\n  extraArgs: !!map\n    v: '1'\n", "cannot be migrated: it has a tag"},
		{"complex key", cluster + "scheduler:\n  extraArgs:\n    ? v\n    : '1'\n", "in.yaml:5:7: scheduler.extraArgs: cannot be migrated: the argument \"v\" is not written as"},
		{"mapping as a key", cluster + "scheduler:\n  extraArgs:\n    ? {a: b}\n    : '1'\n", "the name of an argument is not a word"},
		{"alias for the version", "x: &v kubeadm.k8s.io/v1beta3\napiVersion: *v\nkind: JoinConfiguration\n", "apiVersion: cannot be migrated"},
		{"version in parts", "apiVersion: \"kubeadm.k8s.io\\\n  /v1beta3\"\nkind: JoinConfiguration\n", "in.yaml:1:13: apiVersion: cannot be migrated: its value is not written out here"},
		{"alias for a field of another document", v3 + "InitConfiguration\n---\n" + cluster + "x: &a 3m\napiServer: {timeoutForControlPlane: *a}\n", "cannot go to another document"},
		{"JSON that would be gone", `{"apiVersion": "kubeadm.k8s.io/v1beta2", "kind": "ClusterStatus"}`, "v1beta4 has no ClusterStatus, and nothing else is in the file"},
		{"removed beside a mistake", "a: 'x\n---\napiVersion: kubeadm.k8s.io/v1beta2\nkind: ClusterStatus\n", "in.yaml:1:1: cannot be migrated: the document beside this one"},
		{"removed beside text", "--- |\ntext\n---\napiVersion: kubeadm.k8s.io/v1beta2\nkind: ClusterStatus\n", "in.yaml:1:1: cannot be migrated: the document beside this one"},
		{"removed document with an end", "a: b\n---\napiVersion: kubeadm.k8s.io/v1beta2\nkind: ClusterStatus\n...\n", "in.yaml:3:1: cannot be migrated: the document has to go, and its separators are not plain"},
		{"alias inside of itself", join + "discovery: &a {<<: *a, timeout: 3m}\n", "cannot be migrated"},
		{"one field again and again", v4 + "JoinConfiguration\n" + strings.Repeat("timeouts: {}\n", 5_000), "in.yaml:4:1: timeouts: cannot be migrated: the field is repeated too often"},
		{"alias bomb", join + "x: [" + bomb() + "]\n", "cannot be migrated: its aliases expand to too much"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			start := time.Now()
			to := Default
			if strings.HasPrefix(tt.in, v4) {
				to = "v1beta3"
			}
			_, err := lenient("in.yaml", []byte(tt.in), to)
			if err == nil {
				t.Fatal("no error")
			}
			checkError(t, err)
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
			if time.Since(start) > 8*time.Second {
				t.Errorf("took %v", time.Since(start))
			}
		})
	}
}

// TestMany: what grows with the input takes linear time.
func TestMany(t *testing.T) {
	for _, tt := range []struct{ name, head, item, to string }{
		{"arguments", v3 + "JoinConfiguration\nnodeRegistration:\n  kubeletExtraArgs:\n", "    a%d: b\n", "v1beta4"},
		{"merge methods", strings.Replace(v4, "v1beta4", "v1", 1) + "JoinConfiguration\nnodeRegistration:\n  kubeletExtraArgs:\n", "  - {name: a%d, value: b, mergeMethod: ''}\n", "v1beta3"},
		{"documents", "", "---\n" + v3 + "ClusterConfiguration\nx: %d\n", "v1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := strings.Builder{}
			in.WriteString(tt.head)
			for i := range 2_000 {
				fmt.Fprintf(&in, tt.item, i)
			}
			start := time.Now()
			if _, err := lenient("in.yaml", []byte(in.String()), tt.to); err != nil {
				t.Error(err)
			}
			if spent := time.Since(start); spent > 8*time.Second {
				t.Errorf("took %v", spent)
			}
		})
	}
}

// bomb is exponential for who follows merge keys.
func bomb() string {
	text := "&a {x: 1}"
	for c := 'b'; c <= 'z'; c++ {
		text += fmt.Sprintf(", &%c {<<: [*%c, *%c, *%c]}", c, c-1, c-1, c-1)
	}
	return text + "]\nnodeRegistration: {<<: *z}\ny: [1"
}

func TestVersion(t *testing.T) {
	for name, want := range map[string]string{"v1beta4": "v1beta4", "kubeadm.k8s.io/v1": "v1", "": "", "v1beta5": "", "v1alpha3": "", "foo/v1": ""} {
		got, err := Version(name)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
	if _, err := Migrate("x", nil, "v2"); fault.ClassOf(err) != fault.InvalidConfig {
		t.Errorf("%v", err)
	}
}

func TestNoSecretInReports(t *testing.T) {
	const secret, key = "q7w8e9r0t1y2u3i4", "e6a2eb8581237ab72a4f494f30285ec12a9694d750b9785706a83bfcbbbd2204"
	for _, tt := range []struct{ in, to string }{
		{v3 + "JoinConfiguration\ncontrolPlane: {certificateKey: " + key + "}\n", "v1beta1"},
		{v3 + "JoinConfiguration\nx: *abcdef." + secret + "\n", "v1beta4"},
		{v4 + "JoinConfiguration\ntimeouts: {abcdef." + secret + ": 5m}\n", "v1beta3"},
		{v4 + "JoinConfiguration\nnodeRegistration: {kubeletExtraArgs: [{name: abcdef." + secret + "}, {name: abcdef." + secret + "}]}\n", "v1beta3"},
		{v3 + "ClusterConfiguration\nuseHyperKubeImage: abcdef." + secret + "\n", "v1beta4"},
		{strings.Replace(v3, "beta3", "beta2", 1) + "ClusterConfiguration\nuseHyperKubeImage: abcdef." + secret + "\n", "v1beta4"},
		{"apiVersion: kubeadm.k8s.io/abcdef." + secret + "\nkind: JoinConfiguration\n", "v1beta4"},
	} {
		result, err := lenient("in.yaml", []byte(tt.in), tt.to)
		if text := report(result, err); strings.Contains(text, secret) || strings.Contains(text, key[:20]) {
			t.Errorf("%s\ngives %s", tt.in, text)
		}
	}
	for in, want := range map[string]string{
		"token: abcdef." + secret:            "token: abcdef.(sensitive)",
		"certificateKey: " + key:             "certificateKey: (sensitive)",
		"- sha256:" + key:                    "- sha256:" + key,
		"https://user:pass@example/x":        "https://(sensitive)@example/x",
		"data: " + strings.Repeat("LS0", 30): "data: (sensitive)",
	} {
		if got := Redact(in); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}

// TestShown: what hides a secret goes by its field, whatever it looks like, and the
// lines stay.
func TestShown(t *testing.T) {
	const join = v3 + "JoinConfiguration\n"
	for name, tt := range map[string]struct{ in, want string }{
		"token": {"discovery: {bootstrapToken: {token: 'abcdef.q7w8e9r0t1y2u3i4', x: y}}\n",
			"discovery: {bootstrapToken: {token: abcdef.(sensitive), x: y}}\n"},
		"mistyped token":  {"discovery:\n  tlsBootstrapToken: \"abcdef.Q7W8E9\" # c\n", "discovery:\n  tlsBootstrapToken: (sensitive) # c\n"},
		"folded token":    {"token: \"abcdef.\\\n  q7w8e9r0t1y2u3i4\"\nx: y\n", "token: (sensitive)\n  (sensitive)\nx: y\n"},
		"block token":     {"token: >-\n  abcdef.q7w8e9r0t1y2u3i4\nx: y\n", "token: (sensitive)\n  (sensitive)\nx: y\n"},
		"CRLF":            {"token: |\r\n  q7w8\r\n  e9\r\nx: y\r\n", "token: (sensitive)\r\n  (sensitive)\r\n  (sensitive)\r\nx: y\r\n"},
		"tokens of init":  {"bootstrapTokens: [{token: q7w8}, {groups: [], token: e9}]\n", "bootstrapTokens: [{token: (sensitive)}, {groups: [], token: (sensitive)}]\n"},
		"certificate key": {"controlPlane:\n  certificateKey: &k 0q7w8\n", "controlPlane:\n  certificateKey: &k (sensitive)\n"},
		"alias":           {"x: &t q7w8\ntoken: *t\n", "x: &t (sensitive)\ntoken: *t\n"},
		"merge key":       {"x: &t {token: q7w8}\nbootstrapToken: {<<: *t}\n", "x: &t {token: (sensitive)}\nbootstrapToken: {<<: *t}\n"},
		"wrong type":      {"token: [q7w8, {a: e9}]\n", "token: [(sensitive), {(sensitive): (sensitive)}]\n"},
		"nothing there":   {"token:\ncertificateKey: ''\n", "token:\ncertificateKey: ''\n"},
		"URL":             {"kubeConfigPath: \"https://q7w8:e9@h:1/q7w8?tok=e9#q7w8\"\n", "kubeConfigPath: https://h:1/(sensitive)\n"},
		"no URL":          {"kubeConfigPath: 'http:q7w8@e9'\n", "kubeConfigPath: (sensitive)\n"},
		"file":            {"kubeConfigPath: \"/etc/x.conf\"\n", "kubeConfigPath: \"/etc/x.conf\"\n"},
		"new document":    {"---\n" + v4 + "InitConfiguration\ncertificateKey: q7w8\n", "---\n" + v4 + "InitConfiguration\ncertificateKey: (sensitive)\n"},
	} {
		t.Run(name, func(t *testing.T) {
			before, after := Part{Before: []byte(join), After: []byte(join + tt.in), Ours: true}.Shown()
			if diff := cmp.Diff(join, string(before)) + cmp.Diff(join+tt.want, string(after)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	secret := "--- # q7w8\n\n# q7w8\nstringData: {password: e9}\n...\n"
	before, after := Part{Before: []byte(secret), After: []byte("# " + secret[:3] + secret[10:])}.Shown()
	if diff := cmp.Diff("---\n\n(not shown)\n(not shown)\n...\n", string(before)) +
		cmp.Diff("# ---\n\n(not shown)\n(not shown)\n...\n", string(after)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestLeft: documents that nobody can read stay as they are, which is said.
func TestLeft(t *testing.T) {
	const broken = "foo: bar\n---\n- list\n--- # x\nscalar\n---\nnull\n---\n# only this\n---\na: [b\n---\nkind: JoinConfiguration # kubeadm.k8s.io\n---\n"
	result, err := Migrate("in.yaml", []byte(broken+v3+"JoinConfiguration\n"), Default)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(broken+v4+"JoinConfiguration\n", string(result.Data)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want := []string{
		"in.yaml:1:1: left as it is: the document has no apiVersion and no kind (a",
		"in.yaml:3:1: left as it is: expected a document with apiVersion and kind, got list",
		"in.yaml:5:1: left as it is: expected a document with apiVersion and kind, got string",
		"in.yaml:12:1: left as it is: not valid YAML: while parsing a flow sequence: did not find expected ',' or ']' (it starts at line 11, column 4)",
		"in.yaml:13:1: left as it is: the document has no apiVersion (a",
	}
	if len(result.Left) != len(want) {
		t.Fatalf("got %v", result.Left)
	}
	for i, p := range result.Left {
		if !strings.HasPrefix(p.String(), want[i]) {
			t.Errorf("got  %s\nwant %s", p, want[i])
		}
	}
	result, err = Migrate("in.yaml", []byte(strings.Repeat("--- x\n", 25)), Default)
	if err != nil {
		t.Fatal(err)
	}
	if last := result.Left[len(result.Left)-1].String(); len(result.Left) != maxLeft+1 || last != "in.yaml: left as they are: 5 more documents" {
		t.Errorf("%d, the last is %s", len(result.Left), last)
	}
}
