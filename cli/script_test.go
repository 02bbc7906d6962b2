package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
)

// secrets are the halves of tokens that no output of any script may hold.
var secrets = []string{"0123456789abcdef", "fedcba9876543210"}

// canary ends the program with a code of its own when a secret goes by.
type canary struct {
	io.Writer
	seen []byte
}

const canaryDied = 99

func (c *canary) Write(p []byte) (int, error) {
	c.seen = append(c.seen, p...)
	for _, s := range secrets {
		if bytes.Contains(c.seen, []byte(s)) {
			fmt.Fprintf(os.Stderr, "a secret was printed: %s\n", c.seen)
			os.Exit(canaryDied)
		}
	}
	return c.Writer.Write(p)
}

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"kubejoin": func() {
			os.Exit(Main(os.Args[1:], Streams{In: os.Stdin, Out: &canary{Writer: os.Stdout}, Err: &canary{Writer: os.Stderr}}))
		},
		"leak": func() { _, _ = (&canary{Writer: io.Discard}).Write([]byte("token abcdef." + secrets[0])) },
	})
}

// The command line, run as its users run it. Everything is below --rootfs or
// reads only: a script never changes the machine it runs on.
func TestScripts(t *testing.T) {
	example, err := filepath.Abs("../testdata/example")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("EXAMPLE", example)
			e.Setenv("NO_PROXY", "*")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":     exits,
			"json":      jsonHas,
			"copyroot":  copyRoot,
			"mode":      mode,
			"remember":  remember,
			"unchanged": unchanged,
			"megabytes": megabytes,
			"edit":      edit,
		},
	})
}

// exits CODE PROGRAM ARGS... runs a program that ends with this code. A failure
// has to fit on one screen, and a text one leaves standard output empty.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var failed *exec.ExitError
	switch {
	case errors.As(err, &failed):
		got = failed.ExitCode()
	case err != nil:
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
	if got < 3 || got == canaryDied {
		return
	}
	stdout, stderr := ts.ReadFile("stdout"), ts.ReadFile("stderr")
	if lines := strings.Count(stdout+stderr, "\n"); lines > 24 {
		ts.Fatalf("the error has %d lines", lines)
	}
	if strings.Contains(stdout, `{"error":`) {
		return
	}
	if stdout != "" || !strings.HasPrefix(stderr, "error: ") && !strings.Contains(stderr, "\nerror: ") {
		ts.Fatalf("the error is not on standard error, or standard output is not empty")
	}
}

// json PATH VALUE finds a value in one of the lines of standard output; "len" is
// the length of a list.
func jsonHas(ts *testscript.TestScript, neg bool, args []string) {
	var seen []string
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		var v any
		ts.Check(json.Unmarshal([]byte(line), &v))
		for step := range strings.SplitSeq(args[0], ".") {
			switch x := v.(type) {
			case map[string]any:
				v = x[step]
			case []any:
				if step == "len" {
					v = len(x)
				} else if i, err := strconv.Atoi(step); err == nil && i < len(x) {
					v = x[i]
				} else {
					v = nil
				}
			default:
				v = nil
			}
		}
		if v != nil {
			seen = append(seen, fmt.Sprint(v))
		}
	}
	for _, s := range seen {
		if s == args[1] {
			if neg {
				ts.Fatalf("%s is %s", args[0], s)
			}
			return
		}
	}
	if !neg {
		ts.Fatalf("%s is not %s but %q", args[0], args[1], seen)
	}
}

// copyroot DIR copies the example's root directory.
func copyRoot(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.CopyFS(ts.MkAbs(args[0]), os.DirFS(filepath.Join(ts.Getenv("EXAMPLE"), "root"))))
}

// mode OCTAL FILE... checks permissions.
func mode(ts *testscript.TestScript, _ bool, args []string) {
	for _, path := range args[1:] {
		info, err := os.Lstat(ts.MkAbs(path))
		ts.Check(err)
		if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
			ts.Fatalf("%s has mode %s", path, got)
		}
	}
}

// snapshot is all that can be seen of a directory's files: also a file that was
// written again with the same content has another time and inode.
func snapshot(ts *testscript.TestScript, dir string) string {
	var b strings.Builder
	dir = ts.MkAbs(dir)
	ts.Check(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path) // both are absolute
		if info.IsDir() {                 // a lock file comes and goes in one
			fmt.Fprintf(&b, "%s %s\n", rel, info.Mode())
			return nil
		}
		data, err := os.ReadFile(path)
		if info.Mode()&fs.ModeSymlink != 0 {
			var target string
			target, err = os.Readlink(path)
			data = []byte(target)
		}
		fmt.Fprintf(&b, "%s %s %s %q\n", rel, info.Mode(), info.ModTime(), data)
		return err
	}))
	return b.String()
}

// remember DIR, and then unchanged DIR.
func remember(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.WriteFile(ts.MkAbs(args[0])+".snapshot", []byte(snapshot(ts, args[0])), 0o600))
}

func unchanged(ts *testscript.TestScript, neg bool, args []string) {
	before, err := os.ReadFile(ts.MkAbs(args[0]) + ".snapshot")
	ts.Check(err)
	if diff := cmp.Diff(string(before), snapshot(ts, args[0])); (diff != "") != neg {
		ts.Fatalf("%s changed: %s", args[0], diff)
	}
}

// megabytes N FILE writes that much YAML.
func megabytes(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	line := []byte(strings.Repeat("a", 63) + "\n")
	f, err := os.Create(ts.MkAbs(args[1]))
	ts.Check(err)
	block := append([]byte("x: |\n"), bytes.Repeat(append([]byte("  "), line...), (1<<20)/66)...)
	for range n {
		_, err = f.Write(block)
		ts.Check(err)
	}
	ts.Check(f.Close())
}

// edit FILE OLD NEW writes the example's configuration with a text replaced.
func edit(ts *testscript.TestScript, _ bool, args []string) {
	data := ts.ReadFile(filepath.Join(ts.Getenv("EXAMPLE"), "join.yaml"))
	unescape := strings.NewReplacer(`\n`, "\n")
	old := unescape.Replace(args[1])
	if strings.Count(data, old) != 1 {
		ts.Fatalf("%q is not there once", old)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Replace(data, old, unescape.Replace(args[2]), 1)), 0o600))
}
