package report

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/kubejoin/kubejoin/reconcile"
)

// Format of the output.
type Format string

// The formats.
const (
	Text Format = "text"
	JSON Format = "json"
)

// Options say where and how to print.
type Options struct {
	Format Format
	Out    io.Writer // results
	Err    io.Writer // progress and errors
	// ColorOut and ColorErr decorate the respective stream.
	ColorOut, ColorErr bool
	// Hide takes out of an error, a note or progress what must not be shown; nil if
	// there is nothing.
	Hide func(string) string
}

// Printer prints one command's output. Its methods may be called from several
// goroutines.
type Printer struct {
	o       Options
	mu      sync.Mutex
	running map[reconcile.Address]time.Time
	stop    chan struct{}
	stopped sync.WaitGroup

	waiting     string // what was last waited for, with its error
	waitingTold time.Time

	lost error // why a result could not be written
}

// New makes a printer.
func New(o Options) *Printer {
	if o.Hide == nil {
		o.Hide = func(s string) string { return s }
	}
	return &Printer{o: o, running: make(map[reconcile.Address]time.Time)}
}

// Err is why a result could not be written, on a full disk for instance; nil if
// all were. What follows a failed write is not written either: a result with a
// hole is worse than none.
func (p *Printer) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

// write writes to standard output. The caller holds the lock.
func (p *Printer) write(b []byte) {
	if p.lost == nil {
		_, p.lost = p.o.Out.Write(b)
	}
}

// heartbeat is how often a long wait is mentioned again.
const heartbeat = 15 * time.Second

// Follow mentions, until the returned function is called, what is still under
// way every now and then.
func (p *Printer) Follow() (stop func()) {
	p.stop = make(chan struct{})
	p.stopped.Go(func() {
		tick := time.NewTicker(heartbeat)
		defer tick.Stop()
		for {
			select {
			case <-p.stop:
				return
			case now := <-tick.C:
				p.mu.Lock()
				for a, since := range p.running {
					if d := now.Sub(since); d >= heartbeat {
						p.progress(string(a), fmt.Sprintf("still at it after %s", d.Round(time.Second)), nil, "")
					}
				}
				p.mu.Unlock()
			}
		}
	})
	return func() { close(p.stop); p.stopped.Wait() }
}

// Event prints what happens to a change.
func (p *Printer) Event(e reconcile.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e.Type {
	case reconcile.EventStart:
		p.running[e.Address] = time.Now()
	case reconcile.EventDone, reconcile.EventFail, reconcile.EventSkip:
		delete(p.running, e.Address)
	}
	if p.o.Format == JSON {
		p.jsonEvent(e)
		return
	}
	p.textEvent(e)
}

// waitingAgain is how often an unchanged wait is mentioned.
const waitingAgain = 10 * time.Second

// Waiting prints what the program waits for before there is a plan. The same
// wait with the same error is mentioned only now and then.
func (p *Printer) Waiting(what, lastErr string, left time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if what+lastErr == p.waiting && now.Sub(p.waitingTold) < waitingAgain {
		return
	}
	p.waiting, p.waitingTold = what+lastErr, now
	msg := "waiting for " + what
	if lastErr != "" {
		msg += ": " + lastErr
	}
	if left > 0 {
		msg += fmt.Sprintf(" (%s left)", left.Round(time.Second))
	}
	p.progress("", msg, nil, "")
}

// Note prints a remark that is neither result nor progress.
func (p *Printer) Note(severity reconcile.Severity, format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	msg := fmt.Sprintf(format, args...)
	if p.o.Format == JSON {
		p.hiding(object{"type": "note", "severity": severity, "message": msg})
		return
	}
	p.errf("%s %s\n", p.err(styleOf(severity), string(severity)+":"), clean(msg))
}

// progress prints one thing that is waited for. The caller holds the lock.
func (p *Printer) progress(address, msg string, lines []string, hint string) {
	if p.o.Format == JSON {
		o := object{"type": "progress", "message": msg}
		if address != "" {
			o["address"] = address
		}
		if len(lines) > 0 {
			o["lines"] = lines
		}
		if hint != "" {
			o["hint"] = hint
		}
		p.hiding(o)
		return
	}
	if address != "" {
		msg = address + ": " + msg
	}
	p.errf("%s\n", clean(msg))
	for _, l := range lines {
		p.errf("    %s\n", p.err(dim, clean(l)))
	}
	if hint != "" {
		p.errf("%s %s\n", p.err(cyan, "hint:"), clean(hint))
	}
}
