package e2e

import "testing"

// The released program needs nothing from the machine: no library, no root, no configuration.
func TestProgramRuns(t *testing.T) {
	m := use(t).worker(t)
	for _, user := range []string{"root", "nobody"} {
		must(t, m.RunAs(t.Context(), user, "kubejoin version"))
	}
}
