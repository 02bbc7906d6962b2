package lab

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Canary finds secrets in what programs write. The zero value is ready; it may be used by several
// goroutines.
type Canary struct {
	mu      sync.Mutex
	secrets map[string]string // form of a secret: its name
	seen    []text
}

type text struct{ where, what string }

// shortest is how long a form of a secret is at least: what is shorter could be there by chance.
const shortest = 12

// Add registers a secret: as it is, and as base64 and hex. Of a PEM block or another text of several
// lines, each long line is a secret; a line that is not one (BEGIN …) is left out.
func (c *Canary) Add(name, secret string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.secrets == nil {
		c.secrets = map[string]string{}
	}
	for line := range strings.Lines(secret) {
		line = strings.TrimSpace(line)
		if len(line) < shortest || strings.HasPrefix(line, "-----") {
			continue
		}
		c.secrets[line] = name
		c.secrets[hex.EncodeToString([]byte(line))] = name
	}
	// Without the last characters, which depend on what follows.
	if form := strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(secret)), "="); len(form) >= shortest {
		c.secrets[form] = name
	}
}

// Saw registers something a program wrote. Where says which program and where.
func (c *Canary) Saw(where, what string) {
	if what == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen = append(c.seen, text{where, what})
}

// Check fails if a secret is in anything that was seen, whichever came first. The error names the secret
// and the place, not the secret itself.
func (c *Canary) Check() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	// A run has thousands of secrets and megabytes of text: one pass over it, by how a secret begins.
	byStart := map[string][]string{}
	for form := range c.secrets {
		byStart[form[:shortest]] = append(byStart[form[:shortest]], form)
	}
	var found []string
	for _, t := range c.seen {
		for i := range max(len(t.what)-shortest+1, 0) {
			for _, form := range byStart[t.what[i:i+shortest]] {
				if strings.HasPrefix(t.what[i:], form) {
					found = append(found, c.secrets[form]+" in "+t.where)
				}
			}
		}
	}
	if len(found) == 0 {
		return nil
	}
	slices.Sort(found)
	return fmt.Errorf("secrets were written:\n%s", strings.Join(slices.Compact(found), "\n"))
}

// Remember shows the canary what programs left on the machine where nobody would look for a secret: the journal, temporary
// files, logs, the arguments of what runs. Nothing that ran later is among it.
func (m *Machine) Remember(ctx context.Context) error {
	_ = m.Run(ctx, "journalctl --no-pager --output=cat --quiet; ps -e -o args") // seen by running, unless the machine was closed
	for _, dir := range []string{"/run", "/tmp", "/var/tmp", "/var/log"} {
		err := filepath.WalkDir(m.Path(dir), func(name string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil // gone since, or none that holds text
			}
			if info, err := d.Info(); err != nil || info.Size() > 1<<20 { // the journal's own files
				return nil
			}
			data, err := os.ReadFile(name)
			if err == nil {
				m.lab.Canary.Saw(m.Name+": "+strings.TrimPrefix(name, m.Path("/")), string(data))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
