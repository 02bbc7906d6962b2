package fault

import (
	"errors"
	"fmt"
)

// Class is the kind of a failure. Its number is the exit code that the program
// ends with, and part of its published interface: see docs/exit-codes.md.
type Class int

// The classes. 2 is not an error: it is "changes pending" of
// `plan --detailed-exitcode`.
const (
	// Internal is any failure without a class of its own.
	Internal Class = 1
	// InvalidConfig is a configuration, flag or patch that cannot be used.
	// Nothing was read from or sent to the cluster, and nothing was changed.
	InvalidConfig Class = 3
	// Preflight is a machine that cannot do what the plan needs.
	Preflight Class = 4
	// Untrusted is a cluster whose identity does not match what was pinned.
	Untrusted Class = 5
	// Unreachable is a cluster that did not answer within its timeout.
	Unreachable Class = 6
	// Conflict is something that belongs to somebody else: another machine's
	// Node, another cluster's CA or identity. It needs a decision or --allow.
	Conflict Class = 7
	// Busy is another apply at work on this machine.
	Busy Class = 8
	// Denied is a cluster that answered and refused the credential: a token
	// that is unknown or expired, a certificate that is not accepted.
	Denied Class = 9
	// Timeout is a wait that ended before what it waited for: a CSR nobody
	// approved, a kubelet that does not become healthy, a Node that is not Ready.
	Timeout Class = 10
	// Unhealthy is a node that has joined, and a control plane component of it
	// that does not become healthy.
	Unhealthy Class = 11
	// Interrupted is a run that the user stopped (128 + SIGINT, as shells have it).
	Interrupted Class = 130
)

// String is the class's stable name in JSON output.
func (c Class) String() string {
	switch c {
	case Internal:
		return "internal"
	case InvalidConfig:
		return "invalid-configuration"
	case Preflight:
		return "preflight-failed"
	case Untrusted:
		return "cluster-untrusted"
	case Unreachable:
		return "cluster-unreachable"
	case Conflict:
		return "conflict"
	case Busy:
		return "busy"
	case Denied:
		return "credential-refused"
	case Timeout:
		return "timeout"
	case Unhealthy:
		return "unhealthy"
	case Interrupted:
		return "interrupted"
	}
	return fmt.Sprintf("class-%d", int(c))
}

// ExitCode is the code the program ends with for an error of this class.
func (c Class) ExitCode() int { return int(c) }

// Error is a failure with a class, and optionally with what it concerns and
// with what to do about it.
type Error struct {
	Class   Class
	Address string // a resource address, file:line:column or host:port; may be empty
	Err     error
	Hint    string // what the user should do now; may be empty
}

// Error is lower case and without a period. The hint is not part of it.
func (e *Error) Error() string {
	if e.Address == "" {
		return e.Err.Error()
	}
	return e.Address + ": " + e.Err.Error()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// New makes an error of a class. The format may hold %w.
func New(c Class, format string, args ...any) *Error {
	return &Error{Class: c, Err: fmt.Errorf(format, args...)}
}

// At says which resource, file position or server the error concerns.
func (e *Error) At(address string) *Error { e.Address = address; return e }

// WithHint says what the user should do now.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// ClassOf is the class of the outermost classified error in err's chain;
// Internal if there is none.
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return Internal
}

// HintOf is the first hint found from the outside in, in joined errors from the
// first to the last; "" if there is none.
func HintOf(err error) string {
	if e, ok := err.(*Error); ok && e.Hint != "" { //nolint:errorlint // the chain is followed below
		return e.Hint
	}
	switch x := err.(type) { //nolint:errorlint // as above
	case interface{ Unwrap() error }:
		return HintOf(x.Unwrap())
	case interface{ Unwrap() []error }:
		for _, e := range x.Unwrap() {
			if h := HintOf(e); h != "" {
				return h
			}
		}
	}
	return ""
}
