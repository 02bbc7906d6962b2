// Package report prints plans, progress, results and errors, as text for people
// and as JSON for programs. It is the only package that prints.
//
// The rules of the terminal: results go to standard output, progress and errors
// to standard error. Messages are lower case without a period; an error begins
// with "error:", a doubt with "warning:", advice with "hint:". Colour only
// decorates, and only where somebody looks. What came from a cluster or a file
// is stripped of control characters, so that it cannot drive the terminal.
//
// JSON is one object a line with a "formatVersion"; docs/output.md is its
// contract. The package sees plans, never resources.
package report
