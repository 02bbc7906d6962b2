package pki

import (
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// DefaultRenewBefore is how long before its end a certificate is renewed.
// kubeadm renews all of them at each upgrade, so that one that has less than a
// month left belongs to a cluster that has not seen a minor's upgrade in most of a
// year; a month leaves a machine that is reconciled now and then several chances.
const DefaultRenewBefore = 30 * 24 * time.Hour

// Threshold is the remaining lifetime below which a certificate is renewed. One
// with a short validity must not be due for renewal when it is made, or a plan
// would never be empty.
func Threshold(renewBefore, validity time.Duration) time.Duration {
	return max(0, min(renewBefore, validity/3))
}

// Mismatch is one respect in which a certificate or kubeconfig is not right.
type Mismatch struct {
	Field         string // "sans", "notAfter", "server"
	Before, After string
	Text          string // one clause with the file as its subject: "lacks SAN 10.0.0.5"
	// Intent says that the configuration asks for another than the file was made
	// for; otherwise the file is not what was made, or time has passed.
	Intent bool
}

// Inspect tells in which respects a pair is not what it must be; none if it can
// stay. A nil key is one that may not be read, and is not compared; nor is the
// issuer when ca is nil. Behaviour catalogue, appendix B 7.
func Inspect(id Identity, cert, key []byte, ca *CA, now time.Time, threshold time.Duration) []Mismatch {
	var out []Mismatch
	certs, err := parseCertificates(cert)
	if err != nil {
		out = append(out, Mismatch{Field: "certificate", Text: err.Error()})
	}
	signer, err := parseKey(key)
	switch {
	case key == nil:
	case err != nil:
		out = append(out, Mismatch{Field: "key", Text: "its key file " + err.Error()})
	case len(certs) > 0 && !samePublic(certs[0].PublicKey, signer.Public()):
		out = append(out, Mismatch{Field: "key", Text: "belongs to another key than the one beside it"})
	}
	if len(certs) == 0 {
		return out
	}
	leaf := certs[0]
	if ca != nil && !chains(certs, ca.Certificates, now) {
		out = append(out, Mismatch{Field: "issuer", Before: leaf.Issuer.String(), Text: "is not signed by the cluster's CA"})
	}
	out = append(out, subject(id, leaf)...)
	for _, u := range id.Usages {
		if !slices.Contains(leaf.ExtKeyUsage, u) && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny) {
			out = append(out, Mismatch{Field: "usages", After: usageName(u), Text: "lacks the usage " + usageName(u)})
		}
	}
	out = append(out, missingSANs(id, leaf)...)
	return append(out, lifetime(leaf, now, threshold)...)
}

func subject(id Identity, leaf *x509.Certificate) []Mismatch {
	var out []Mismatch
	if cn := leaf.Subject.CommonName; cn != id.CommonName {
		out = append(out, Mismatch{Field: "commonName", Before: cn, After: id.CommonName, Intent: true,
			Text: fmt.Sprintf("is of %q, not of %q", cn, id.CommonName)})
	}
	have := leaf.Subject.Organization
	for _, accepted := range append([][]string{id.Organization}, id.Accepted...) {
		if sameSet(have, accepted) {
			return out
		}
	}
	return append(out, Mismatch{Field: "organization", Before: strings.Join(have, ", "), After: strings.Join(id.Organization, ", "),
		Text: fmt.Sprintf("has the organization %q instead of %q", strings.Join(have, ", "), strings.Join(id.Organization, ", "))})
}

func missingSANs(id Identity, leaf *x509.Certificate) []Mismatch {
	var missing []string
	for _, name := range id.DNSNames {
		if leaf.VerifyHostname(name) != nil {
			missing = append(missing, name)
		}
	}
	for _, ip := range id.IPs {
		if !slices.ContainsFunc(leaf.IPAddresses, ip.Equal) {
			missing = append(missing, ip.String())
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return []Mismatch{{Field: "sans", Before: strings.Join(sanText(leaf.DNSNames, leaf.IPAddresses), ", "),
		After: strings.Join(sanText(id.DNSNames, id.IPs), ", "), Text: "lacks SAN " + strings.Join(missing, ", "), Intent: true}}
}

func sanText(names []string, ips []net.IP) []string {
	out := slices.Clone(names)
	for _, ip := range ips {
		out = append(out, ip.String())
	}
	return out
}

func lifetime(leaf *x509.Certificate, now time.Time, threshold time.Duration) []Mismatch {
	m := Mismatch{Field: "notAfter", Before: leaf.NotAfter.UTC().Format(time.RFC3339)}
	left := leaf.NotAfter.Sub(now)
	switch {
	case now.Before(leaf.NotBefore):
		m.Field, m.Before = "notBefore", leaf.NotBefore.UTC().Format(time.RFC3339)
		m.Text = "is not valid before " + m.Before
	case left <= 0:
		m.Text = "expired " + span(-left) + " ago"
	case left <= threshold:
		m.Text = "expires in " + span(left)
	default:
		return nil
	}
	return []Mismatch{m}
}

// span is a length of time in the unit that says most.
func span(d time.Duration) string {
	n, unit := int(d.Hours()), "hour"
	switch {
	case d >= 48*time.Hour:
		n, unit = n/24, "day"
	case d < time.Hour:
		n, unit = int(d.Minutes()), "minute"
	}
	if n == 1 {
		return "1 " + unit
	}
	return fmt.Sprintf("%d %ss", n, unit)
}

// chains tells whether a certificate was issued by one of the CAs. Whether it has
// expired is another question: the time is moved into its lifetime.
func chains(certs, cas []*x509.Certificate, now time.Time) bool {
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range cas {
		// A CA that was renewed with its key may be younger than what it has signed.
		if !now.Before(c.NotBefore) && !now.After(c.NotAfter) && certs[0].CheckSignatureFrom(c) == nil {
			return true
		}
		roots.AddCert(c)
	}
	for _, c := range certs[1:] {
		between.AddCert(c)
	}
	if now.After(certs[0].NotAfter) {
		now = certs[0].NotAfter
	}
	if now.Before(certs[0].NotBefore) {
		now = certs[0].NotBefore
	}
	_, err := certs[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err == nil
}

func usageName(u x509.ExtKeyUsage) string {
	if u == x509.ExtKeyUsageServerAuth {
		return "server auth"
	}
	return "client auth"
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}
