package etcd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kubejoin/kubejoin/fault"
)

// What etcd says to a change that it does not make, in its own words.
var (
	// ErrTooManyLearners: by default there may be one at a time.
	ErrTooManyLearners = errors.New("too many learner members in cluster")
	// ErrUnhealthy: some voter was not connected for the last five seconds;
	// also said shortly after a voter was added.
	ErrUnhealthy = errors.New("unhealthy cluster")
	// ErrNotEnoughStarted: too many voters have never run.
	ErrNotEnoughStarted = errors.New("re-configuration failed due to not enough started members")
	// ErrExists: a member has this peer URL.
	ErrExists = errors.New("peer URL already exists")
	// ErrNotInSync: the learner has not caught up with the leader.
	ErrNotInSync = errors.New("the learner is not in sync with the leader")
	// ErrNotLearner: it is a voter already.
	ErrNotLearner = errors.New("the member is not a learner")
	// ErrNotFound: there is no such member.
	ErrNotFound = errors.New("member not found")
	// ErrNoLeader: an election is under way, or the majority is lost.
	ErrNoLeader = errors.New("no leader")
	// ErrNotConfirmed is no answer: whether the change was made shows in the list.
	ErrNotConfirmed = errors.New("the change was not confirmed in time")
)

var refusals = map[string]error{
	rpctypes.ErrorDesc(rpctypes.ErrGRPCTooManyLearners):        ErrTooManyLearners,
	rpctypes.ErrorDesc(rpctypes.ErrGRPCUnhealthy):              ErrUnhealthy,
	rpctypes.ErrorDesc(rpctypes.ErrGRPCMemberNotEnoughStarted): ErrNotEnoughStarted,
	rpctypes.ErrorDesc(rpctypes.ErrGRPCPeerURLExist):           ErrExists,
	rpctypes.ErrorDesc(rpctypes.ErrGRPCMemberExist):            ErrExists,
	rpctypes.ErrorDesc(rpctypes.ErrGRPCLearnerNotReady):        ErrNotInSync,
	rpctypes.ErrorDesc(rpctypes.ErrGRPCMemberNotLearner):       ErrNotLearner,
	rpctypes.ErrorDesc(rpctypes.ErrGRPCMemberNotFound):         ErrNotFound,
	rpctypes.ErrorDesc(rpctypes.ErrGRPCNoLeader):               ErrNoLeader,
}

// refusal turns what a member answered into one of the errors above, or else
// into its words.
func refusal(err error) error {
	if known, ok := refusals[rpctypes.ErrorDesc(err)]; ok {
		return known
	}
	return fault.New(fault.Unreachable, "etcd: %s", reason(err))
}

// answered tells an answer of etcd from a failure to get one.
func answered(err error) bool {
	s, ok := status.FromError(err)
	if !ok {
		return false
	}
	if _, known := refusals[s.Message()]; known {
		return true
	}
	switch s.Code() {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return false
	}
	// A learner says that it cannot do this, and another member can.
	return s.Message() != rpctypes.ErrorDesc(rpctypes.ErrGRPCNotSupportedForLearner)
}

// Temporary tells whether an error of a change may go away by itself.
func Temporary(err error) bool {
	for _, e := range []error{ErrTooManyLearners, ErrUnhealthy, ErrNotEnoughStarted, ErrNotInSync, ErrNoLeader, ErrNotConfirmed} {
		if errors.Is(err, e) {
			return true
		}
	}
	return fault.ClassOf(err) == fault.Unreachable
}

// refused is what a machine says at whose port nothing listens.
const refused = "connection refused"

// reason is an error of a request in few words.
func reason(err error) string {
	text := err.Error()
	if s, ok := status.FromError(err); ok {
		text = s.Message()
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), status.Code(err) == codes.DeadlineExceeded,
		strings.Contains(text, "i/o timeout"), strings.Contains(text, context.DeadlineExceeded.Error()):
		return "no answer in time"
	case strings.Contains(text, refused):
		return refused
	case strings.Contains(text, "no route to host"):
		return "no route to host"
	}
	for _, wrapping := range []string{"connection error: desc = ", "transport: ", "Error while dialing: ", "authentication handshake failed: ", "etcdserver: "} {
		text = strings.TrimPrefix(strings.Trim(text, `"`), wrapping)
	}
	text = strings.Join(strings.FieldsFunc(strings.Trim(text, `"`), func(c rune) bool {
		return unicode.IsSpace(c) || !unicode.IsGraphic(c)
	}), " ")
	if runes := []rune(text); len(runes) > 300 {
		text = string(runes[:300]) + "…"
	}
	return text
}

// reasons are why endpoints gave no answer.
type reasons map[string]string

func (r reasons) add(url, why string) { r[url] = why }

func (r reasons) unreachable() error {
	var list []string
	class, hint := fault.Untrusted, "the CA of etcd on this machine is not the one of these members, or a certificate has expired: compare pki/etcd/ca.crt on both sides, and the clocks"
	for u, why := range r {
		list = append(list, fmt.Sprintf("%s: %s", u, why))
		if !strings.Contains(why, "x509: ") && !strings.Contains(why, "tls: ") {
			class = fault.Unreachable
			hint = "check that etcd runs on these machines (`crictl ps -a --name etcd`), and routes and firewalls between here and there"
		}
	}
	slices.Sort(list)
	return fault.New(class, "no member of etcd answers: %s", strings.Join(list, "; ")).WithHint("%s", hint)
}
