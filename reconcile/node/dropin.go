package node

import (
	"context"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

// DropInPath is kubejoin's own addition to the kubelet's unit. kubeadm's package
// brings one like it, the kubelet's package does not.
const DropInPath = "/etc/systemd/system/kubelet.service.d/20-kubejoin.conf"

// kubeletFlags are what the unit has to give the kubelet so that it reads what
// kubejoin writes; behaviour catalogue §4.7.
var kubeletFlags = []string{
	"--bootstrap-kubeconfig=" + BootstrapKubeconfigPath,
	"--kubeconfig=" + KubeletKubeconfigPath,
	"--config=" + KubeletConfigPath,
}

// dropIn is the content for a kubelet binary at a path: the flags, and the
// files that kubeadm's and the distributions' packages agree on.
func dropIn(kubelet string) []byte {
	return []byte(`# Written by kubejoin: the kubelet's unit lacks what makes it read these files.
[Service]
Environment="KUBELET_KUBECONFIG_ARGS=` + kubeletFlags[0] + ` ` + kubeletFlags[1] + `"
Environment="KUBELET_CONFIG_ARGS=` + kubeletFlags[2] + `"
EnvironmentFile=-` + KubeletFlagsPath + `
EnvironmentFile=-/etc/default/kubelet
EnvironmentFile=-/etc/sysconfig/kubelet
ExecStart=
ExecStart=` + kubelet + ` $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
`)
}

// dropInResource is there when the unit lacks the flags without it. Once made
// it is kept: the unit has the flags only because of it.
type dropInResource struct {
	content []byte
	owner   Owner
	files   Files
}

func (r *dropInResource) Address() reconcile.Address { return FileAddress(DropInPath) }
func (r *dropInResource) After() []reconcile.Address { return nil }

func (r *dropInResource) Observe(context.Context) (reconcile.Observation, error) {
	return observeFile(r.files, DropInPath), nil
}

func (r *dropInResource) Change(own reconcile.Observation, v reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	o := own.(fileObservation)
	svc, ok := v.Observed(KubeletService).(serviceObservation)
	if !ok || svc.Manager != "systemd" || !svc.Found || svc.ExecStart == "" {
		return nil, nil, nil // nothing is known of the unit
	}
	missing := lacks(svc.ServiceState, credentialServes(v))
	c := reconcile.Change{Address: r.Address(), Disruption: reconcile.KubeletRestart}
	switch {
	case o.problem != "":
		return nil, unexpected(r.Address(), o.problem), nil
	case !o.state.Exists() && (len(missing) == 0 || flagsFromElsewhere(svc.ServiceState, v)):
		return nil, nil, nil
	case !o.state.Exists() && !runsKubelet(svc.ServiceState):
		return nil, []reconcile.Finding{{Severity: reconcile.SeverityWarning, Name: "KubeletUnit", Address: KubeletService,
			Seen: "the unit runs " + svc.ExecStart + " and not the kubelet itself: whether it reads what kubejoin writes cannot be seen",
			Hint: "make sure that the kubelet gets " + strings.Join(kubeletFlags, " ")}}, nil
	case !o.state.Exists():
		c.Action, c.Reason = reconcile.Create, reconcile.Missing
		c.Summary = "the kubelet's unit lacks " + strings.Join(missing, ", ")
	case o.state.Denied:
		return nil, []reconcile.Finding{notCompared(r.Address(), "this user may not read it", "run as root to compare it")}, nil
	case string(o.content) != string(r.content):
		c.Action, c.Reason, c.Summary = reconcile.Update, reconcile.Drift, "content differs"
	case len(r.owner.unlike(o.state)) > 0:
		c.Action, c.Reason, c.Disruption = reconcile.Update, reconcile.Drift, reconcile.NoDisruption
		c.Summary, c.Fields = "content is right, mode or owner is not", r.owner.unlike(o.state)
		return &c, nil, nil
	case o.state.Leftover:
		c.Action, c.Reason, c.Summary, c.Disruption = reconcile.Delete, reconcile.Drift, summaryLeftover, reconcile.NoDisruption
		return &c, nil, nil
	default:
		return nil, nil, nil
	}
	c.Diff = UnifiedDiff(DropInPath, o.content, r.content)
	return &c, nil, nil
}

const dropInMode fs.FileMode = 0o644

func (r *dropInResource) Apply(_ context.Context, c reconcile.Change, _ reconcile.View, _ func(reconcile.Progress)) error {
	// The file stays as old as it is: a newer one would restart the kubelet.
	switch {
	case c.Action == reconcile.Delete: // the leftover only: see Change
		return r.files.RemoveLeftover(DropInPath)
	case onlyOwnership(c.Fields):
		if err := r.files.SetOwnership(DropInPath, r.owner.Mode, r.owner.UID, r.owner.GID); err != nil {
			return err
		}
		return r.files.RemoveLeftover(DropInPath)
	}
	return r.owner.write(r.files, DropInPath, r.content)
}

// runsKubelet tells whether the unit starts the kubelet itself. A wrapper knows
// what it does, and is not replaced.
func runsKubelet(s host.ServiceState) bool {
	program, _, _ := strings.Cut(s.ExecStart, " ")
	return path.Base(program) == "kubelet"
}

// flagsFromElsewhere tells whether the flags come from a file of variables that
// somebody keeps: the command line has variables left, and the kubelet found its
// credential with them.
func flagsFromElsewhere(s host.ServiceState, v reconcile.View) bool {
	return credentialServes(v) && strings.Contains(s.ExecStart, "$")
}

// lacks lists what a unit does not give the kubelet. Flags may have other
// values: then somebody chose them.
func lacks(s host.ServiceState, bootstrapped bool) []string {
	var out []string
	for _, f := range kubeletFlags {
		name, _, _ := strings.Cut(f, "=")
		if bootstrapped && f == kubeletFlags[0] {
			continue // it has its certificate, wherever that came from
		}
		if !strings.Contains(s.ExecStart, name+"=") && !strings.Contains(s.ExecStart, name+" ") {
			out = append(out, name)
		}
	}
	if !slices.Contains(s.EnvironmentFiles, KubeletFlagsPath) {
		out = append(out, KubeletFlagsPath)
	}
	return out
}
