package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pmezard/go-difflib/difflib"
	certutil "k8s.io/client-go/util/cert"
	strictjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
)

// Compare tells whether the content of a file means what is wanted, so that a
// node that kubeadm joined needs no change (behaviour catalogue, appendix B).
// Fields say what differs; a content that does not parse gives the one field
// "(file)". Notes are remarks on a content that is accepted as it is.
func Compare(f Format, have, want []byte) (equal bool, fields []reconcile.Field, notes []string) {
	compare := compareYAML
	switch f {
	case FormatKubeletConfig:
		compare = compareKubeletConfig
	case FormatKubeletFlags:
		compare = compareFlags
	case FormatCABundle:
		compare = compareCA
	}
	fields, notes, err := compare(have, want)
	if err != nil {
		return false, []reconcile.Field{{Path: "(file)", Before: "not parseable"}}, nil
	}
	return len(fields) == 0, fields, notes
}

// unparseable tells whether Compare could not read what is there.
func unparseable(fields []reconcile.Field) bool {
	return len(fields) == 1 && fields[0].Path == "(file)"
}

// Sensitive tells whether a content may hold a credential: a private key that
// somebody put beside a certificate, the headers with which the kubelet fetches
// static pods, and variables that somebody added to the flags' file, a proxy
// with a password for instance.
func Sensitive(f Format, content []byte) bool {
	if bytes.Contains(content, []byte("PRIVATE KEY-----")) {
		return true
	}
	switch f {
	case FormatKubeletConfig:
		return bytes.Contains(content, []byte(staticPodHeader))
	case FormatKubeletFlags:
		for line := range bytes.Lines(content) {
			line = bytes.TrimSpace(line)
			if len(line) > 0 && !bytes.HasPrefix(line, []byte(flagsVariable+"=")) {
				return true
			}
		}
		return bytes.Contains(content, []byte(staticPodHeaderFlag))
	}
	return false
}

const (
	staticPodHeader     = "staticPodURLHeader"
	staticPodHeaderFlag = "manifest-url-header"
)

// UnifiedDiff shows how a file's content changes, with three lines of context;
// empty if it does not. The caller keeps sensitive contents away from it.
func UnifiedDiff(path string, have, want []byte) string {
	out, err := difflib.GetUnifiedDiffString(difflib.UnifiedDiff{
		A: lines(have), FromFile: path + " (on this machine)",
		B: lines(want), ToFile: path + " (wanted)",
		Context: 3,
	})
	if err != nil { // only a writer can fail, and this one is in memory
		return ""
	}
	return out
}

func lines(content []byte) []string {
	var out []string
	for l := range strings.Lines(string(content)) {
		if !strings.HasSuffix(l, "\n") {
			l += "\n\\ No newline at end of file\n"
		}
		out = append(out, l)
	}
	return out
}

func compareYAML(have, want []byte) ([]reconcile.Field, []string, error) {
	h, err := decodeMapping(have)
	if err != nil {
		return nil, nil, err
	}
	w, err := decodeMapping(want)
	if err != nil {
		return nil, nil, err
	}
	return differences("", h, w), nil, nil
}

func compareKubeletConfig(have, want []byte) ([]reconcile.Field, []string, error) {
	h, err := normalKubeletConfig(have)
	if err != nil {
		return nil, nil, err
	}
	w, err := normalKubeletConfig(want)
	if err != nil {
		return nil, nil, err
	}
	if h["kind"] != w["kind"] {
		return nil, nil, errors.New("another kind of file") // a kubeconfig with its key, for instance
	}
	return differences("", h, w), nil, nil
}

func decodeMapping(doc []byte) (map[string]any, error) {
	j, err := yaml.YAMLToJSON(doc)
	if err != nil {
		return nil, err
	}
	var out map[string]any
	if err := strictjson.UnmarshalCaseSensitivePreserveInts(j, &out); err != nil {
		return nil, err
	}
	if len(out) == 0 {
		return nil, errors.New("empty")
	}
	return out, nil
}

// normalKubeletConfig brings a document into the form in which equal ones are
// equal: a full typed dump (a sparse file and a dump by another version have
// the same meaning), with the fields that the type does not know laid over it.
func normalKubeletConfig(doc []byte) (map[string]any, error) {
	sparse, err := decodeMapping(doc)
	if err != nil {
		return nil, err
	}
	j, err := yaml.YAMLToJSON(doc)
	if err != nil {
		return nil, err
	}
	typed := &kubeletConfiguration{}
	if err := strictjson.UnmarshalCaseSensitivePreserveInts(j, typed); err != nil {
		return nil, err
	}
	if j, err = json.Marshal(typed); err != nil {
		return nil, err
	}
	full, err := decodeMapping(j)
	if err != nil {
		return nil, err
	}
	keepUnknown(full, sparse)
	return full, nil
}

// keepUnknown adds to a typed dump what the dump has lost. A null, zero or
// empty scalar is as good as absent, an empty list or mapping is not: the
// kubelet's defaults apply to an absent evictionHard, but not to {}.
func keepUnknown(full, sparse map[string]any) {
	for key, value := range sparse {
		known, found := full[key]
		switch {
		case !found:
			if v := reflect.ValueOf(value); v.IsValid() && (v.Kind() == reflect.Map || v.Kind() == reflect.Slice || !v.IsZero()) {
				full[key] = value
			}
		default:
			keepUnknownIn(known, value)
		}
	}
}

func keepUnknownIn(full, sparse any) {
	switch f := full.(type) {
	case map[string]any:
		if s, ok := sparse.(map[string]any); ok {
			keepUnknown(f, s)
		}
	case []any:
		if s, ok := sparse.([]any); ok && len(s) == len(f) {
			for i := range f {
				keepUnknownIn(f[i], s[i])
			}
		}
	}
}

// differences lists the paths at which two mappings differ, sorted. Lists are
// compared as a whole.
func differences(prefix string, have, want map[string]any) []reconcile.Field {
	var out []reconcile.Field
	keys := slices.Collect(maps.Keys(have))
	for k := range want {
		if _, both := have[k]; !both {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		h, inHave := have[k]
		w, inWant := want[k]
		path := prefix + k
		if hm, ok := h.(map[string]any); ok && path != staticPodHeader {
			if wm, ok := w.(map[string]any); ok {
				out = append(out, differences(path+".", hm, wm)...)
				continue
			}
		}
		if inHave == inWant && reflect.DeepEqual(h, w) {
			continue
		}
		out = append(out, reconcile.Field{Path: path, Before: shown(path, h, inHave), After: shown(path, w, inWant)})
	}
	return out
}

func shown(path string, value any, present bool) string {
	switch {
	case !present:
		return ""
	case path == staticPodHeader:
		return reconcile.Mask([]byte(compact(value)))
	}
	if s, ok := value.(string); ok && s != "" {
		return s
	}
	return compact(value)
}

// compact is a value as JSON on one line.
func compact(v any) string {
	out, err := json.Marshal(v)
	if err != nil { // not for what was decoded from JSON
		return fmt.Sprint(v)
	}
	return string(out)
}

// legacyFlags were written by kubeadm up to 1.33 and 1.34; the kubelet's
// configuration has taken their place. Behaviour catalogue, appendix B items 6 and 13.
func legacyFlags() []string {
	return []string{"--container-runtime-endpoint", "--pod-infra-container-image"}
}

func compareFlags(have, want []byte) ([]reconcile.Field, []string, error) {
	h, others, err := parseFlags(have)
	if err != nil {
		return nil, nil, err
	}
	w, _, err := parseFlags(want)
	if err != nil {
		return nil, nil, err
	}
	wanted := byFlag(w)
	var notes []string
	h = slices.DeleteFunc(h, func(arg string) bool {
		name, _, _ := strings.Cut(arg, "=")
		if _, asked := wanted[name]; asked || !slices.Contains(legacyFlags(), name) {
			return false
		}
		notes = append(notes, arg+" is left from an older kubeadm; it can be removed")
		return true
	})

	var fields []reconcile.Field
	for _, name := range others {
		fields = append(fields, reconcile.Field{Path: name, Before: "(set)"})
	}
	found := byFlag(h)
	names := slices.Concat(slices.Collect(maps.Keys(found)), slices.Collect(maps.Keys(wanted)))
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		before, after := strings.Join(found[name], " "), strings.Join(wanted[name], " ")
		if before == after {
			continue
		}
		if name == "--"+staticPodHeaderFlag {
			before, after = maskFlag(before), maskFlag(after)
		}
		fields = append(fields, reconcile.Field{Path: name, Before: before, After: after})
	}
	if len(fields) == 0 && !slices.Equal(h, w) {
		fields = []reconcile.Field{{Path: "(order)", Before: flagNames(h), After: flagNames(w)}}
	}
	return fields, notes, nil
}

func maskFlag(args string) string {
	if args == "" {
		return ""
	}
	return reconcile.Mask([]byte(args))
}

// byFlag groups arguments by the part before "=".
func byFlag(args []string) map[string][]string {
	out := map[string][]string{}
	for _, a := range args {
		name, _, _ := strings.Cut(a, "=")
		out[name] = append(out[name], a)
	}
	return out
}

func flagNames(args []string) string {
	var names []string
	for _, a := range args {
		name, _, _ := strings.Cut(a, "=")
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

// parseFlags takes an environment file apart: the words of the kubelet's
// variable, and the names of other variables. As in systemd the last setting of
// a variable counts, and lines may be comments.
func parseFlags(content []byte) (args, others []string, err error) {
	found := false
	for l := range strings.Lines(string(content)) {
		l = strings.TrimSpace(l)
		if l == "" || l[0] == '#' || l[0] == ';' {
			continue
		}
		name, value, ok := strings.Cut(l, "=")
		if !ok {
			return nil, nil, errors.New("a line is no assignment")
		}
		if name != flagsVariable {
			others = append(others, name)
			continue
		}
		if value, err = unquote(value); err != nil {
			return nil, nil, err
		}
		args, found = strings.Fields(value), true
	}
	if !found {
		return nil, nil, errors.New(flagsVariable + " is not set")
	}
	return args, others, nil
}

func unquote(value string) (string, error) {
	switch {
	case strings.HasPrefix(value, `"`):
		return strconv.Unquote(value)
	case strings.HasPrefix(value, "'"): // only by hand: kubeadm uses double quotes
		if len(value) < 2 || !strings.HasSuffix(value, "'") {
			return "", strconv.ErrSyntax
		}
		return value[1 : len(value)-1], nil
	}
	return value, nil
}

func compareCA(have, want []byte) ([]reconcile.Field, []string, error) {
	h, w := caPins(have), caPins(want)
	if len(h) == 0 || len(w) == 0 {
		return nil, nil, errors.New("no certificates, or a broken one")
	}
	for _, pin := range w {
		if !slices.Contains(h, pin) {
			return []reconcile.Field{{Path: "certificates", Before: strings.Join(h, ", "), After: strings.Join(w, ", ")}}, nil, nil
		}
	}
	ends, wanted := caEnds(have), caEnds(want)
	for _, pin := range w {
		if ends[pin].Before(wanted[pin]) {
			return []reconcile.Field{{Path: fieldCAEnds, Before: pin + " " + day(ends[pin]), After: pin + " " + day(wanted[pin])}}, nil, nil
		}
	}
	var notes []string
	for _, pin := range h {
		if !slices.Contains(w, pin) {
			notes = append(notes, "holds a further CA, "+pin+", that the cluster does not publish (a rotation?)")
		}
	}
	return nil, notes, nil
}

// describeCA says in a line for each certificate what nobody reads off its PEM
// form.
func describeCA(bundle []byte) []byte {
	if len(bundle) == 0 {
		return nil
	}
	certs, err := certutil.ParseCertsPEM(bundle)
	if err != nil || caPins(bundle) == nil {
		return fmt.Appendf(nil, "(%d bytes that are no CA bundle, or a broken one)\n", len(bundle))
	}
	var out []byte
	for i, c := range certs {
		out = fmt.Appendf(out, "certificate of %s, %s, until %s\n", c.Subject, cluster.SPKIPins(bundle)[i], day(c.NotAfter))
	}
	return out
}

// fieldCAEnds is the field of a CA that the cluster has renewed with its old key:
// the file's certificate ends first, and with it what it vouches for.
const fieldCAEnds = "notAfter"

// caEnds are the public keys of a bundle with the end of the certificate that
// lasts longest.
func caEnds(bundle []byte) map[string]time.Time {
	certs, err := certutil.ParseCertsPEM(bundle)
	if err != nil {
		return nil
	}
	out := map[string]time.Time{}
	for i, pin := range cluster.SPKIPins(bundle) {
		if c := certs[i]; c.NotAfter.After(out[pin]) {
			out[pin] = c.NotAfter
		}
	}
	return out
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// ExpiredCA tells which keys of the CA that the cluster publishes have no
// certificate any more at a time.
func ExpiredCA(path string, bundle []byte, now time.Time) []reconcile.Finding {
	var out []reconcile.Finding
	ends := caEnds(bundle)
	for _, pin := range slices.Sorted(maps.Keys(ends)) {
		if now.After(ends[pin]) {
			out = append(out, reconcile.Finding{Severity: reconcile.SeverityWarning, Name: "CAExpired", Address: FileAddress(path),
				Seen: "the CA that the cluster publishes expired on " + day(ends[pin]) + ", " + pin,
				Hint: "renew the cluster's CA and publish it in cluster-info; if the date is wrong, compare this machine's clock"})
		}
	}
	return out
}

// caPins are the distinct public keys of a bundle, sorted; nil if there is none
// or a certificate is broken or cut off.
func caPins(bundle []byte) []string {
	pins := cluster.SPKIPins(bundle)
	if len(pins) != bytes.Count(bundle, []byte("-----BEGIN CERTIFICATE-----")) {
		return nil
	}
	slices.Sort(pins)
	return slices.Compact(pins)
}
