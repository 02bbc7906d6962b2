package preflight

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

func names(findings []reconcile.Finding) []string {
	var out []string
	for _, f := range findings {
		out = append(out, f.Name)
	}
	return out
}

func TestChecks(t *testing.T) {
	containerd := host.CRISockets()[0]
	tests := map[string]struct {
		edit func(*Input)
		want []string
	}{
		"all is well":       {func(*Input) {}, nil},
		"not root":          {func(in *Input) { in.Facts.EffectiveUID = 1000 }, []string{"IsPrivilegedUser"}},
		"no runtime":        {func(in *Input) { in.Facts.CRISockets = nil }, []string{"CRI"}},
		"another runtime":   {func(in *Input) { in.Facts.CRISockets = host.CRISockets()[1:] }, []string{"CRI"}},
		"an unknown socket": {func(in *Input) { in.Config.NodeRegistration.CRISocket = "unix:///run/mine.sock" }, nil},
		"no kubelet":        {func(in *Input) { in.Facts.KubeletPath = "" }, []string{"FileExisting-kubelet"}},
		"nothing at all":    {func(in *Input) { in.Facts = host.Facts{EffectiveUID: 1} }, []string{"IsPrivilegedUser", "CRI", "FileExisting-kubelet"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := &kubeadm.JoinConfiguration{}
			cfg.NodeRegistration.CRISocket = containerd
			in := Input{Config: cfg, Facts: host.Facts{CRISockets: []string{containerd}, KubeletPath: "/usr/bin/kubelet"}}
			tt.edit(&in)
			got := Run(t.Context(), in)
			if diff := cmp.Diff(tt.want, names(got)); diff != "" {
				t.Error(diff)
			}
			for _, f := range got {
				if f.Severity != reconcile.SeverityError || f.Seen == "" || f.Hint == "" {
					t.Errorf("%+v", f)
				}
			}
		})
	}
}

func TestWaiversAndWhatBlocks(t *testing.T) {
	tests := map[string]struct {
		waive   []string
		waived  []string
		blocked []string
	}{
		"nothing":       {nil, nil, []string{"IsPrivilegedUser", "CRI"}},
		"one":           {[]string{"CRI"}, []string{"CRI"}, []string{"IsPrivilegedUser"}},
		"in other case": {[]string{"isprivilegeduser", "cri"}, []string{"IsPrivilegedUser", "CRI"}, nil},
		"all":           {[]string{"ALL"}, []string{"IsPrivilegedUser", "CRI"}, nil},
		"part of one":   {[]string{"Privileged", ""}, nil, []string{"IsPrivilegedUser", "CRI"}},
		"a warning":     {[]string{"NotCompared"}, nil, []string{"IsPrivilegedUser", "CRI"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			findings := []reconcile.Finding{
				{Severity: reconcile.SeverityError, Name: "IsPrivilegedUser", Seen: "no root", Hint: "be root"},
				{Severity: reconcile.SeverityError, Name: "CRI", Seen: "no runtime", Hint: "start it"},
				{Severity: reconcile.SeverityWarning, Name: "NotCompared", Seen: "denied"},
				{Severity: reconcile.SeverityInfo, Name: "Advisory", Seen: "well"},
			}
			Waive(findings, tt.waive)
			var waived []string
			for _, f := range findings {
				if f.Waived {
					waived = append(waived, f.Name)
				}
			}
			if diff := cmp.Diff(tt.waived, waived); diff != "" {
				t.Error(diff)
			}
			err := Blocking(findings)
			if (err != nil) != (len(tt.blocked) > 0) {
				t.Fatal(err)
			}
			if err == nil {
				return
			}
			if fault.ClassOf(err) != fault.Preflight || strings.Contains(err.Error(), "NotCompared") {
				t.Error(err)
			}
			for _, f := range findings[:2] {
				blocks := strings.Contains(err.Error(), f.Name) && strings.Contains(fault.HintOf(err), f.Hint)
				if blocks == f.Waived {
					t.Errorf("%s: waived %v, and %v (%s)", f.Name, f.Waived, err, fault.HintOf(err))
				}
			}
		})
	}
}
