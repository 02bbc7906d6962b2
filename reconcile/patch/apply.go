package patch

import (
	"fmt"
	"slices"

	jsonpatch "github.com/evanphx/json-patch/v5"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/kubejoin/kubejoin/fault"
)

// Empty tells whether there is no patch at all.
func (s *Set) Empty() bool { return s == nil || len(s.docs) == 0 }

// Targets lists the targets that have a patch, in the order of the constants.
func (s *Set) Targets() []Target {
	return slices.DeleteFunc(targets(), func(t Target) bool { return len(s.Files(t)) == 0 })
}

// Files lists the files with patches of a target, in the order of application,
// as they are shown to the user.
func (s *Set) Files(target Target) []string {
	var out []string
	for d := range s.of(target) {
		if !slices.Contains(out, d.file) {
			out = append(out, d.file)
		}
	}
	return out
}

func (s *Set) of(target Target) func(yield func(document) bool) {
	return func(yield func(document) bool) {
		if s == nil {
			return
		}
		for _, d := range s.docs {
			if d.target == target && !yield(d) {
				return
			}
		}
	}
}

// Apply applies the target's patches to a document in JSON or YAML, each to
// the result of the one before, and returns JSON. Fields that the target's type
// does not know survive. A patch that cannot be applied, or leaves a field with
// a value of the wrong type, gives an error of class fault.InvalidConfig that
// names file, line, document and type.
func (s *Set) Apply(target Target, doc []byte) ([]byte, error) {
	out, err := yaml.YAMLToJSON(doc)
	if err != nil {
		return nil, fmt.Errorf("document to patch: %w", err)
	}
	for d := range s.of(target) {
		out, err = d.apply(out)
		if err == nil { // a merge does not notice a list where a mapping belongs
			err = json.UnmarshalCaseSensitivePreserveInts(out, newObject(target))
		}
		if err != nil {
			return nil, fault.New(fault.InvalidConfig, "%s: %w", d, err).At(fmt.Sprintf("%s:%d", d.file, d.line))
		}
	}
	return out, nil
}

func (d document) apply(doc []byte) ([]byte, error) {
	switch d.typ {
	case JSON:
		ops, err := jsonpatch.DecodePatch(d.json)
		if err != nil {
			return nil, err
		}
		return ops.Apply(doc)
	case Merge:
		return jsonpatch.MergePatch(doc, d.json)
	}
	return StrategicMerge(d.target, doc, d.json)
}

// StrategicMerge merges a patch into a document, both JSON, by the merge keys
// of the target's type.
func StrategicMerge(target Target, doc, patch []byte) ([]byte, error) {
	return strategicpatch.StrategicMergePatch(doc, patch, newObject(target))
}

// newObject is an empty object of the target's type.
func newObject(target Target) any {
	switch target {
	case KubeletConfiguration:
		return &kubeletv1beta1.KubeletConfiguration{}
	case CoreDNSDeployment:
		return &appsv1.Deployment{}
	case KubeProxyDaemonSet:
		return &appsv1.DaemonSet{}
	}
	return &corev1.Pod{}
}
