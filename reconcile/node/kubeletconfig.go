package node

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"path"
	"reflect"
	"strconv"
	"strings"

	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	strictjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/patch"
)

type kubeletConfiguration = kubeletv1beta1.KubeletConfiguration

// publishedKubeletConfig is where the cluster keeps the base of every config.yaml.
const publishedKubeletConfig = "configmap kube-system/kubelet-config"

// resolvedConf is systemd-resolved's list of real name servers; /etc/resolv.conf
// points to its stub, which does not answer in pods.
const resolvedConf = "/run/systemd/resolve/resolv.conf"

// renderKubeletConfig is config.yaml as kubeadm writes it. Layers, from the
// bottom: published document, forced defaults, resolvConf, patches, container
// runtime endpoint (behaviour catalogue A.3). The second result is its typed form.
func renderKubeletConfig(in Input) ([]byte, *kubeletConfiguration, []reconcile.Finding, error) {
	cfg, findings, err := decodePublished(in.Cluster.KubeletConfig)
	if err != nil {
		return nil, nil, nil, err
	}
	more, err := forceDefaults(cfg, in.Cluster.Configuration)
	if err != nil {
		return nil, nil, nil, err
	}
	findings = append(findings, more...)
	if in.Facts.ResolvedActive && cfg.ResolverConfig == nil {
		cfg.ResolverConfig = new(resolvedConf)
	}

	doc, err := json.Marshal(cfg)
	if err != nil {
		return nil, nil, nil, err
	}
	// From here on the document stays generic: a patch may set fields that
	// only the cluster's version of the kubelet knows.
	if doc, err = in.Patches.Apply(patch.KubeletConfiguration, doc); err != nil {
		return nil, nil, nil, err
	}
	final := &kubeletConfiguration{}
	unknown, err := strictjson.UnmarshalStrict(doc, final)
	if err != nil {
		return nil, nil, nil, err // Apply has checked the types
	}
	files := strings.Join(in.Patches.Files(patch.KubeletConfiguration), ", ")
	if final.TypeMeta != cfg.TypeMeta {
		return nil, nil, nil, fault.New(fault.InvalidConfig, "a patch must not change apiVersion or kind").At(files)
	}
	if len(unknown) > 0 {
		findings = append(findings, warning(FindingUnknownField, "patches set fields that this version does not know, they are kept: "+joinErrors(unknown),
			"check the spelling in "+files))
	}

	socket := in.Config.NodeRegistration.CRISocket
	if had := final.ContainerRuntimeEndpoint; had != "" && had != socket {
		findings = append(findings, reconcile.Finding{Severity: reconcile.SeverityInfo, Name: FindingOverridden, Address: FileAddress(KubeletConfigPath),
			Seen: fmt.Sprintf("containerRuntimeEndpoint %q of the published configuration or a patch gives way to %q", had, socket),
			Hint: "set nodeRegistration.criSocket to change it"})
	}
	overlay, err := json.Marshal(map[string]string{"containerRuntimeEndpoint": socket})
	if err != nil {
		return nil, nil, nil, err
	}
	if doc, err = patch.StrategicMerge(patch.KubeletConfiguration, doc, overlay); err != nil {
		return nil, nil, nil, err
	}
	// Behaviour catalogue §11 #42: the two paths know nothing of each other.
	if ca := final.Authentication.X509.ClientCAFile; ca != in.Config.CACertPath {
		findings = append(findings, warning(FindingClientCA,
			fmt.Sprintf("the cluster's CA is written to %s, but the kubelet trusts clients by %q", in.Config.CACertPath, ca),
			"set caCertPath to the file that the kubelet reads, or patch kubeletconfiguration: authentication.x509.clientCAFile"))
	}
	content, err := yaml.JSONToYAML(doc)
	return content, final, findings, err
}

// decodePublished reads the document of the kubelet-config ConfigMap. Like
// kubeadm it drops what it does not know (behaviour catalogue §4.5).
func decodePublished(doc []byte) (*kubeletConfiguration, []reconcile.Finding, error) {
	unusable := func(format string, args ...any) error {
		return fault.New(fault.InvalidConfig, format, args...).At(publishedKubeletConfig)
	}
	j, err := yaml.YAMLToJSON(doc)
	if err != nil {
		return nil, nil, unusable("%w", err)
	}
	cfg := &kubeletConfiguration{}
	loose, err := strictjson.UnmarshalStrict(j, cfg)
	if err != nil {
		return nil, nil, unusable("%w", err)
	}
	if want := kubeletv1beta1.SchemeGroupVersion.String(); cfg.APIVersion != want || cfg.Kind != "KubeletConfiguration" {
		return nil, nil, unusable("apiVersion %q, kind %q is not %s, KubeletConfiguration", cfg.APIVersion, cfg.Kind, want)
	}
	if _, err := yaml.YAMLToJSONStrict(doc); err != nil { // a key twice: the last one counts
		loose = append(loose, err)
	}
	if len(loose) == 0 {
		return cfg, nil, nil
	}
	return cfg, []reconcile.Finding{warning(FindingUnknownField, publishedKubeletConfig+" is not exact: "+joinErrors(loose),
		"unknown fields do not reach this node; correct them in the ConfigMap")}, nil
}

// forceDefaults sets what kubeadm sets on every kubelet. A published value wins,
// with a warning, except for rotateCertificates. Behaviour catalogue §5.7.1.
func forceDefaults(cfg *kubeletConfiguration, c *kubeadm.ClusterConfiguration) ([]reconcile.Finding, error) {
	dns, err := clusterDNS(c.Networking.ServiceSubnet)
	if err != nil {
		return nil, err
	}
	auth := &cfg.Authentication
	var findings []reconcile.Finding
	for _, f := range []*reconcile.Finding{
		recommend("staticPodPath", &cfg.StaticPodPath, "/etc/kubernetes/manifests"),
		recommend("clusterDNS", &cfg.ClusterDNS, []string{dns}),
		recommend("clusterDomain", &cfg.ClusterDomain, c.Networking.DNSDomain),
		recommend("authentication.x509.clientCAFile", &auth.X509.ClientCAFile, path.Join(c.CertificatesDir, "ca.crt")),
		recommend("authentication.anonymous.enabled", &auth.Anonymous.Enabled, new(false)),
		recommend("authentication.webhook.enabled", &auth.Webhook.Enabled, new(true)),
		recommend("authorization.mode", &cfg.Authorization.Mode, kubeletv1beta1.KubeletAuthorizationModeWebhook),
		recommend("healthzBindAddress", &cfg.HealthzBindAddress, "127.0.0.1"),
		recommend("healthzPort", &cfg.HealthzPort, new(int32(10248))),
	} {
		if f != nil {
			findings = append(findings, *f)
		}
	}
	cfg.RotateCertificates = true
	if cfg.CgroupDriver == "" {
		cfg.CgroupDriver = "systemd"
	}
	return findings, nil
}

// recommend sets a field that is unset, and reports one that is set to something else.
func recommend[T any](field string, have *T, want T) *reconcile.Finding {
	if reflect.ValueOf(have).Elem().IsZero() {
		*have = want
		return nil
	}
	if reflect.DeepEqual(*have, want) {
		return nil
	}
	f := warning(FindingUnusualValue, fmt.Sprintf("%s publishes %s %s; kubeadm recommends %s", publishedKubeletConfig, field, compact(*have), compact(want)),
		"the published value is used; correct the ConfigMap if it is not meant")
	return &f
}

// clusterDNS is the tenth address of the first service range. Whether the range
// is that large is not looked at, as in kubeadm.
func clusterDNS(serviceSubnet string) (string, error) {
	first, _, _ := strings.Cut(serviceSubnet, ",")
	prefix, err := netip.ParsePrefix(strings.TrimSpace(first))
	if err != nil {
		return "", fault.New(fault.InvalidConfig, "networking.serviceSubnet %q is not a list of address ranges", serviceSubnet).
			At("configmap kube-system/kubeadm-config")
	}
	addr := prefix.Masked().Addr()
	for range 10 {
		addr = addr.Next()
	}
	return addr.String(), nil
}

// healthzAddress is where to ask the kubelet for its health; cfg is nil when its
// configuration is not known. The kubelet's flags win over its configuration.
func healthzAddress(cfg *kubeletConfiguration, args []kubeadm.Arg) string {
	bind, port := "127.0.0.1", "10248"
	if cfg != nil {
		if cfg.HealthzBindAddress != "" {
			bind = cfg.HealthzBindAddress
		}
		if cfg.HealthzPort != nil {
			port = strconv.Itoa(int(*cfg.HealthzPort))
		}
	}
	for _, a := range args {
		switch a.Name {
		case "healthz-bind-address":
			bind = a.Value
		case "healthz-port":
			port = a.Value
		}
	}
	if port == "0" {
		return ""
	}
	if ip, err := netip.ParseAddr(bind); err == nil && ip.IsUnspecified() {
		bind = "127.0.0.1"
		if ip.Is6() {
			bind = "::1"
		}
	}
	return net.JoinHostPort(bind, port)
}

func warning(name, seen, hint string) reconcile.Finding {
	return reconcile.Finding{Severity: reconcile.SeverityWarning, Name: name, Address: FileAddress(KubeletConfigPath), Seen: seen, Hint: hint}
}

func joinErrors(errs []error) string {
	var out []string
	for _, err := range errs {
		out = append(out, err.Error())
	}
	return strings.Join(out, ", ")
}
