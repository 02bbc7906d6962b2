package node

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/reconcile"
)

// brokenFile is all that is said of a file that does not parse.
func brokenFile() []reconcile.Field {
	return []reconcile.Field{{Path: "(file)", Before: "not parseable"}}
}

func TestCompare(t *testing.T) {
	const head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"
	const flags = flagsVariable + "="
	type field = reconcile.Field
	tests := map[string]struct {
		format     Format
		have, want string
		fields     []field
		notes      []string
	}{
		"kubelet config: order, quoting and comments": {FormatKubeletConfig,
			"# mine\nkind: 'KubeletConfiguration'\nmaxPods: 5\napiVersion: kubelet.config.k8s.io/v1beta1\n", head + "maxPods: 5\n", nil, nil},
		"kubelet config: sparse and dumped": {FormatKubeletConfig,
			head, head + "syncFrequency: 0s\nmemorySwap: {}\nlogging: {flushFrequency: 0}\nmaxPods: 0\nresolvConf: null\n", nil, nil},
		"kubelet config: durations and quantities": {FormatKubeletConfig,
			head + "syncFrequency: 60s\n", head + "syncFrequency: 1m0s\n", nil, nil},
		"kubelet config: unknown null": {FormatKubeletConfig, head + "future: null\n", head, nil, nil},
		"kubelet config: values": {FormatKubeletConfig,
			head + "maxPods: 5\nclusterDNS: [1.1.1.1]\nresolvConf: ''\n", head + "maxPods: 6\nclusterDNS: [1.1.1.1, 2.2.2.2]\nlogging: {verbosity: 2}\n",
			[]field{
				{Path: "clusterDNS", Before: `["1.1.1.1"]`, After: `["1.1.1.1","2.2.2.2"]`},
				{Path: "logging.verbosity", Before: "0", After: "2"},
				{Path: "maxPods", Before: "5", After: "6"},
				{Path: "resolvConf", Before: `""`},
			}, nil},
		"kubelet config: the order of a list": {FormatKubeletConfig,
			head + "clusterDNS: [1.1.1.1, 2.2.2.2]\n", head + "clusterDNS: [2.2.2.2, 1.1.1.1]\n",
			[]field{{Path: "clusterDNS", Before: `["1.1.1.1","2.2.2.2"]`, After: `["2.2.2.2","1.1.1.1"]`}}, nil},
		"kubelet config: fields of unknown meaning": {FormatKubeletConfig,
			head + "future: {a: 1, c: x}\nMaxPods: 5\n", head + "future: {a: 2, c: x}\n",
			[]field{{Path: "MaxPods", Before: "5"}, {Path: "future.a", Before: "1", After: "2"}}, nil},
		"kubelet config: unknown field in a known list": {FormatKubeletConfig,
			head + "registerWithTaints: [{key: a, effect: NoSchedule}]\n", head + "registerWithTaints: [{key: a, effect: NoSchedule, x: 1}]\n",
			[]field{{Path: "registerWithTaints", Before: `[{"effect":"NoSchedule","key":"a"}]`, After: `[{"effect":"NoSchedule","key":"a","x":1}]`}}, nil},
		"kubelet config: defaults apply to an absent list, not to an empty one": {FormatKubeletConfig,
			head, head + "enforceNodeAllocatable: []\nevictionHard: {}\n",
			[]field{{Path: "enforceNodeAllocatable", After: "[]"}, {Path: "evictionHard", After: "{}"}}, nil},
		"kubelet config: another version": {FormatKubeletConfig, strings.Replace(head, "v1beta1", "v1", 1), head,
			[]field{{Path: "apiVersion", Before: "kubelet.config.k8s.io/v1", After: "kubelet.config.k8s.io/v1beta1"}}, nil},
		"kubelet config: header of the static pod URL": {FormatKubeletConfig,
			head + "staticPodURLHeader: {Authorization: [hunter2]}\n", head,
			[]field{{Path: "staticPodURLHeader", Before: reconcile.Mask([]byte(`{"Authorization":["hunter2"]}`))}}, nil},
		"kubelet config: empty":      {FormatKubeletConfig, "", head, brokenFile(), nil},
		"kubelet config: comments":   {FormatKubeletConfig, "# nothing\n", head, brokenFile(), nil},
		"kubelet config: no mapping": {FormatKubeletConfig, "- a\n", head, brokenFile(), nil},
		"kubelet config: cut off":    {FormatKubeletConfig, head + "authentication: {ano", head, brokenFile(), nil},
		"kubelet config: wrong type": {FormatKubeletConfig, head + "maxPods: many\n", head, brokenFile(), nil},
		"kubelet config: zeros":      {FormatKubeletConfig, "\x00\x00\x00", head, brokenFile(), nil},

		"instance config: other quoting": {FormatInstanceConfig, "containerRuntimeEndpoint: unix:///a", "containerRuntimeEndpoint: \"unix:///a\"\n", nil, nil},
		"instance config: another value": {FormatInstanceConfig, "containerRuntimeEndpoint: unix:///a", "containerRuntimeEndpoint: unix:///b",
			[]field{{Path: "containerRuntimeEndpoint", Before: "unix:///a", After: "unix:///b"}}, nil},
		"instance config: a field more": {FormatInstanceConfig, "a: 1\nb: {c: 2}", "a: 1", []field{{Path: "b", Before: `{"c":2}`}}, nil},
		"instance config: empty":        {FormatInstanceConfig, "", "a: 1", brokenFile(), nil},

		"flags: white space, comments, quotes by hand": {FormatKubeletFlags,
			"# mine\n\n" + flags + "'--a=1   --b=2'", flags + `"--a=1 --b=2"` + "\n", nil, nil},
		"flags: no quotes, last one counts": {FormatKubeletFlags, flags + "--b=2\n" + flags + "--a=1\n", flags + `"--a=1"`, nil, nil},
		"flags: none":                       {FormatKubeletFlags, flags + `""`, flags + `""` + "\n", nil, nil},
		"flags: escaped quotes":             {FormatKubeletFlags, flags + `"--a=\"x y\""`, flags + `"--a=\"x y\""`, nil, nil},
		"flags: values": {FormatKubeletFlags, flags + `"--a=1 --b=2 --d"`, flags + `"--a=1 --b=3 --c=4"`,
			[]field{{Path: "--b", Before: "--b=2", After: "--b=3"}, {Path: "--c", After: "--c=4"}, {Path: "--d", Before: "--d"}}, nil},
		"flags: repeated one": {FormatKubeletFlags, flags + `"--l=1 --l=2"`, flags + `"--l=2 --l=1"`,
			[]field{{Path: "--l", Before: "--l=1 --l=2", After: "--l=2 --l=1"}}, nil},
		"flags: order": {FormatKubeletFlags, flags + `"--a=1 --b=2"`, flags + `"--b=2 --a=1"`,
			[]field{{Path: "(order)", Before: "--a --b", After: "--b --a"}}, nil},
		"flags: legacy ones": {FormatKubeletFlags, flags + `"--container-runtime-endpoint=unix:///a --hostname-override=w --pod-infra-container-image=p:1"`, flags + `"--hostname-override=w"`,
			nil, []string{
				"--container-runtime-endpoint=unix:///a is left from an older kubeadm; it can be removed",
				"--pod-infra-container-image=p:1 is left from an older kubeadm; it can be removed",
			}},
		"flags: a legacy one that is asked for": {FormatKubeletFlags, flags + `"--pod-infra-container-image=p:1"`, flags + `"--pod-infra-container-image=p:2"`,
			[]field{{Path: "--pod-infra-container-image", Before: "--pod-infra-container-image=p:1", After: "--pod-infra-container-image=p:2"}}, nil},
		"flags: another variable": {FormatKubeletFlags, flags + `""` + "\nKUBELET_EXTRA_ARGS=--token=hunter2\n", flags + `""`,
			[]field{{Path: "KUBELET_EXTRA_ARGS", Before: "(set)"}}, nil},
		"flags: header of the static pod URL": {FormatKubeletFlags, flags + `"--manifest-url-header=A:hunter2"`, flags + `""`,
			[]field{{Path: "--manifest-url-header", Before: reconcile.Mask([]byte("--manifest-url-header=A:hunter2"))}}, nil},
		"flags: empty":         {FormatKubeletFlags, "", flags + `""`, brokenFile(), nil},
		"flags: cut off":       {FormatKubeletFlags, flags + `"--a=1 --b`, flags + `"--a=1"`, brokenFile(), nil},
		"flags: cut off early": {FormatKubeletFlags, "KUBELET_KUBE", flags + `"--a=1"`, brokenFile(), nil},
		"flags: half a quote":  {FormatKubeletFlags, flags + "'", flags + `"--a=1"`, brokenFile(), nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			equal, fields, notes := Compare(tt.format, []byte(tt.have), []byte(tt.want))
			if diff := cmp.Diff(tt.fields, fields) + cmp.Diff(tt.notes, notes); diff != "" || equal != (tt.fields == nil) {
				t.Errorf("equal: %v\n%s", equal, diff)
			}
		})
	}
}

// certificate is a new self-signed CA in PEM.
func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return certificateOf(t, key, 1)
}

func certificateOf(t *testing.T, key *ecdsa.PrivateKey, serial int64) string {
	t.Helper()
	return certificateUntil(t, key, serial, time.Now().Add(time.Hour))
}

func certificateUntil(t *testing.T, key *ecdsa.PrivateKey, serial int64, end time.Time) string {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "ca"}, NotAfter: end, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestCompareCABundles(t *testing.T) {
	a, b := certificate(t), certificate(t)
	key := mustKey(t)
	end := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	other, one := certificateUntil(t, key, 2, end), certificateUntil(t, key, 1, end)
	old, ended := certificateUntil(t, key, 3, end.AddDate(-1, 0, 0)), certificateUntil(t, key, 4, end.AddDate(-20, 0, 0))
	ends := func(have, want string) []reconcile.Field {
		pin := caPins([]byte(one))[0]
		return []reconcile.Field{{Path: "notAfter", Before: pin + " " + have, After: pin + " " + want}}
	}
	pins := func(bundle string) string { return strings.Join(caPins([]byte(bundle)), ", ") }
	differs := func(have, want string) []reconcile.Field {
		return []reconcile.Field{{Path: "certificates", Before: pins(have), After: pins(want)}}
	}
	tests := map[string]struct {
		have, want string
		fields     []reconcile.Field
		notes      int
	}{
		"same":               {a, a, nil, 0},
		"comments, order":    {"# CA\n" + b + "\n\n" + a + "\n", a + b, nil, 0},
		"one twice":          {a + a, a, nil, 0},
		"other, same key":    {one, other, nil, 0},
		"renewed, same key":  {old, one, ends("2029-01-01", "2030-01-01"), 0},
		"expired":            {a + ended, a + one, ends("2010-01-01", "2030-01-01"), 0},
		"both of the key":    {old + one, one, nil, 0},
		"lasts longer":       {one, old, nil, 0},
		"both published":     {one, old + one, nil, 0},
		"one more":           {a + b, a, nil, 1},
		"one missing":        {a, a + b, differs(a, a+b), 0},
		"another":            {a, b, differs(a, b), 0},
		"empty":              {"", a, brokenFile(), 0},
		"no PEM":             {"hello", a, brokenFile(), 0},
		"cut off":            {a[:len(a)-40], a, brokenFile(), 0},
		"second one cut off": {a + b[:len(b)/2], a, brokenFile(), 0},
		"no certificate":     {"-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n", a, brokenFile(), 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			equal, fields, notes := Compare(FormatCABundle, []byte(tt.have), []byte(tt.want))
			if diff := cmp.Diff(tt.fields, fields); diff != "" || equal != (tt.fields == nil) || len(notes) != tt.notes {
				t.Errorf("equal: %v, notes: %v\n%s", equal, notes, diff)
			}
		})
	}
}

func TestExpiredCA(t *testing.T) {
	key := mustKey(t)
	end := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	old, renewed := certificateUntil(t, key, 1, end), certificateUntil(t, key, 2, end.AddDate(10, 0, 0))
	for name, tt := range map[string]struct {
		bundle   string
		now      time.Time
		findings int
	}{
		"valid":           {old, end, 0},
		"expired":         {old, end.Add(time.Second), 1},
		"renewed":         {old + renewed, end.Add(time.Second), 0},
		"one of two":      {certificateUntil(t, mustKey(t), 1, end.AddDate(1, 0, 0)) + old, end.Add(time.Second), 1},
		"does not parse":  {"x", end, 0},
		"is not known":    {"", end, 0},
		"the renewed too": {old + renewed, end.AddDate(11, 0, 0), 1},
	} {
		t.Run(name, func(t *testing.T) {
			got := ExpiredCA("/ca.crt", []byte(tt.bundle), tt.now)
			if len(got) != tt.findings || len(got) > 0 && (got[0].Severity != reconcile.SeverityWarning || got[0].Address != "file:/ca.crt") {
				t.Errorf("%+v", got)
			}
		})
	}
}

func mustKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestUnifiedDiff(t *testing.T) {
	tests := map[string]struct{ have, want, diff string }{
		"equal": {"a\nb\n", "a\nb\n", ""},
		"a line": {"a\nb\nc\n", "a\nB\nc\n",
			"--- /f (on this machine)\n+++ /f (wanted)\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n"},
		"new file": {"", "a\n", "--- /f (on this machine)\n+++ /f (wanted)\n@@ -0,0 +1 @@\n+a\n"},
		"no newline at the end": {"a", "a\n",
			"--- /f (on this machine)\n+++ /f (wanted)\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.diff, UnifiedDiff("/f", []byte(tt.have), []byte(tt.want))); diff != "" {
				t.Error(diff)
			}
		})
	}
}
