package node

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/host"
	"github.com/kubejoin/kubejoin/reconcile/pki"
	"github.com/kubejoin/kubejoin/reconcile/staticpod"
)

// ControlPlaneUsers is the address of the users and groups of a control plane
// that runs without root.
const ControlPlaneUsers reconcile.Address = "users:control-plane"

const (
	passwdPath    = "/etc/passwd"
	groupPath     = "/etc/group"
	loginDefsPath = "/etc/login.defs"
)

// The users, each with a group of its own name, and the group of those that may
// read sa.key. Behaviour catalogue §5.5.
const (
	userEtcd              = "kubeadm-etcd"
	userAPIServer         = "kubeadm-kas"
	userControllerManager = "kubeadm-kcm"
	userScheduler         = "kubeadm-ks"
	groupSAKeyReaders     = "kubeadm-sa-key-readers"

	userShell = "/bin/false"
)

// accountsWait is how long others may go on changing users: behaviour catalogue §5.15.
const accountsWait = 5 * time.Second

// Accounts is what of the machine the users of a control plane need beside its
// files. *host.Host is one.
type Accounts interface {
	LockAccounts(ctx context.Context, wait time.Duration) (release func(), err error)
	Tree(path string, uid, gid int) (host.TreeState, error)
	OwnTree(path string, uid, gid int) error
}

// accounts are the users and groups of a machine, and what is missing of those
// of a control plane.
type accounts struct {
	users         staticpod.Users
	passwd, group fileObservation
	addUsers      []string // lines
	addGroups     []string
	missing       []reconcile.Field
}

// PlanUsers says which users a control plane without root has on this machine:
// those that are there, and for the others the first free ids, which apply
// takes. An entry that is not as kubeadm would make it has class fault.Preflight.
func PlanUsers(files Files) (*staticpod.Users, error) {
	a, err := observeAccounts(files)
	if err != nil {
		return nil, err
	}
	return &a.users, nil
}

func observeAccounts(files Files) (accounts, error) {
	a := accounts{passwd: observeFile(files, passwdPath), group: observeFile(files, groupPath)}
	for p, o := range map[string]fileObservation{passwdPath: a.passwd, groupPath: a.group} {
		switch {
		case o.problem != "":
			return a, fault.New(fault.Preflight, "%s", o.problem).At("file:" + p)
		case o.state.Denied:
			return a, fault.New(fault.Preflight, "this user may not read it").At("file:" + p).WithHint("run as root")
		case !o.state.Exists():
			return a, fault.New(fault.Preflight, "does not exist: the control plane's users cannot be added to it").At("file:" + p)
		}
	}
	defs, err := readRanges(observeFile(files, loginDefsPath).content)
	if err != nil {
		return a, err
	}
	return a, a.plan(defs)
}

// ranges are those of the ids of system users and groups.
type ranges struct{ minUID, maxUID, minGID, maxGID int64 }

// readRanges reads login.defs(5). What it does not say is as kubeadm has it.
func readRanges(defs []byte) (ranges, error) {
	r := ranges{100, 999, 100, 999}
	for line := range strings.Lines(string(defs)) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		var to *int64
		switch words[0] {
		case "SYS_UID_MIN":
			to = &r.minUID
		case "SYS_UID_MAX":
			to = &r.maxUID
		case "SYS_GID_MIN":
			to = &r.minGID
		case "SYS_GID_MAX":
			to = &r.maxGID
		default:
			continue
		}
		n, err := strconv.ParseInt(words[1], 0, 32)
		if err != nil {
			return r, fault.New(fault.Preflight, "%s is no number", words[0]).At("file:" + loginDefsPath)
		}
		*to = n
	}
	return r, nil
}

// entries are the lines of passwd(5) or group(5) by name. What is no entry (a
// comment, a line for NIS) is nobody's, and stays.
func entries(content []byte, fields int) map[string][]string {
	out := map[string][]string{}
	for line := range strings.Lines(string(content)) {
		e := strings.Split(strings.TrimRight(line, "\n"), ":")
		if _, twice := out[e[0]]; len(e) == fields && !twice { // the first one counts
			out[e[0]] = e
		}
	}
	return out
}

// plan takes the ids of what is there, and gives others the first free ones, in
// kubeadm's order.
func (a *accounts) plan(r ranges) error {
	passwd, group := entries(a.passwd.content, 7), entries(a.group.content, 4)
	gids, uids := idsOf(group), idsOf(passwd)
	a.users = staticpod.Users{}
	groupID := func(name string, members ...string) (int64, error) {
		if e, found := group[name]; found {
			if have := strings.Split(e[3], ","); !slices.Equal(slices.Sorted(slices.Values(have)), members) {
				return 0, strange(groupPath, "group %s has the members %q, not %q", name, e[3], strings.Join(members, ","))
			}
			return idIn(groupPath, "group "+name, e[2], r.minGID, r.maxGID)
		}
		id, err := free(gids, r.minGID, r.maxGID, groupPath)
		if err != nil {
			return 0, err
		}
		list := strings.Join(members, ",")
		a.addGroups = append(a.addGroups, fmt.Sprintf("%s:x:%d:%s\n", name, id, list))
		a.missing = append(a.missing, reconcile.Field{Path: "group " + name, After: fmt.Sprintf("%d (%s)", id, list)})
		return id, nil
	}
	for _, u := range []struct {
		name string
		to   *staticpod.UserGroup
	}{{userEtcd, &a.users.Etcd}, {userAPIServer, &a.users.APIServer}, {userControllerManager, &a.users.ControllerManager}, {userScheduler, &a.users.Scheduler}} {
		e, found := passwd[u.name]
		if _, hasGroup := group[u.name]; found && !hasGroup {
			return strange(passwdPath, "there is a user %s and no group of that name", u.name)
		}
		gid, err := groupID(u.name, u.name)
		if err != nil {
			return err
		}
		var uid int64
		switch {
		case !found:
			if uid, err = free(uids, r.minUID, r.maxUID, passwdPath); err != nil {
				return err
			}
			a.addUsers = append(a.addUsers, fmt.Sprintf("%s:x:%d:%d:::%s\n", u.name, uid, gid, userShell))
			a.missing = append(a.missing, reconcile.Field{Path: "user " + u.name, After: fmt.Sprintf("%d:%d", uid, gid)})
		case e[3] != strconv.FormatInt(gid, 10):
			return strange(passwdPath, "user %s has the group %s, not the one of its own name, %d", u.name, e[3], gid)
		case e[6] != userShell:
			return strange(passwdPath, "user %s has the shell %q, not %s", u.name, e[6], userShell)
		default:
			if uid, err = idIn(passwdPath, "user "+u.name, e[2], r.minUID, r.maxUID); err != nil {
				return err
			}
		}
		*u.to = staticpod.UserGroup{UID: uid, GID: gid}
	}
	var err error
	a.users.SAKeyReaders, err = groupID(groupSAKeyReaders, userAPIServer, userControllerManager)
	return err
}

func strange(file, text string, args ...any) error {
	return fault.New(fault.Preflight, text, args...).At("file:"+file).
		WithHint("the cluster runs its control plane without root (%s) and needs it so; correct it, or remove what is named kubeadm-* in %s and %s", staticpod.GateRootless, passwdPath, groupPath)
}

// idsOf are the ids in use.
func idsOf(entries map[string][]string) map[int64]bool {
	out := map[int64]bool{}
	for _, e := range entries {
		if id, err := strconv.ParseInt(e[2], 10, 64); err == nil {
			out[id] = true
		}
	}
	return out
}

// free takes the first id that is not in use.
func free(used map[int64]bool, first, last int64, file string) (int64, error) {
	for id := first; id <= last; id++ {
		if !used[id] {
			used[id] = true
			return id, nil
		}
	}
	return 0, fault.New(fault.Preflight, "no id from %d to %d is free for the control plane's users", first, last).At("file:" + file).
		WithHint("widen the range of system ids in " + loginDefsPath)
}

func idIn(file, what, id string, first, last int64) (int64, error) {
	n, err := strconv.ParseInt(id, 10, 64)
	if err != nil || n < first || n > last {
		return 0, strange(file, "%s has the id %s, which is none of a system's (%d to %d)", what, id, first, last)
	}
	return n, nil
}

// rootlessResources are what a control plane without root needs beside its files.
func rootlessResources(cp *ControlPlane, o Options, p Ports) []reconcile.Resource {
	out := []reconcile.Resource{&usersResource{want: *cp.Pods.Users, files: p.Files, accounts: cp.Accounts, anyOwner: o.AnyOwner}}
	if cp.Etcd != nil && cp.Etcd.DataDir != "" && !o.AnyOwner {
		out = append(out, &etcdTree{path: cp.Etcd.DataDir, user: cp.Pods.Users.Etcd, data: cp.Etcd.Data, accounts: cp.Accounts})
	}
	return out
}

// usersResource keeps the users and groups. Manifests and owners follow from the
// ids in the plan: if they have become another's, it is not valid any more.
type usersResource struct {
	want     staticpod.Users
	files    Files
	accounts Accounts
	// anyOwner leaves the owners of the two files to the system.
	anyOwner bool
}

func (r *usersResource) Address() reconcile.Address { return ControlPlaneUsers }
func (r *usersResource) After() []reconcile.Address { return nil }

func (r *usersResource) Observe(context.Context) (reconcile.Observation, error) {
	return observeAccounts(r.files)
}

func (r *usersResource) Change(own reconcile.Observation, _ reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	a := own.(accounts)
	if a.users != r.want {
		return nil, nil, fault.New(fault.Conflict, "somebody changed users or groups since the plan was made").
			WithHint("run it again: the ids in the manifests follow from them")
	}
	if len(a.missing) == 0 {
		return nil, nil, nil
	}
	return &reconcile.Change{Address: r.Address(), Action: reconcile.Create, Reason: reconcile.Missing, Disruption: reconcile.NoDisruption,
		Summary: "the control plane runs without root, and lacks users or groups for it", Fields: a.missing}, nil, nil
}

func (r *usersResource) Apply(ctx context.Context, _ reconcile.Change, _ reconcile.View, _ func(reconcile.Progress)) error {
	release, err := r.accounts.LockAccounts(ctx, accountsWait)
	if err != nil {
		return err
	}
	defer release()
	a, err := observeAccounts(r.files)
	if err != nil {
		return err
	}
	if _, _, err := r.Change(a, nil); err != nil {
		return err
	}
	if r.anyOwner {
		a.group.state.UID, a.group.state.GID, a.passwd.state.UID, a.passwd.state.GID = -1, -1, -1, -1
	}
	// A group without its user is taken up by the next run, and not the reverse.
	if err := addLines(r.files, groupPath, a.group, a.addGroups); err != nil {
		return err
	}
	return addLines(r.files, passwdPath, a.passwd, a.addUsers)
}

func addLines(files Files, path string, have fileObservation, lines []string) error {
	if len(lines) == 0 {
		return nil
	}
	content := string(have.content)
	if content != "" && !strings.HasSuffix(content, "\n") {
		content += "\n"
	}
	return files.WriteFile(path, []byte(content+strings.Join(lines, "")),
		host.WriteOptions{Mode: have.state.Mode, UID: have.state.UID, GID: have.state.GID})
}

// Owners are the owners of a control plane's files that its users read.
// Behaviour catalogue §5.5.
func Owners(c *kubeadm.ClusterConfiguration, u *staticpod.Users) map[string]Owner {
	dir := cmp.Or(c.CertificatesDir, kubeadm.DefaultCertificatesDir)
	out := map[string]Owner{path.Join(dir, "sa.key"): {UID: 0, GID: int(u.SAKeyReaders), Mode: 0o640}}
	own := func(u staticpod.UserGroup, paths ...string) {
		for _, p := range paths {
			out[p] = Owner{UID: int(u.UID), GID: int(u.GID), Mode: 0o600}
		}
	}
	own(u.APIServer, path.Join(dir, "sa.pub"), path.Join(dir, "apiserver.key"),
		path.Join(dir, "apiserver-kubelet-client.key"), path.Join(dir, "front-proxy-client.key"))
	own(u.ControllerManager, path.Join(dir, "ca.key"))
	if c.Etcd.External == nil {
		own(u.APIServer, path.Join(dir, "apiserver-etcd-client.key"))
		own(u.Etcd, path.Join(dir, "etcd/server.key"), path.Join(dir, "etcd/peer.key"))
	}
	for _, k := range pki.Kubeconfigs(pki.Input{Cluster: c}) {
		switch k.ReadBy {
		case staticpod.ControllerManager:
			own(u.ControllerManager, k.Path)
		case staticpod.Scheduler:
			own(u.Scheduler, k.Path)
		}
	}
	return out
}

// etcdTree gives etcd's data directory and what is in it to etcd's user. It is
// one for a control plane without root only: root reads everything.
type etcdTree struct {
	path     string
	user     staticpod.UserGroup
	data     EtcdData
	accounts Accounts
}

func (r *etcdTree) Address() reconcile.Address { return reconcile.Address("directory:" + r.path) }
func (r *etcdTree) After() []reconcile.Address { return []reconcile.Address{ControlPlaneUsers} }

func (r *etcdTree) Observe(context.Context) (reconcile.Observation, error) {
	return r.accounts.Tree(r.path, int(r.user.UID), int(r.user.GID))
}

func (r *etcdTree) Change(own reconcile.Observation, _ reconcile.View) (*reconcile.Change, []reconcile.Finding, error) {
	o := own.(host.TreeState)
	c := &reconcile.Change{Address: r.Address(), Disruption: reconcile.NoDisruption}
	owner := fmt.Sprintf("%d:%d", r.user.UID, r.user.GID)
	switch {
	case !o.Exists() && !o.Denied:
		c.Action, c.Reason, c.Summary = reconcile.Create, reconcile.Missing, "does not exist"
		c.Fields = []reconcile.Field{{Path: "mode", After: "0700"}, {Path: "owner", After: owner}}
	case o.Kind != host.Dir && !o.Denied:
		return nil, []reconcile.Finding{{Severity: reconcile.SeverityError, Name: "UnexpectedFile", Address: r.Address(),
			Seen: "is no directory", Hint: "move it away; kubejoin does not remove what it did not make"}}, nil
	case o.Stranger != "":
		c.Action, c.Reason, c.Summary = reconcile.Update, reconcile.Drift, "etcd's user does not own all of it: "+o.Stranger
		c.Fields = []reconcile.Field{{Path: "owner", Before: o.Owner, After: owner}}
	case o.Denied:
		return nil, []reconcile.Finding{notCompared(r.Address(), "this user may not read it", "run as root to compare the owners in it")}, nil
	default:
		return nil, nil, nil
	}
	return c, nil, nil
}

func (r *etcdTree) Apply(context.Context, reconcile.Change, reconcile.View, func(reconcile.Progress)) error {
	if err := r.data.MakeDir(r.path, 0o700); err != nil { // behaviour catalogue §5.14
		return err
	}
	return r.accounts.OwnTree(r.path, int(r.user.UID), int(r.user.GID))
}
