package lab

import (
	"os/exec"
	"testing"
)

func TestPeakOf(t *testing.T) {
	cmd := exec.Command("bash", "-c", "sleep 0.5; true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done, peak := make(chan struct{}), make(chan int64, 2)
	for _, program := range []string{"sleep", "absent"} {
		go func() { peak <- peakOf(cmd.Process.Pid, program, done) }()
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	close(done)
	a, b := <-peak, <-peak
	if most := max(a, b); min(a, b) != 0 || most < 100<<10 || most > 100<<20 {
		t.Errorf("%d and %d bytes", a, b)
	}
}
