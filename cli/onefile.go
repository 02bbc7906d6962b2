package cli

import "fmt"

// oneFile is the value of a flag that names a file. Of two, one would be passed over
// in silence.
type oneFile struct {
	name  *string
	given bool
}

func (f *oneFile) String() string {
	if f.name == nil {
		return ""
	}
	return *f.name
}

func (f *oneFile) Set(name string) error {
	if f.given {
		return fmt.Errorf("it takes one file, and %q was given already", *f.name)
	}
	*f.name, f.given = name, true
	return nil
}

func (f *oneFile) Type() string { return "string" }
