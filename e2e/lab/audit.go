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
	"slices"
	"strings"
	"sync"
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
	Server    string // machine of the API server
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

// Audit is the audit log of a cluster's API servers. It may be used by several goroutines.
type Audit struct {
	// sentinel sends a request to a machine's API server.
	sentinel func(ctx context.Context, m *Machine, path string) error

	mu       sync.Mutex
	machines []*Machine // the first one is never taken out
}

// Add takes in the API server of a machine that becomes a control plane. Call it before it does: its log may not be there yet.
func (a *Audit) Add(m *Machine) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.Contains(a.machines, m) {
		a.machines = append(a.machines, m)
	}
}

// Remove leaves a machine's API server out from now on.
func (a *Audit) Remove(m *Machine) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.machines = slices.DeleteFunc(a.machines, func(other *Machine) bool { return other == m })
}

func (a *Audit) servers() []*Machine {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.machines)
}

// Mark is a moment in the audit log.
type Mark map[string]int64 // where a line of a machine's log begins

// Mark returns the present moment.
func (a *Audit) Mark() (Mark, error) {
	mark := Mark{}
	for _, m := range a.servers() {
		end, err := endOfLines(m.Path(auditLog))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it does not serve yet
		}
		if err != nil {
			return nil, err
		}
		mark[m.Name] = end
	}
	return mark, nil
}

// endOfLines returns how long a log is without a line that is just being written: a write of several pages shows in the size
// page by page.
func endOfLines(name string) (int64, error) {
	log, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	end, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	for block := make([]byte, 16<<10); end > 0; {
		start := max(0, end-int64(len(block)))
		n, err := log.ReadAt(block[:end-start], start)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if i := bytes.LastIndexByte(block[:n], '\n'); i >= 0 {
			return start + int64(i) + 1, nil
		}
		end = start
	}
	return 0, nil
}

// Since returns the requests that ended, or watches that began, between the mark and now, in the order of
// the log, one API server after the other. Those of the lab itself and of the cluster's components are among them: filter
// by user or user agent.
func (a *Audit) Since(ctx context.Context, mark Mark) ([]Request, error) {
	// An API server logs a request after it has answered it; a request of our own comes later still. One that does not
	// serve logs nothing more.
	servers := a.servers()
	sentinels := map[string]bool{}
	for i, m := range servers {
		sentinel := "/version?lab=" + rand.Text()
		if err := a.sentinel(ctx, m, sentinel); err == nil {
			sentinels[sentinel] = true
		} else if i == 0 {
			return nil, err
		}
	}
	var requests []Request
	err := poll(ctx, time.Minute, func() error {
		all, err := a.read(servers, mark)
		if err != nil {
			return err
		}
		missing := len(sentinels)
		requests = slices.DeleteFunc(all, func(r Request) bool {
			if sentinels[r.URI] {
				missing--
			}
			return sentinels[r.URI]
		})
		if missing > 0 {
			return fmt.Errorf("the audit log lags behind: %d of %d API servers", missing, len(sentinels))
		}
		return nil
	})
	return requests, err
}

func (a *Audit) read(servers []*Machine, mark Mark) ([]Request, error) {
	var requests []Request
	for _, m := range servers {
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
			r := Request{event.Verb, event.User.Username, event.RequestURI, event.UserAgent, "", m.Name, event.ResponseStatus.Code}
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
