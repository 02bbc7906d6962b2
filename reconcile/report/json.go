package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/kubejoin/kubejoin/apis/load"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
)

// FormatVersion of the JSON output. The minor number grows when fields are
// added, the major one when a reader must change.
const FormatVersion = "1.0"

type object map[string]any

// line prints one JSON object. The caller holds the lock.
func (p *Printer) line(o object) { p.write(encode(o)) }

// hiding prints one JSON object that may quote what the user typed. The caller
// holds the lock.
func (p *Printer) hiding(o object) { p.write([]byte(p.o.Hide(string(encode(o))))) }

func encode(o object) []byte {
	o["formatVersion"] = FormatVersion
	b, err := json.Marshal(o)
	if err != nil { // cannot happen: the objects hold plain data
		b = fmt.Appendf(nil, `{"formatVersion":%q,"type":"error","error":{"message":%q}}`, FormatVersion, err)
	}
	// Package json escapes only the controls that JSON forbids; a terminal obeys
	// others too. All of them are inside of strings here.
	var out []byte
	for _, r := range string(b) {
		if drives(r) {
			out = fmt.Appendf(out, `\u%04x`, r)
		} else {
			out = utf8.AppendRune(out, r)
		}
	}
	return append(out, '\n')
}

func (p *Printer) jsonEvent(e reconcile.Event) {
	o := object{"type": "change", "event": e.Type, "address": e.Address}
	switch e.Type {
	case reconcile.EventProgress:
		p.progress(string(e.Address), e.Say.Message, e.Say.Lines, e.Say.Hint)
		return
	case reconcile.EventFail:
		o["error"] = jsonError(e.Err)
		o["elapsedSeconds"] = e.Elapsed.Seconds()
	case reconcile.EventDone:
		o["elapsedSeconds"] = e.Elapsed.Seconds()
		o["action"] = e.Change.Action
	default:
		o["action"] = e.Change.Action
	}
	p.line(o)
}

// jsonProblem is one error of a configuration file.
type jsonProblem struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

func jsonError(err error) object {
	class := fault.ClassOf(err)
	o := object{"class": class.String(), "exitCode": class.ExitCode(), "message": err.Error()}
	var e *fault.Error
	if errors.As(err, &e) && e.Address != "" {
		o["address"] = e.Address
	}
	if h := fault.HintOf(err); h != "" {
		o["hint"] = h
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []object
		for _, e := range joined.Unwrap() {
			all = append(all, jsonError(e))
		}
		o["errors"] = all
		return o
	}
	var problems load.Problems
	if errors.As(err, &problems) {
		list := make([]jsonProblem, len(problems))
		for i, q := range problems {
			list[i] = jsonProblem{q.Pos.File, q.Pos.Line, q.Pos.Column, q.Path, q.Message, q.Hint}
		}
		o["problems"] = list
	}
	return o
}
