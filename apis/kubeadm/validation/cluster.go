package validation

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/version"
	netutils "k8s.io/utils/net"

	"github.com/kubejoin/kubejoin/apis/internal/spell"
	"github.com/kubejoin/kubejoin/apis/kubeadm"
)

// The bounds of behaviour catalogue §3.
const (
	minServiceAddresses   = 10
	minPodAddresses       = 14
	maxServiceHostBits    = 20
	maxAddressesPerSubnet = 2
)

var encryptionAlgorithms = []string{"RSA-2048", "RSA-3072", "RSA-4096", "ECDSA-P256", "ECDSA-P384"}

// imageRepositoryPattern is host[:port]/path without tag and digest.
var imageRepositoryPattern = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$`)

// versionLabel is what kubeadm looks up on the internet instead of a version:
// "stable-1", "latest-1.37" or "ci/latest".
var versionLabel = regexp.MustCompile(`^(release/|ci/)?(stable|latest)(-1(\.[0-9]+)?)?$`)

// ClusterConfiguration gives everything that is wrong with a configuration whose
// static defaults are set.
func ClusterConfiguration(cfg *kubeadm.ClusterConfiguration) field.ErrorList {
	var errs field.ErrorList
	errs = append(errs, kubernetesVersion(cfg.KubernetesVersion, field.NewPath("kubernetesVersion"))...)
	if cfg.ControlPlaneEndpoint != "" {
		errs = append(errs, controlPlaneEndpoint(cfg.ControlPlaneEndpoint, field.NewPath("controlPlaneEndpoint"))...)
	}
	errs = append(errs, absolute(cfg.CertificatesDir, field.NewPath("certificatesDir"))...)
	errs = append(errs, imageRepository(cfg.ImageRepository, field.NewPath("imageRepository"))...)
	errs = append(errs, imageRepository(cfg.DNS.ImageRepository, field.NewPath("dns", "imageRepository"))...)
	if !slices.Contains(encryptionAlgorithms, cfg.EncryptionAlgorithm) {
		errs = append(errs, field.NotSupported(field.NewPath("encryptionAlgorithm"), cfg.EncryptionAlgorithm, encryptionAlgorithms))
	}
	errs = append(errs, positive(cfg.CertificateValidityPeriod, field.NewPath("certificateValidityPeriod"))...)
	errs = append(errs, positive(cfg.CACertificateValidityPeriod, field.NewPath("caCertificateValidityPeriod"))...)
	errs = append(errs, networking(&cfg.Networking, field.NewPath("networking"))...)
	errs = append(errs, podsPerNode(cfg, field.NewPath("networking", "podSubnet"))...)
	errs = append(errs, featureGates(cfg.FeatureGates, field.NewPath("featureGates"))...)

	apiServer := field.NewPath("apiServer")
	errs = append(errs, component(&cfg.APIServer.ControlPlaneComponent, apiServer)...)
	errs = append(errs, certSANs(cfg.APIServer.CertSANs, apiServer.Child("certSANs"))...)
	if timeout := cfg.APIServer.TimeoutForControlPlane; timeout != nil {
		errs = append(errs, positive(*timeout, apiServer.Child("timeoutForControlPlane"))...)
	}
	errs = append(errs, component(&cfg.ControllerManager, field.NewPath("controllerManager"))...)
	errs = append(errs, component(&cfg.Scheduler, field.NewPath("scheduler"))...)
	return append(errs, etcd(&cfg.Etcd, field.NewPath("etcd"))...)
}

func kubernetesVersion(value string, at *field.Path) field.ErrorList {
	if value == "" || versionLabel.MatchString(value) {
		return nil
	}
	if _, err := version.ParseSemantic(strings.TrimPrefix(value, "ci/")); err != nil {
		return field.ErrorList{field.Invalid(at, value, `must be a version such as "v1.37.2", or a label such as "stable-1"`)}
	}
	return nil
}

func component(c *kubeadm.ControlPlaneComponent, at *field.Path) field.ErrorList {
	errs := args(c.ExtraArgs, at.Child("extraArgs"))
	for i, volume := range c.ExtraVolumes {
		at := at.Child("extraVolumes").Index(i)
		errs = append(errs, invalidEach(at.Child("name"), volume.Name, content.IsDNS1123Label(volume.Name))...)
		errs = append(errs, absolute(volume.HostPath, at.Child("hostPath"))...)
		errs = append(errs, absolute(volume.MountPath, at.Child("mountPath"))...)
	}
	return append(errs, envs(c.ExtraEnvs, at.Child("extraEnvs"))...)
}

func envs(list []corev1.EnvVar, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, env := range list {
		if env.Name == "" {
			errs = append(errs, field.Required(at.Index(i).Child("name"), "a variable needs a name"))
		}
	}
	return errs
}

// featureGates refuses what no kubeadm ever knew. What the newest one no longer
// knows is a warning: see ClusterConfigurationWarnings.
func featureGates(gates map[string]bool, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(gates)) {
		if known := slices.Concat(currentGates, formerGates); !slices.Contains(known, name) {
			detail := "kubeadm has no such feature gate"
			if near, ok := spell.Nearest(name, known); ok {
				detail += fmt.Sprintf("; did you mean %q?", near)
			}
			where := at
			if !strings.ContainsFunc(name, notAlphanumeric) { // anything else may be a token
				where = at.Child(name)
			}
			errs = append(errs, field.Invalid(where, omitted, detail))
		}
	}
	return errs
}

func notAlphanumeric(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }

// podsPerNode says if the pod subnet cannot be divided among nodes: behaviour
// catalogue §3.
func podsPerNode(cfg *kubeadm.ClusterConfiguration, at *field.Path) field.ErrorList {
	const maxNodeBits = 16
	given := map[string]string{}
	for _, arg := range cfg.ControllerManager.ExtraArgs {
		given[arg.Name] = arg.Value
	}
	ranges, err := netutils.ParseCIDRs(strings.Split(cfg.Networking.PodSubnet, ","))
	if err != nil || given["allocate-node-cidrs"] == "false" {
		return nil // what is no address range is reported elsewhere
	}
	var errs field.ErrorList
	for _, r := range ranges {
		if netutils.RangeSize(r) < minPodAddresses {
			continue // reported elsewhere, too
		}
		ones, bits := r.Mask.Size()
		nodeMask, arg := 24, "node-cidr-mask-size-ipv4"
		if bits == 128 {
			nodeMask, arg = 64, "node-cidr-mask-size-ipv6"
		}
		if len(ranges) == 1 {
			arg = "node-cidr-mask-size"
		}
		if value, ok := given[arg]; ok {
			if nodeMask, err = strconv.Atoi(value); err != nil {
				errs = append(errs, field.Invalid(field.NewPath("controllerManager", "extraArgs"), value, arg+" must be a number"))
				continue
			}
			if nodeMask < 1 || nodeMask > bits {
				errs = append(errs, field.Invalid(field.NewPath("controllerManager", "extraArgs"), value, fmt.Sprintf("%s must be from 1 to %d", arg, bits)))
				continue
			}
		}
		switch {
		case ones > nodeMask:
			errs = append(errs, field.Invalid(at, r.String(), fmt.Sprintf("is smaller than the range of one node, which has a mask of %d bits", nodeMask)))
		case nodeMask-ones > maxNodeBits:
			errs = append(errs, field.Invalid(at, r.String(), fmt.Sprintf("is too large: its mask may have at most %d bits less than that of one node, which has %d", maxNodeBits, nodeMask)))
		}
	}
	return errs
}

func networking(n *kubeadm.Networking, at *field.Path) field.ErrorList {
	errs := subdomain(n.DNSDomain, at.Child("dnsDomain"))
	services := at.Child("serviceSubnet")
	ranges, subnetErrs := subnets(n.ServiceSubnet, minServiceAddresses, services)
	errs = append(errs, subnetErrs...)
	for _, r := range ranges {
		if ones, bits := r.Mask.Size(); bits-ones > maxServiceHostBits {
			errs = append(errs, field.Invalid(services, r.String(), fmt.Sprintf("must have a mask of at least %d bits", bits-maxServiceHostBits)))
		}
	}
	if n.PodSubnet != "" {
		_, subnetErrs := subnets(n.PodSubnet, minPodAddresses, at.Child("podSubnet"))
		errs = append(errs, subnetErrs...)
	}
	return errs
}

// subnets parses one address range, or one of each family.
func subnets(value string, minAddresses int64, at *field.Path) ([]*net.IPNet, field.ErrorList) {
	ranges, err := netutils.ParseCIDRs(strings.Split(value, ","))
	if err != nil {
		return nil, field.ErrorList{field.Invalid(at, value, "must be an address range such as 10.96.0.0/12, or two separated by a comma")}
	}
	var errs field.ErrorList
	if len(ranges) > maxAddressesPerSubnet {
		errs = append(errs, field.Invalid(at, value, "must not have more than two address ranges"))
	} else if dual, err := netutils.IsDualStackCIDRs(ranges); len(ranges) == 2 && (err != nil || !dual) {
		errs = append(errs, field.Invalid(at, value, "two address ranges must be one of IPv4 and one of IPv6"))
	}
	for _, r := range ranges {
		if netutils.RangeSize(r) < minAddresses {
			errs = append(errs, field.Invalid(at, r.String(), fmt.Sprintf("must have at least %d addresses", minAddresses)))
		}
	}
	return ranges, errs
}

func controlPlaneEndpoint(value string, at *field.Path) field.ErrorList {
	host := value
	if netutils.ParseIPSloppy(value) == nil && strings.Contains(value, ":") {
		if errs := endpoint(value, at); errs != nil {
			return errs
		}
		// endpoint has split it before.
		host, _, _ = net.SplitHostPort(value)
	}
	if netutils.ParseIPSloppy(host) == nil && (numeric(host) || len(content.IsDNS1123Subdomain(strings.ToLower(host))) > 0) {
		return field.ErrorList{field.Invalid(at, value, "must be a DNS name or an IP address, with or without a port")}
	}
	return nil
}

func certSANs(names []string, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, name := range names {
		lower := strings.ToLower(name)
		if netutils.ParseIPSloppy(name) == nil &&
			len(content.IsDNS1123Subdomain(lower)) > 0 && len(validation.IsWildcardDNS1123Subdomain(lower)) > 0 {
			errs = append(errs, field.Invalid(at.Index(i), name, "must be a DNS name, with or without a leading \"*.\", or an IP address"))
		}
	}
	return errs
}

func etcd(e *kubeadm.Etcd, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case e.Local == nil && e.External == nil:
		errs = append(errs, field.Invalid(at, omitted, "local or external must be set"))
	case e.Local != nil && e.External != nil:
		errs = append(errs, field.Invalid(at, omitted, "only one of local and external may be set"))
	}
	if local, at := e.Local, at.Child("local"); local != nil {
		errs = append(errs, absolute(local.DataDir, at.Child("dataDir"))...)
		errs = append(errs, imageRepository(local.ImageRepository, at.Child("imageRepository"))...)
		errs = append(errs, args(local.ExtraArgs, at.Child("extraArgs"))...)
		errs = append(errs, envs(local.ExtraEnvs, at.Child("extraEnvs"))...)
		errs = append(errs, certSANs(local.ServerCertSANs, at.Child("serverCertSANs"))...)
		errs = append(errs, certSANs(local.PeerCertSANs, at.Child("peerCertSANs"))...)
	}
	if e.External != nil {
		errs = append(errs, externalEtcd(e.External, at.Child("external"))...)
	}
	return errs
}

func externalEtcd(e *kubeadm.ExternalEtcd, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if (e.CertFile == "") != (e.KeyFile == "") {
		errs = append(errs, field.Invalid(at, omitted, "certFile and keyFile must be set together"))
	}
	if e.CertFile != "" && e.KeyFile != "" && e.CAFile == "" {
		errs = append(errs, field.Required(at.Child("caFile"), "a client certificate needs it"))
	}
	files := []struct{ name, value string }{{"caFile", e.CAFile}, {"certFile", e.CertFile}, {"keyFile", e.KeyFile}}
	tls := false
	for _, f := range files {
		if f.value != "" {
			tls = true
			errs = append(errs, absolute(f.value, at.Child(f.name))...)
		}
	}
	if len(e.Endpoints) == 0 {
		errs = append(errs, field.Required(at.Child("endpoints"), "at least one is needed"))
	}
	for i, endpoint := range e.Endpoints {
		at := at.Child("endpoints").Index(i)
		u, err := url.Parse(endpoint)
		switch {
		case err != nil || u.Host == "":
			errs = append(errs, field.Invalid(at, omitted, `must be a URL such as "https://10.0.0.1:2379"`))
		case u.Scheme != "https" && (tls || u.Scheme != "http"):
			errs = append(errs, field.Invalid(at, u.Redacted(), "must be an https URL"))
		}
	}
	return errs
}

func imageRepository(value string, at *field.Path) field.ErrorList {
	if value != "" && !imageRepositoryPattern.MatchString(value) {
		return field.ErrorList{field.Invalid(at, value, `must look like "registry.k8s.io" or "registry.example:5000/path"`)}
	}
	return nil
}

func absolute(value string, at *field.Path) field.ErrorList {
	if !path.IsAbs(value) {
		return field.ErrorList{field.Invalid(at, value, "must be an absolute path")}
	}
	return nil
}

func positive(value time.Duration, at *field.Path) field.ErrorList {
	if value <= 0 {
		return field.ErrorList{field.Invalid(at, value.String(), "must be positive")}
	}
	return nil
}
