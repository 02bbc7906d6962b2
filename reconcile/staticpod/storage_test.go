package staticpod

import (
	"strings"
	"testing"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
)

func TestEtcdStorage(t *testing.T) {
	const dir = "/var/lib/etcd"
	for name, c := range map[string]struct {
		args    []kubeadm.Arg
		patch   string
		want    Storage
		unknown string // part of the reason
	}{
		"as kubeadm has it":        {want: Storage{dir, dir + "/member/wal"}},
		"a log of its own":         {args: []kubeadm.Arg{{Name: "wal-dir", Value: dir + "/wal"}}, want: Storage{dir, dir + "/wal"}},
		"a log that is not there":  {args: []kubeadm.Arg{{Name: "wal-dir", Value: "/wal"}}, want: Storage{Data: dir}, unknown: "wal-dir (/wal) is not on a hostPath"},
		"data further down":        {args: []kubeadm.Arg{{Name: "data-dir", Value: dir + "/a"}}, want: Storage{dir + "/a", dir + "/a/member/wal"}},
		"a path that is none":      {args: []kubeadm.Arg{{Name: "data-dir", Value: "a.etcd"}}, unknown: `"a.etcd"`},
		"a neighbour's name":       {args: []kubeadm.Arg{{Name: "data-dir", Value: dir + "2"}}, unknown: "not on a hostPath"},
		"a file with arguments":    {args: []kubeadm.Arg{{Name: "config-file", Value: "/x"}}, unknown: "config-file"},
		"another path in the pod":  {patch: `{"spec":{"volumes":[{"name":"etcd-data","hostPath":{"path":"/data/etcd"}}]}}`, want: Storage{"/data/etcd", "/data/etcd/member/wal"}},
		"no path of the machine":   {patch: `{"spec":{"volumes":[{"name":"etcd-data","$retainKeys":["name","emptyDir"],"emptyDir":{}}]}}`, unknown: "not on a hostPath"},
		"a folder of the volume":   {patch: `{"spec":{"containers":[{"name":"etcd","volumeMounts":[{"mountPath":"/var/lib/etcd","name":"etcd-data","subPath":"x"}]}]}}`, want: Storage{dir + "/x", dir + "/x/member/wal"}},
		"a log by a variable":      {patch: `{"spec":{"containers":[{"name":"etcd","env":[{"name":"ETCD_WAL_DIR","value":"/var/lib/etcd/w"}]}]}}`, want: Storage{dir, dir + "/w"}},
		"a variable from the pod":  {patch: `{"spec":{"containers":[{"name":"etcd","env":[{"name":"ETCD_WAL_DIR","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}]}]}}`, unknown: "ETCD_WAL_DIR"},
		"a volume of the log":      {patch: `{"spec":{"volumes":[{"name":"wal","hostPath":{"path":"/fast"}}],"containers":[{"name":"etcd","args":["--wal-dir=/wal/etcd"],"volumeMounts":[{"mountPath":"/wal","name":"wal"}]}]}}`, want: Storage{dir, "/fast/etcd"}},
		"a volume within the data": {patch: `{"spec":{"volumes":[{"name":"wal","hostPath":{"path":"/fast"}}],"containers":[{"name":"etcd","volumeMounts":[{"mountPath":"/var/lib/etcd/member","name":"wal"}]}]}}`, want: Storage{dir, "/fast/wal"}},
	} {
		t.Run(name, func(t *testing.T) {
			in := plain()
			in.Cluster.Etcd.Local.ExtraArgs = c.args
			if c.patch != "" {
				in.Patches = patches(t, map[string]string{"etcd.json": c.patch})
			}
			pod := build(t, in)[Etcd]
			got, err := EtcdStorage(pod.Pod)
			if got != c.want || (err != nil) != (c.unknown != "") || err != nil && !strings.Contains(err.Error(), c.unknown) {
				t.Errorf("%+v, %v", got, err)
			}
			r, err := Recorded(Etcd, pod.Manifest, in.Cluster)
			if err != nil || r.Storage != got {
				t.Errorf("the manifest has %+v, %v", r.Storage, err)
			}
		})
	}
}
