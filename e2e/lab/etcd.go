package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Member is a member of a cluster's etcd.
type Member struct {
	ID      uint64
	Name    string // empty until it has started
	Peer    string // the first of its peer URLs
	Learner bool   // it has no vote yet
}

// Started tells whether the member has been part of the cluster.
func (m Member) Started() bool { return m.Name != "" }

func (m Member) String() string {
	role := "voter"
	if m.Learner {
		role = "learner"
	}
	if !m.Started() {
		role += ", not started"
	}
	return fmt.Sprintf("%x %s at %s (%s)", m.ID, m.Name, m.Peer, role)
}

const (
	etcdPKI = "/etc/kubernetes/pki/etcd"
	etcdctl = "etcdctl --endpoints=https://%s --cacert=" + etcdPKI + "/ca.crt --cert=" + etcdPKI + "/server.crt --key=" + etcdPKI + "/server.key "
)

// etcdClient is where a machine's own member serves the machine.
func (m *Machine) etcdClient() string { return net.JoinHostPort(m.loopback(), "2379") }

// Etcdctl runs etcdctl on the first control plane, against its own member unless the arguments name others.
func (c *Cluster) Etcdctl(ctx context.Context, args string) Result {
	return Etcdctl(ctx, c.ControlPlane, args)
}

// Etcdctl runs etcdctl on a control plane.
func Etcdctl(ctx context.Context, m *Machine, args string) Result {
	return m.Run(ctx, fmt.Sprintf(etcdctl, m.etcdClient())+args)
}

// Members returns etcd's members in the order of their names.
func (c *Cluster) Members(ctx context.Context) ([]Member, error) {
	res := c.Etcdctl(ctx, "member list --write-out=json")
	if err := res.Err(); err != nil {
		return nil, err
	}
	var list struct {
		Members []struct {
			ID        uint64
			Name      string
			PeerURLs  []string
			IsLearner bool
		}
	}
	if err := json.Unmarshal([]byte(res.Stdout), &list); err != nil {
		return nil, err
	}
	var members []Member
	for _, m := range list.Members {
		members = append(members, Member{m.ID, m.Name, strings.Join(m.PeerURLs[:min(1, len(m.PeerURLs))], ""), m.IsLearner})
	}
	slices.SortFunc(members, func(a, b Member) int { return strings.Compare(a.Name, b.Name) })
	return members, nil
}

// Healthy fails unless etcd's members are exactly these machines, each a voter that takes part in a quorum.
func (c *Cluster) Healthy(ctx context.Context, machines ...*Machine) error {
	members, err := c.Members(ctx)
	if err != nil {
		return err
	}
	var got, want, endpoints []string
	for _, m := range members {
		got = append(got, fmt.Sprintf("%s %s learner:%t", m.Name, m.Peer, m.Learner))
	}
	for _, m := range machines {
		want = append(want, fmt.Sprintf("%s https://%s learner:false", m.Name, m.HostPort("2380")))
		endpoints = append(endpoints, "https://"+m.HostPort("2379"))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		return fmt.Errorf("members of etcd are %q, not %q", got, want)
	}
	return c.Etcdctl(ctx, "endpoint health --endpoints="+strings.Join(endpoints, ",")).Err()
}

// UploadCerts puts the shared certificates into the kubeadm-certs Secret again, under a new certificate key. Nobody may be
// joining with the old one meanwhile.
func (c *Cluster) UploadCerts(ctx context.Context) error {
	key := newCertificateKey()
	c.lab.Canary.Add("certificate key", key)
	err := c.ControlPlane.RunSecret(ctx, "kubeadm init phase upload-certs --upload-certs --certificate-key="+key).Err()
	if err == nil {
		c.CertificateKey = key
	}
	return err
}

// RemoveControlPlane takes a control plane out of the cluster: its etcd member and its Node. A machine that
// is closed without it costs etcd a vote.
func (c *Cluster) RemoveControlPlane(ctx context.Context, m *Machine) error {
	var err error
	if !c.ExternalEtcd {
		// A member that has just become a voter is not removed before it is connected for 5 s.
		err = poll(ctx, time.Minute, func() error { return c.removeMember(ctx, m) })
	}
	c.Audit.Remove(m)
	return errors.Join(err, c.DeleteNode(ctx, m.Name))
}

// DeleteNode deletes a Node if it is there. A write may be lost while etcd notices that its leader has left.
func (c *Cluster) DeleteNode(ctx context.Context, name string) error {
	return poll(ctx, time.Minute, func() error {
		_, err := c.Kubectl(ctx, "delete node --ignore-not-found "+name)
		return err
	})
}

// removeMember looks first: what did not answer in time may have been done all the same.
func (c *Cluster) removeMember(ctx context.Context, m *Machine) error {
	members, err := c.Members(ctx)
	for _, member := range members {
		if member.Peer == "https://"+m.HostPort("2380") {
			err = errors.Join(err, c.Etcdctl(ctx, fmt.Sprintf("member remove %x", member.ID)).Err())
		}
	}
	return err
}

// Writer writes to etcd in the background, five times a second, and remembers what etcd acknowledged.
type Writer struct {
	cluster *Cluster
	prefix  string
	process *Process
}

// writes is a loop of puts through etcd's JSON gateway: etcdctl takes ten times as long to start. Each line of output is the
// number of the key, the time in microseconds, and "done" or what went wrong.
const writes = `n=0
while :; do
	n=$((n + 1))
	key=$(printf '%%s/%%06d' %s $n | base64 -w0)
	if out=$(curl --silent --show-error --fail --max-time 3 --cacert %[2]s/ca.crt --cert %[2]s/server.crt --key %[2]s/server.key \
		--data "{\"key\":\"$key\",\"value\":\"$key\"}" https://%[3]s/v3/kv/put 2>&1); then out=done; fi
	echo "$n ${EPOCHREALTIME/./} ${out//$'\n'/ }"
	sleep 0.2
done`

// Write starts to write, through the member of the first control plane. The writer's Stop must be called.
func (c *Cluster) Write(ctx context.Context) (*Writer, error) {
	w := &Writer{cluster: c, prefix: "lab-" + newToken()[:6]}
	var err error
	if w.process, err = c.ControlPlane.Start(ctx, "root", fmt.Sprintf(writes, w.prefix, etcdPKI, c.ControlPlane.etcdClient())); err != nil {
		return nil, err
	}
	return w, poll(ctx, 30*time.Second, func() error {
		if !strings.Contains(w.process.Stdout(), " done\n") {
			return errors.New("nothing was written to etcd: " + tail(w.process.Stdout()+w.process.Stderr(), 500))
		}
		return nil
	})
}

// Written is what became of a writer's keys.
type Written struct {
	Acknowledged int
	Failed       []string      // what went wrong, with its time
	Pause        time.Duration // the longest time between two acknowledged writes
}

// Stop ends the writing and fails unless every acknowledged write is in etcd, as each of the machines has it.
func (w *Writer) Stop(ctx context.Context, machines ...*Machine) (Written, error) {
	_ = w.process.Signal(syscall.SIGKILL)
	var written Written
	var acknowledged []string
	var last int64
	for line := range strings.Lines(w.process.Wait().Stdout) {
		var n int
		var at int64
		if _, err := fmt.Sscan(line, &n, &at); err != nil || !strings.HasSuffix(line, "\n") {
			continue // the last line may be half of one
		}
		if !strings.HasSuffix(line, " done\n") {
			written.Failed = append(written.Failed, strings.TrimSpace(line))
			continue
		}
		if last != 0 {
			written.Pause = max(written.Pause, time.Duration(at-last)*time.Microsecond)
		}
		last = at
		acknowledged = append(acknowledged, fmt.Sprintf("%s/%06d", w.prefix, n))
	}
	written.Acknowledged = len(acknowledged)
	for _, m := range machines {
		res := Etcdctl(ctx, m, "get --prefix --keys-only "+w.prefix+"/")
		if err := res.Err(); err != nil {
			return written, err
		}
		keys := strings.Fields(res.Stdout)
		for _, key := range acknowledged {
			if _, found := slices.BinarySearch(keys, key); !found {
				return written, fmt.Errorf("%s: %s was acknowledged and is not there", m.Name, key)
			}
		}
	}
	return written, nil
}

// Abort ends the writing, whatever became of it.
func (w *Writer) Abort() {
	_ = w.process.Signal(syscall.SIGKILL)
	w.process.Wait()
}
