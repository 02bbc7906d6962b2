package cri

import (
	"context"
	"errors"
	"regexp"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/kubejoin/kubejoin/fault"
)

// PullError says why an image could not be pulled.
type PullError struct {
	Image string
	// Reason is the runtime's, without what repeats the image's name.
	Reason string
	// Permanent says that trying again does not help.
	Permanent bool
	Hint      string
}

func (e *PullError) Error() string { return "cannot pull " + e.Image + ": " + e.Reason }

// Pull fetches an image and returns when the runtime holds it. CRI has no word
// on how far it is. How long it may take is for the caller's context to say;
// the runtime itself gives up when nothing arrives. The error is a *PullError
// where the runtime tried.
func (c *Client) Pull(ctx context.Context, ref string) error {
	_, err := c.images.PullImage(ctx, &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: ref}})
	if err == nil {
		return nil
	}
	s := status.Convert(err)
	switch {
	case ctx.Err() != nil && (s.Code() == codes.Canceled || s.Code() == codes.DeadlineExceeded):
		return context.Cause(ctx)
	case s.Code() == codes.Unavailable && !strings.Contains(s.Message(), "pull"), s.Code() == codes.Unimplemented:
		return c.explain("asked to pull "+ref, err)
	}
	return pullError(ref, s)
}

// repeats is what a runtime puts before the reason, several times: what it was
// doing, to which image.
var repeats = regexp.MustCompile(`^(failed to (pull and unpack|pull|resolve|unpack) (image|reference)|rpc error: code = \w+ desc =|initializing source|pinging container registry)[^:"]*("[^"]*")?: `)

// The words by which runtimes and registries say that the image, or the
// permission to have it, is not there. Their codes are not enough: containerd
// gives "unknown" to a refusal.
var (
	wordsAbsent = []string{"not found", "manifest unknown", "name unknown", "no such image", "does not exist"}
	wordsDenied = []string{"unauthorized", "authorization failed", "access denied", "403 forbidden", "401 unauthorized", "denied:"}
	wordsForged = []string{"x509:", "signaturevalidationfailed", "gave http response to https client"}
)

func pullError(ref string, s *status.Status) *PullError {
	reason := clean(s.Message())
	for {
		cut := repeats.ReplaceAllString(reason, "")
		if cut == reason {
			break
		}
		reason = cut
	}
	e := &PullError{Image: ref, Reason: reason, Hint: "the machine pulls from " + registry(ref) + "; look at the network between them"}
	says := func(words []string) bool {
		low := strings.ToLower(reason)
		for _, w := range words {
			if strings.Contains(low, w) {
				return true
			}
		}
		return false
	}
	switch {
	// A name server that does not know the registry may know it in a second.
	case strings.Contains(reason, "no such host"), strings.Contains(reason, "server misbehaving"):
	case says(wordsDenied):
		e.Permanent, e.Hint = true, "give the container runtime a credential for "+registry(ref)+", or check imageRepository"
	case strings.Contains(reason, "no match for platform"):
		e.Permanent, e.Hint = true, registry(ref)+" has no build of it for this machine's architecture"
	case s.Code() == codes.NotFound, says(wordsAbsent):
		e.Permanent, e.Hint = true, "check imageRepository and imageTag of the cluster configuration, or load the image into the runtime by hand"
	case says(wordsForged):
		e.Permanent, e.Hint = true, "the container runtime does not trust "+registry(ref)+": see its registry configuration"
	case s.Code() == codes.InvalidArgument, strings.Contains(reason, "invalid reference format"):
		e.Permanent, e.Hint = true, "check imageRepository and imageTag of the cluster configuration"
	}
	return e
}

// registry is the host part of an image's name.
func registry(ref string) string {
	host, _, ok := strings.Cut(ref, "/")
	if !ok || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return "docker.io"
	}
	return host
}

// Explained gives a failed pull a class and its hint; other errors stay as they are.
func Explained(err error) error {
	var p *PullError
	if errors.As(err, &p) {
		return fault.New(fault.Preflight, "%w", err).WithHint("%s", p.Hint)
	}
	return err
}
