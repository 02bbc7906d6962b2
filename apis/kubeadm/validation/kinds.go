package validation

import (
	"path"
	"regexp"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/util/validation/field"
	bootstrapapi "k8s.io/cluster-bootstrap/token/api"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
)

// tokenGroup is what a bootstrap token may authenticate as: the API server
// refuses any other group.
// Its repetition makes it large, and few files need it.
var tokenGroup = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(bootstrapapi.BootstrapGroupPattern) })

// unmountFlags are behaviour catalogue §3's.
var unmountFlags = []string{"MNT_FORCE", "MNT_DETACH", "MNT_EXPIRE", "UMOUNT_NOFOLLOW"}

// InitConfiguration gives everything that is wrong with a configuration whose
// static and dynamic defaults are set.
func InitConfiguration(cfg *kubeadm.InitConfiguration) field.ErrorList {
	errs := nodeRegistration(&cfg.NodeRegistration, field.NewPath("nodeRegistration"))
	errs = append(errs, bootstrapTokens(cfg.BootstrapTokens, field.NewPath("bootstrapTokens"))...)
	errs = append(errs, apiEndpoint(&cfg.LocalAPIEndpoint, field.NewPath("localAPIEndpoint"))...)
	errs = append(errs, certificateKey(cfg.CertificateKey, field.NewPath("certificateKey"))...)
	errs = append(errs, skipPhases(cfg.SkipPhases, initPhases, field.NewPath("skipPhases"))...)
	return append(errs, timeouts(&cfg.Timeouts, field.NewPath("timeouts"))...)
}

func bootstrapTokens(tokens []kubeadm.BootstrapToken, at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, t := range tokens {
		at := at.Index(i)
		if t.Token != "" {
			errs = append(errs, token(t.Token, at.Child("token"))...)
		}
		if t.TTL != nil && *t.TTL < 0 {
			errs = append(errs, field.Invalid(at.Child("ttl"), t.TTL.String(), "must not be negative"))
		}
		if t.TTL != nil && t.Expires != nil {
			errs = append(errs, field.Invalid(at, omitted, "only one of ttl and expires may be set"))
		}
		for i, usage := range t.Usages {
			if !slices.Contains(kubeadm.DefaultTokenUsages(), usage) {
				errs = append(errs, field.NotSupported(at.Child("usages").Index(i), usage, kubeadm.DefaultTokenUsages()))
			}
		}
		if len(t.Groups) > 0 && !slices.Contains(t.Usages, "authentication") {
			errs = append(errs, field.Invalid(at.Child("groups"), omitted, `groups, of which there is one by default, need the usage "authentication"`))
		}
		for i, group := range t.Groups {
			if !tokenGroup().MatchString(group) {
				errs = append(errs, field.Invalid(at.Child("groups").Index(i), group,
					`must be "system:bootstrappers:" and lower-case letters, digits, colons and dashes`))
			}
		}
	}
	return errs
}

// ResetConfiguration gives everything that is wrong with a configuration whose
// static defaults are set. An empty CRI socket is valid: it asks for detection.
func ResetConfiguration(cfg *kubeadm.ResetConfiguration) field.ErrorList {
	var errs field.ErrorList
	if cfg.CRISocket != "" && !path.IsAbs(cfg.CRISocket) {
		errs = append(errs, criSocket(cfg.CRISocket, field.NewPath("criSocket"))...)
	}
	errs = append(errs, absolute(cfg.CertificatesDir, field.NewPath("certificatesDir"))...)
	for i, flag := range cfg.UnmountFlags {
		if !slices.Contains(unmountFlags, flag) {
			errs = append(errs, field.NotSupported(field.NewPath("unmountFlags").Index(i), flag, unmountFlags))
		}
	}
	errs = append(errs, ignorePreflightErrors(cfg.IgnorePreflightErrors, field.NewPath("ignorePreflightErrors"))...)
	errs = append(errs, skipPhases(cfg.SkipPhases, resetPhases, field.NewPath("skipPhases"))...)
	return append(errs, timeouts(&cfg.Timeouts, field.NewPath("timeouts"))...)
}

// UpgradeConfiguration gives everything that is wrong with a configuration whose
// static defaults are set.
func UpgradeConfiguration(cfg *kubeadm.UpgradeConfiguration) field.ErrorList {
	apply, diff, node, plan := field.NewPath("apply"), field.NewPath("diff"), field.NewPath("node"), field.NewPath("plan")
	errs := kubernetesVersion(cfg.Apply.KubernetesVersion, apply.Child("kubernetesVersion"))
	errs = append(errs, upgradePatches(cfg.Apply.Patches, apply)...)
	errs = append(errs, imagePullPolicy(cfg.Apply.ImagePullPolicy, apply.Child("imagePullPolicy"))...)
	errs = append(errs, ignorePreflightErrors(cfg.Apply.IgnorePreflightErrors, apply.Child("ignorePreflightErrors"))...)
	errs = append(errs, skipPhases(cfg.Apply.SkipPhases, upgradeApplyPhases, apply.Child("skipPhases"))...)

	errs = append(errs, kubernetesVersion(cfg.Diff.KubernetesVersion, diff.Child("kubernetesVersion"))...)
	if cfg.Diff.ContextLines < 0 {
		errs = append(errs, field.Invalid(diff.Child("contextLines"), cfg.Diff.ContextLines, "must not be negative"))
	}

	errs = append(errs, upgradePatches(cfg.Node.Patches, node)...)
	errs = append(errs, imagePullPolicy(cfg.Node.ImagePullPolicy, node.Child("imagePullPolicy"))...)
	errs = append(errs, ignorePreflightErrors(cfg.Node.IgnorePreflightErrors, node.Child("ignorePreflightErrors"))...)
	errs = append(errs, skipPhases(cfg.Node.SkipPhases, upgradeNodePhases, node.Child("skipPhases"))...)

	errs = append(errs, kubernetesVersion(cfg.Plan.KubernetesVersion, plan.Child("kubernetesVersion"))...)
	errs = append(errs, ignorePreflightErrors(cfg.Plan.IgnorePreflightErrors, plan.Child("ignorePreflightErrors"))...)
	return append(errs, timeouts(&cfg.Timeouts, field.NewPath("timeouts"))...)
}

// upgradePatches: unlike join and init, upgrade takes no relative directory.
func upgradePatches(patches *kubeadm.Patches, at *field.Path) field.ErrorList {
	if patches == nil || patches.Directory == "" {
		return nil
	}
	return absolute(patches.Directory, at.Child("patches", "directory"))
}
