package node

import (
	"cmp"
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

// observeData looks for the data where etcd will look for it.
func (in *EtcdInput) observeData() *etcdObservation {
	if in.NoData != "" {
		return &etcdObservation{data: etcdData{denied: true}}
	}
	o := &etcdObservation{data: observeEtcdLog(in.Data, in.wal())}
	if in.RecordedWALDir != "" && in.RecordedWALDir != in.wal() && !o.data.begun && !o.data.denied {
		o.recorded = observeEtcdLog(in.Data, in.RecordedWALDir)
	}
	return o
}

func (in *EtcdInput) wal() string { return cmp.Or(in.WALDir, path.Join(in.DataDir, "member/wal")) }

// place names for a reader where etcd's data is.
func (in *EtcdInput) place() string {
	if wal := in.wal(); wal != path.Join(in.DataDir, "member/wal") {
		return wal
	}
	return in.DataDir
}

func observeEtcdLog(files EtcdData, wal string) etcdData {
	data, err := files.Dir(wal)
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

// String says whose data it is.
func (d etcdData) String() string {
	if d.unknown() {
		return "data"
	}
	return "data of member " + etcd.HexID(d.identity.MemberID) + " of cluster " + etcd.HexID(d.identity.ClusterID)
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
			Summary: "the data in " + r.m.in.place() + " cannot be used: " + v.moves + "; it is moved aside",
			Fields:  r.moves(own.(*etcdObservation).data)}
	})
	o := own.(*etcdObservation)
	switch {
	case err != nil || !o.data.denied:
		return c, nil, err
	case r.m.in.NoData == "":
		return c, []reconcile.Finding{notCompared(r.address, "this user may not read "+r.m.in.wal(), "run as root to compare it")}, nil
	case r.m.in.runs(&o.cluster):
		return c, nil, nil // what runs has its data
	}
	return c, []reconcile.Finding{notCompared(r.address, "whether there is data of etcd on this machine: "+r.m.in.NoData,
		"if it has been a member before, see that no data of that is left where etcd will look for it")}, nil
}

// runs tells whether the member of this machine answers.
func (in *EtcdInput) runs(c *etcd.Cluster) bool {
	own, have := c.ByPeerURL(in.PeerURL)
	return have && own.Started() && c.Status[own.ID].Answers()
}

// moves are the directories that are moved aside. etcd's log may have one of its
// own; it goes last, because it says whose data this is: a run that is killed
// before finds it again.
func (r *etcdDataDir) moves(d etcdData) []reconcile.Field {
	member, wal := path.Join(r.m.in.DataDir, "member"), r.m.in.wal()
	dirs := []string{member}
	if !strings.HasPrefix(wal, member+"/") {
		dirs = []string{member, wal}
		if st, err := r.m.in.Data.Stat(member); err == nil && !st.Exists() {
			dirs = []string{wal}
		}
	}
	var out []reconcile.Field
	for _, dir := range dirs {
		out = append(out, reconcile.Field{Path: dir, Before: "(" + d.String() + ")", After: r.aside(dir, d)})
	}
	return out
}

// aside is where a directory goes: beside itself, so that it is one rename also
// where that is on a mount. etcd looks at nothing but the names it knows.
func (r *etcdDataDir) aside(dir string, d etcdData) string {
	name := dir + ".unidentified"
	if d.problem == "" {
		name = fmt.Sprintf("%s.%s-%s", dir, etcd.HexID(d.identity.ClusterID), etcd.HexID(d.identity.MemberID))
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
	d := r.m.in.observeData().data
	if !d.begun {
		return nil
	}
	err := r.m.wait(ctx, endOfEtcd, questionsMax, say, func(ctx context.Context) (string, bool, error) {
		s := r.m.in.Client.Status(ctx, r.m.in.ClientURL)
		return "etcd still runs on the data", !s.Answers() || s.MemberID != d.identity.MemberID, nil
	})
	if err != nil {
		if ctx.Err() == nil {
			return fault.New(fault.Conflict, "etcd runs on the data in %s: it is not moved", r.m.in.place()).
				WithHint("stop it first: move its manifest out of /etc/kubernetes/manifests")
		}
		return err
	}
	if r.m.in.Withdraw != nil {
		// On an empty directory the manifest that is there could make a cluster of
		// its own before the right one is written.
		if err := r.m.in.Withdraw(ctx, say); err != nil {
			return err
		}
	}
	for _, dir := range r.moves(d) {
		if err := r.m.in.Data.Move(dir.Path, dir.After); err != nil {
			return err
		}
	}
	return nil
}
