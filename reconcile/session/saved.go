package session

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/explain"
)

// Save is the run's plan with what it was computed from. Of the input the
// configuration's part is added.
func (r *Run) Save(program string, in reconcile.Input) (*reconcile.Saved, error) {
	id, err := r.machine.MachineID()
	if err != nil {
		return nil, err
	}
	cfg := *r.o.Join.Config
	cfg.DryRun = false // to try whether a plan still holds is not another plan
	text, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	in.Settings, in.Digest = r.settings(), reconcile.Seal(id, text)
	return reconcile.Save(program, id, in, *r.Plan, r.computed.Digests(id)), nil
}

// settings are the values of the configuration. Whether nothing is to be changed is
// none: it says nothing about the plan.
func (r *Run) settings() []reconcile.Setting { return r.explained(nil) }

// Overrides are the values that flags or the environment set instead of the
// configuration file.
func (r *Run) Overrides() []reconcile.Setting {
	var out []reconcile.Setting
	if by := r.o.Join.SetBy("controlPlane"); by != "" { // another role, which no value in it shows
		value := "{}"
		if r.o.Join.Config.ControlPlane == nil {
			value = "null"
		}
		out = append(out, reconcile.Setting{Path: "controlPlane", Value: value, Source: explain.Source{Origin: explain.Flag, From: by}.String()})
	}
	return append(out, r.explained([]explain.Origin{explain.Flag, explain.Environment})...)
}

// explained gives the values that come from one of several origins, or all.
func (r *Run) explained(origins []explain.Origin) []reconcile.Setting {
	var out []reconcile.Setting
	for _, v := range explain.Join(explain.Input{Join: r.o.Join}).Values {
		if v.Path == "dryRun" || origins != nil && !slices.Contains(origins, v.Source.Origin) {
			continue
		}
		out = append(out, reconcile.Setting{Path: v.Path, Value: fmt.Sprint(v.Value), Source: v.Source.String()})
	}
	return out
}

// Hold makes Apply do exactly what a saved plan says, or nothing: it refuses, as
// this does at once, when something is not as it was.
func (r *Run) Hold(saved *reconcile.Saved, program string) error {
	now, err := r.Save(program, reconcile.Input{})
	if err != nil {
		return err
	}
	r.held = func(c *reconcile.Computed) error {
		id, err := r.machine.MachineID()
		if err != nil {
			return err
		}
		now.Plan.Changes, now.Plan.Findings, now.Observed = c.Changes, c.Findings, c.Digests(id)
		return saved.Moved(now)
	}
	return saved.Moved(now)
}
