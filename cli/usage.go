package cli

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/pmezard/go-difflib/difflib"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile/node"
)

// tokenShape matches a bootstrap token, also one with wrong case or a few
// letters too few.
var tokenShape = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`([0-9A-Za-z]{6})\.[0-9A-Za-z]{12,}`) })

// typedToken matches a word of the command line that is nothing but a bootstrap
// token.
var typedToken = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^([0-9A-Za-z]{6}\.)[0-9A-Za-z]{16}$`) })

// isTypedKey says whether a value is nothing but a certificate key, of one of the
// lengths that AES has. A hash of the cluster's CA begins with "sha256:".
func isTypedKey(word string) bool {
	_, err := hex.DecodeString(word)
	return err == nil && slices.Contains([]int{16, 24, 32}, len(word)/2)
}

// hiding takes the secrets of a command line out of a text. They may stand at any
// flag: who gives a token to --token-file means no file, and the error about it
// is no place for the token either.
func hiding(args []string) func(string) string {
	var pairs []string
	hide := func(word, shown string) {
		pairs = append(pairs, word, shown+"(sensitive)", strings.ToLower(word), strings.ToLower(shown)+"(sensitive)")
	}
	for _, arg := range args {
		arg = strings.TrimPrefix(arg, "-f")
		for word := range strings.FieldsFuncSeq(arg, func(r rune) bool { return strings.ContainsRune("=, /", r) }) {
			if len(word) != 6+1+16 {
				continue // most are not worth compiling the pattern for
			}
			if m := typedToken().FindStringSubmatch(word); m != nil {
				hide(word, m[1])
			}
		}
		// A key may be a part of no path: directories have such names.
		for word := range strings.FieldsFuncSeq(arg, func(r rune) bool { return strings.ContainsRune("=, ", r) }) {
			if isTypedKey(word) {
				hide(word, "")
			}
		}
	}
	return strings.NewReplacer(pairs...).Replace
}

// misused is the error of a command line that cannot be used. It may quote the
// command line: a token that stands in the wrong place there is not shown.
func misused(format string, args ...any) *fault.Error {
	return fault.New(fault.InvalidConfig, "%s", tokenShape().ReplaceAllString(fmt.Sprintf(format, args...), "$1.(sensitive)"))
}

// quoting is the error of another package that quotes the command line, without
// the token in it.
func quoting(err error) error {
	e := misused("%s", err)
	e.Class, e.Hint = fault.ClassOf(err), fault.HintOf(err)
	return e
}

// checkAllow refuses a name that no plan ever gives.
func checkAllow(names []string) error {
	for _, name := range names {
		if slices.Contains(node.AllowNames(), name) {
			continue
		}
		e := misused("--allow: there is no %q", name)
		if near := nearest(name, node.AllowNames()); near != "" {
			return e.WithHint("did you mean %q?", near)
		}
		return e.WithHint("use %s", strings.Join(node.AllowNames(), ", "))
	}
	return nil
}

// similar is the part of two words' letters that agree, from which on one is
// taken for the other.
const similar = 0.7

// nearest is the known word that a misspelt one was probably meant to be; empty
// if there is none.
func nearest(word string, known []string) string {
	best, bestRatio := "", similar
	for _, k := range known {
		m := difflib.NewMatcher(strings.Split(strings.ToLower(word), ""), strings.Split(k, ""))
		if r := m.Ratio(); r >= bestRatio {
			best, bestRatio = k, r
		}
	}
	return best
}
