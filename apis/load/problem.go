package load

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

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
// stripped of anything that looks like a secret.
func (ps *Problems) add(pos Position, path, message, hint string) {
	if len(*ps) < maxProblems {
		*ps = append(*ps, Problem{pos, clean(path), clean(message), clean(hint)})
	}
}

// secretPattern matches a bootstrap token that was put in the wrong place, as
// the name of a field for example. A certificate key is as long as a digest; only
// the latter has a prefix.
var secretPattern = regexp.MustCompile(`([a-z0-9]{6})\.[a-z0-9]{16}|(sha256:)?[0-9a-fA-F]{64,}`)

// maxText is the length in bytes to which text of a problem is cut.
const maxText = 400

func clean(s string) string {
	// Cut twice: a secret that the first cut leaves half of is behind the second.
	s = secretPattern.ReplaceAllStringFunc(s[:min(len(s), 2*maxText)], func(match string) string {
		switch {
		case strings.HasPrefix(match, "sha256:"):
			return match
		case strings.Contains(match, "."):
			return match[:6] + ".(sensitive)"
		}
		return "(sensitive)"
	})
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return s
}
