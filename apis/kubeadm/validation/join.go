package validation

import (
	"encoding/hex"
	"errors"
	"fmt"
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
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"
	netutils "k8s.io/utils/net"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
)

// omitted stands for a value that an error must not repeat.
var omitted = field.OmitValueType{}

// tokenID matches what may be shown of a token: its ID.
var tokenID = regexp.MustCompile(`^([a-z0-9]{6})\.`)

var tokenForm = regexp.MustCompile(bootstrapapi.BootstrapTokenPattern)

// JoinConfiguration gives everything that is wrong with a configuration whose
// static and dynamic defaults are set: the rules of behaviour catalogue §3, and
// those that kubeadm leaves out and fails on later. An empty advertise address
// is valid: it asks for detection.
func JoinConfiguration(cfg *kubeadm.JoinConfiguration) field.ErrorList {
	var errs field.ErrorList
	errs = append(errs, discovery(&cfg.Discovery, field.NewPath("discovery"))...)
	errs = append(errs, nodeRegistration(&cfg.NodeRegistration, field.NewPath("nodeRegistration"))...)
	if cp := cfg.ControlPlane; cp != nil {
		at := field.NewPath("controlPlane")
		errs = append(errs, apiEndpoint(&cp.LocalAPIEndpoint, at.Child("localAPIEndpoint"))...)
		errs = append(errs, certificateKey(cp.CertificateKey, at.Child("certificateKey"))...)
	}
	if !path.IsAbs(cfg.CACertPath) || !strings.HasSuffix(cfg.CACertPath, ".crt") {
		errs = append(errs, field.Invalid(field.NewPath("caCertPath"), cfg.CACertPath, `must be an absolute path that ends in ".crt"`))
	}
	errs = append(errs, skipPhases(cfg.SkipPhases, joinPhases, field.NewPath("skipPhases"))...)
	errs = append(errs, timeouts(&cfg.Timeouts, field.NewPath("timeouts"))...)
	return errs
}

func discovery(d *kubeadm.Discovery, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case d.BootstrapToken == nil && d.File == nil:
		errs = append(errs, field.Required(at, "bootstrapToken or file must be set"))
	case d.BootstrapToken != nil && d.File != nil:
		errs = append(errs, field.Invalid(at, omitted, "only one of bootstrapToken and file may be set"))
	}
	tlsTokenMatters := d.TLSBootstrapToken != ""
	if d.BootstrapToken != nil {
		errs = append(errs, bootstrapToken(d.BootstrapToken, at.Child("bootstrapToken"))...)
		// The copy that the defaults make needs no complaint of its own.
		tlsTokenMatters = d.TLSBootstrapToken != d.BootstrapToken.Token
	}
	if tlsTokenMatters {
		errs = append(errs, token(d.TLSBootstrapToken, at.Child("tlsBootstrapToken"))...)
	}
	if d.File != nil {
		errs = append(errs, kubeConfigPath(d.File.KubeConfigPath, at.Child("file", "kubeConfigPath"))...)
	}
	return errs
}

func bootstrapToken(t *kubeadm.BootstrapTokenDiscovery, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if t.APIServerEndpoint == "" {
		errs = append(errs, field.Required(at, "apiServerEndpoint must be set"))
	} else {
		errs = append(errs, endpoint(t.APIServerEndpoint, at.Child("apiServerEndpoint"))...)
	}
	hashes := at.Child("caCertHashes")
	if len(t.CACertHashes) == 0 && !t.UnsafeSkipCAVerification {
		errs = append(errs, field.Invalid(hashes, omitted, "without a hash of the cluster's CA anybody who knows the token can pretend to be the cluster: "+
			"set caCertHashes, or unsafeSkipCAVerification: true"))
	}
	for i, hash := range t.CACertHashes {
		errs = append(errs, caCertHash(hash, hashes.Index(i))...)
	}
	return append(errs, token(t.Token, at.Child("token"))...)
}

// token shows nothing of a wrong token but its ID, and that only if it looks like
// one.
func token(value string, at *field.Path) field.ErrorList {
	if tokenForm.MatchString(value) {
		return nil
	}
	const detail = "must be 6 and 16 lower-case letters or digits with a dot between them"
	if id := tokenID.FindStringSubmatch(value); id != nil {
		return field.ErrorList{field.Invalid(at, id[1], detail)}
	}
	return field.ErrorList{field.Invalid(at, omitted, detail)}
}

// caCertHash reports what kubeadm finds out only after it has talked to the
// server.
func caCertHash(value string, at *field.Path) field.ErrorList {
	format, digits, _ := strings.Cut(value, ":")
	if digest, err := hex.DecodeString(digits); err != nil || len(digest) != 32 || !strings.EqualFold(format, "sha256") {
		return field.ErrorList{field.Invalid(at, value, `must be "sha256:" and 64 hexadecimal digits`)}
	}
	return nil
}

func endpoint(value string, at *field.Path) field.ErrorList {
	if strings.Contains(value, "://") {
		return field.ErrorList{field.Invalid(at, value, `must be host:port, such as "10.0.0.1:6443", without a scheme`)}
	}
	host, port, err := net.SplitHostPort(value)
	if err != nil {
		detail := `must be host:port, such as "10.0.0.1:6443"`
		if addrErr := (*net.AddrError)(nil); errors.As(err, &addrErr) {
			detail += ": " + addrErr.Err
		}
		return field.ErrorList{field.Invalid(at, value, detail)}
	}
	var errs field.ErrorList
	if host == "" || strings.ContainsAny(host, " \t/@") {
		errs = append(errs, field.Invalid(at, value, "the host must be a DNS name or an IP address"))
	} else if numeric(host) && netutils.ParseIPSloppy(host) == nil {
		errs = append(errs, field.Invalid(at, value, "the host looks like an IP address, and is none"))
	}
	if n, err := strconv.Atoi(port); err != nil || len(validation.IsValidPortNum(n)) > 0 {
		errs = append(errs, field.Invalid(at, value, "the port must be a number from 1 to 65535"))
	}
	return errs
}

// numeric tells whether the last label of a host is a number, which makes it an
// address to everybody: no top-level domain is one.
func numeric(host string) bool {
	host = strings.TrimSuffix(host, ".")
	label := host[strings.LastIndexByte(host, '.')+1:]
	return label != "" && strings.Trim(label, "0123456789") == ""
}

// kubeConfigPath never repeats an URL: a pre-signed one is a credential.
func kubeConfigPath(value string, at *field.Path) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(at, "must be a file or an https URL")}
	}
	u, err := url.Parse(value)
	switch {
	case err != nil:
		return field.ErrorList{field.Invalid(at, omitted, "must be a file or an https URL")}
	case u.Scheme == "":
		return nil
	case u.Scheme != "https":
		return field.ErrorList{field.Invalid(at, omitted, fmt.Sprintf("the scheme must be https, not %q", u.Scheme))}
	case u.Host == "":
		return field.ErrorList{field.Invalid(at, omitted, "the URL has no host")}
	}
	return nil
}

func nodeRegistration(n *kubeadm.NodeRegistration, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if n.Name == "" {
		errs = append(errs, field.Required(at, "name must be set"))
	} else {
		errs = append(errs, subdomain(n.Name, at.Child("name"))...)
	}
	errs = append(errs, criSocket(n.CRISocket, at.Child("criSocket"))...)
	errs = append(errs, taints(n.Taints, at.Child("taints"))...)
	extraArgs := at.Child("kubeletExtraArgs")
	errs = append(errs, args(n.KubeletExtraArgs, extraArgs)...)
	for i, arg := range n.KubeletExtraArgs {
		if strings.ReplaceAll(arg.Name, "_", "-") == "hostname-override" && arg.MergeMethod != kubeadm.MergeReplace {
			errs = append(errs, field.Invalid(extraArgs.Index(i).Child("mergeMethod"), arg.MergeMethod,
				"a host name cannot be made of two: remove it"))
		}
	}
	errs = append(errs, ignorePreflightErrors(n.IgnorePreflightErrors, at.Child("ignorePreflightErrors"))...)
	return append(errs, imagePullPolicy(n.ImagePullPolicy, at.Child("imagePullPolicy"))...)
}

func ignorePreflightErrors(names []string, at *field.Path) field.ErrorList {
	isAll := func(name string) bool { return strings.EqualFold(name, "all") }
	if len(names) > 1 && slices.ContainsFunc(names, isAll) {
		return field.ErrorList{field.Invalid(at, strings.Join(names, ","), `"all" must be alone`)}
	}
	return nil
}

func imagePullPolicy(value corev1.PullPolicy, at *field.Path) field.ErrorList {
	switch value {
	case "", corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever:
		return nil
	}
	return field.ErrorList{field.NotSupported(at, value, []corev1.PullPolicy{corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever})}
}

func criSocket(value string, at *field.Path) field.ErrorList {
	socket, isPath := strings.CutPrefix(kubeadm.SocketURL(value), "unix:///")
	if !isPath || path.IsAbs(value) || path.Clean("/"+socket) == "/" {
		return field.ErrorList{field.Invalid(at, value, `must be an absolute path with the scheme unix, such as "`+kubeadm.DefaultCRISocket+`"`)}
	}
	return nil
}

// taints applies the API server's rules: a kubelet whose taints are refused
// never registers.
func taints(list []corev1.Taint, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	type identity struct {
		key    string
		effect corev1.TaintEffect
	}
	seen := map[identity]bool{}
	for i, taint := range list {
		at := at.Index(i)
		if taint.Key == "" {
			errs = append(errs, field.Required(at.Child("key"), "a taint needs a key"))
		} else {
			errs = append(errs, invalidEach(at.Child("key"), taint.Key, content.IsLabelKey(taint.Key))...)
		}
		if taint.Value != "" {
			errs = append(errs, invalidEach(at.Child("value"), taint.Value, content.IsLabelValue(taint.Value))...)
		}
		switch taint.Effect {
		case corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute:
		default:
			errs = append(errs, field.NotSupported(at.Child("effect"), taint.Effect,
				[]corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute}))
		}
		id := identity{taint.Key, taint.Effect}
		if seen[id] {
			errs = append(errs, field.Duplicate(at, taint.Key+":"+string(taint.Effect)))
		}
		seen[id] = true
	}
	return errs
}

func args(list []kubeadm.Arg, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, arg := range list {
		at := at.Index(i)
		switch {
		case arg.Name == "":
			errs = append(errs, field.Required(at.Child("name"), "an argument needs a name"))
		case strings.HasPrefix(arg.Name, "-"):
			errs = append(errs, field.Invalid(at.Child("name"), arg.Name, "must not start with a dash: the dashes are added"))
		case strings.Contains(arg.Name, "="):
			// Without the value: the part after "=" may be anything.
			errs = append(errs, field.Invalid(at.Child("name"), omitted, `must not contain "=": the value goes into the field value`))
		case strings.ContainsFunc(arg.Name, unicode.IsSpace):
			errs = append(errs, field.Invalid(at.Child("name"), arg.Name, "must not contain white space"))
		}
		switch arg.MergeMethod {
		case kubeadm.MergeReplace, kubeadm.MergeAppend, kubeadm.MergePrepend:
		default:
			errs = append(errs, field.Invalid(at.Child("mergeMethod"), arg.MergeMethod,
				"must be append, prepend or replace; without a method the argument replaces the built-in one"))
		}
	}
	return errs
}

func apiEndpoint(e *kubeadm.APIEndpoint, at *field.Path) field.ErrorList {
	errs := advertiseAddress(e.AdvertiseAddress, at.Child("advertiseAddress"))
	if len(validation.IsValidPortNum(int(e.BindPort))) > 0 {
		errs = append(errs, field.Invalid(at.Child("bindPort"), e.BindPort, "must be from 1 to 65535"))
	}
	return errs
}

// advertiseAddress accepts what stands for detection: nothing, the unspecified
// and a loopback address. Leading zeros are accepted, as kubeadm does: behaviour
// catalogue §2.2.
func advertiseAddress(value string, at *field.Path) field.ErrorList {
	if value == "" {
		return nil
	}
	ip := netutils.ParseIPSloppy(value)
	if ip == nil {
		return field.ErrorList{field.Invalid(at, value, "must be an IP address")}
	}
	if !ip.IsUnspecified() && !ip.IsLoopback() && !ip.IsGlobalUnicast() {
		return field.ErrorList{field.Invalid(at, value, "must be an address that other machines can reach: not multicast, broadcast or link-local")}
	}
	return nil
}

func certificateKey(value string, at *field.Path) field.ErrorList {
	if value == "" {
		return nil
	}
	if key, err := hex.DecodeString(value); err != nil || len(key) != 32 {
		return field.ErrorList{field.Invalid(at, omitted, "must be 64 hexadecimal digits")}
	}
	return nil
}

// timeouts refuses negative ones, and zero where it would leave no time for
// something that always takes some. Elsewhere zero means one attempt.
func timeouts(t *kubeadm.Timeouts, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, f := range []struct {
		name   string
		value  time.Duration
		zeroOK bool
	}{
		{"controlPlaneComponentHealthCheck", t.ControlPlaneComponentHealthCheck, false},
		{"kubeletHealthCheck", t.KubeletHealthCheck, false},
		{"kubernetesAPICall", t.KubernetesAPICall, true},
		{"etcdAPICall", t.EtcdAPICall, true},
		{"tlsBootstrap", t.TLSBootstrap, false},
		{"discovery", t.Discovery, true},
		{"upgradeManifests", t.UpgradeManifests, false},
	} {
		switch {
		case f.value < 0:
			errs = append(errs, field.Invalid(at.Child(f.name), f.value.String(), "must not be negative"))
		case f.value == 0 && !f.zeroOK:
			errs = append(errs, field.Invalid(at.Child(f.name), "0s", "must be positive: with no time at all it can only fail"))
		}
	}
	return errs
}

// subdomain says in one line what the library says in three.
func subdomain(value string, at *field.Path) field.ErrorList {
	if len(content.IsDNS1123Subdomain(value)) > 0 {
		return field.ErrorList{field.Invalid(at, value, "must be an RFC 1123 subdomain: at most 253 lower-case letters, digits, "+
			"dashes and dots, with a letter or digit on both sides of every dot and at both ends")}
	}
	return nil
}

// invalidEach makes an error of each message.
func invalidEach(at *field.Path, value string, messages []string) field.ErrorList {
	var errs field.ErrorList
	for _, message := range messages {
		errs = append(errs, field.Invalid(at, value, message))
	}
	return errs
}
