package cluster

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/kubejoin/kubejoin/fault"
)

const clusterFileHint = "kubectl get cm -n kube-public cluster-info -o yaml; echo ---; kubectl get cm -n kube-system kubeadm-config kubelet-config -o yaml"

// The ConfigMaps that make a cluster file. Other namespaces may hold maps of the
// same names, made by people who have no say in what a node runs.
var (
	clusterInfoName   = types.NamespacedName{Namespace: "kube-public", Name: "cluster-info"}
	kubeadmConfigName = types.NamespacedName{Namespace: "kube-system", Name: "kubeadm-config"}
	kubeletConfigName = types.NamespacedName{Namespace: "kube-system", Name: "kubelet-config"}
	clusterFileMaps   = []types.NamespacedName{clusterInfoName, kubeadmConfigName, kubeletConfigName}
)

// FromFile is the state that the ConfigMaps cluster-info, kubeadm-config and
// kubelet-config in data give, as `kubectl get cm -o yaml` writes them: several
// documents, or Lists. No server is asked; trust comes from the same signature
// and pins as online, as far as they are there. The Node stays unseen.
func FromFile(data []byte, o Options) (*State, error) {
	r := newRun(o)
	d, err := r.discovery()
	if err != nil {
		return nil, err
	}
	maps, err := configMaps(data)
	if err != nil {
		return nil, err
	}
	for _, name := range clusterFileMaps {
		if maps[name] == nil {
			return nil, clusterFileFault("the cluster file has no ConfigMap %s in %s", name.Name, name.Namespace).WithHint("%s", clusterFileHint)
		}
	}
	f, err := d.fromClusterInfo(maps[clusterInfoName])
	if err != nil {
		return nil, err
	}
	if own := o.Credential; own.State == CredentialValid {
		if err := d.checkOwner(own); err != nil {
			return nil, err
		}
		if !sharesCA(own.CA, f.access.cluster.CertificateAuthorityData) {
			return nil, fault.New(fault.Conflict, "this machine already belongs to another cluster than the one in the cluster file").At(own.Paths[0])
		}
	}
	st := f.state()
	st.Unseen = append(st.Unseen, Unseen{What: "node " + o.NodeName, Why: "no server was asked"})
	if err := errors.Join(r.decodeKubeadmConfig(maps[kubeadmConfigName], st), decodeKubeletConfig(maps[kubeletConfigName], st)); err != nil {
		return nil, clusterFileFault("%w", err).WithHint("%s", fault.HintOf(err))
	}
	if !f.access.hasCredential() {
		return st, nil
	}
	var ok bool
	if f.access, ok = f.access.offline(); !ok {
		st.Unseen = append(st.Unseen, Unseen{What: "the token of the discovery file's auth-provider", Why: "it has expired, and no issuer was asked"})
		return st, nil
	}
	if err := f.addBootstrap(st); err != nil {
		return nil, err
	}
	return st, nil
}

func clusterFileFault(format string, args ...any) *fault.Error {
	return fault.New(fault.InvalidConfig, format, args...).At("cluster file")
}

// fromClusterInfo is discovery without the network.
func (d *discovery) fromClusterInfo(cm *corev1.ConfigMap) (*found, error) {
	f := &found{source: "cluster file"}
	if d.endpoint != "" {
		err := d.checkSignature(cm)
		if errors.Is(err, errUnsigned) {
			f.warnings = append(f.warnings, "the cluster file is not verified by the token: "+err.Error())
		} else if err != nil {
			return nil, d.run.explain("cluster file", err)
		}
	}
	a, _, err := d.trust([]byte(cm.Data["kubeconfig"]), "cluster file")
	if err != nil {
		return nil, err
	}
	f.access = a
	switch {
	case d.endpoint != "":
	case d.path == "" || isURL(d.path):
		f.warnings = append(f.warnings, "the cluster file is not verified: nothing in the configuration could do so without the network")
	default:
		own, err := d.load()
		if err != nil {
			return nil, err
		}
		if err := d.checkFile(own); err != nil {
			return nil, err
		}
		if len(own.cluster.CertificateAuthorityData) == 0 {
			own.cluster.CertificateAuthorityData = a.cluster.CertificateAuthorityData
		} else if !sharesCA(own.cluster.CertificateAuthorityData, a.cluster.CertificateAuthorityData) {
			return nil, fault.New(fault.Untrusted, "the cluster file is of another cluster than the discovery file %s", d.path).At("cluster file")
		}
		f.access = own
	}
	if d.bootstrapToken != "" {
		f.access, f.tokenID = f.access.withToken(d.bootstrapToken), d.bootstrapTokenID
	}
	return f, nil
}

// configMaps are the clusterFileMaps in a stream of YAML or JSON documents.
func configMaps(data []byte) (map[types.NamespacedName]*corev1.ConfigMap, error) {
	out := map[types.NamespacedName]*corev1.ConfigMap{}
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, clusterFileFault("cannot be split into documents: %w", err)
		}
		// A List and a ConfigMap differ enough to be read as one type.
		var in struct {
			corev1.ConfigMap `json:",inline"`
			Items            []corev1.ConfigMap `json:"items"`
		}
		if err := yaml.Unmarshal(document, &in); err != nil {
			return nil, clusterFileFault("does not parse: %w", err)
		}
		for _, cm := range append(in.Items, in.ConfigMap) {
			if cm.Kind != "ConfigMap" {
				continue
			}
			name := types.NamespacedName{Namespace: cm.Namespace, Name: cm.Name}
			switch {
			case name.Namespace == "" && slices.ContainsFunc(clusterFileMaps, func(n types.NamespacedName) bool { return n.Name == name.Name }):
				return nil, clusterFileFault("a ConfigMap %s does not say its namespace", name.Name).WithHint("%s", clusterFileHint)
			case !slices.Contains(clusterFileMaps, name):
			case out[name] != nil:
				return nil, clusterFileFault("the cluster file has the ConfigMap %s in %s twice", name.Name, name.Namespace).WithHint("%s", clusterFileHint)
			default:
				out[name] = &cm
			}
		}
	}
}
