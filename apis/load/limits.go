package load

import "fmt"

// MaxBytes is the size up to which a configuration is looked at.
const MaxBytes = 32 << 20

func checkSize(name string, data []byte) Problems {
	var problems Problems
	if len(data) > MaxBytes {
		problems.add(Position{File: name}, "", fmt.Sprintf("the configuration is larger than %d MiB", MaxBytes>>20), "")
	}
	return problems
}
