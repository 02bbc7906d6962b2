package migrate

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
)

// BenchmarkMigrate has a file of 10 MB with a thousand documents.
func BenchmarkMigrate(b *testing.B) {
	one, err := os.ReadFile("testdata/worker/in.yaml")
	if err != nil {
		b.Fatal(err)
	}
	var args strings.Builder
	for i := range 150 {
		fmt.Fprintf(&args, "        label-%d: \"value of it %d\"   # a comment for it\n", i, i)
	}
	const at = "        max-pods: 110\n"
	one = bytes.Replace(one, []byte(at), []byte(at+args.String()), 1)
	data := bytes.Repeat(append(one, "---\n"...), 1100)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := lenient("in.yaml", data, Default); err != nil {
			b.Fatal(err)
		}
	}
}
