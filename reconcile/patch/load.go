package patch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"sigs.k8s.io/yaml"

	"github.com/kubejoin/kubejoin/fault"
)

// Limits of a patch directory: far above any sensible use, so that a wrong
// directory is noticed before it fills the memory.
const (
	maxFileSize = 1 << 20 // bytes
	maxFiles    = 256
)

// Set is the patches of a directory, parsed, in the order of application.
// A nil Set has no patches.
type Set struct {
	docs []document
}

// document is one patch.
type document struct {
	file   string // as shown to the user
	number int    // from 1; blank documents are not counted
	line   int    // where it, or its separator, is in the file, from 1
	target Target
	typ    Type
	json   []byte
}

func (d document) String() string {
	return fmt.Sprintf("document %d, %s patch of %s", d.number, d.typ, d.target)
}

// Load reads and parses every patch in the top directory of fsys; dir is that
// directory's name in messages. Files come in lexical order, documents in the
// order of the file. Hidden files are ignored, so that a directory that
// Kubernetes mounted from a ConfigMap ("..data" and symlinks into it) gives
// each patch once. Everything else that is no patch is an error of class
// fault.InvalidConfig that names the file, line and document.
func Load(fsys fs.FS, dir string) (*Set, error) {
	set, errs := loadAll(fsys, dir)
	if len(errs) > 0 {
		return nil, errs[0]
	}
	return set, nil
}

// Check gives what is wrong with each file of a directory; the errors are as
// those of Load.
func Check(fsys fs.FS, dir string) []error {
	_, errs := loadAll(fsys, dir)
	return errs
}

func loadAll(fsys fs.FS, dir string) (*Set, []error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, []error{fault.New(fault.InvalidConfig, "read patch directory: %w", cause(err)).At(dir)}
	}
	set := &Set{}
	var errs []error
	files := 0
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") {
			continue
		}
		if files++; files > maxFiles {
			return nil, []error{fault.New(fault.InvalidConfig, "more than %d files", maxFiles).At(dir).
				WithHint("is this the directory of patches?")}
		}
		docs, err := loadFile(fsys, name, path.Join(dir, name))
		if err != nil {
			errs = append(errs, err)
		}
		set.docs = append(set.docs, docs...)
	}
	return set, errs
}

// loadFile reads and parses one file; shown is its name in messages.
func loadFile(fsys fs.FS, name, shown string) ([]document, error) {
	info, err := fs.Stat(fsys, name) // follows links, where a directory entry would not
	switch {
	case err != nil:
		return nil, fault.New(fault.InvalidConfig, "read patch: %w", cause(err)).At(shown)
	case info.IsDir():
		return nil, fault.New(fault.InvalidConfig, "is a directory; patches are not looked for in sub-directories").At(shown).
			WithHint("move its files one level up, or hide it with a leading dot")
	case !info.Mode().IsRegular():
		return nil, fault.New(fault.InvalidConfig, "is not a regular file").At(shown)
	}
	target, typ, hint, err := parseName(name)
	if err != nil {
		return nil, fault.New(fault.InvalidConfig, "%w", err).At(shown).WithHint("%s", hint)
	}
	data, err := readFile(fsys, name)
	if err != nil {
		return nil, fault.New(fault.InvalidConfig, "read patch: %w", cause(err)).At(shown)
	}
	return parse(data, shown, target, typ)
}

// cause drops operation and path, which the address already gives.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

func readFile(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err == nil && len(data) > maxFileSize {
		err = fmt.Errorf("larger than %d KiB", maxFileSize>>10)
	}
	return data, err
}

// parse splits a file into documents and checks each as far as that is
// possible without the document it will be applied to.
func parse(data []byte, file string, target Target, typ Type) ([]document, error) {
	var docs []document
	for _, raw := range split(data) {
		d := document{file: file, number: len(docs) + 1, line: raw.line, target: target, typ: typ}
		// Blank lines in front make the parser count lines of the file.
		padded := slices.Concat(bytes.Repeat([]byte("\n"), raw.line-1), raw.text)
		j, err := yaml.YAMLToJSONStrict(padded)
		if err != nil {
			return nil, fault.New(fault.InvalidConfig, "%s: %w", d, err).At(position(file, err, raw.line))
		}
		if string(j) == "null" { // blank, or nothing but comments
			continue
		}
		d.json = j
		if err := check(d); err != nil {
			return nil, fault.New(fault.InvalidConfig, "%s: %w", d, err).At(fmt.Sprintf("%s:%d", file, raw.line))
		}
		docs = append(docs, d)
	}
	return docs, nil
}

// parserLine finds the line in the message of a YAML parser, which has no other form.
var parserLine = regexp.MustCompile(`\bline (\d+)`)

func position(file string, err error, start int) string {
	if m := parserLine.FindStringSubmatch(err.Error()); m != nil {
		return file + ":" + m[1]
	}
	return fmt.Sprintf("%s:%d", file, start)
}

type rawDocument struct {
	line int // of its first byte, from 1
	text []byte
}

// split cuts at YAML's document markers. In the block mappings and lists of a
// patch nothing else can start with "---" or "..." in the first column.
func split(data []byte) []rawDocument {
	docs := []rawDocument{{line: 1}}
	line := 0
	for l := range bytes.Lines(data) {
		line++
		if rest := l[min(3, len(l)):]; (bytes.HasPrefix(l, []byte("---")) || bytes.HasPrefix(l, []byte("..."))) &&
			(len(rest) == 0 || bytes.ContainsAny(rest[:1], " \t\r\n")) {
			// What follows on the marker's line belongs to the next document.
			docs = append(docs, rawDocument{line: line})
			l = append([]byte("   "), rest...)
		}
		d := &docs[len(docs)-1]
		d.text = append(d.text, l...)
	}
	return docs
}

// check refuses a document that can be no patch of its type, whatever it is
// applied to.
func check(d document) error {
	if d.typ != JSON {
		if d.json[0] != '{' {
			return fmt.Errorf("a %s patch is a mapping", d.typ)
		}
		return nil
	}
	if d.json[0] != '[' {
		return fmt.Errorf("a json patch is a list of operations")
	}
	_, err := jsonpatch.DecodePatch(d.json) // checks each operation, too
	return err
}
