package cli

import (
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func eachCommand(c *cobra.Command, visit func(*cobra.Command)) {
	visit(c)
	for _, sub := range c.Commands() {
		eachCommand(sub, visit)
	}
}

// Whoever reads a command's page finds out what it does, and examples of it.
func TestEveryCommandIsExplained(t *testing.T) {
	eachCommand(Command(), func(c *cobra.Command) {
		if c.Hidden {
			return
		}
		switch path := c.CommandPath(); {
		case c.Short == "" || strings.HasSuffix(c.Short, "."):
			t.Errorf("%s: short description %q", path, c.Short)
		case !c.HasSubCommands() && c.Example == "":
			t.Errorf("%s: no example", path)
		case !c.HasSubCommands() && !strings.Contains(c.Example, path):
			t.Errorf("%s: the examples are not its own", path)
		}
		c.LocalFlags().VisitAll(func(flag *pflag.Flag) {
			if flag.Usage == "" {
				t.Errorf("%s --%s: not explained", c.CommandPath(), flag.Name)
			}
		})
	})
}

// called finds the calls in an example's line: behind a pipe, in a substitution.
var called = regexp.MustCompile(`kubejoin( [^|<>)#]*)?`)

// The examples are what the program takes: the flags are there, and the arguments
// as many as they can be.
func TestExamplesAreTaken(t *testing.T) {
	seen := 0
	eachCommand(Command(), func(c *cobra.Command) {
		for line := range strings.Lines(c.Example) {
			line, _, _ = strings.Cut(strings.TrimSpace(line), " #")
			call := called.FindString(line)
			if call == "" {
				t.Errorf("%s: no call in %q", c.CommandPath(), line)
				continue
			}
			seen++
			root := Command() // flags keep what was given
			at, args, err := root.Find(strings.Fields(call)[1:])
			if err == nil {
				err = at.ParseFlags(args)
			}
			if err == nil && at.Args != nil {
				err = at.Args(at, at.Flags().Args())
			}
			if err != nil || at == root {
				t.Errorf("%s: %q: %v", c.CommandPath(), call, err)
			}
		}
	})
	if seen < 30 {
		t.Errorf("only %d examples", seen)
	}
}
