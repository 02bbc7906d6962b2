package node

import (
	"context"
	"io/fs"
	"time"

	"github.com/kubejoin/kubejoin/reconcile/cluster"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

// Files is the machine's file system. *host.Host is one.
type Files interface {
	Stat(path string) (host.FileState, error)
	ReadFile(path string, max int64) ([]byte, host.FileState, error)
	WriteFile(path string, data []byte, o host.WriteOptions) error
	MakeDir(path string, mode fs.FileMode) error
	SetOwnership(path string, mode fs.FileMode, uid, gid int) error
	Remove(path string) error
	// RemoveLeftover removes only what an interrupted write left beside a file.
	RemoveLeftover(path string) error
	Watch(ctx context.Context, paths ...string) (<-chan struct{}, error)
}

// API is what resources ask of the cluster.
type API interface {
	// Node reads one Node; nil if there is none.
	Node(ctx context.Context, name string) (*cluster.NodeInfo, error)
	// WatchNode calls fn with the Node's state, nil while there is none, and
	// whenever it changes, until fn is done or ctx ends.
	WatchNode(ctx context.Context, name string, fn func(*cluster.NodeInfo) (done bool)) error
	// WatchCSRs does the same for the certificate signing requests of a node.
	WatchCSRs(ctx context.Context, nodeName string, fn func(cluster.CSRInfo) (done bool)) error
}

// Ports are the ends through which resources observe and act.
type Ports struct {
	Files    Files
	Services host.Services
	// Bootstrap is the API as the holder of the bootstrap credential sees it;
	// nil without one.
	Bootstrap API
	// As gives the API as the holder of the node's own credential sees it.
	As func(cluster.Credential) (API, error)
	// Marker gives the API as one sees it who may mark a worker's Node; nil, or
	// giving nil, if this run has no such credential.
	Marker func() (NodeMarker, error)
	// ReadCredential says what the kubelet.conf on this machine is worth now.
	ReadCredential func() cluster.Credential
	// ReadCertificate reads the kubelet's client certificate by itself; nil if
	// there is none that a kubelet would use.
	ReadCertificate func() *cluster.Certificate
	// Healthz asks a local HTTP endpoint of the kubelet once; nil means healthy.
	Healthz func(ctx context.Context, address string) error
	// Now is the clock, for messages and log excerpts only.
	Now func() time.Time
}
