package preflight

import (
	"context"
	"path"
	"strings"

	"k8s.io/client-go/tools/clientcmd"
	certutil "k8s.io/client-go/util/cert"
	"sigs.k8s.io/yaml"

	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/host"
)

// maxFile bounds what is read to see whether it is what it should be.
const maxFile = 1 << 20

// file is one that a join writes.
type file struct {
	path string
	// kind says what it holds, parses whether that is so.
	kind   string
	parses func([]byte) bool
	// keeper is the resource that judges the file, if not one of its own.
	keeper reconcile.Address
}

func (p *pass) files() []file {
	list := []file{
		{"/etc/kubernetes/kubelet.conf", "a kubeconfig", isKubeconfig, "credential:kubelet"},
		{"/etc/kubernetes/bootstrap-kubelet.conf", "a kubeconfig", isKubeconfig, "credential:kubelet"},
	}
	if !p.controlPlane() {
		return append(list, file{p.Config.CACertPath, "a certificate", isCertificate, ""})
	}
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"} {
		list = append(list, file{manifestFolder + name + ".yaml", "a pod", isPod, reconcile.Address("static-pod:" + name)})
	}
	return list
}

// checkName names a check of a path as kubeadm does: behaviour catalogue §6.
func checkName(prefix, p string) string {
	return prefix + strings.ReplaceAll(path.Clean(p), "/", "-")
}

// checkFiles wants the places of files to be free or to hold such a file. What
// is there of an earlier join is compared by the plan; kubeadm refuses it.
func checkFiles(_ context.Context, p *pass) []reconcile.Finding {
	var out []reconcile.Finding
	for _, f := range p.files() {
		name := checkName("FileAvailable-", f.path)
		if p.manages(reconcile.Address("file:"+f.path)) || p.manages(f.keeper) {
			continue
		}
		state, err := p.Machine.Stat(f.path)
		finding := reconcile.Finding{Severity: reconcile.SeverityError, Name: name, Wanted: "nothing, or " + f.kind}
		switch {
		case err != nil:
			out = append(out, unseen(name, err)...)
			continue
		case !state.Exists() || state.Denied:
			continue
		case state.Kind != host.File:
			finding.Seen, finding.Hint = f.path+" is a "+string(state.Kind), "move it away"
		default:
			data, state, err := p.Machine.ReadFile(f.path, maxFile)
			if err == nil && (state.Denied || len(data) > 0 && f.parses(data)) {
				continue
			}
			finding.Seen, finding.Hint = f.path+" is not "+f.kind, "remove it"
		}
		out = append(out, finding)
	}
	return out
}

func isKubeconfig(data []byte) bool {
	c, err := clientcmd.Load(data)
	return err == nil && len(c.Clusters) > 0
}

func isCertificate(data []byte) bool {
	_, err := certutil.ParseCertsPEM(data)
	return err == nil
}

func isPod(data []byte) bool {
	var head struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	return yaml.Unmarshal(data, &head) == nil && head.APIVersion == "v1" && head.Kind == "Pod"
}

// checkDataDir wants etcd's directory to be empty, unless a resource of the plan
// judges what is in it, or this machine's own etcd uses it.
func checkDataDir(_ context.Context, p *pass) []reconcile.Finding {
	etcd, _ := p.localEtcd()
	if etcd == nil || p.managesKind("etcd-member") {
		return nil
	}
	name := checkName("DirAvailable-", etcd.DataDir)
	state, err := p.Machine.Stat(etcd.DataDir)
	if err != nil {
		return unseen(name, err)
	}
	f := reconcile.Finding{Severity: reconcile.SeverityError, Name: name, Wanted: "no such directory, or an empty one"}
	switch {
	case !state.Exists():
		return nil
	case state.Kind != host.Dir:
		f.Seen, f.Hint = etcd.DataDir+" is a "+string(state.Kind), "move it away"
		return []reconcile.Finding{f}
	}
	entries, _, err := p.Machine.ReadDir(etcd.DataDir)
	if err != nil {
		return unseen(name, err)
	}
	if len(entries) == 0 {
		return nil
	}
	manifest, err := p.Machine.Stat(manifestFolder + "etcd.yaml")
	if err == nil && manifest.Exists() {
		return nil
	}
	f.Seen = etcd.DataDir + " holds " + entries[0].Name() + ", and no etcd of this machine uses it"
	f.Hint = "if nobody needs this data, remove it; kubeadm reset does so as well"
	return []reconcile.Finding{f}
}

func checkExternalEtcd(_ context.Context, p *pass) []reconcile.Finding {
	etcd := p.Cluster.Configuration.Etcd.External
	if etcd == nil || p.Config.ControlPlane.CertificateKey != "" {
		return nil // the key brings them
	}
	var out []reconcile.Finding
	for _, file := range []string{etcd.CAFile, etcd.CertFile, etcd.KeyFile} {
		if file == "" {
			continue
		}
		state, err := p.Machine.Stat(file)
		switch {
		case err != nil:
			out = append(out, unseen("ExternalEtcdClientCertificates", err)...)
		case state.Kind != host.File && !state.Denied:
			out = append(out, reconcile.Finding{Severity: reconcile.SeverityError, Seen: file + " is not there", Wanted: "the file that the cluster's etcd.external names"})
		}
	}
	return out
}
