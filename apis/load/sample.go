package load

import (
	"fmt"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/kubejoin/kubejoin/fault"
)

// PlaceholderToken is the token in default configurations. It is nobody's secret:
// all of kubeadm's documentation has it.
const PlaceholderToken = "abcdef.0123456789abcdef"

// Sample gives a configuration with its static defaults as YAML, as "kubeadm
// config print" does. Of version the group may be left out. content is YAML
// without apiVersion and kind. Errors are of class InvalidConfig if there is no
// such kind.
func Sample(version, name, content string) ([]byte, error) {
	apiVersion := group + "/" + strings.TrimPrefix(version, group+"/")
	var versions []string
	for _, k := range Kinds() {
		if k.Name != name {
			continue
		}
		if k.APIVersion != apiVersion {
			versions = append(versions, strings.TrimPrefix(k.APIVersion, group+"/"))
			continue
		}
		object := k.New()
		header := fmt.Sprintf("apiVersion: %s\nkind: %s\n", apiVersion, name)
		if err := yaml.UnmarshalStrict([]byte(header+content), object); err != nil {
			return nil, err
		}
		k.SetDefaults(object)
		return yaml.Marshal(object)
	}
	return nil, fault.New(fault.InvalidConfig, "--version: there is no %s in version %q", name, version).
		WithHint("use %s", strings.Join(versions, ", "))
}
