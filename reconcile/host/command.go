package host

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/kubejoin/kubejoin/fault"
)

// Run runs a program of the live machine, without a shell, and returns what it
// wrote to its standard output. The arguments must hold no secret: they show in
// ps and in the error, as does the last line of the standard error. The error
// wraps *exec.ExitError, exec.ErrNotFound or the context's error.
//
// Below a root directory it refuses, because the program would act on the
// machine that kubejoin runs on.
func (h *Host) Run(ctx context.Context, name string, args ...string) ([]byte, error) {
	if !h.live {
		return nil, fault.New(fault.Internal, "%s is not run: %s is not the live machine", name, h.dir)
	}
	return run(ctx, name, args...)
}

func run(ctx context.Context, name string, args ...string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C") // words are compared
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second // a grandchild may hold the pipes open
	err := cmd.Run()
	if err == nil {
		return stdout.Bytes(), nil
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	what := strings.Join(append([]string{name}, args...), " ")
	if line := lastLine(stderr.String()); line != "" {
		return stdout.Bytes(), fmt.Errorf("%s: %w: %s", what, err, line)
	}
	return stdout.Bytes(), fmt.Errorf("%s: %w", what, err)
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return strings.TrimSpace(s[strings.LastIndexByte(s, '\n')+1:])
}
