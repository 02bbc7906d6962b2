package migrate

import (
	"bytes"
	"errors"
	"io"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"

	"github.com/kubejoin/kubejoin/apis/load"
)

const (
	// maxDepth bounds nesting, as apis/load does.
	maxDepth = 100
	// maxMarks bounds the characters that can start a value in one document, and
	// so the memory that the parser needs: about half a KiB for each of them.
	maxMarks = 250_000
)

// lineStarts gives the offset of every line, by the line breaks that the YAML
// parser counts.
func lineStarts(text []byte) []int {
	starts := []int{0}
	for i := 0; i < len(text); {
		size := breakAt(text, i)
		if size == 0 {
			i++
			continue
		}
		i += size
		starts = append(starts, i)
	}
	return starts
}

// breakAt is the length of the line break at i; 0 if there is none.
func breakAt(text []byte, i int) int {
	switch text[i] {
	case '\n':
		return 1
	case '\r':
		if i+1 < len(text) && text[i+1] == '\n' {
			return 2
		}
		return 1
	case 0xC2: // next line
		if bytes.HasPrefix(text[i:], []byte("\u0085")) {
			return 2
		}
	case 0xE2: // line and paragraph separator
		if bytes.HasPrefix(text[i:], []byte("\u2028")) || bytes.HasPrefix(text[i:], []byte("\u2029")) {
			return 3
		}
	}
	return 0
}

// chunk is the text of at most one document, with the separator before it and the
// comments around it.
type chunk struct {
	text []byte
	line int // of the file, before the chunk's first one
}

// split cuts a stream into chunks; together they are the stream. A line that is
// a document marker is one wherever it stands: no scalar can hold it.
func split(text []byte) []chunk {
	var chunks []chunk
	starts := lineStarts(text)
	first := 0                  // line of the chunk
	open, ended := false, false // it has a document; that has ended
	cut := func(line int) {
		if line > first {
			chunks = append(chunks, chunk{text[starts[first]:starts[line]], first})
		}
		first, open, ended = line, false, false
	}
	for i, start := range starts {
		line := text[start:]
		if i+1 < len(starts) {
			line = text[start:starts[i+1]]
		}
		switch {
		case isMarker(line, "---"):
			if open || ended {
				cut(i)
			}
			open = true
		case ended:
			cut(i)
			open = isContent(line)
		case isMarker(line, "..."):
			ended = true
		case isContent(line):
			open = true
		}
	}
	if start := starts[first]; start < len(text) {
		chunks = append(chunks, chunk{text[start:], first})
	}
	return chunks
}

// isMarker tells whether a line is "---" or "...", perhaps with something behind.
func isMarker(line []byte, marker string) bool {
	rest, found := bytes.CutPrefix(line, []byte(marker))
	return found && (len(rest) == 0 || rest[0] == ' ' || rest[0] == '\t' || breakAt(rest, 0) > 0)
}

// isContent tells whether a line before a document belongs to it: comments and
// directives do not.
func isContent(line []byte) bool {
	text := bytes.TrimSpace(line)
	return len(text) > 0 && text[0] != '#' && line[0] != '%'
}

// parse reads the document of a chunk; nil if there is none.
func parse(file string, c chunk) (*yaml.Node, *load.Problem) {
	marks := 0
	for _, mark := range "\n,:-?[{" {
		marks += bytes.Count(c.text, []byte(string(mark)))
	}
	problem := func(message string) (*yaml.Node, *load.Problem) {
		return nil, &load.Problem{Pos: load.Position{File: file, Line: c.line + 1, Column: 1}, Message: message}
	}
	if marks > maxMarks {
		return problem("the document has too many lines and values to be a configuration")
	}
	loader, err := yaml.NewLoader(bytes.NewReader(c.text), yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth))))
	if err != nil {
		return problem(Redact(err.Error()))
	}
	var document, next yaml.Node
	err = loader.Load(&document)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err == nil {
		if err = loader.Load(&next); err == nil {
			return problem("a document starts where none was expected")
		}
	}
	if !errors.Is(err, io.EOF) {
		if form := load.Form(file, c.line, c.text); len(form) > 0 { // the words of config validate
			return nil, &form[len(form)-1]
		}
		return problem("not valid YAML: " + Redact(err.Error()))
	}
	return document.Content[0], nil
}

// source is a text with its lines.
type source struct {
	text  []byte
	lines []int
}

func newSource(text []byte) *source { return &source{text, lineStarts(text)} }

// offset of a line and a column, which counts characters; both from 1.
func (s *source) offset(line, column int) int {
	if line < 1 || line > len(s.lines) {
		return len(s.text)
	}
	at := s.lines[line-1]
	for ; column > 1 && at < len(s.text); column-- {
		_, size := utf8.DecodeRune(s.text[at:])
		at += size
	}
	return at
}

// line is the index of the line that holds an offset.
func (s *source) line(offset int) int {
	low, high := 0, len(s.lines)
	for high-low > 1 {
		if middle := (low + high) / 2; s.lines[middle] <= offset {
			low = middle
		} else {
			high = middle
		}
	}
	return low
}

// position is line and column of an offset, both from 1.
func (s *source) position(offset int) (line, column int) {
	i := s.line(offset)
	return i + 1, utf8.RuneCount(s.text[s.lines[i]:offset]) + 1
}

// lineStart is the offset of the start of the line that holds an offset.
func (s *source) lineStart(offset int) int { return s.lines[s.line(offset)] }

// nextLine is the offset of the line after the one that holds an offset.
func (s *source) nextLine(offset int) int {
	if i := s.line(offset) + 1; i < len(s.lines) {
		return s.lines[i]
	}
	return len(s.text)
}

// lineEnd is where the text of the line that holds an offset ends, before its
// break.
func (s *source) lineEnd(offset int) int {
	for offset < len(s.text) && breakAt(s.text, offset) == 0 {
		offset++
	}
	return offset
}

// before is the text between the start of the line and an offset.
func (s *source) before(offset int) string { return string(s.text[s.lineStart(offset):offset]) }

// after is the text between an offset and the end of its line.
func (s *source) after(offset int) string { return string(s.text[offset:s.lineEnd(offset)]) }
