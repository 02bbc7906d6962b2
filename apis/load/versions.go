package load

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/kubejoin/kubejoin/apis/internal/spell"
	v1 "github.com/kubejoin/kubejoin/apis/kubeadm/v1"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta1"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta2"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta3"
	"github.com/kubejoin/kubejoin/apis/kubeadm/v1beta4"
)

// group is the API group of all kinds of kubeadm's.
const group = "kubeadm.k8s.io"

// current is the version that users are told to write.
const current = v1beta4.APIVersion

// clusterStatus is a kind that once existed and means nothing any more.
const clusterStatus = "ClusterStatus"

// findKind finds the kind of a document of kubeadm's group, and reports a version
// or kind that is not there.
func findKind(file string, doc document, problems *Problems) (Kind, bool) {
	var versions, names, namesHere []string
	for _, k := range Kinds() {
		if k.APIVersion == doc.apiVersion && k.Name == doc.kind {
			return k, true
		}
		if !slices.Contains(versions, k.APIVersion) {
			versions = append(versions, k.APIVersion)
		}
		names = append(names, k.Name)
		if k.APIVersion == doc.apiVersion {
			namesHere = append(namesHere, k.Name)
		}
	}
	switch hint := ""; {
	case alphaReader(doc.apiVersion) != "":
		problems.add(fieldPosition(file, doc.root, "apiVersion"), "apiVersion", doc.apiVersion+" is too old to be read",
			fmt.Sprintf("kubeadm %s migrates it to a newer version", alphaReader(doc.apiVersion)))
	case !slices.Contains(names, doc.kind):
		if near, ok := spell.Nearest(doc.kind, names); ok {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		problems.add(fieldPosition(file, doc.root, "kind"), "kind", fmt.Sprintf("unknown kind %q", doc.kind), hint)
	case !slices.Contains(versions, doc.apiVersion):
		problems.add(fieldPosition(file, doc.root, "apiVersion"), "apiVersion", "unknown version "+doc.apiVersion,
			"supported: "+strings.Join(versions, ", "))
	default:
		if doc.kind == clusterStatus {
			hint = "remove the document: it means nothing since Kubernetes 1.22"
		} else {
			hint = "write " + current
		}
		problems.add(fieldPosition(file, doc.root, "kind"), "kind",
			fmt.Sprintf("%s has no %s, but %s", doc.apiVersion, doc.kind, strings.Join(namesHere, ", ")), hint)
	}
	return Kind{}, false
}

// alphaReader is the release of kubeadm that reads an alpha version and writes a
// newer one; empty for any other version. Behaviour catalogue §1.1.
func alphaReader(apiVersion string) string {
	switch apiVersion {
	case group + "/v1alpha1":
		return "1.11"
	case group + "/v1alpha2":
		return "1.12"
	case group + "/v1alpha3":
		return "1.14"
	}
	return ""
}

// aged says what is to be known of a version that is not the current one; empty if
// there is nothing.
func aged(apiVersion string) string {
	const update = "; `kubejoin config migrate` brings the file up to date"
	switch apiVersion {
	case v1beta1.APIVersion:
		return apiVersion + " is deprecated: kubeadm reads it up to 1.21" + update
	case v1beta2.APIVersion:
		return apiVersion + " is deprecated: kubeadm reads it up to 1.26" + update
	case v1beta3.APIVersion:
		return apiVersion + " is deprecated: kubeadm reads it up to 1.36" + update
	case v1.APIVersion:
		return apiVersion + " is an experiment of kubeadm's, whose join does not read it; " + current + " is the current version"
	}
	return ""
}

// writtenAs gives the place that a field of the internal version has in a file of
// an older version: an argument is found by its name, and discovery had its
// timeout itself.
func writtenAs(apiVersion, fieldPath string, argNames map[string][]string) string {
	switch apiVersion {
	case v1beta1.APIVersion, v1beta2.APIVersion, v1beta3.APIVersion:
	default:
		return fieldPath
	}
	if fieldPath == "timeouts.discovery" {
		return "discovery.timeout"
	}
	list, rest, _ := strings.Cut(fieldPath, "[")
	names, ok := argNames[list]
	if !ok || rest == "" {
		return fieldPath
	}
	var i int
	if _, err := fmt.Sscanf(rest, "%d]", &i); err != nil || i >= len(names) {
		return fieldPath
	}
	return child(list, names[i])
}

// fieldPosition is the position of a top-level field's value, or else of the
// document.
func fieldPosition(file string, root *yaml.Node, name string) Position {
	pos := position(file, root)
	for _, f := range fields(root) {
		if f.key.Value == name {
			pos = position(file, f.value)
		}
	}
	return pos
}
