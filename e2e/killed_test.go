package e2e

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"
)

// Kill it anywhere, run it again, and it converges.
func TestKilled(t *testing.T) {
	t.Parallel()
	f := use(t)
	whole := f.worker(t)
	f.configure(t, whole)
	took := run(t, whole, "root", apply, 0).Took
	f.ready(t, whole)

	seed := rand.Uint64()
	t.Logf("seed %d, an apply takes %s", seed, took)
	random := rand.New(rand.NewPCG(seed, 0))
	const moments = 10
	killed := 0
	for i := range moments {
		after := time.Duration((float64(i) + random.Float64()) / moments * float64(took))
		t.Run(fmt.Sprintf("after %d ms", after.Milliseconds()), func(t *testing.T) {
			m := f.worker(t)
			f.configure(t, m)
			p, err := m.Start(t.Context(), "root", apply)
			if err != nil {
				t.Fatal(err)
			}
			<-time.After(after)
			_ = p.Signal(syscall.SIGKILL) // it may have ended already
			if p.Wait().Code == 137 {
				killed++
			}
			run(t, m, "root", apply, 0)
			f.ready(t, m)
			f.inSync(t, m)
			leftovers(t, m)
		})
	}
	if killed < moments/3 {
		t.Errorf("only %d of %d runs were killed: the others had ended", killed, moments)
	}
}
