package cri

import "time"

// Pod is one sandbox of a pod. A pod whose manifest changed gets another UID
// and another sandbox; the one before may linger.
type Pod struct {
	ID string
	// UID is the pod's. Of a static pod, the kubelet computes it from the
	// manifest, so that another content is another UID.
	UID     string
	Ready   bool
	Created time.Time
	// Attempt counts the sandboxes of the same pod from 0.
	Attempt uint32
	// Containers are ordered by their age, the newest last.
	Containers []Container
}

// State of a container.
type State string

// The states.
const (
	Created State = "created"
	Running State = "running"
	Exited  State = "exited"
	Unknown State = "unknown"
)

// Container is one container of a pod. Each start makes a new one.
type Container struct {
	ID    string
	Name  string
	State State
	// Attempt counts the containers of the same name from 0: how often the
	// kubelet had to start it again.
	Attempt  uint32
	Image    string
	Created  time.Time
	Started  time.Time // zero if it never ran
	Finished time.Time // zero if it runs
	ExitCode int32
	// Reason and Message are the runtime's: "Error", "OOMKilled", "StartError".
	Reason  string
	Message string
}

// Image is one that the runtime holds.
type Image struct {
	ID   string
	Tags []string
}

// Version is what the runtime says of itself.
type Version struct {
	Name    string // "containerd"
	Version string
	API     string // "v1"
}

// Condition is one of the runtime's own: "RuntimeReady", "NetworkReady".
type Condition struct {
	Type    string
	Status  bool
	Reason  string
	Message string
}
