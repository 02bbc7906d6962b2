package reconcile

import "strings"

// Address is a resource's stable name in plans, "kind:name", such as
// "file:/var/lib/kubelet/config.yaml", "service:kubelet" or "node:worker-1".
type Address string

// Kind is the part before the first colon.
func (a Address) Kind() string { k, _, _ := strings.Cut(string(a), ":"); return k }

// Name is the part after the first colon.
func (a Address) Name() string { _, n, _ := strings.Cut(string(a), ":"); return n }

// Action is what is done to a resource.
type Action string

// The actions.
const (
	Create  Action = "create"
	Update  Action = "update"
	Replace Action = "replace"
	Delete  Action = "delete"
	Start   Action = "start"
	Restart Action = "restart"
	Wait    Action = "wait" // somebody else does it, and kubejoin waits for it
)

// Reason says why a change is needed.
type Reason string

// The reasons.
const (
	Missing Reason = "missing" // it is not there
	Intent  Reason = "intent"  // the configuration changed
	Drift   Reason = "drift"   // the machine did
)

// Disruption says what a change costs the node.
type Disruption string

// The disruptions of a worker. Static pods add their own ("pod-restart(NAME)").
const (
	NoDisruption   Disruption = "none"
	KubeletRestart Disruption = "kubelet-restart"
	Destructive    Disruption = "destructive"
)

// KnownAfterApply is printed for a value that exists only after apply.
const KnownAfterApply = "(known after apply)"

// Field is one property that differs. A secret's Before and After hold its
// masked form (see Mask), never the value.
type Field struct {
	Path   string `json:"path"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// Change is the difference between what a resource is and what it should be.
type Change struct {
	Address    Address    `json:"address"`
	Action     Action     `json:"action"`
	Reason     Reason     `json:"reason"`
	Summary    string     `json:"summary"` // one clause: lower case, no period
	Fields     []Field    `json:"fields,omitempty"`
	Diff       string     `json:"diff,omitempty"` // unified diff of a file's content
	Disruption Disruption `json:"disruption"`
	// Allow is the name that --allow must give before this is done; empty when
	// the change destroys nothing.
	Allow string `json:"allow,omitempty"`
	// Because names the changes that make this one necessary (a restart).
	Because []Address `json:"because,omitempty"`
}

// Severity of a finding.
type Severity string

// The severities. An error blocks apply.
const (
	SeverityError   Severity = "error"
	SeverityWarning Severity = "warning"
	SeverityInfo    Severity = "info"
)

// Finding is something seen that is not a change: a failed check, something
// that could not be compared, an advisory.
type Finding struct {
	Severity Severity `json:"severity"`
	Name     string   `json:"name"` // stable, CamelCase for checks that kubeadm has
	Address  Address  `json:"address,omitempty"`
	Seen     string   `json:"seen"`
	Wanted   string   `json:"wanted,omitempty"` // what should be seen instead
	Why      string   `json:"why,omitempty"`    // what goes wrong otherwise
	Hint     string   `json:"hint,omitempty"`   // what to do
	Waived   bool     `json:"waived,omitempty"`
	// Passing says that it may be over in a moment, and that who acts waits for
	// that: it is no reason to refuse a saved plan.
	Passing bool `json:"-"`
}

// Subject is who and what a plan was computed for.
type Subject struct {
	Node              string `json:"node,omitempty"`
	Cluster           string `json:"cluster,omitempty"`   // cluster name
	Server            string `json:"server,omitempty"`    // API server URL
	ClusterCA         string `json:"clusterCA,omitempty"` // "sha256:<SPKI digest>" of each CA, comma-separated
	KubernetesVersion string `json:"kubernetesVersion,omitempty"`
	Root              string `json:"root,omitempty"` // --rootfs; empty for the live machine
}

// Plan is the ordered changes and the findings. It is plain data and
// deterministic: equal observations give equal plans.
type Plan struct {
	Subject Subject `json:"subject"`
	// Overrides are the values that flags or the environment set instead of the
	// configuration file; none without a file.
	Overrides []Setting `json:"overrides,omitempty"`
	Changes   []Change  `json:"changes"`
	Findings  []Finding `json:"findings,omitempty"`
	// Incomplete says that something could not be observed or cannot be put
	// right, so that an empty plan does not mean "in sync".
	Incomplete bool `json:"incomplete,omitempty"`
	// Partial says that not everything is managed that makes the node.
	Partial bool `json:"partial,omitempty"`
	// Unseen says that it was the cluster that could not be read, or not all of it.
	Unseen bool `json:"unseen,omitempty"`
}

// Empty tells whether there is nothing to do.
func (p *Plan) Empty() bool { return len(p.Changes) == 0 }
