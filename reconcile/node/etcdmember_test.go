package node

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster/etcd"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

// The judgement of what was seen; real members are in e2e/etcd.
func TestEtcdJudgement(t *testing.T) {
	const cluster = 0xc1
	cp := func(id uint64, name, ip string) etcd.Member {
		m := etcd.Member{ID: id, Name: name, PeerURLs: []string{"https://" + ip + ":2380"}}
		if name != "" {
			m.ClientURLs = []string{"https://" + ip + ":2379"}
		}
		return m
	}
	learner := func(m etcd.Member) etcd.Member { m.Learner = true; return m }
	data := func(cluster, member uint64) etcdData {
		return etcdData{begun: true, identity: etcd.Identity{ClusterID: cluster, MemberID: member}}
	}
	const mine, other = "10.0.0.2", "10.0.0.9"
	one := cp(1, "cp1", "10.0.0.1")
	three := []etcd.Member{one, cp(3, "cp3", "10.0.0.3")}
	type want struct {
		adds, promotes bool
		removes        string // IDs
		moves          string // part of the reason
		refused        string // part of the reason
		finding        string // name
	}
	for _, c := range []struct {
		name     string
		members  []etcd.Member
		data     etcdData
		recorded etcdData
		down     []uint64
		input    EtcdInput
		want     want
	}{
		{name: "absent", members: []etcd.Member{one}, want: want{adds: true, promotes: true}},
		{name: "a learner that has not started", members: []etcd.Member{one, learner(cp(2, "", mine))}, want: want{promotes: true}},
		{name: "a learner that runs", members: []etcd.Member{one, learner(cp(2, "cp2", mine))}, data: data(cluster, 2), want: want{promotes: true}},
		{name: "a voter", members: []etcd.Member{one, cp(2, "cp2", mine)}, data: data(cluster, 2)},
		{name: "a voter that may not be looked at", members: []etcd.Member{one, cp(2, "cp2", mine)}, data: etcdData{denied: true}},
		{name: "a voter whose log is damaged", members: []etcd.Member{one, cp(2, "cp2", mine)}, data: etcdData{begun: true, problem: "x"}},
		{name: "a voter that is down is the static pod's matter", members: append(three, cp(2, "cp2", mine)), data: data(cluster, 2), down: []uint64{2}},
		{name: "a lost disk", members: append(three, cp(2, "cp2", mine)), down: []uint64{2}, want: want{adds: true, promotes: true, removes: "2"}},
		{name: "a lost disk without quorum", members: []etcd.Member{one, cp(2, "cp2", mine)}, down: []uint64{2}, want: want{refused: "cp2 (2"}},
		{name: "a lost disk, while another is down", members: append(three, cp(2, "cp2", mine)), down: []uint64{2, 3}, want: want{refused: "cp3 (3"}},
		{name: "a disk that another place is configured for", members: append(three, cp(2, "cp2", mine)), recorded: data(cluster, 2), down: []uint64{2}, want: want{refused: "the manifest on this machine has it"}},
		{name: "a lost disk, and another member's data at its old place", members: append(three, cp(2, "cp2", mine)), recorded: data(cluster, 7), down: []uint64{2}, want: want{adds: true, promotes: true, removes: "2"}},
		{name: "a voter that runs elsewhere", members: []etcd.Member{one, cp(2, "cp2", mine)}, want: want{refused: "its data is not in"}},
		{name: "data of another cluster", members: []etcd.Member{one}, data: data(0xbad, 2), want: want{adds: true, promotes: true, moves: "another etcd cluster"}},
		{name: "data of a removed member", members: []etcd.Member{one}, data: data(cluster, 7), want: want{adds: true, promotes: true, moves: "removed"}},
		{name: "data nobody can read", members: []etcd.Member{one}, data: etcdData{begun: true, problem: "x"}, want: want{adds: true, promotes: true, moves: "damaged"}},
		{name: "data of the learner before", members: []etcd.Member{one, learner(cp(2, "", mine))}, data: data(cluster, 7), want: want{promotes: true, moves: "removed"}},
		{name: "this name elsewhere, dead", members: append(three, cp(2, "cp2", other)), down: []uint64{2}, want: want{adds: true, promotes: true, removes: "2"}},
		{name: "this name elsewhere, alive", members: append(three, cp(2, "cp2", other)), want: want{refused: "another machine"}},
		{name: "this disk elsewhere, alive", members: append(three, cp(2, "x", other)), data: data(cluster, 2), want: want{refused: "another machine"}},
		{name: "this disk at an old address", members: append(three, cp(2, "cp2", other)), data: data(cluster, 2), down: []uint64{2},
			want: want{adds: true, promotes: true, removes: "2", moves: "belongs to member cp2"}},
		{name: "an orphan at another address of this machine", members: []etcd.Member{one, learner(cp(2, "", other))},
			input: EtcdInput{Addresses: []netip.Addr{netip.MustParseAddr(other)}}, want: want{adds: true, promotes: true, removes: "2"}},
		{name: "an orphan that the manifest names", members: []etcd.Member{one, learner(cp(2, "", other))},
			input: EtcdInput{RecordedPeerURL: "https://" + other + ":2380"}, want: want{adds: true, promotes: true, removes: "2"}},
		{name: "a manifest of another machine that runs", members: append(three, cp(4, "cp2", other)),
			input: EtcdInput{RecordedPeerURL: "https://" + other + ":2380"}, want: want{refused: "another machine"}},
		{name: "an address that another machine has too, which runs", members: three,
			input: EtcdInput{Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.3")}}, want: want{refused: "another machine"}},
		{name: "somebody else's learner", members: []etcd.Member{one, learner(cp(2, "", other))}, want: want{adds: true, promotes: true, finding: "EtcdLearner"}},
		{name: "etcd adds nobody while one of three is down", members: append(three, cp(4, "cp4", "10.0.0.4")), down: []uint64{4}, want: want{refused: "cp4 (4"}},
		{name: "a newer etcd", members: []etcd.Member{one}, input: EtcdInput{Version: "3.8.0"}, want: want{adds: true, promotes: true, finding: "EtcdVersionSkew"}},
		{name: "an older etcd", members: []etcd.Member{one}, input: EtcdInput{Version: "3.6.8"}, want: want{adds: true, promotes: true, finding: "EtcdVersionSkew"}},
		{name: "the same minor", members: []etcd.Member{one}, input: EtcdInput{Version: "3.7.3"}, want: want{adds: true, promotes: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := &etcdObservation{data: c.data, recorded: c.recorded, cluster: etcd.Cluster{ID: cluster, Members: c.members, Status: map[uint64]etcd.Status{}}}
			for _, m := range c.members {
				o.cluster.Status[m.ID] = etcd.Status{MemberID: m.ID, Leader: 1, Version: "3.7.0", Learner: m.Learner}
				if !m.Started() {
					o.cluster.Status[m.ID] = etcd.Status{Err: "has not started yet"}
				}
			}
			for _, id := range c.down {
				o.cluster.Status[id] = etcd.Status{Err: "connection refused"}
			}
			in := c.input
			in.NodeName, in.PeerURL, in.ClientURL, in.DataDir = "cp2", "https://"+mine+":2380", "https://"+mine+":2379", "/var/lib/etcd"
			v := in.judge(o)
			var refused string
			for _, err := range []error{v.refused, v.quorum} {
				if err != nil {
					refused += err.Error()
					if fault.ClassOf(err) != fault.Conflict || fault.HintOf(err) == "" {
						t.Errorf("refused without a class and a way out: %v", err)
					}
				}
			}
			if (c.want.refused == "") != (refused == "") || !strings.Contains(refused, c.want.refused) {
				t.Fatalf("refused: %q, want %q", refused, c.want.refused)
			}
			if refused != "" {
				return
			}
			var removes []string
			for _, r := range v.removes {
				removes = append(removes, r.HexID())
			}
			if v.adds != c.want.adds || v.promotes != c.want.promotes || strings.Join(removes, ",") != c.want.removes {
				t.Errorf("adds %t, promotes %t, removes %v", v.adds, v.promotes, removes)
			}
			if (c.want.moves == "") != (v.moves == "") || !strings.Contains(v.moves, c.want.moves) {
				t.Errorf("moves the data because: %q, want %q", v.moves, c.want.moves)
			}
			found := false
			for _, f := range v.findings {
				found = found || f.Name == c.want.finding
			}
			if found != (c.want.finding != "") {
				t.Errorf("findings: %+v", v.findings)
			}
		})
	}
}

func TestEtcdData(t *testing.T) {
	head, err := os.ReadFile("../cluster/etcd/testdata/wal-head")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		files map[string]string
		begun bool
		known bool
	}{
		"nothing":             {},
		"an empty directory":  {files: map[string]string{"lost+found/x": ""}},
		"before the log":      {files: map[string]string{"member/snap/db": "x"}},
		"a log that is begun": {files: map[string]string{"member/wal.tmp/0.wal": "x", "member/wal/0.tmp": "x"}},
		"a log":               {files: map[string]string{"member/wal/0-0.wal": string(head) + strings.Repeat("\x00", etcd.HeadSize), "member/wal/1-9.wal": "x"}, begun: true, known: true},
		"a damaged log":       {files: map[string]string{"member/wal/0-0.wal": "x"}, begun: true},
		"a file for a log":    {files: map[string]string{"member/wal": "x"}, begun: true},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for path, content := range c.files {
				path = filepath.Join(root, "var/lib/etcd", path)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			h, err := host.Open(root)
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			d := (&EtcdInput{DataDir: "/var/lib/etcd", Data: h}).observeData().data
			if d.begun != c.begun || (d.begun && !d.unknown()) != c.known {
				t.Errorf("%+v", d)
			}
		})
	}
}

// A log with a directory of its own is looked for there, and moved aside with
// the data. A run that is killed between the two finds it again.
func TestEtcdLogElsewhere(t *testing.T) {
	head, err := os.ReadFile("../cluster/etcd/testdata/wal-head")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		wal  string
		left []string // that is there already
	}{
		"in the data directory":  {wal: "/var/lib/etcd/wal"},
		"elsewhere":              {wal: "/fast/etcd"},
		"after a run was killed": {wal: "/var/lib/etcd/wal", left: []string{"/var/lib/etcd/member.old/snap/db"}},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for path, content := range map[string]string{c.wal + "/0-0.wal": string(head), "/var/lib/etcd/member/snap/db": "x"} {
				if c.left != nil && strings.HasSuffix(path, "db") {
					path = c.left[0]
				}
				path = filepath.Join(root, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			h, err := host.Open(root)
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			seen := etcd.Cluster{ID: 1, Members: []etcd.Member{{ID: 1, Name: "cp1", PeerURLs: []string{"https://10.0.0.1:2380"}}}, Status: map[uint64]etcd.Status{1: {MemberID: 1, Leader: 1}}}
			in := EtcdInput{NodeName: "cp2", PeerURL: "https://10.0.0.2:2380", DataDir: "/var/lib/etcd", WALDir: c.wal, Data: h, Client: etcdSeen{cluster: seen}, Timeout: time.Second}
			r := EtcdResources(in)[1]
			o, err := r.Observe(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			change, _, err := r.Change(o, viewOf{})
			if err != nil || change == nil || change.Allow != allowEtcdData || change.Fields[len(change.Fields)-1].Path != c.wal || len(change.Fields) != 2-len(c.left) {
				t.Fatalf("%+v, %v", change, err)
			}
			if err := r.Apply(t.Context(), *change, viewOf{}, func(reconcile.Progress) {}); err != nil {
				t.Fatal(err)
			}
			for _, pattern := range []string{c.wal + ".*-*/0-0.wal", "/var/lib/etcd/member.*/snap/db"} {
				if found, _ := filepath.Glob(filepath.Join(root, pattern)); len(found) != 1 {
					t.Errorf("%s: %v", pattern, found)
				}
			}
			if d := in.observeData().data; d.begun {
				t.Errorf("still there: %+v", d)
			}
		})
	}
}

// Where the data is cannot always be told: then nothing is said of it.
func TestEtcdDataUnknown(t *testing.T) {
	h, err := host.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	one := etcd.Member{ID: 1, Name: "cp1", PeerURLs: []string{"https://10.0.0.1:2380"}}
	own := etcd.Member{ID: 2, Name: "cp2", PeerURLs: []string{"https://10.0.0.2:2380"}}
	down, runs := etcd.Status{Err: "x"}, etcd.Status{MemberID: 2, Leader: 1}
	for name, c := range map[string]struct {
		members []etcd.Member
		own     etcd.Status
		changes string
		told    bool
	}{
		"a member that runs": {[]etcd.Member{one, own}, runs, "", false},
		"one that is down":   {[]etcd.Member{one, own}, down, "", true},
		"none yet":           {[]etcd.Member{one}, etcd.Status{}, "etcd-member:cp2 etcd-voter:cp2", true},
	} {
		t.Run(name, func(t *testing.T) {
			seen := etcd.Cluster{ID: 1, Members: c.members, Status: map[uint64]etcd.Status{1: {MemberID: 1, Leader: 1}, 2: c.own}}
			in := EtcdInput{NodeName: "cp2", PeerURL: "https://10.0.0.2:2380", NoData: "etcd's wal-dir (/wal) is not on a hostPath volume of its pod", Data: h, Client: etcdSeen{cluster: seen}}
			set, err := reconcile.NewSet(EtcdResources(in)...)
			if err != nil {
				t.Fatal(err)
			}
			got, err := set.Compute(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var changes []string
			for _, c := range got.Changes {
				changes = append(changes, string(c.Address))
			}
			told := false
			for _, f := range got.Findings {
				told = told || f.Name == FindingNotCompared && strings.Contains(f.Seen, "/wal")
			}
			if strings.Join(changes, " ") != c.changes || told != c.told {
				t.Errorf("%v %+v", changes, got.Findings)
			}
		})
	}
}

// Without a credential for etcd the plan is incomplete, and nothing is planned.
func TestEtcdWithoutClient(t *testing.T) {
	h, err := host.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	set, err := reconcile.NewSet(EtcdResources(EtcdInput{NodeName: "cp2", DataDir: "/var/lib/etcd", Data: h, NoClient: "there is no etcd/ca.key", Timeout: time.Second})...)
	if err != nil {
		t.Fatal(err)
	}
	c, err := set.Compute(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Changes) > 0 || len(c.Findings) != 1 || c.Findings[0].Name != FindingNotCompared || !strings.Contains(c.Findings[0].Seen, "ca.key") {
		t.Errorf("%+v %+v", c.Changes, c.Findings)
	}
}

// etcdSeen is an etcd of which only the look matters.
type etcdSeen struct {
	EtcdClient
	cluster etcd.Cluster
}

func (e etcdSeen) Look(context.Context) (etcd.Cluster, error) { return e.cluster, nil }

func (e etcdSeen) Status(_ context.Context, clientURL string) etcd.Status {
	for _, m := range e.cluster.Members {
		if slices.Contains(m.ClientURLs, clientURL) {
			return e.cluster.Status[m.ID]
		}
	}
	return etcd.Status{Err: "connection refused"}
}

// A member that was told of others than there are now makes its directory, and
// does not start: what it is told is compared until it has a log.
func TestEtcdStartPeers(t *testing.T) {
	head, err := os.ReadFile("../cluster/etcd/testdata/wal-head")
	if err != nil {
		t.Fatal(err)
	}
	own, err := etcd.Identify(head)
	if err != nil {
		t.Fatal(err)
	}
	one := etcd.Member{ID: 1, Name: "cp1", PeerURLs: []string{"https://10.0.0.1:2380"}}
	learner := etcd.Member{ID: own.MemberID, Learner: true, PeerURLs: []string{"https://10.0.0.2:2380"}}
	const both = "cp1=https://10.0.0.1:2380 cp2=https://10.0.0.2:2380"
	for name, c := range map[string]struct {
		file, content string
		members       []etcd.Member
		want          string
	}{
		"a learner that never ran":          {members: []etcd.Member{one, learner}, want: both},
		"a learner that did not get to run": {file: "member/snap/db", content: "x", members: []etcd.Member{one, learner}, want: both},
		"a learner that has its log":        {file: "member/wal/0-0.wal", content: string(head), members: []etcd.Member{one, learner}},
		"one that will be added":            {file: "member/snap/db", content: "x", members: []etcd.Member{one}, want: both},
		"one that will be added anew":       {file: "member/wal/0-0.wal", content: string(head), members: []etcd.Member{one}, want: both},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if c.file != "" {
				path := filepath.Join(root, "var/lib/etcd", c.file)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			h, err := host.Open(root)
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			seen := etcd.Cluster{ID: own.ClusterID, Members: c.members, Status: map[uint64]etcd.Status{1: {MemberID: 1, Leader: 1}, own.MemberID: {Err: "x"}}}
			in := EtcdInput{NodeName: "cp2", PeerURL: "https://10.0.0.2:2380", DataDir: "/var/lib/etcd", Data: h, Client: etcdSeen{cluster: seen}}
			var got []string
			for _, p := range EtcdStartPeers(t.Context(), in) {
				got = append(got, p.Name+"="+p.URL)
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %v, want %s", got, c.want)
			}
		})
	}
}

// A member that cannot be made stops the join before anything is changed.
func TestEtcdMemberCannotBeMade(t *testing.T) {
	h, err := host.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	in := EtcdInput{NodeName: "cp2", DataDir: "/var/lib/etcd", Data: h, NoClient: "forbidden", Timeout: time.Second, Manifest: StaticPodAddress("etcd"), Required: true}
	pod := StaticPodResource(StaticPod{Name: "etcd", NodeName: "cp2", Path: "/etc/kubernetes/manifests/etcd.yaml", FilesOnly: true, Files: h})
	set, err := reconcile.NewSet(append(EtcdResources(in), pod)...)
	if err != nil {
		t.Fatal(err)
	}
	c, err := set.Compute(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Findings) != 1 || c.Findings[0].Severity != reconcile.SeverityError || !strings.Contains(c.Findings[0].Seen, "forbidden") {
		t.Errorf("%+v", c.Findings)
	}
}
