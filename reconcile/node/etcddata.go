package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster/etcd"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

// EtcdData is the machine's file system as far as etcd's data directory needs
// it. *host.Host is one.
type EtcdData interface {
	Dir(path string) (fs.FS, error)
	Stat(path string) (host.FileState, error)
	MakeDir(path string, mode fs.FileMode) error
	Move(from, to string) error
}

// etcdData is whose data a data directory holds. The database itself is never
// opened: the log says it too, and needs no lock.
type etcdData struct {
	begun    bool // etcd has begun its log, so that it is bound to a membership
	identity etcd.Identity
	denied   bool
	problem  string // the log is there and does not say whose it is
}

func observeEtcdData(files EtcdData, dir string) etcdData {
	data, err := files.Dir(path.Join(dir, "member/wal"))
	var logs []fs.DirEntry
	if err == nil {
		logs, err = fs.ReadDir(data, ".") // sorted: the oldest first
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return etcdData{}
	case errors.Is(err, fs.ErrPermission):
		return etcdData{denied: true}
	case err != nil:
		return etcdData{begun: true, problem: err.Error()}
	}
	for _, l := range logs {
		if !strings.HasSuffix(l.Name(), ".wal") {
			continue
		}
		id, err := identify(data, l.Name())
		if err != nil {
			return etcdData{begun: true, problem: l.Name() + " " + err.Error()}
		}
		return etcdData{begun: true, identity: id}
	}
	return etcdData{}
}

func identify(data fs.FS, name string) (etcd.Identity, error) {
	f, err := data.Open(name)
	if err != nil {
		return etcd.Identity{}, err
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, etcd.HeadSize)) // a log has 64 MB
	if err != nil {
		return etcd.Identity{}, err
	}
	return etcd.Identify(head)
}

// unknown tells that nobody can say whose data it is.
func (d etcdData) unknown() bool { return d.denied || d.problem != "" }

// of tells whether it is the data of a member.
func (d etcdData) of(c *etcd.Cluster, m etcd.Member) bool {
	return d.begun && d.problem == "" && d.identity == etcd.Identity{ClusterID: c.ID, MemberID: m.ID}
}

// strange is why the member that is to run here cannot run on this data; empty
// if it can.
func (d etcdData) strange(c *etcd.Cluster, own etcd.Member) string {
	switch {
	case !d.begun || d.of(c, own):
		return ""
	case d.problem != "":
		if own.Started() {
			return "" // etcd will say what it thinks of it
		}
		return "its log is damaged: " + d.problem
	case d.identity.ClusterID != c.ID:
		return "it belongs to another etcd cluster (" + etcd.HexID(d.identity.ClusterID) + ", this one is " + etcd.HexID(c.ID) + ")"
	}
	if m, ok := c.ByID(d.identity.MemberID); ok {
		return "it belongs to member " + m.String()
	}
	return "it belongs to member " + etcd.HexID(d.identity.MemberID) + ", which the cluster has removed"
}

// etcdDataDir moves data aside that the member cannot run on.
type etcdDataDir struct{ part }

func (r *etcdDataDir) Change(own reconcile.Observation, _ reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	c, _, err := r.change(own, func(v verdict) *reconcile.Change {
		if v.moves == "" {
			return nil
		}
		return &reconcile.Change{Action: reconcile.Delete, Reason: reconcile.Drift, Disruption: reconcile.Destructive, Allow: allowEtcdData,
			Summary: "the data in " + r.m.in.DataDir + " cannot be used: " + v.moves + "; it is moved aside",
			Fields:  []reconcile.Field{{Path: r.member(), Before: "(data)", After: r.aside(own.(*etcdObservation).data)}}}
	})
	if own.(*etcdObservation).data.denied && err == nil {
		return c, []reconcile.Finding{notCompared(r.address, "this user may not read "+r.member(), "run as root to compare it")}, nil
	}
	return c, nil, err
}

func (r *etcdDataDir) member() string { return path.Join(r.m.in.DataDir, "member") }

// aside is where data goes: in the same directory, which may be a mount, so that
// it is one rename. etcd looks at nothing but "member".
func (r *etcdDataDir) aside(d etcdData) string {
	name := r.member() + ".unidentified"
	if d.problem == "" {
		name = fmt.Sprintf("%s.%s-%s", r.member(), etcd.HexID(d.identity.ClusterID), etcd.HexID(d.identity.MemberID))
	}
	free := name
	for n := 2; ; n++ {
		if st, err := r.m.in.Data.Stat(free); err != nil || !st.Exists() && !st.Denied {
			return free
		}
		free = fmt.Sprintf("%s.%d", name, n)
		if n > 100 {
			return free // moving says that it is there
		}
	}
}

// endOfEtcd is how long a removed member may take to end itself.
const endOfEtcd = 15 * time.Second

func (r *etcdDataDir) Apply(ctx context.Context, _ reconcile.Change, _ reconcile.View, say func(reconcile.Progress)) error {
	defer r.m.changed()
	d := observeEtcdData(r.m.in.Data, r.m.in.DataDir)
	if !d.begun {
		return nil
	}
	err := r.m.wait(ctx, endOfEtcd, questionsMax, say, func(ctx context.Context) (string, bool, error) {
		s := r.m.in.Client.Status(ctx, r.m.in.ClientURL)
		return "etcd still runs on the data", !s.Answers() || s.MemberID != d.identity.MemberID, nil
	})
	if err != nil {
		if ctx.Err() == nil {
			return fault.New(fault.Conflict, "etcd runs on the data in %s: it is not moved", r.m.in.DataDir).
				WithHint("stop it first: move its manifest out of /etc/kubernetes/manifests")
		}
		return err
	}
	if r.m.in.Withdraw != nil {
		// On an empty directory the manifest that is there could make a cluster of
		// its own before the right one is written.
		if err := r.m.in.Withdraw(ctx); err != nil {
			return err
		}
	}
	return r.m.in.Data.Move(r.member(), r.aside(d))
}
