package load

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/kubejoin/kubejoin/fault"
)

// MaxBytes is the size up to which a configuration is looked at.
const MaxBytes = 32 << 20

// Read reads a configuration file, or stdin if the name is "-". It never reads
// much more than MaxBytes. Errors are of class InvalidConfig.
func Read(name string, stdin io.Reader) ([]byte, error) {
	if name == "" {
		return nil, fault.New(fault.InvalidConfig, "no configuration file was named")
	}
	source := stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, readError(name, err)
		}
		defer file.Close()
		source = file
	}
	data, err := io.ReadAll(io.LimitReader(source, MaxBytes+1))
	if err != nil {
		return nil, readError(name, err)
	}
	return data, checkSize(name, data).err()
}

// readError says in a word why a file cannot be read. The path is the error's
// address.
func readError(name string, err error) error {
	reason := err
	if pathErr := (*os.PathError)(nil); errors.As(err, &pathErr) {
		reason = pathErr.Err
	}
	if errors.Is(err, syscall.EISDIR) {
		return fault.New(fault.InvalidConfig, "cannot read the configuration: %w", reason).At(name).
			WithHint("name a file in this directory")
	}
	return fault.New(fault.InvalidConfig, "cannot read the configuration: %w", reason).At(name)
}

func checkSize(name string, data []byte) Problems {
	var problems Problems
	if len(data) > MaxBytes {
		problems.add(Position{File: name}, "", fmt.Sprintf("the configuration is larger than %d MiB", MaxBytes>>20), "")
	}
	return problems
}
