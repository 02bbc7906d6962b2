package etcd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/kubejoin/kubejoin/fault"
)

// limits of the client. They are not configurable: the budgets of whoever waits
// are, by the timeouts of the configuration.
type limits struct {
	// patience is what one dead endpoint may cost: as long as kubeadm gives a
	// dial (behaviour catalogue §5.15), but once, and beside all others.
	patience time.Duration
	// confirm is how long a majority may take to confirm a list.
	confirm time.Duration
	// change is how long a change of the membership may take before the list is
	// looked at again. Of two changes at one moment, etcd drops one without a
	// word, and gives up on it only after 7 seconds.
	change time.Duration
	// promotion is that for a promotion, on which a machine waits.
	promotion time.Duration
}

var defaultLimits = limits{patience: 2 * time.Second, confirm: 3 * time.Second, change: 2 * time.Second, promotion: time.Second}

// Client asks an etcd cluster. It is safe for use by several goroutines.
type Client struct {
	tls      *tls.Config
	limits   limits
	requests atomic.Int64

	mu    sync.Mutex
	known []string // endpoints, in the order in which they became known
	conns map[string]*endpoint
	// best are the endpoints of voters by how well they can change the
	// membership: the leader first.
	best []string
}

// New makes a client for the endpoints of a cluster ("https://10.0.0.1:2379")
// from a CA, a client certificate and its key, all PEM. It connects to nothing
// yet. Further endpoints become known from the member list.
func New(endpoints []string, ca, cert, key []byte) (*Client, error) {
	if len(endpoints) == 0 {
		return nil, fault.New(fault.Unreachable, "no endpoint of etcd is known").
			WithHint("the etcd pods of kube-system name theirs in the annotation kubeadm.kubernetes.io/etcd.advertise-client-urls")
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fault.New(fault.Internal, "client certificate for etcd: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fault.New(fault.Internal, "the CA of etcd holds no certificate")
	}
	return &Client{
		tls:    &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
		limits: defaultLimits, known: slices.Compact(slices.Clone(endpoints)), conns: map[string]*endpoint{},
	}, nil
}

// Requests is how many requests were sent so far.
func (c *Client) Requests() int64 { return c.requests.Load() }

// Close ends all connections.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for u, e := range c.conns {
		_ = e.conn.Close()
		delete(c.conns, u)
	}
	return nil
}

// endpoint is the connection to one URL.
type endpoint struct {
	conn *grpc.ClientConn
	// silent says that it did not answer when it was asked for its status.
	silent atomic.Bool
}

// endpoint gives the connection to a URL. It is made by the first request, and
// tried again in the background after that: a request to an endpoint that did
// not let itself be connected to fails at once.
func (c *Client) endpoint(rawURL string) (*endpoint, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.conns[rawURL]; ok {
		return e, nil
	}
	u, err := url.Parse(rawURL)
	if err != nil || u.Scheme != "https" || u.Port() == "" {
		return nil, fault.New(fault.Unreachable, "%q is not an https URL with a port", rawURL)
	}
	config := c.tls.Clone()
	config.ServerName = u.Hostname()
	conn, err := grpc.NewClient("passthrough:///"+u.Host,
		grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithNoProxy(), // members talk to each other directly; kubeadm's client does too
		grpc.WithDisableServiceConfig(),
		grpc.WithUserAgent("kubejoin"),
		grpc.WithConnectParams(grpc.ConnectParams{
			// Quick, because a member that starts is waited for.
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, Jitter: 0.5, MaxDelay: 400 * time.Millisecond},
			MinConnectTimeout: c.limits.patience,
		}))
	if err != nil {
		return nil, fault.New(fault.Internal, "%w", err)
	}
	e := &endpoint{conn: conn}
	c.conns[rawURL] = e
	return e, nil
}

// ask sends one request to one endpoint.
func (c *Client) ask(ctx context.Context, rawURL string, limit time.Duration, request func(context.Context, *grpc.ClientConn) error) error {
	e, err := c.endpoint(rawURL)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	c.requests.Add(1)
	return request(ctx, e.conn)
}

// Status asks one member what it says of itself. Learners answer too.
func (c *Client) Status(ctx context.Context, clientURL string) Status {
	e, err := c.endpoint(clientURL)
	if err != nil {
		return Status{Err: reason(err)}
	}
	limit := c.limits.patience
	if e.silent.Load() {
		limit /= 4
	}
	var r *pb.StatusResponse
	err = c.ask(ctx, clientURL, limit, func(ctx context.Context, conn *grpc.ClientConn) (err error) {
		r, err = pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{})
		return err
	})
	if ctx.Err() == nil {
		e.silent.Store(status.Code(err) == codes.DeadlineExceeded)
	}
	if err != nil {
		return Status{Err: reason(err)}
	}
	return Status{
		MemberID: r.GetHeader().GetMemberId(), ClusterID: r.GetHeader().GetClusterId(), Version: r.Version,
		Leader: r.Leader, Term: r.RaftTerm, Index: r.RaftIndex, Applied: r.RaftAppliedIndex,
		Learner: r.IsLearner, DBSize: r.DbSize, Alarms: r.Errors,
	}
}

// members asks one endpoint for the list; linearizable if a majority is to
// confirm it.
func (c *Client) members(ctx context.Context, clientURL string, linearizable bool) (uint64, []Member, error) {
	var r *pb.MemberListResponse
	err := c.ask(ctx, clientURL, c.limits.confirm, func(ctx context.Context, conn *grpc.ClientConn) (err error) {
		r, err = pb.NewClusterClient(conn).MemberList(ctx, &pb.MemberListRequest{Linearizable: linearizable})
		return err
	})
	return r.GetHeader().GetClusterId(), convert(r.GetMembers()...), err
}

func convert(members ...*pb.Member) []Member {
	out := make([]Member, len(members))
	for i, m := range members {
		out[i] = Member{ID: m.ID, Name: m.Name, PeerURLs: m.PeerURLs, ClientURLs: m.ClientURLs, Learner: m.IsLearner}
	}
	return out
}

// AddLearner adds a member that does not vote yet.
func (c *Client) AddLearner(ctx context.Context, peerURL string) (Member, error) {
	var out Member
	err := c.change(ctx, c.limits.change, func(ctx context.Context, cluster pb.ClusterClient) error {
		r, err := cluster.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{peerURL}, IsLearner: true})
		if err == nil {
			out = convert(r.Member)[0]
		}
		return err
	})
	return out, err
}

// Promote makes a learner a voter.
func (c *Client) Promote(ctx context.Context, id uint64) error {
	return c.change(ctx, c.limits.promotion, func(ctx context.Context, cluster pb.ClusterClient) error {
		_, err := cluster.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: id})
		return err
	})
}

// Remove takes a member out of the cluster. Its process ends by that.
func (c *Client) Remove(ctx context.Context, id uint64) error {
	return c.change(ctx, c.limits.change, func(ctx context.Context, cluster pb.ClusterClient) error {
		_, err := cluster.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: id})
		return err
	})
}

// change asks voters for a change of the membership. All changes are such that
// asking twice for one does no harm: the second is refused.
func (c *Client) change(ctx context.Context, limit time.Duration, request func(context.Context, pb.ClusterClient) error) error {
	err := c.voters(ctx, limit, func(ctx context.Context, conn *grpc.ClientConn) error {
		return request(ctx, pb.NewClusterClient(conn))
	})
	if err != nil && answered(err) {
		return refusal(err)
	}
	return err
}

// voters asks voters for something, one after the other until one says
// something, be it a refusal.
func (c *Client) voters(ctx context.Context, limit time.Duration, request func(context.Context, *grpc.ClientConn) error) error {
	c.mu.Lock()
	endpoints := slices.Clone(c.best)
	if len(endpoints) == 0 {
		endpoints = slices.Clone(c.known)
	}
	c.mu.Unlock()
	silence, asked := reasons{}, false
	for _, u := range endpoints {
		err := c.ask(ctx, u, limit, request)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case answered(err):
			return err
		}
		asked = asked || status.Code(err) == codes.DeadlineExceeded
		silence.add(u, reason(err))
	}
	if asked {
		return ErrNotConfirmed
	}
	return silence.unreachable()
}
