package e2e

import (
	"fmt"
	"math/rand/v2"
	"strings"
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
			if r := p.Wait(); r.Code == 137 {
				killed++
			} else {
				took = min(took, r.Took) // the whole one was slow
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

// hooked is apply by a program that ends itself when a step begins or has ended.
func hooked(when, address string) string {
	return "KUBEJOIN_STEP=" + when + ":" + address + " " + strings.Replace(apply, "kubejoin", "kubejoin-stephook", 1)
}

// Between any two steps, too.
func TestKilledAtEveryStep(t *testing.T) {
	t.Parallel()
	f := use(t)
	for i := range toJoin("") {
		for _, when := range []string{"start", "done"} {
			m := f.worker(t)
			_, address, _ := strings.Cut(toJoin(m.Name)[i], " ")
			address, _, _ = strings.Cut(address, " ")
			t.Run(when+" of "+strings.TrimSuffix(address, m.Name), func(t *testing.T) {
				must(t, m.Run(t.Context(), "systemctl stop kubelet"))
				f.configure(t, m)
				if r := m.Run(t.Context(), hooked(when, address)); r.Code != 137 {
					t.Fatalf("was not killed: exit code %d\n%s%s", r.Code, r.Stdout, r.Stderr)
				}
				run(t, m, "root", apply, 0)
				f.ready(t, m)
				f.inSync(t, m)
				leftovers(t, m)
			})
			f.remove(t, m)
		}
	}
}

// Only a program that was built for these cases ends itself.
func TestReleasedProgramHasNoHook(t *testing.T) {
	t.Parallel()
	m := use(t).worker(t)
	for program, code := range map[string]int{"kubejoin": 1, "kubejoin-stephook": 0} {
		if r := m.Run(t.Context(), "grep --quiet KUBEJOIN_STEP /usr/local/bin/"+program); r.Code != code {
			t.Errorf("%s: exit code %d, want %d", program, r.Code, code)
		}
	}
}
