package migrate

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/kubejoin/kubejoin/apis/load"
)

// twoInOne finds apiVersion or kind twice in a document that says somewhere that
// it is one of kubeadm's: the separator between two is missing.
func twoInOne(file string, c chunk, root *yaml.Node) *load.Problem {
	first := map[string]*yaml.Node{}
	var twice *load.Problem
	ours := false
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], resolve(root.Content[i+1])
		if key.Value != "apiVersion" && key.Value != "kind" {
			continue
		}
		ours = ours || key.Value == "apiVersion" && strings.HasPrefix(value.Value, Group+"/")
		if at := first[key.Value]; at == nil {
			first[key.Value] = key
		} else if twice == nil {
			twice = &load.Problem{
				Pos:     load.Position{File: file, Line: c.line + key.Line, Column: key.Column},
				Path:    key.Value,
				Message: "duplicate field",
				Hint:    fmt.Sprintf("it is first set at line %d; is a line --- missing between them?", c.line+at.Line),
			}
		}
	}
	if !ours {
		return nil
	}
	return twice
}

// maxBlank is how many lines may follow one another without a separator: fewer
// than package load takes for a document that is too long.
const maxBlank = 100_000

// unreadable says what package load cannot read in the kubeadm documents, and which
// of them are there twice. The others, which it would judge too, are blank lines
// to it, so that all positions stay.
func unreadable(name string, chunks []chunk, ours []bool) load.Problems {
	var text bytes.Buffer
	blank := 0
	for i, c := range chunks {
		if ours[i] {
			text.Write(c.text)
			blank = maxBlank
			continue
		}
		starts := lineStarts(c.text)
		for range len(starts) - 1 {
			if blank++; blank > maxBlank {
				text.WriteString("---")
				blank = 0
			}
			text.WriteByte('\n')
		}
	}
	_, err := load.Load(name, text.Bytes())
	var problems load.Problems
	errors.As(err, &problems)
	return problems
}
