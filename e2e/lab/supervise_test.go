package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// envEnd makes this test binary a program that boots a machine and then ends in some way.
const envEnd = "KUBEJOIN_LAB_TEST_END"

func TestMain(m *testing.M) {
	os.Exit(Main(func() int {
		if how := os.Getenv(envEnd); how != "" {
			return bootAndEnd(how)
		}
		return m.Run()
	}))
}

func bootAndEnd(how string) int {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	base, err := Prepare(ctx, DefaultVersion)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 98
	}
	l, err := New(ctx, base)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 98
	}
	m, err := l.Boot(ctx, "w1", Worker)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 98
	}
	// Something that would outlive the program if nobody ended it.
	if _, err := m.Start(ctx, "root", "setsid sleep 4711"); err != nil {
		return 98
	}
	fmt.Println(l.run)
	switch how {
	case "return":
		return 7
	case "panic":
		panic("as a case that fails badly")
	case "exit":
		os.Exit(8)
	case "interrupt":
		_ = syscall.Kill(os.Getppid(), syscall.SIGINT)
	case "kill supervisor":
		_ = syscall.Kill(os.Getppid(), syscall.SIGKILL)
	}
	select {}
}

// However a run ends, nothing of it stays.
func TestMainSweeps(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	start := func(t *testing.T, how string) (run string, code int) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), self, "-test.run=^$")
		for _, e := range os.Environ() {
			if !strings.HasPrefix(e, envRun+"=") { // it is not part of this run
				cmd.Env = append(cmd.Env, e)
			}
		}
		cmd.Env = append(cmd.Env, envEnd+"="+how)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, _ := cmd.Output()
		run, _, _ = strings.Cut(string(out), "\n")
		if filepath.Dir(run) != runsDir() {
			t.Fatalf("%s: no run: %s%s", how, out, stderr.String())
		}
		return run, cmd.ProcessState.ExitCode()
	}
	tests := []struct {
		how  string
		code int
	}{{"return", 7}, {"exit", 8}, {"panic", 2}, {"interrupt", 1}}
	for _, tt := range tests {
		t.Run(tt.how, func(t *testing.T) {
			run, code := start(t, tt.how)
			if err := remains(run); err != nil {
				t.Error(err)
			}
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
		})
	}
	t.Run("kill supervisor", func(t *testing.T) {
		killed, _ := start(t, "kill supervisor")
		if remains(killed) == nil {
			t.Error("a machine ended with its supervisor, so the case shows nothing")
		}
		run, _ := start(t, "return") // the next run sweeps it
		for _, r := range []string{killed, run} {
			if err := remains(r); err != nil {
				t.Error(err)
			}
		}
	})
}
