package patch

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Target is the document that a patch changes.
type Target string

// The targets. Only the first five matter to a join.
const (
	Etcd                  Target = "etcd"
	KubeAPIServer         Target = "kube-apiserver"
	KubeControllerManager Target = "kube-controller-manager"
	KubeScheduler         Target = "kube-scheduler"
	KubeletConfiguration  Target = "kubeletconfiguration"
	CoreDNSDeployment     Target = "corednsdeployment"
	KubeProxyDaemonSet    Target = "kubeproxydaemonset"
)

// targets lists all of them; none is the beginning of another.
func targets() []Target {
	return []Target{Etcd, KubeAPIServer, KubeControllerManager, KubeScheduler, KubeletConfiguration, CoreDNSDeployment, KubeProxyDaemonSet}
}

// Type is how a patch is applied.
type Type string

// The types.
const (
	Strategic Type = "strategic" // strategic merge, the default
	Merge     Type = "merge"     // RFC 7386
	JSON      Type = "json"      // RFC 6902
)

// parseName takes a file name apart. The error says why the name is no patch's,
// the hint what it could be renamed to.
func parseName(name string) (target Target, typ Type, hint string, err error) {
	ext := path.Ext(name)
	stem := strings.TrimSuffix(name, ext)
	i := slices.IndexFunc(targets(), func(t Target) bool { return strings.HasPrefix(strings.ToLower(stem), string(t)) })
	if i < 0 {
		return "", "", fmt.Sprintf("begin its name with one of %s, or move it out of the directory", joinTargets()),
			fmt.Errorf("name does not begin with a patch target")
	}
	target = targets()[i]
	rest := stem[len(target):]
	suffix, typeName, plus := strings.Cut(rest, "+")

	wantExt := ext
	if ext != ".json" && ext != ".yaml" {
		wantExt = ".yaml"
		if strings.EqualFold(ext, ".json") {
			wantExt = ".json"
		}
	}
	typ = Strategic
	if plus {
		typ = closestType(typeName)
	}
	wantSuffix := suffix
	if plus { // kubeadm stops reading at the dot and takes the patch as strategic
		wantSuffix = strings.ReplaceAll(suffix, ".", "-")
	}
	want := string(target) + wantSuffix
	if plus {
		want += "+" + string(typ)
	}
	want += wantExt
	if want == name {
		return target, typ, "", nil
	}
	hint = fmt.Sprintf("rename it to %s, or move it out of the directory", want)
	switch {
	case ext != wantExt:
		err = fmt.Errorf("extension %q is not .json or .yaml", ext)
	case typeName != string(typ) && plus:
		err = fmt.Errorf("patch type %q is not strategic, merge or json", typeName)
	case suffix != wantSuffix:
		err = fmt.Errorf("a dot before the patch type makes the type ambiguous")
	default:
		err = fmt.Errorf("patch targets are in lower case")
	}
	return "", "", hint, err
}

// closestType is the type that a misspelt name most likely means.
func closestType(name string) Type {
	for _, t := range []Type{Merge, JSON} {
		if strings.HasPrefix(strings.ToLower(name), string(t)) {
			return t
		}
	}
	return Strategic
}

func joinTargets() string {
	var names []string
	for _, t := range targets() {
		names = append(names, string(t))
	}
	return strings.Join(names, ", ")
}
