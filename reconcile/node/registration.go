package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
)

// nodeAddress is the address of the Node object of a name.
func nodeAddress(name string) reconcile.Address { return reconcile.Address("node:" + name) }

type nodeObservation struct {
	seen bool // the cluster was asked and answered
	info *cluster.NodeInfo
}

// nodeResource is this machine's Node object. The kubelet makes it; kubejoin
// makes sure that it is this machine's.
type nodeResource struct {
	name      string
	machineID string // empty: unknown, not compared
	bootID    string // empty: unknown, not compared
	waitReady bool
	timeout   time.Duration
	ports     Ports
	after     []reconcile.Address

	mu   sync.Mutex
	last nodeObservation // from the cluster's state, then from the watch
}

func (r *nodeResource) Address() reconcile.Address { return nodeAddress(r.name) }
func (r *nodeResource) After() []reconcile.Address { return r.after }

func (r *nodeResource) Observe(context.Context) (reconcile.Observation, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last, nil
}

func (r *nodeResource) Change(own reconcile.Observation, v reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	o := own.(nodeObservation)
	if !o.seen {
		return nil, []reconcile.Finding{notCompared(r.Address(), "the cluster could not be asked", "")}, nil
	}
	c := &reconcile.Change{Address: r.Address(), Disruption: reconcile.NoDisruption}
	switch {
	case o.info == nil && unmanaged(v):
		return nil, []reconcile.Finding{{Severity: reconcile.SeverityWarning, Name: "NoNode", Address: r.Address(),
			Seen: "the cluster has no such Node", Hint: "the kubelet registers it when you start it"}}, nil
	case o.info == nil:
		c.Action, c.Reason, c.Summary = reconcile.Create, reconcile.Missing, "the kubelet registers it"
		c.Fields = []reconcile.Field{{Path: "uid", After: reconcile.KnownAfterApply}}
	case r.foreign(o.info), r.cloned(o.info, v):
		c.Action, c.Reason, c.Disruption, c.Allow = reconcile.Replace, reconcile.Drift, reconcile.Destructive, allowNode
		c.Summary = r.whose(o.info)
		c.Fields = []reconcile.Field{{Path: "status.nodeInfo.machineID", Before: o.info.MachineID, After: r.machineID}}
		if !r.foreign(o.info) {
			c.Summary = "the Node is Ready and was booted another time: a copy of this machine with the same machine ID," +
				" or this machine less than a minute ago; wait until it is not Ready, or give the copy its own /etc/machine-id and name"
			c.Fields = []reconcile.Field{{Path: "status.nodeInfo.bootID", Before: o.info.BootID, After: r.bootID}}
		}
	case r.waitReady && !o.info.Ready:
		c.Action, c.Reason, c.Summary = reconcile.Wait, reconcile.Drift, "is not Ready"
		if o.info.NotReadyReason != "" {
			c.Summary += ": " + o.info.NotReadyReason
		}
	default:
		return nil, nil, nil
	}
	return c, nil, nil
}

func (r *nodeResource) foreign(n *cluster.NodeInfo) bool {
	return r.machineID != "" && n.MachineID != "" && n.MachineID != r.machineID
}

// cloned tells whether a Node with this machine's ID is nevertheless another
// machine: a copy of this one's disk that is up now. A machine that holds the
// Node's credential is the Node, whatever it was booted from.
func (r *nodeResource) cloned(n *cluster.NodeInfo, v reconcile.View) bool {
	cred, ok := v.Observed(KubeletCredential).(credentialObservation)
	return ok && cred.State == cluster.CredentialAbsent && n.Ready &&
		r.bootID != "" && n.BootID != "" && n.BootID != r.bootID
}

func (r *nodeResource) whose(n *cluster.NodeInfo) string {
	s := fmt.Sprintf("a Node named %s exists and is another machine (machine ID %s, this one is %s", n.Name, n.MachineID, r.machineID)
	if len(n.Addresses) > 0 {
		s += "; its address: " + strings.Join(n.Addresses, ", ")
	}
	s += ")"
	if n.Ready {
		return s + ", and it is Ready: choose another nodeRegistration.name"
	}
	return s + ", not Ready: if this machine replaces it, `kubectl delete node " + n.Name + "` first"
}

func (r *nodeResource) Apply(ctx context.Context, _ reconcile.Change, _ reconcile.View, say func(reconcile.Progress)) error {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	api, err := r.ports.As(r.ports.ReadCredential())
	if err != nil {
		return err
	}
	told := ""
	tell := func(msg string) {
		if msg != told {
			told = msg
			say(reconcile.Progress{Message: msg})
		}
	}
	crash := reportCrashes(ctx, r.ports, r.ports.Now(), say)
	err = api.WatchNode(ctx, r.name, func(n *cluster.NodeInfo) bool {
		r.mu.Lock()
		r.last = nodeObservation{seen: true, info: n}
		r.mu.Unlock()
		switch {
		case n == nil:
		case r.foreign(n):
			tell("the Node still shows the machine it was before")
		case r.waitReady && !n.Ready:
			msg := "the Node is registered, and not Ready yet"
			if n.NotReadyReason != "" {
				msg += ": " + n.NotReadyReason
			}
			tell(msg)
		default:
			return true
		}
		return false
	})
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		what := "registered"
		if told != "" && r.waitReady {
			what = "Ready"
		}
		e := fault.New(fault.Timeout, "not %s after %s (timeouts.tlsBootstrap)", what, r.timeout)
		if told != "" {
			return e.WithHint("%s", told)
		}
		return e.WithHint("%s", crash.hint("look at `journalctl -u kubelet`"))
	}
	return err
}
