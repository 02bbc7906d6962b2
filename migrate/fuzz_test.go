package migrate

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"go.yaml.in/yaml/v4"
)

// FuzzMigrate: whatever the input, there is an error of the right class, or an
// output that parses as far as the input did, that a second run leaves alone, that
// has all comments, and in which the other documents are what they were.
func FuzzMigrate(f *testing.F) {
	inputs, err := filepath.Glob("testdata/*/in.*")
	if err != nil {
		f.Fatal(err)
	}
	for _, input := range inputs {
		data, err := os.ReadFile(input)
		if err != nil {
			f.Fatal(err)
		}
		for to := range Versions() {
			f.Add(data, uint8(to))
		}
		f.Add(bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n")), uint8(3))
	}
	f.Fuzz(func(t *testing.T, data []byte, version uint8) {
		to := Versions()[int(version)%len(Versions())]
		if _, err := Migrate("in.yaml", data, to); err != nil {
			checkError(t, err)
		}
		result, err := lenient("in.yaml", data, to)
		if err != nil {
			checkError(t, err)
			return
		}
		if len(result.Changes)+len(result.Losses) == 0 && !bytes.Equal(data, result.Data) {
			t.Fatal("changes that are not reported")
		}
		checkTwice(t, result.Data, to)
		checkComments(t, data, result.Data)
		rest := result.Data
		for _, text := range others(data) {
			at := bytes.Index(rest, text)
			if at < 0 {
				t.Fatalf("this document is not what it was:\n%s", text)
			}
			rest = rest[at+len(text):]
		}
	})
}

// others are the documents that no migration touches, without what is around
// them: the separator of a removed document before them goes.
func others(data []byte) [][]byte {
	var list [][]byte
	for _, c := range split(bytes.TrimPrefix(data, []byte("\ufeff"))) {
		if bytes.Contains(c.text, []byte(Group)) {
			continue
		}
		var n yaml.Node
		if yaml.Load(c.text, &n) != nil || n.Kind == 0 || isNull(n.Content[0]) {
			continue // there is nothing in it
		}
		list = append(list, bytes.TrimRight(bytes.TrimPrefix(c.text, []byte("---")), "\r\n"))
	}
	return list
}
