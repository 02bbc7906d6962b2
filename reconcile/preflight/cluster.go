package preflight

import (
	"context"
	"fmt"
	"time"

	certutil "k8s.io/client-go/util/cert"

	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
)

// How far a clock may be off. Certificates are issued to be valid from five
// minutes before; the server's Date has whole seconds, so that less than a few of
// them mean nothing.
const (
	skewTold  = 5 * time.Second
	skewFatal = 5 * time.Minute
)

func checkClock(_ context.Context, p *pass) []reconcile.Finding {
	if p.Cluster == nil || !p.Cluster.Clock.Known {
		return nil
	}
	return judgeClock(p.Cluster.Clock.Offset)
}

func judgeClock(offset time.Duration) []reconcile.Finding {
	word := "behind"
	if offset < 0 {
		word = "ahead of"
	}
	f := reconcile.Finding{Severity: reconcile.SeverityWarning, Wanted: "less than " + skewTold.String(),
		Seen: fmt.Sprintf("this machine's clock is %s %s the API server's", offset.Abs().Round(time.Second), word)}
	switch {
	case offset.Abs() < skewTold:
		return nil
	case offset.Abs() >= skewFatal:
		f.Severity = reconcile.SeverityError
	}
	return []reconcile.Finding{f}
}

// caEndsSoon is when one should begin to replace a CA.
const caEndsSoon = 30 * 24 * time.Hour

func checkCA(_ context.Context, p *pass) []reconcile.Finding {
	certs, err := certutil.ParseCertsPEM(p.Cluster.CA)
	if err != nil {
		return nil // the plan tells
	}
	var out []reconcile.Finding
	for _, c := range certs {
		f := reconcile.Finding{Severity: reconcile.SeverityError, Wanted: "one that is valid now, " + p.Now.UTC().Format(time.RFC3339)}
		name := "the cluster's CA certificate " + c.Subject.CommonName
		switch {
		case p.Now.Before(c.NotBefore):
			f.Seen = name + " is not valid before " + c.NotBefore.UTC().Format(time.RFC3339)
			f.Hint = "set this machine's clock"
		case p.Now.After(c.NotAfter):
			f.Seen = name + " was valid until " + c.NotAfter.UTC().Format(time.RFC3339)
			f.Hint = "replace the cluster's CA, or set this machine's clock"
			if len(certs) > 1 { // another one may do: they overlap while a CA is replaced
				f.Severity = reconcile.SeverityWarning
			}
		case p.Now.Add(caEndsSoon).After(c.NotAfter):
			f.Severity = reconcile.SeverityWarning
			f.Seen = name + " is valid until " + c.NotAfter.UTC().Format(time.RFC3339)
			f.Hint = "replace the cluster's CA"
		default:
			continue
		}
		out = append(out, f)
	}
	return out
}

func checkToken(ctx context.Context, p *pass) []reconcile.Finding {
	id := p.Cluster.TokenID
	if p.API == nil || id == "" {
		return nil
	}
	expires, seen, err := p.API.TokenExpiry(ctx, id)
	if err != nil || !seen || expires.IsZero() {
		return nil // that it works is known, and hardly any credential may see more
	}
	left := expires.Sub(p.Now)
	needs := p.Config.Timeouts.TLSBootstrap
	if left > needs {
		return nil
	}
	return []reconcile.Finding{{Severity: reconcile.SeverityWarning,
		Seen:   fmt.Sprintf("the bootstrap token %s ends at %s, in %s", id, expires.UTC().Format(time.RFC3339), left.Round(time.Second)),
		Wanted: "at least " + needs.String() + " (timeouts.tlsBootstrap)"}}
}

// right is what the credential that joins has to be allowed, and what gives it:
// behaviour catalogue §4.6.
type right struct {
	access   cluster.Access
	without  string
	severity reconcile.Severity
	mend     string
}

const bootstrapGroup = "system:bootstrappers:kubeadm:default-node-token"

func rights() []right {
	const group, requests = "certificates.k8s.io", "certificatesigningrequests"
	create := func(name, role string) string {
		return "kubectl create clusterrolebinding " + name + " --clusterrole=" + role + " --group=" + bootstrapGroup
	}
	return []right{
		{cluster.Access{Verb: "create", Group: group, Resource: requests},
			"the kubelet cannot ask for a certificate", reconcile.SeverityError,
			create("kubeadm:kubelet-bootstrap", "system:node-bootstrapper")},
		{cluster.Access{Verb: "create", Group: group, Resource: requests, Subresource: "nodeclient"},
			"nobody approves the kubelet's request for a certificate unless by hand", reconcile.SeverityWarning,
			create("kubeadm:node-autoapprove-bootstrap", "system:certificates.k8s.io:certificatesigningrequests:nodeclient")},
	}
}

func checkRights(ctx context.Context, p *pass) []reconcile.Finding {
	if p.API == nil {
		return nil
	}
	var out []reconcile.Finding
	for _, r := range rights() {
		allowed, err := p.API.Allowed(ctx, r.access)
		if err != nil {
			return append(out, reconcile.Finding{Severity: reconcile.SeverityWarning, Seen: "could not be checked: " + err.Error(),
				Wanted: "ClusterRoleBinding system:basic-user, which lets everybody ask what he may do"})
		}
		if !allowed {
			what := r.access.Verb + " " + r.access.Resource
			if r.access.Subresource != "" {
				what += "/" + r.access.Subresource
			}
			out = append(out, reconcile.Finding{Severity: r.severity, Seen: "the credential that joins may not " + what, Wanted: "that it may",
				Why: r.without, Hint: r.mend})
		}
	}
	return out
}
