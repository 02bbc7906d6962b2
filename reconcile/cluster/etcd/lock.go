package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// The lock is a key beside those of Kubernetes, which are all below /registry.
// It lives as long as a lease that its holder keeps, and so ends by itself when
// that is killed.
const (
	lockKey = "kubejoin/etcd-restart"
	// LockTime is how long the lock outlives a holder that did not finish.
	LockTime = 30 * time.Second
)

// ErrNoLock says that etcd takes no keys, for instance because its database is
// full: nobody can lock anything then.
var ErrNoLock = errors.New("etcd takes no keys")

// TryLock takes the lock of those that make their member of etcd start again,
// one machine after the other. Where another holds it, its name is returned and
// no release. Who holds it already takes it over: it is the run before, which was
// killed. Where it is not finished what was done with the lock, releasing it
// leaves that to the lease, and so some time before the next one has its turn.
func (c *Client) TryLock(ctx context.Context, name string) (holder string, release func(finished bool), err error) {
	var lease int64
	err = c.voters(ctx, c.limits.change, func(ctx context.Context, conn *grpc.ClientConn) error {
		r, err := pb.NewLeaseClient(conn).LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: int64(LockTime / time.Second)})
		if err == nil {
			lease = r.ID
		}
		return err
	})
	if err != nil {
		return "", nil, noLock(err)
	}
	key := []byte(lockKey)
	put := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: key, Value: []byte(name), Lease: lease}}}
	get := &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: key}}}
	free := &pb.Compare{Key: key, Target: pb.Compare_CREATE, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_CreateRevision{CreateRevision: 0}}
	own := &pb.Compare{Key: key, Target: pb.Compare_VALUE, Result: pb.Compare_EQUAL, TargetUnion: &pb.Compare_Value{Value: []byte(name)}}
	// If it is free it is taken; if it is not, but one's own, too.
	inner := &pb.TxnRequest{Compare: []*pb.Compare{own}, Success: []*pb.RequestOp{put}, Failure: []*pb.RequestOp{get}}
	var answer *pb.TxnResponse
	err = c.voters(ctx, c.limits.change, func(ctx context.Context, conn *grpc.ClientConn) (err error) {
		answer, err = pb.NewKVClient(conn).Txn(ctx, &pb.TxnRequest{Compare: []*pb.Compare{free}, Success: []*pb.RequestOp{put},
			Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: inner}}}})
		return err
	})
	if err == nil && !answer.Succeeded {
		for _, r := range answer.Responses {
			for _, r := range r.GetResponseTxn().GetResponses() {
				for _, kv := range r.GetResponseRange().GetKvs() {
					holder = string(kv.Value)
				}
			}
		}
	}
	if err != nil || holder != "" {
		c.revoke(ctx, lease)
		return holder, nil, noLock(err)
	}
	keeping, stop := context.WithCancel(context.WithoutCancel(ctx))
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		c.keep(keeping, lease)
	}()
	return "", func(finished bool) {
		stop()
		<-kept
		if finished {
			c.revoke(ctx, lease)
		}
	}, nil
}

// noLock tells a refusal of etcd from a failure to get an answer, which may go
// away.
func noLock(err error) error {
	if err == nil || !answered(err) {
		return err
	}
	if err = refusal(err); errors.Is(err, ErrNoLeader) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrNoLock, err)
}

// keep renews a lease until it is told to stop. It has several tries for each
// time: the member that is asked may be the one that starts again.
func (c *Client) keep(ctx context.Context, lease int64) {
	t := time.NewTicker(LockTime / 6)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		_ = c.voters(ctx, c.limits.change, func(ctx context.Context, conn *grpc.ClientConn) error { // the next one may be answered
			s, err := pb.NewLeaseClient(conn).LeaseKeepAlive(ctx)
			if err != nil {
				return err
			}
			if err := s.Send(&pb.LeaseKeepAliveRequest{ID: lease}); err != nil {
				return err
			}
			_, err = s.Recv()
			return err
		})
	}
}

// revoke ends a lease, and with it the lock; if that fails, time does it.
func (c *Client) revoke(ctx context.Context, lease int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.limits.confirm)
	defer cancel()
	_ = c.voters(ctx, c.limits.change, func(ctx context.Context, conn *grpc.ClientConn) error {
		_, err := pb.NewLeaseClient(conn).LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: lease})
		return err
	})
}
