package preflight

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
)

// The minors of Kubernetes 1 that this program knows.
const (
	oldestMinor = 34
	newestMinor = 37
	// kubeletSkew is how many minors a kubelet may be older than the API server
	// (Kubernetes' version skew policy).
	kubeletSkew = 3
)

// kubeletVersion is what `kubelet --version` prints.
type kubeletVersion struct {
	Text  string // "v1.37.2"
	Minor int
}

var versionForm = regexp.MustCompile(`\bv1\.([0-9]+)\.[0-9]+\S*`)

func parseVersion(text string) (kubeletVersion, bool) {
	m := versionForm.FindStringSubmatch(text)
	if m == nil {
		return kubeletVersion{}, false
	}
	minor, err := strconv.Atoi(m[1])
	return kubeletVersion{m[0], minor}, err == nil
}

// askKubelet starts the only program that the checks start.
func (p *pass) askKubelet(ctx context.Context) (kubeletVersion, error) {
	if p.Facts.KubeletPath == "" || !p.Machine.Live() {
		return kubeletVersion{}, fault.New(fault.Preflight, "there is no kubelet to ask")
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	out, err := p.Machine.Run(ctx, p.Facts.KubeletPath, "--version")
	if err != nil {
		return kubeletVersion{}, err
	}
	v, ok := parseVersion(string(out))
	if !ok {
		return kubeletVersion{}, fault.New(fault.Preflight, "%s --version prints %q", p.Facts.KubeletPath, firstLine(string(out)))
	}
	return v, nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line[:min(len(line), 100)]
}

func checkKubeletVersion(_ context.Context, p *pass) []reconcile.Finding {
	if p.Facts.KubeletPath == "" {
		return nil // FileExisting-kubelet tells
	}
	v, err := p.version()
	if err != nil {
		return []reconcile.Finding{{Severity: reconcile.SeverityError, Seen: err.Error(), Wanted: "a kubelet that prints its version",
			Hint: "install the kubelet package again, for this machine's architecture"}}
	}
	var of kubeletVersion
	if p.clusterKnown() {
		of, _ = parseVersion(p.Cluster.Configuration.KubernetesVersion)
	}
	return judgeKubelet(v, of)
}

// judgeKubelet compares with the cluster's version, or, without one, with what
// this program knows.
func judgeKubelet(v, cluster kubeletVersion) []reconcile.Finding {
	f := reconcile.Finding{Severity: reconcile.SeverityError, Seen: "the kubelet is " + v.Text}
	switch {
	case cluster.Text == "" && v.Minor < oldestMinor:
		f.Wanted = fmt.Sprintf("1.%d or later", oldestMinor)
	case cluster.Text == "" && v.Minor > newestMinor:
		f.Severity = reconcile.SeverityWarning
		f.Wanted = fmt.Sprintf("1.%d or earlier, which this program knows", newestMinor)
	case cluster.Text == "":
		return nil
	case v.Minor > cluster.Minor:
		f.Seen += ", the cluster " + cluster.Text
		f.Wanted = fmt.Sprintf("at most the cluster's minor, 1.%d", cluster.Minor)
		f.Hint = fmt.Sprintf("install a kubelet of 1.%d, or upgrade the control planes before", cluster.Minor)
	case v.Minor < max(cluster.Minor-kubeletSkew, oldestMinor):
		f.Seen += ", the cluster " + cluster.Text
		f.Wanted = fmt.Sprintf("1.%d or later", max(cluster.Minor-kubeletSkew, oldestMinor))
		f.Hint = fmt.Sprintf("install a kubelet of 1.%d", cluster.Minor)
	default:
		return nil
	}
	return []reconcile.Finding{f}
}

func checkKubernetesVersion(_ context.Context, p *pass) []reconcile.Finding {
	text := p.Cluster.Configuration.KubernetesVersion
	v, ok := parseVersion(text)
	if !ok {
		return []reconcile.Finding{{Severity: reconcile.SeverityWarning, Seen: fmt.Sprintf("the cluster says it is of version %q", text),
			Wanted: "v1.MINOR.PATCH", Hint: "correct kubernetesVersion in the ConfigMap kube-system/kubeadm-config"}}
	}
	f := reconcile.Finding{Severity: reconcile.SeverityError, Seen: "the cluster is " + v.Text,
		Wanted: fmt.Sprintf("1.%d to 1.%d, which this program knows", oldestMinor, newestMinor)}
	switch {
	case v.Minor > newestMinor:
		f.Severity, f.Hint = reconcile.SeverityWarning, "use a newer kubejoin"
	case v.Minor < oldestMinor:
		f.Hint = "upgrade the cluster, or join with the kubeadm of its version"
	default:
		return nil
	}
	return []reconcile.Finding{f}
}

// unitFiles are where packages put the kubelet's unit.
var unitFiles = []string{
	"/etc/systemd/system/kubelet.service", "/usr/lib/systemd/system/kubelet.service", "/lib/systemd/system/kubelet.service",
	"/usr/local/lib/systemd/system/kubelet.service", "/etc/init.d/kubelet",
}

// checkService is for a machine without a plan, whose resource of the service
// says the same.
func checkService(_ context.Context, p *pass) []reconcile.Finding {
	if p.managesKind("service") || !p.Alone {
		return nil
	}
	const unit, install = "a service named kubelet", "install the kubelet package of the cluster's minor version"
	if !p.Machine.Live() {
		for _, file := range unitFiles {
			if s, err := p.Machine.Stat(file); err != nil || s.Exists() {
				return nil
			}
		}
		return []reconcile.Finding{{Severity: reconcile.SeverityError, Seen: "there is no unit of the kubelet in " + strings.Join(unitFiles, ", "), Wanted: unit, Hint: install}}
	}
	s, err := p.unit()
	if err != nil {
		return unseen("Service-kubelet", err)
	}
	switch {
	case s.Manager == "":
		return []reconcile.Finding{{Severity: reconcile.SeverityWarning, Seen: "neither systemd nor OpenRC is here to run the kubelet", Wanted: unit,
			Hint: "start the kubelet by your own means once the files are written"}}
	case s.Unknown != "":
		return []reconcile.Finding{{Severity: reconcile.SeverityWarning, Seen: "not known: " + s.Unknown, Wanted: unit, Hint: "run as root"}}
	case !s.Found:
		return []reconcile.Finding{{Severity: reconcile.SeverityError, Seen: "there is no kubelet service", Wanted: unit, Hint: install}}
	case s.Masked:
		return []reconcile.Finding{{Severity: reconcile.SeverityError, Seen: "the kubelet service is masked", Wanted: "one that can be started", Hint: "systemctl unmask kubelet"}}
	}
	return nil
}

// The kubelet's arguments and file of variables that its unit has to give it:
// behaviour catalogue §4.7.
var (
	unitFlags = []string{"--bootstrap-kubeconfig", "--kubeconfig", "--config"}
	unitFile  = "/var/lib/kubelet/kubeadm-flags.env"
)

func checkUnit(_ context.Context, p *pass) []reconcile.Finding {
	if p.managesKind("service") || !p.Alone {
		return nil
	}
	s, err := p.unit()
	if err != nil || s.Manager != "systemd" || s.ExecStart == "" {
		return nil // Service-kubelet tells
	}
	var missing []string
	for _, flag := range unitFlags {
		if !strings.Contains(s.ExecStart, flag+"=") && !strings.Contains(s.ExecStart, flag+" ") {
			missing = append(missing, flag)
		}
	}
	if !slices.Contains(s.EnvironmentFiles, unitFile) {
		missing = append(missing, unitFile)
	}
	if len(missing) == 0 {
		return nil
	}
	return []reconcile.Finding{{Severity: reconcile.SeverityInfo, Seen: "the kubelet's unit lacks " + strings.Join(missing, ", "),
		Wanted: strings.Join(unitFlags, ", ") + " and " + unitFile}}
}
