package staticpod

import (
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubejoin/kubejoin/fault"
)

// Storage is where a member of etcd keeps what it knows, as paths of the
// machine. One that cannot be told is empty.
type Storage struct {
	Data string // the folder in which etcd makes "member"
	WAL  string // its log: below Data, or wherever wal-dir says
}

// EtcdStorage follows the arguments of etcd's pod, as they are after extraArgs
// and patches, through its volumes to the machine. The error is why a part of it
// cannot be told.
func EtcdStorage(pod *corev1.Pod) (Storage, error) {
	c := own(pod)
	if c == nil {
		return Storage{}, fault.New(fault.Conflict, "the pod has no container of etcd")
	}
	if file, err := setting(c, "config-file"); err != nil || file != "" {
		// etcd leaves out its other arguments then.
		return Storage{}, fault.New(fault.Conflict, "etcd is told in a file of its own (config-file) where its data is")
	}
	dir, err := setting(c, "data-dir")
	if err != nil {
		return Storage{}, err
	}
	wal, err := setting(c, "wal-dir")
	if err != nil {
		return Storage{}, err
	}
	var s Storage
	if s.Data, err = onMachine(pod, c, "data-dir", dir); err != nil {
		return s, err
	}
	if wal == "" {
		s.WAL, err = onMachine(pod, c, "data-dir", path.Join(dir, "member/wal"))
		return s, err
	}
	s.WAL, err = onMachine(pod, c, "wal-dir", wal)
	return s, err
}

// setting is the value of one of etcd's arguments. What is no argument may be a
// variable of its name.
func setting(c *corev1.Container, name string) (string, error) {
	value, found := "", false
	all := words(c)
	for i, word := range all {
		n, v, assigned := strings.Cut(strings.TrimLeft(word, "-"), "=")
		if n != name || !strings.HasPrefix(word, "-") {
			continue
		}
		if !assigned && i+1 < len(all) {
			v = all[i+1]
		}
		value, found = v, true
	}
	if found {
		return value, nil
	}
	variable := "ETCD_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
	for _, e := range c.Env {
		switch {
		case e.Name != variable:
		case e.ValueFrom != nil:
			return "", fault.New(fault.Conflict, "what etcd's variable %s is, is known only when the pod starts", variable)
		default:
			value = e.Value
		}
	}
	return value, nil
}

// onMachine is the machine's path of a container's one.
func onMachine(pod *corev1.Pod, c *corev1.Container, name, inside string) (string, error) {
	if !path.IsAbs(inside) {
		return "", fault.New(fault.Conflict, "etcd is not told an absolute %s, but %q", name, inside)
	}
	inside = path.Clean(inside)
	unknown := fault.New(fault.Conflict, "etcd's %s (%s) is not on a hostPath volume of its pod", name, inside)
	var mount *corev1.VolumeMount
	for i := range c.VolumeMounts {
		m := &c.VolumeMounts[i]
		if within(path.Clean(m.MountPath), inside) && (mount == nil || len(path.Clean(m.MountPath)) > len(path.Clean(mount.MountPath))) {
			mount = m
		}
	}
	if mount == nil || mount.SubPathExpr != "" {
		return "", unknown
	}
	for _, v := range pod.Spec.Volumes {
		if v.Name == mount.Name && v.HostPath != nil {
			return path.Join(v.HostPath.Path, mount.SubPath, strings.TrimPrefix(inside, path.Clean(mount.MountPath))), nil
		}
	}
	return "", unknown
}
