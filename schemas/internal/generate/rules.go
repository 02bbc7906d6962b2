package generate

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/apis/kubeadm/validation"
)

// Patterns. They are of the dialect that Go and ECMA 262 have in common, and
// accept the empty string wherever it stands for an absent field.
const (
	unit   = `(ns|us|µs|μs|ms|s|m|h)`
	number = `([0-9]+\.?[0-9]*|\.[0-9]+)`
	terms  = `(` + number + unit + `)`
	// duration is what Go's time.ParseDuration takes.
	duration    = `^[-+]?(0|` + terms + `+)$`
	notNegative = `^\+?(0|` + terms + `+)$`
	positive    = `^\+?` + terms + `*([0-9]*[1-9][0-9]*\.?[0-9]*|[0-9]*\.[0-9]*[1-9][0-9]*)` + unit + terms + `*$`

	bootstrapToken = `^[a-z0-9]{6}\.[a-z0-9]{16}$`
	// hostPort leaves the finer points of hosts to the program.
	hostPort   = `^(\[[^\[\] \t/@]+\]|[^:\[\] \t/@]+):[0-9]+$`
	caCertHash = `^[sS][hH][aA]256:[0-9a-fA-F]{64}$`
	key        = `^([0-9a-fA-F]{64})?$`
	crt        = `^(/.*\.crt)?$`
	absolute   = `^(/.*)?$`
	socket     = `^(unix:/[^/].*|(unix://)?/.*[^/].*)?$`
	// A node's name is trimmed and lower-cased.
	nodeName   = `^\s*([A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*)?\s*$`
	argument   = `^[^-=\s][^=\s]*$`
	taintKey   = `^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$`
	taintValue = `^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$`
	ip         = `^([0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)?$`
	subnets    = `^([0-9A-Fa-f:.]+/[0-9]{1,3}(,[0-9A-Fa-f:.]+/[0-9]{1,3})?)?$`
	tokenGroup = `^system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]$`
	all        = `^[aA][lL][lL]$`
)

// rule is what a Go type does not say about a field.
type rule struct {
	required bool
	// notNull is for a field whose presence means something.
	notNull bool
	// pattern, choices and known are of a string; for a list they are of its items.
	pattern  string
	choices  []string
	examples []string
	// minimum and maximum of a number.
	minimum, maximum *int
	minItems         int
	// keys is a pattern of the names in a map.
	keys string
	// also says what concerns several fields of an object.
	also func(*schema)
}

func (r rule) apply(s *schema) {
	of := s
	if s.Items != nil {
		of = s.Items
	}
	if r.pattern != "" {
		of.Pattern = r.pattern
	}
	of.Enum = append(of.Enum, values(r.choices)...)
	of.Examples = append(of.Examples, values(r.examples)...)
	if r.minimum != nil {
		s.Minimum, s.Maximum = r.minimum, r.maximum
	}
	s.MinItems = r.minItems
	if values, ok := s.AdditionalProperties.(*schema); ok && values != nil && r.keys != "" {
		s.PropertyNames = &schema{Pattern: r.keys}
	}
	if r.also != nil {
		r.also(s)
	}
}

func values(names []string) []any {
	var list []any
	for _, name := range names {
		list = append(list, name)
	}
	return list
}

// rules has an entry for "Type.field", in any version that has such a field, and
// for "Type". Their source is package validation; behaviour catalogue §3.
func rules() map[string]rule {
	pullPolicy := rule{choices: names(corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)}
	registry := rule{examples: []string{"registry.k8s.io"}}
	// Where a call is made at least once, no time is enough.
	budget, call := rule{pattern: positive}, rule{pattern: notNegative}
	// Arguments are a map up to v1beta3.
	arguments := rule{keys: argument}
	ignore := rule{also: func(s *schema) {
		s.AnyOf = []*schema{{MaxItems: 1}, {Items: &schema{Not: &schema{Pattern: all}}}}
	}}
	runtime := rule{pattern: socket, examples: []string{
		"unix:///var/run/containerd/containerd.sock", "unix:///var/run/crio/crio.sock", "unix:///var/run/cri-dockerd.sock",
	}}
	table := map[string]rule{
		"JoinConfiguration.discovery":  {required: true},
		"JoinConfiguration.caCertPath": {pattern: crt},

		"Discovery": {also: func(s *schema) {
			s.OneOf = []*schema{{Required: []string{"bootstrapToken"}}, {Required: []string{"file"}}}
		}},
		"Discovery.bootstrapToken":    {notNull: true},
		"Discovery.file":              {notNull: true},
		"Discovery.tlsBootstrapToken": {pattern: `^$|` + bootstrapToken},

		"BootstrapTokenDiscovery": {also: func(s *schema) {
			s.AnyOf = []*schema{
				{Required: []string{"caCertHashes"}, Properties: properties{{"caCertHashes", &schema{Type: types{"array"}, MinItems: 1}}}},
				{Required: []string{"unsafeSkipCAVerification"}, Properties: properties{{"unsafeSkipCAVerification", &schema{Const: true}}}},
			}
		}},
		"BootstrapTokenDiscovery.token":             {required: true, pattern: bootstrapToken},
		"BootstrapTokenDiscovery.apiServerEndpoint": {required: true, pattern: hostPort, examples: []string{"10.0.0.1:6443"}},
		"BootstrapTokenDiscovery.caCertHashes":      {pattern: caCertHash},

		"FileDiscovery.kubeConfigPath": {required: true, pattern: `.`, examples: []string{"/etc/kubernetes/discovery.conf"}},

		"Discovery.timeout": call,

		"JoinControlPlane.certificateKey": {pattern: key},
		"APIEndpoint.advertiseAddress":    {pattern: ip},
		"APIEndpoint.bindPort":            {minimum: new(0), maximum: new(65535)},

		"NodeRegistrationOptions.name":                  {pattern: nodeName},
		"NodeRegistrationOptions.criSocket":             runtime,
		"NodeRegistrationOptions.kubeletExtraArgs":      arguments,
		"NodeRegistrationOptions.imagePullPolicy":       pullPolicy,
		"NodeRegistrationOptions.ignorePreflightErrors": ignore,
		"Arg.name": {required: true, pattern: argument},

		"Arg.mergeMethod": {choices: append(names(kubeadm.MergeAppend, kubeadm.MergePrepend), "replace")},

		"Taint.key":    {required: true, pattern: taintKey},
		"Taint.value":  {pattern: taintValue},
		"Taint.effect": {required: true, choices: names(corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)},

		"Timeouts.controlPlaneComponentHealthCheck": budget,
		"Timeouts.kubeletHealthCheck":               budget,
		"Timeouts.kubernetesAPICall":                call,
		"Timeouts.etcdAPICall":                      call,
		"Timeouts.tlsBootstrap":                     budget,
		"Timeouts.discovery":                        call,
		"Timeouts.upgradeManifests":                 budget,

		"ClusterConfiguration.kubernetesVersion":           {examples: []string{"v1.37.2"}},
		"ClusterConfiguration.controlPlaneEndpoint":        {examples: []string{"cluster.example.org:6443"}},
		"ClusterConfiguration.certificatesDir":             {pattern: absolute},
		"ClusterConfiguration.imageRepository":             registry,
		"ClusterConfiguration.encryptionAlgorithm":         {choices: validation.EncryptionAlgorithms()},
		"ClusterConfiguration.certificateValidityPeriod":   budget,
		"ClusterConfiguration.caCertificateValidityPeriod": budget,
		"Networking.serviceSubnet":                         {pattern: subnets},
		"Networking.podSubnet":                             {pattern: subnets, examples: []string{"10.244.0.0/16"}},

		"HostPathMount.name":      {required: true},
		"HostPathMount.hostPath":  {required: true},
		"HostPathMount.mountPath": {required: true},
		"HostPathMount.pathType": {choices: names(corev1.HostPathUnset, corev1.HostPathDirectoryOrCreate, corev1.HostPathDirectory,
			corev1.HostPathFileOrCreate, corev1.HostPathFile, corev1.HostPathSocket, corev1.HostPathCharDev, corev1.HostPathBlockDev)},

		"Etcd": {also: func(s *schema) {
			s.Not = &schema{
				Required:   []string{"local", "external"},
				Properties: properties{{"local", &schema{Type: types{"object"}}}, {"external", &schema{Type: types{"object"}}}},
			}
		}},
		"LocalEtcd.dataDir":      {pattern: absolute},
		"ExternalEtcd.endpoints": {required: true, minItems: 1},

		"ControlPlaneComponent.extraArgs":  arguments,
		"APIServer.timeoutForControlPlane": budget,
		"LocalEtcd.extraArgs":              arguments,
		"DNS.type":                         {choices: []string{"CoreDNS", "kube-dns"}},

		"InitConfiguration.certificateKey": {pattern: key},
		"BootstrapToken.token":             {pattern: `^$|` + bootstrapToken},
		"BootstrapToken.ttl":               call,
		"BootstrapToken.usages":            {choices: []string{"signing", "authentication"}},
		"BootstrapToken.groups":            {pattern: tokenGroup},

		"ResetConfiguration.certificatesDir":       {pattern: absolute},
		"ResetConfiguration.criSocket":             runtime,
		"ResetConfiguration.ignorePreflightErrors": ignore,
		"ResetConfiguration.unmountFlags":          {choices: []string{"MNT_FORCE", "MNT_DETACH", "MNT_EXPIRE", "UMOUNT_NOFOLLOW"}},

		"UpgradeApplyConfiguration.imagePullPolicy":       pullPolicy,
		"UpgradeApplyConfiguration.ignorePreflightErrors": ignore,
		"UpgradeNodeConfiguration.imagePullPolicy":        pullPolicy,
		"UpgradeNodeConfiguration.ignorePreflightErrors":  ignore,
		"UpgradePlanConfiguration.ignorePreflightErrors":  ignore,

		"EnvVar.name":                    {required: true},
		"ObjectFieldSelector.fieldPath":  {required: true},
		"ResourceFieldSelector.resource": {required: true},
		"ConfigMapKeySelector.key":       {required: true},
		"SecretKeySelector.key":          {required: true},
	}
	for kind, phases := range validation.Phases() {
		table[kind+".skipPhases"] = rule{choices: phases}
	}
	return table
}

func names[T ~string](list ...T) []string {
	var plain []string
	for _, name := range list {
		plain = append(plain, string(name))
	}
	return plain
}
