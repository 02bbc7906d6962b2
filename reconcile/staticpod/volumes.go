package staticpod

import (
	"cmp"
	"path"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
)

// volume is a path of the machine at the same path in the pod.
func volume(name, path string, readOnly bool, kind corev1.HostPathType) kubeadm.HostPathMount {
	return kubeadm.HostPathMount{Name: name, HostPath: path, MountPath: path, ReadOnly: readOnly, PathType: kind}
}

// certificateVolumes are those of kube-apiserver and kube-controller-manager.
func (in *Input) certificateVolumes(pod string) []kubeadm.HostPathMount {
	out := []kubeadm.HostPathMount{
		volume("k8s-certs", in.Cluster.CertificatesDir, true, corev1.HostPathDirectoryOrCreate),
		volume("ca-certs", systemCADir, true, corev1.HostPathDirectoryOrCreate),
	}
	have := in.host(pod).CADirs
	for _, d := range optionalCADirs() {
		if slices.Contains(have, d.path) {
			out = append(out, volume(d.volume, d.path, true, corev1.HostPathDirectoryOrCreate))
		}
	}
	return out
}

// externalEtcdVolumes are the folders with an external etcd's certificates that
// no other volume brings along. kubeadm takes /etc/kubernetes/pki-etcd to be
// inside /etc/kubernetes/pki, and leaves it out.
func (in *Input) externalEtcdVolumes() []kubeadm.HostPathMount {
	e := in.Cluster.Etcd.External
	covered := []string{systemCADir, in.Cluster.CertificatesDir}
	for _, d := range optionalCADirs() {
		covered = append(covered, d.path)
	}
	// A path can be mounted once only, and the user's own mounts win.
	users := func(dir string) bool {
		return slices.ContainsFunc(in.Cluster.APIServer.ExtraVolumes, func(v kubeadm.HostPathMount) bool { return path.Clean(v.MountPath) == dir })
	}
	var dirs []string
	for _, file := range []string{e.CAFile, e.CertFile, e.KeyFile} {
		dir := path.Dir(file)
		if file == "" || users(dir) || slices.ContainsFunc(covered, func(c string) bool { return within(c, dir) }) {
			continue
		}
		if !slices.ContainsFunc(dirs, func(d string) bool { return within(d, dir) }) {
			dirs = append(slices.DeleteFunc(dirs, func(d string) bool { return within(dir, d) }), dir)
		}
	}
	slices.Sort(dirs)
	var out []kubeadm.HostPathMount
	for i, dir := range dirs {
		out = append(out, volume("etcd-certs-"+strconv.Itoa(i), dir, true, corev1.HostPathDirectoryOrCreate))
	}
	return out
}

// within tells whether a path is a folder or below it.
func within(dir, p string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

// setVolumes gives the pod volumes and its container mounts, sorted by name. Of
// several with one name the last counts, so that the user's replace the
// built-in ones (behaviour catalogue §11 #65).
func setVolumes(spec *corev1.PodSpec, all []kubeadm.HostPathMount) {
	byName := map[string]kubeadm.HostPathMount{}
	for _, v := range all {
		byName[v.Name] = v
	}
	var list []kubeadm.HostPathMount
	for _, v := range byName {
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b kubeadm.HostPathMount) int { return cmp.Compare(a.Name, b.Name) })
	for _, v := range list {
		spec.Volumes = append(spec.Volumes, corev1.Volume{Name: v.Name, VolumeSource: corev1.VolumeSource{
			HostPath: &corev1.HostPathVolumeSource{Path: v.HostPath, Type: new(v.PathType)}}})
		spec.Containers[0].VolumeMounts = append(spec.Containers[0].VolumeMounts,
			corev1.VolumeMount{Name: v.Name, MountPath: v.MountPath, ReadOnly: v.ReadOnly})
	}
}

// environment is the proxy variables overlaid with the user's, sorted by name.
func environment(proxy []string, extra []corev1.EnvVar) []corev1.EnvVar {
	byName := map[string]corev1.EnvVar{}
	for _, p := range proxy {
		name, value, _ := strings.Cut(p, "=")
		byName[name] = corev1.EnvVar{Name: name, Value: value}
	}
	for _, e := range extra {
		byName[e.Name] = e
	}
	var out []corev1.EnvVar
	for _, e := range byName {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b corev1.EnvVar) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
