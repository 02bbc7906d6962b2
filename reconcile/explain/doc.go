// Package explain says of every value of a configuration, after its defaults,
// where it came from: a line of the file, a flag, a default, or the machine.
//
// It must never show a secret, and it looks at nothing: whoever calls it has
// loaded the configuration and observed the machine.
package explain
