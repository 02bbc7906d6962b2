package cri

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"

	"github.com/kubejoin/kubejoin/fault"
)

const (
	// maxTail is how much of a log is read for its last lines.
	maxTail = 64 << 10
	// maxLine is how much of one line is shown.
	maxLine = 1 << 10
)

// Logs are the last lines that a container wrote, oldest first; none if it
// wrote nothing. The lines are the container's own and may hold anything: show
// few of them.
func (c *Client) Logs(ctx context.Context, id string, lines int) ([]string, error) {
	s, err := c.status(ctx, id)
	if err != nil {
		return nil, err
	}
	if s.GetLogPath() == "" || c.tail == nil {
		return nil, nil
	}
	data, err := c.tail(s.GetLogPath(), maxTail)
	if err != nil {
		return nil, fault.New(fault.Internal, "cannot read the log of the container %s: %w", short(id), err)
	}
	return lastLines(data, lines), nil
}

// lastLines takes the text out of a log file: CRI's format ("time stream tag
// text"), or the JSON of cri-dockerd. The kubelet's rotation may have cut the
// first line.
func lastLines(data []byte, n int) []string {
	var out []string
	partial := false
	for raw := range bytes.Lines(data) {
		text, more, ok := logLine(strings.TrimRight(string(raw), "\r\n"))
		if !ok {
			continue
		}
		if partial && len(out) > 0 {
			out[len(out)-1] += text
		} else {
			out = append(out, text)
		}
		partial = more
	}
	kept := out[:0]
	for _, l := range out {
		if l = strings.TrimRight(l, " \t\r\n"); l != "" {
			kept = append(kept, strings.ToValidUTF8(l[:min(len(l), maxLine)], ""))
		}
	}
	return kept[max(0, len(kept)-n):]
}

// logLine gives a line's text, and whether the next one continues it.
func logLine(raw string) (text string, more, ok bool) {
	if strings.HasPrefix(raw, "{") {
		var entry struct {
			Log string `json:"log"`
		}
		if json.Unmarshal([]byte(raw), &entry) != nil {
			return "", false, false
		}
		return strings.TrimSuffix(entry.Log, "\n"), !strings.HasSuffix(entry.Log, "\n"), true
	}
	parts := strings.SplitN(raw, " ", 4)
	if len(parts) < 3 || parts[1] != "stdout" && parts[1] != "stderr" {
		return "", false, false
	}
	if len(parts) == 4 {
		text = parts[3]
	}
	tag, _, _ := strings.Cut(parts[2], ":")
	return text, tag == "P", true
}
