package cri

import (
	"context"
	"errors"
	"regexp"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kubejoin/kubejoin/fault"
)

// explain says what the runtime did not answer, and why.
func (c *Client) explain(what string, err error) error {
	s, _ := status.FromError(err)
	switch s.Code() {
	case codes.Canceled:
		return context.Canceled
	case codes.Unavailable:
		e := fault.New(fault.Preflight, "the container runtime does not answer: %w", err).At(c.socket)
		if strings.Contains(s.Message(), "permission denied") {
			return e.WithHint("run as root")
		}
		return e.WithHint("start it (`systemctl status containerd`), or set nodeRegistration.criSocket to the socket of the one that runs")
	case codes.DeadlineExceeded:
		return fault.New(fault.Preflight, "the container runtime did not answer within %s when %s: %w", callTimeout, what, err).At(c.socket).
			WithHint("look at the runtime's log, such as `journalctl -u containerd`")
	case codes.Unimplemented:
		return fault.New(fault.Preflight, "the container runtime does not understand what it was asked (%s): %w", what, err).At(c.socket).
			WithHint("it has to speak the CRI v1 API; in containerd the plug-in must not be in disabled_plugins")
	}
	return fault.New(fault.Preflight, "the container runtime refused when %s: %w", what, err).At(c.socket)
}

// Denied tells whether an error says that this user may not ask the runtime.
func Denied(err error) bool {
	return err != nil && strings.Contains(status.Convert(unwrapped(err)).Message(), "permission denied")
}

func codeOf(err error) codes.Code {
	if err == nil {
		return codes.OK
	}
	return status.Code(unwrapped(err))
}

// unwrapped finds the runtime's own error.
func unwrapped(err error) error {
	var s interface{ GRPCStatus() *status.Status }
	if errors.As(err, &s) {
		return s.GRPCStatus().Err()
	}
	return err
}

func notFound(err error) bool      { return codeOf(err) == codes.NotFound }
func unimplemented(err error) bool { return codeOf(err) == codes.Unimplemented }

// query is the part of an URL that a registry may sign, and so must not be shown.
var query = regexp.MustCompile(`(https?://[^\s"'?]*)\?[^\s"']*`)

// userinfo is a name and password in an URL.
var userinfo = regexp.MustCompile(`(https?://)[^\s"'/@]*@`)

// clean makes a runtime's message fit to show: one line, and no credential of
// a registry in it.
func clean(message string) string {
	message = strings.Join(strings.Fields(message), " ")
	message = query.ReplaceAllString(message, "$1")
	return userinfo.ReplaceAllString(message, "$1")
}
