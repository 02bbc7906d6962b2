package lab

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestCached(t *testing.T) {
	t.Setenv("KUBEJOIN_LAB_CACHE", t.TempDir())
	builds := 0
	build := func(fail error) func(string) error {
		return func(dir string) error {
			builds++
			if _, err := os.Stat(filepath.Join(dir, "half")); err == nil {
				t.Error("a build began with the rest of an earlier one")
			}
			return errors.Join(os.WriteFile(filepath.Join(dir, "half"), nil, 0o600), fail)
		}
	}
	steps := []struct {
		name   string
		recipe string
		fail   error
		builds int
	}{
		{"a failed build is no entry", "a", errors.New("no space"), 1},
		{"it is built again", "a", nil, 2},
		{"a finished one is kept", "a", errors.New("not called"), 2},
		{"another recipe is another entry", "b", nil, 3},
	}
	for _, s := range steps {
		dir, err := cached("x", s.recipe, build(s.fail))
		if wantErr := s.fail != nil && s.builds == 1; (err != nil) != wantErr {
			t.Fatalf("%s: error %v", s.name, err)
		}
		if builds != s.builds {
			t.Errorf("%s: %d builds, want %d", s.name, builds, s.builds)
		}
		if _, statErr := os.Stat(filepath.Join(dir, "half")); err == nil && statErr != nil {
			t.Errorf("%s: %v", s.name, statErr)
		}
	}
}
