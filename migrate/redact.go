package migrate

import (
	"bytes"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Redact hides what looks like a secret in a text: bootstrap tokens,
// certificate keys, long base64 and passwords in URLs. Digests stay.
func Redact(text string) string {
	secret := regexp.MustCompile(`\b([a-z0-9]{6})\.[a-z0-9]{16}\b|sha256:[0-9a-fA-F]{64}|://[^/\s@]*:[^/\s@]*@|[0-9a-fA-F]{64,}|[A-Za-z0-9+/]{80,}=*`)
	return secret.ReplaceAllStringFunc(text, func(match string) string {
		switch {
		case len(match) > 7 && match[:7] == "sha256:":
			return match
		case match[0] == ':':
			return "://(sensitive)@"
		case len(match) == 23 && match[6] == '.':
			return match[:6] + ".(sensitive)"
		}
		return "(sensitive)"
	})
}

// hidden stands for a secret, and unseen for a line of a document that may hold
// secrets in places that nobody here knows.
const hidden, unseen = "(sensitive)", "(not shown)"

// Shown is the part as it may be printed: with the same lines, without secrets, and
// without anything of a document that is none of kubeadm's. What hides a secret
// goes by its field: folded or mistyped, it is one as well.
func (p Part) Shown() (before, after []byte) {
	show := conceal
	if p.Ours {
		show = blank
	}
	before = show(p.Before)
	if bytes.Equal(p.Before, p.After) {
		return before, before
	}
	return before, show(p.After)
}

// conceal leaves nothing of a text but its separators and its number of lines.
func conceal(text []byte) []byte {
	var out bytes.Buffer
	for line := range bytes.Lines(text) {
		shown := ""
		switch text := bytes.TrimSpace(line); {
		case len(text) == 0:
		case isMarker(line, "---"), isMarker(line, "..."):
			shown = string(text[:3])
		case bytes.Equal(text, []byte("# ---")): // a separator that a migration removed
			shown = string(text)
		default:
			shown = unseen
		}
		out.WriteString(shown)
		if bytes.HasSuffix(line, []byte("\n")) {
			out.WriteByte('\n')
		}
	}
	return out.Bytes()
}

// blank hides the secrets of kubeadm documents. What cannot be read is concealed.
func blank(text []byte) []byte {
	var out bytes.Buffer
	for _, c := range split(text) {
		root, problem := parse("", c)
		if problem != nil {
			out.Write(conceal(c.text))
			continue
		}
		if root == nil {
			out.Write(c.text)
			continue
		}
		src := newSource(c.text)
		where, err := spans(src, root)
		if err != nil {
			out.Write(conceal(c.text))
			continue
		}
		at := 0
		for _, e := range secrets(src, root, where) {
			if e.start >= at {
				out.Write(src.text[at:e.start])
				out.WriteString(e.text)
				at = e.end
			}
		}
		out.Write(src.text[at:])
	}
	return out.Bytes()
}

// secrets gives the edits that hide the values of all fields whose names are those
// of a secret, in the order of the text: at any depth, because merge keys may take
// them from anywhere, and at their anchors if they are aliases.
func secrets(src *source, root *yaml.Node, where map[*yaml.Node]span) []edit {
	var edits []edit
	seen := map[*yaml.Node]bool{}
	var hide func(n *yaml.Node, text func(n *yaml.Node, raw string) string)
	hide = func(n *yaml.Node, text func(n *yaml.Node, raw string) string) {
		n = resolve(n)
		if seen[n] {
			return
		}
		seen[n] = true
		if s := where[n]; n.Kind == yaml.ScalarNode && n.Value != "" {
			edits = append(edits, edit{s.body, s.end, text(n, string(src.text[s.body:s.end]))})
		}
		for _, child := range n.Content {
			hide(child, text)
		}
	}
	var visit func(n *yaml.Node, names []string, text func(n *yaml.Node, raw string) string)
	visit = func(n *yaml.Node, names []string, text func(n *yaml.Node, raw string) string) {
		for i, child := range n.Content {
			if n.Kind == yaml.MappingNode && i%2 == 1 && slices.Contains(names, n.Content[i-1].Value) {
				hide(child, text)
			}
			visit(child, names, text)
		}
	}
	visit(root, []string{"token", "tlsBootstrapToken", "certificateKey"}, blankToken)
	visit(root, []string{"kubeConfigPath"}, blankURL)
	slices.SortFunc(edits, func(a, b edit) int { return a.start - b.start })
	return edits
}

// blankToken leaves the ID of what is a token, which Redact cuts down to that, and
// nothing of anything else.
func blankToken(n *yaml.Node, raw string) string {
	if shown := Redact(n.Value); len(n.Value) > 7 && shown == n.Value[:7]+hidden && oneLine(n, raw) {
		return shown
	}
	return blankLines(raw)
}

// blankURL leaves the host of an URL, and a file.
func blankURL(n *yaml.Node, raw string) string {
	u, err := url.Parse(n.Value)
	switch {
	case err == nil && u.Scheme == "" && u.Host == "" && u.RawQuery == "":
		return raw
	case err != nil || u.Host == "" || !oneLine(n, raw):
		return blankLines(raw)
	}
	return u.Scheme + "://" + u.Host + "/" + hidden
}

func oneLine(n *yaml.Node, raw string) bool {
	return strings.Contains(raw, n.Value) && !strings.ContainsAny(raw, "\r\n")
}

// blankLines hides a value on all of its lines.
func blankLines(raw string) string {
	return regexp.MustCompile(`[^\s](.*[^\s])?`).ReplaceAllLiteralString(raw, hidden)
}
