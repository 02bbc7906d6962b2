package lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
)

const auditLog = "/var/log/kubernetes/audit.log"

// Request is a request that an API server got.
type Request struct {
	Verb      string // get, list, watch, create, update, patch, delete, …
	User      string
	URI       string // with its query
	UserAgent string
	Source    string // IP address it came from
	Code      int    // HTTP status of the answer; 0 if there was none yet
}

// Writes says whether the request asked for a change. A review of the caller's own rights is a create that changes nothing.
func (r Request) Writes() bool {
	switch r.Verb {
	case "get", "list", "watch":
		return false
	}
	path, _, _ := strings.Cut(r.URI, "?")
	return !strings.HasSuffix(path, "/selfsubjectaccessreviews") && !strings.HasSuffix(path, "/selfsubjectrulesreviews") &&
		!strings.HasSuffix(path, "/selfsubjectreviews")
}

func (r Request) String() string {
	return fmt.Sprintf("%s %s by %s (%s): %d", r.Verb, r.URI, r.User, r.UserAgent, r.Code)
}

// Audit is the audit log of a cluster's API servers.
type Audit struct {
	machines []*Machine
	sentinel func(ctx context.Context, path string) error
}

// Mark is a moment in the audit log.
type Mark map[string]int64 // size of a machine's log

// Mark returns the present moment.
func (a *Audit) Mark() (Mark, error) {
	mark := Mark{}
	for _, m := range a.machines {
		info, err := os.Stat(m.Path(auditLog))
		if err != nil {
			return nil, err
		}
		mark[m.Name] = info.Size()
	}
	return mark, nil
}

// Since returns the requests that ended, or watches that began, between the mark and now, in the order of
// the log, one API server after the other. Those of the lab itself and of the cluster's components are among them: filter
// by user or user agent.
func (a *Audit) Since(ctx context.Context, mark Mark) ([]Request, error) {
	// An API server logs a request after it has answered it; a request of our own comes later still.
	sentinel := "/healthz?lab=" + rand.Text()
	if err := a.sentinel(ctx, sentinel); err != nil {
		return nil, err
	}
	var requests []Request
	err := poll(ctx, 10*time.Second, func() error {
		var err error
		requests, err = a.read(mark)
		if err != nil {
			return err
		}
		for i, r := range requests {
			if r.URI == sentinel {
				requests = append(requests[:i], requests[i+1:]...)
				return nil
			}
		}
		return errors.New("the audit log lags behind")
	})
	return requests, err
}

func (a *Audit) read(mark Mark) ([]Request, error) {
	var requests []Request
	for _, m := range a.machines {
		log, err := os.Open(m.Path(auditLog))
		if errors.Is(err, fs.ErrNotExist) {
			continue // the machine was closed
		}
		if err != nil {
			return nil, err
		}
		_, err = log.Seek(mark[m.Name], io.SeekStart)
		data, readErr := io.ReadAll(log)
		if err := errors.Join(err, readErr, log.Close()); err != nil {
			return nil, err
		}
		seen := map[string]int{} // place of a request that has a line at its start and one at its end
		for line := range bytes.Lines(data) {
			if !bytes.HasSuffix(line, []byte("\n")) {
				break // still being written
			}
			var event struct {
				AuditID, Verb, RequestURI, UserAgent string
				SourceIPs                            []string
				User                                 struct{ Username string }
				ResponseStatus                       struct{ Code int }
			}
			if err := json.Unmarshal(line, &event); err != nil {
				return nil, fmt.Errorf("%s: audit log: %w", m.Name, err)
			}
			r := Request{event.Verb, event.User.Username, event.RequestURI, event.UserAgent, "", event.ResponseStatus.Code}
			if len(event.SourceIPs) > 0 {
				r.Source = event.SourceIPs[0]
			}
			if i, ok := seen[event.AuditID]; ok {
				requests[i] = r
				continue
			}
			seen[event.AuditID] = len(requests)
			requests = append(requests, r)
		}
	}
	return requests, nil
}
