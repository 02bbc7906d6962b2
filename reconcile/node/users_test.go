package node

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/host"
	"github.com/kubejoin/kubejoin/reconcile/staticpod"
)

const (
	rootPasswd = "root:x:0:0:root:/root:/bin/bash\n"
	rootGroup  = "root:x:0:\n"
	etcdPasswd = "kubeadm-etcd:x:500:600:::/bin/false\n"
	etcdGroup  = "kubeadm-etcd:x:600:kubeadm-etcd\n"
)

func accountsMachine(t *testing.T, passwd, group, defs string) (*host.Host, string) {
	t.Helper()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for p, content := range map[string]string{passwdPath: passwd, groupPath: group, loginDefsPath: defs} {
		if err := os.WriteFile(filepath.Join(root, p), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	h, err := host.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h, root
}

func usersOf(ids ...int64) staticpod.Users {
	return staticpod.Users{Etcd: staticpod.UserGroup{UID: ids[0], GID: ids[1]}, APIServer: staticpod.UserGroup{UID: ids[2], GID: ids[3]},
		ControllerManager: staticpod.UserGroup{UID: ids[4], GID: ids[5]}, Scheduler: staticpod.UserGroup{UID: ids[6], GID: ids[7]}, SAKeyReaders: ids[8]}
}

// What kubeadm 1.37.2 and 1.34.4 did with the same files.
func TestPlanUsers(t *testing.T) {
	for name, tt := range map[string]struct {
		passwd, group, defs string
		want                staticpod.Users
		refused             string
	}{
		"none": {want: usersOf(100, 100, 101, 101, 102, 102, 103, 103, 104)},
		"gaps, and no newline at the end": {
			passwd: "sys1:x:100:101::/:/bin/false\nsys2:x:998:998::/:/bin/false\nme:x:1000:1000::/home/me:/bin/bash",
			group:  "sys1:x:101:me,daemon\nsys2:x:998:\nsolo:x:104:\nme:x:1000:",
			defs:   "# comment\nSYS_UID_MIN\t\t100\nUID_MIN 1000\n", want: usersOf(101, 100, 102, 102, 103, 103, 104, 105, 106)},
		"a range":              {defs: "SYS_UID_MIN 200\n SYS_GID_MIN\t300 # of groups\n", want: usersOf(200, 300, 201, 301, 202, 302, 203, 303, 304)},
		"too small a range":    {defs: "SYS_UID_MIN 200\nSYS_UID_MAX 202\n", refused: "no id from 200 to 202 is free"},
		"no range":             {defs: "SYS_UID_MIN many\n", refused: "SYS_UID_MIN is no number"},
		"one is there":         {passwd: etcdPasswd, group: etcdGroup, want: usersOf(500, 600, 100, 100, 101, 101, 102, 102, 103)},
		"its group is there":   {group: etcdGroup, want: usersOf(100, 600, 101, 100, 102, 101, 103, 102, 103)},
		"its user is there":    {passwd: etcdPasswd, refused: "no group of that name"},
		"another shell":        {passwd: "kubeadm-etcd:x:500:600:g:/home:/bin/bash\n", group: etcdGroup, refused: `has the shell "/bin/bash"`},
		"a person's id":        {passwd: "kubeadm-etcd:x:5000:600:::/bin/false\n", group: etcdGroup, refused: "has the id 5000"},
		"a person's group":     {group: "kubeadm-ks:x:5000:kubeadm-ks\n", refused: "group kubeadm-ks has the id 5000"},
		"another group":        {passwd: "kubeadm-etcd:x:500:601:::/bin/false\n", group: etcdGroup, refused: "has the group 601"},
		"one more member":      {group: "kubeadm-etcd:x:600:kubeadm-etcd,me\n", refused: "has the members"},
		"one reader too few":   {group: "kubeadm-sa-key-readers:x:600:kubeadm-kcm\n", refused: "has the members"},
		"members in any order": {group: "kubeadm-sa-key-readers:x:600:kubeadm-kcm,kubeadm-kas\n", want: usersOf(100, 100, 101, 101, 102, 102, 103, 103, 600)},
		"what is no entry":     {passwd: "# of NIS\n+::::::\n", group: "+\n", want: usersOf(100, 100, 101, 101, 102, 102, 103, 103, 104)},
	} {
		t.Run(name, func(t *testing.T) {
			h, root := accountsMachine(t, rootPasswd+tt.passwd, rootGroup+tt.group, tt.defs)
			users, err := PlanUsers(h)
			if tt.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tt.refused) || fault.ClassOf(err) != fault.Preflight {
					t.Fatalf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tt.want, *users); d != "" {
				t.Fatal(d)
			}
			set, err := reconcile.NewSet(&usersResource{want: *users, files: h, accounts: h, anyOwner: os.Geteuid() != 0})
			if err != nil {
				t.Fatal(err)
			}
			c, err := set.Compute(t.Context())
			if err != nil || len(c.Changes) != 1 {
				t.Fatalf("%v %v", c, err)
			}
			if err := set.Apply(t.Context(), c, nil, func(reconcile.Event) {}); err != nil {
				t.Fatal(err)
			}
			if err := set.Converged(t.Context()); err != nil {
				t.Fatal(err)
			}
			for p, had := range map[string]string{passwdPath: rootPasswd + tt.passwd, groupPath: rootGroup + tt.group} {
				data, err := os.ReadFile(filepath.Join(root, p))
				if err != nil || !strings.HasPrefix(string(data), strings.TrimSuffix(had, "\n")+"\n") || !strings.HasSuffix(string(data), "\n") {
					t.Errorf("%s: %s %v", p, data, err)
				}
			}
		})
	}
}

func TestUsersAreWrittenAsKubeadmDoes(t *testing.T) {
	h, root := accountsMachine(t, rootPasswd, rootGroup, "")
	if err := os.Chmod(filepath.Join(root, passwdPath), 0o604); err != nil {
		t.Fatal(err)
	}
	r := &usersResource{want: usersOf(100, 100, 101, 101, 102, 102, 103, 103, 104), files: h, accounts: h, anyOwner: os.Geteuid() != 0}
	if err := r.Apply(t.Context(), reconcile.Change{}, nil, nil); err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]string{
		passwdPath: rootPasswd + "kubeadm-etcd:x:100:100:::/bin/false\nkubeadm-kas:x:101:101:::/bin/false\nkubeadm-kcm:x:102:102:::/bin/false\nkubeadm-ks:x:103:103:::/bin/false\n",
		groupPath:  rootGroup + "kubeadm-etcd:x:100:kubeadm-etcd\nkubeadm-kas:x:101:kubeadm-kas\nkubeadm-kcm:x:102:kubeadm-kcm\nkubeadm-ks:x:103:kubeadm-ks\nkubeadm-sa-key-readers:x:104:kubeadm-kas,kubeadm-kcm\n",
	} {
		data, err := os.ReadFile(filepath.Join(root, p))
		if d := cmp.Diff(want, string(data)); d != "" || err != nil {
			t.Errorf("%s: %v %s", p, err, d)
		}
	}
	if st, err := h.Stat(passwdPath); err != nil || st.Mode != 0o604 {
		t.Errorf("the mode became %v %v", st.Mode, err)
	}
}

// Somebody else takes an id between plan and apply.
func TestUsersTaken(t *testing.T) {
	h, root := accountsMachine(t, rootPasswd, rootGroup, "")
	users, err := PlanUsers(h)
	if err != nil {
		t.Fatal(err)
	}
	r := &usersResource{want: *users, files: h, accounts: h}
	if err := os.WriteFile(filepath.Join(root, passwdPath), []byte(rootPasswd+"other:x:100:7::/:/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.Apply(t.Context(), reconcile.Change{}, nil, nil); fault.ClassOf(err) != fault.Conflict {
		t.Errorf("got %v", err)
	}
	if data, _ := os.ReadFile(filepath.Join(root, groupPath)); string(data) != rootGroup {
		t.Errorf("written: %s", data)
	}
}

// The owners that kubeadm gave to its files.
func TestOwnersWithoutRoot(t *testing.T) {
	users := usersOf(1, 11, 2, 12, 3, 13, 4, 14, 20)
	kas, kcm, etcd := Owner{2, 12, 0o600}, Owner{3, 13, 0o600}, Owner{1, 11, 0o600}
	want := map[string]Owner{
		"/p/sa.key": {0, 20, 0o640}, "/p/sa.pub": kas, "/p/apiserver.key": kas, "/p/apiserver-kubelet-client.key": kas, "/p/front-proxy-client.key": kas,
		"/p/apiserver-etcd-client.key": kas, "/p/ca.key": kcm, "/p/etcd/server.key": etcd, "/p/etcd/peer.key": etcd,
		"/etc/kubernetes/controller-manager.conf": kcm, "/etc/kubernetes/scheduler.conf": {4, 14, 0o600},
	}
	c := &kubeadm.ClusterConfiguration{CertificatesDir: "/p"}
	if d := cmp.Diff(want, Owners(c, &users)); d != "" {
		t.Error(d)
	}
	c.Etcd.External = &kubeadm.ExternalEtcd{}
	if n := len(Owners(c, &users)); n != len(want)-3 {
		t.Errorf("%d with an external etcd", n)
	}
}

func TestEtcdTree(t *testing.T) {
	h, root := accountsMachine(t, rootPasswd, rootGroup, "")
	me := staticpod.UserGroup{UID: int64(os.Geteuid()), GID: int64(os.Getegid())}
	if os.Geteuid() == 0 {
		me = staticpod.UserGroup{UID: 101, GID: 100}
	}
	set, err := reconcile.NewSet(&etcdTree{path: "/var/lib/etcd", user: me, data: h, accounts: h})
	if err != nil {
		t.Fatal(err)
	}
	apply := func(want reconcile.Action) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c, err := set.Compute(ctx)
		if err != nil || len(c.Changes) != 1 || c.Changes[0].Action != want {
			t.Fatalf("%+v %v", c, err)
		}
		if err := set.Apply(ctx, c, nil, func(reconcile.Event) {}); err != nil {
			t.Fatal(err)
		}
		if err := set.Converged(ctx); err != nil {
			t.Fatal(err)
		}
	}
	apply(reconcile.Create)
	dir := filepath.Join(root, "var/lib/etcd")
	if info, err := os.Stat(dir); err != nil || info.Mode() != fs.ModeDir|0o700 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if os.Geteuid() != 0 {
		return // nobody else has files here
	}
	if err := os.MkdirAll(filepath.Join(dir, "member/wal"), 0o700); err != nil {
		t.Fatal(err)
	}
	apply(reconcile.Update)
}
