package load

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/kubejoin/kubejoin/fault"
)

// Position is a place in a file. Line and Column count from 1; 0 means unknown.
// The zero Position is nowhere: the value did not come from a file.
type Position struct {
	File         string
	Line, Column int
}

// String is "file:line:column", or as much of it as is known.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Problem is one thing that is wrong with a file.
type Problem struct {
	Pos Position
	// Path is the field in JSON notation, "nodeRegistration.taints[0].effect";
	// empty if the problem concerns the file or a whole document.
	Path    string
	Message string
	// Hint says what to do; may be empty.
	Hint string
}

// String is one line: position, path, message, and the hint in parentheses.
func (p Problem) String() string {
	var parts []string
	for _, part := range []string{p.Pos.String(), p.Path, p.Message} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	line := strings.Join(parts, ": ")
	if p.Hint != "" {
		line += " (" + p.Hint + ")"
	}
	return line
}

// Problems is everything that is wrong with a file, in the order of the file.
type Problems []Problem

// maxLines is how many problems fit on one screen.
const maxLines = 20

// Error has one line for each problem, and at most 20 of them.
func (ps Problems) Error() string {
	var lines []string
	for _, p := range ps[:min(len(ps), maxLines)] {
		lines = append(lines, p.String())
	}
	if more := len(ps) - maxLines; more > 0 {
		lines = append(lines, fmt.Sprintf("… and %d more", more))
	}
	return strings.Join(lines, "\n")
}

// err sorts and classifies the problems; nil if there are none.
func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	ps.sort()
	return fault.New(fault.InvalidConfig, "%w", ps)
}

func (ps Problems) sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.Pos.Column, b.Pos.Column))
	})
}

// maxProblems bounds what is collected: a file with more of them is not a
// misspelt configuration.
const maxProblems = 1000

// add appends a problem. Text of the file that got into it is shortened, and
// stripped of anything that looks like a secret. In a path child has masked the
// tokens: the dots that join the fields are none of a token's.
func (ps *Problems) add(pos Position, path, message, hint string) {
	if len(*ps) < maxProblems {
		*ps = append(*ps, Problem{pos, maskKeys(cut(path, maxText)), clean(message), clean(hint)})
	}
}

// maxText is the length in bytes to which text of a problem is cut.
const maxText = 400

// clean cuts twice: a secret that the first cut leaves half of is behind the
// second.
func clean(s string) string {
	return cut(mask(s[:min(len(s), 2*maxText)]), maxText)
}

func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}

// masked stands for a secret.
const masked = "(sensitive)"

// keyPattern matches a certificate key. It is as long as a digest; only the latter
// has a prefix.
var keyPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(sha256:)?[0-9a-fA-F]{64,}`) })

func maskKeys(s string) string {
	return keyPattern().ReplaceAllStringFunc(s, func(match string) string {
		if strings.HasPrefix(match, "sha256:") {
			return match
		}
		return masked
	})
}

// mask hides certificate keys, and the secret half of bootstrap tokens: in the
// wrong place, as the name of a field for example, nothing else guards them.
func mask(s string) string {
	s = maskKeys(s)
	var out strings.Builder
	for {
		dot, end := findToken(s)
		if end == 0 {
			out.WriteString(s)
			return out.String()
		}
		out.WriteString(s[:dot+1] + masked)
		s = s[end:]
	}
}

// The lengths of the two halves of a bootstrap token.
const tokenIDLength, tokenSecretLength = 6, 16

// findToken gives the dot of the first token and the end of its secret, with all
// letters and digits that follow at once; the end is 0 if there is none. What is
// longer than a token, as in "node.kubernetesclusters", is one only if its second
// half mixes letters and digits as no word does.
func findToken(s string) (dot, end int) {
	for dot := tokenIDLength; dot+tokenSecretLength < len(s); dot++ {
		if s[dot] != '.' {
			continue
		}
		start, end := dot-tokenIDLength, dot+1+tokenSecretLength
		id, secret := s[start:dot], s[dot+1:end]
		if strings.ContainsFunc(id+secret, notOfToken) {
			continue
		}
		// Behind a backslash there is one letter of an escape.
		alone := start == 0 || !alphanumeric(s[start-1]) || start > 1 && s[start-2] == '\\'
		alone = alone && (end == len(s) || !alphanumeric(s[end]))
		if !alone && countDigits(secret) < 2 {
			continue
		}
		for end < len(s) && alphanumeric(s[end]) {
			end++
		}
		return dot, end
	}
	return 0, 0
}

func notOfToken(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

func countDigits(s string) int {
	return len(s) - len(strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return -1
		}
		return r
	}, s))
}
