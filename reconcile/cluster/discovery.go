package cluster

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	certutil "k8s.io/client-go/util/cert"

	"github.com/kubejoin/kubejoin/fault"
)

const newTokenHint = "on a control plane, `kubeadm token list` shows the tokens and `kubeadm token create --print-join-command` makes a new one"

// errUnsigned is a cluster-info without a signature of the token.
var errUnsigned = errors.New("cluster-info carries no signature of the token")

// discovery is how this run finds the cluster, checked as far as that goes
// without the network.
type discovery struct {
	run *run
	// of token discovery
	endpoint          string // host:port; empty for file discovery
	tokenID, tokenKey string
	pins              Pins
	// of file discovery
	path string // or https:// URL

	bootstrapToken   string // for the kubelet's CSR; may be empty with a file
	bootstrapTokenID string
}

// found is a discovered cluster.
type found struct {
	source   string
	access   access // with the bootstrap credential
	tokenID  string
	warnings []string
}

// discovery checks what can be checked before any network access.
func (r *run) discovery() (*discovery, error) {
	in := r.o.Join.Discovery
	d := &discovery{run: r, bootstrapToken: in.TLSBootstrapToken}
	var err error
	switch {
	case in.BootstrapToken != nil:
		t := in.BootstrapToken
		if d.tokenID, d.tokenKey, err = splitToken(t.Token, "discovery.bootstrapToken.token"); err != nil {
			return nil, err
		}
		if d.pins, err = ParsePins(t.CACertHashes); err != nil {
			return nil, err
		}
		if len(d.pins) == 0 && !t.UnsafeSkipCAVerification {
			return nil, fault.New(fault.InvalidConfig, "no CA is pinned").At("discovery.bootstrapToken.caCertHashes").
				WithHint("`kubeadm token create --print-join-command` on a control plane prints the pin; unsafeSkipCAVerification goes without")
		}
		d.endpoint = t.APIServerEndpoint
		if _, _, err := net.SplitHostPort(d.endpoint); err != nil {
			return nil, fault.New(fault.InvalidConfig, "%q is not of the form host:port", d.endpoint).At("discovery.bootstrapToken.apiServerEndpoint")
		}
		if d.bootstrapToken == "" {
			d.bootstrapToken = t.Token
		}
		r.secret(t.Token, d.tokenKey)
	case in.File != nil && in.File.KubeConfigPath != "":
		d.path = in.File.KubeConfigPath
	case r.o.Credential.State != CredentialValid:
		return nil, fault.New(fault.InvalidConfig, "neither discovery.bootstrapToken nor discovery.file is set, and this machine has no credential of its own").
			At("discovery")
	}
	if d.bootstrapToken != "" {
		id, key, err := splitToken(d.bootstrapToken, "discovery.tlsBootstrapToken")
		if err != nil {
			return nil, err
		}
		d.bootstrapTokenID = id
		r.secret(d.bootstrapToken, key)
	}
	return d, nil
}

// checkOwner refuses a machine that is a node of another cluster than the one
// that the configuration means.
func (d *discovery) checkOwner(own Credential) error {
	certs, err := certutil.ParseCertsPEM(own.CA)
	if err != nil {
		return fault.New(fault.Internal, "%s has no CA", own)
	}
	seen := strings.Join(SPKIPins(own.CA), ", ")
	conflict := func(wanted string) error {
		return fault.New(fault.Conflict, "this machine already belongs to another cluster: its CA is %s, not %s", seen, wanted).
			At(own.Paths[0]).WithHint("reset the machine before it joins another cluster, or correct the discovery section")
	}
	if len(d.pins) > 0 && len(d.pins.Match(certs)) == 0 {
		return conflict("one of " + strings.Join(d.run.o.Join.Discovery.BootstrapToken.CACertHashes, ", "))
	}
	if d.path == "" || isURL(d.path) {
		return nil
	}
	// The discovery file is of no use to a node, and may be gone.
	if a, err := d.load(); err == nil && len(a.cluster.CertificateAuthorityData) > 0 && !sharesCA(own.CA, a.cluster.CertificateAuthorityData) {
		return conflict("that of " + d.path)
	}
	return nil
}

// find discovers the cluster over the network.
func (d *discovery) find(ctx context.Context) (*found, error) {
	switch {
	case d.endpoint != "":
		return d.byToken(ctx)
	case d.path != "":
		return d.byFile(ctx)
	}
	return nil, fault.New(fault.InvalidConfig, "neither discovery.bootstrapToken nor discovery.file is set").At("discovery")
}

func (d *discovery) timeout() time.Duration { return d.run.o.Join.Timeouts.Discovery }

// byToken: behaviour catalogue §4.2.
func (d *discovery) byToken(ctx context.Context) (*found, error) {
	r := d.run
	start := time.Now()
	what := "cluster-info from " + d.endpoint

	// Nothing is known yet that could verify the server. The request carries
	// no secret, and the answer is believed for its signature.
	server := clientcmdapi.Cluster{Server: "https://" + d.endpoint, InsecureSkipTLSVerify: true}
	anyone, err := r.client(access{cluster: server})
	if err != nil {
		return nil, err
	}
	var kubeconfig []byte
	var unsigned time.Time // since when
	err = r.retry(ctx, what, d.endpoint, d.timeout(), func(ctx context.Context) error {
		cm, err := anyone.clusterInfo(ctx)
		if err != nil {
			return err
		}
		kubeconfig = []byte(cm.Data["kubeconfig"])
		err = d.checkSignature(cm)
		if errors.Is(err, errUnsigned) {
			if unsigned.IsZero() {
				unsigned = time.Now()
			}
			if time.Since(unsigned) < r.limits.signer {
				return again{err}
			}
		}
		return err
	})
	if err != nil {
		return nil, r.explain(d.endpoint, err)
	}

	a, pinned, err := d.trust(kubeconfig, d.endpoint)
	if err != nil {
		return nil, err
	}
	if len(d.pins) > 0 {
		// Who knows the token can sign a bundle that holds the pinned CA and
		// one of his own: only the pinned ones may vouch for the server.
		server := clientcmdapi.Cluster{Server: "https://" + d.endpoint, CertificateAuthorityData: pinned}
		verified, err := r.client(access{cluster: server})
		if err != nil {
			return nil, err
		}
		err = r.retry(ctx, what, d.endpoint, d.timeout()-time.Since(start), func(ctx context.Context) error {
			cm, err := verified.clusterInfo(ctx)
			if err != nil {
				return err
			}
			if cm.Data["kubeconfig"] != string(kubeconfig) {
				return fault.New(fault.Untrusted, "cluster-info differs between two reads, the second of which was verified").At(d.endpoint).
					WithHint("somebody may tamper with the connection; try again if the cluster was changed this moment")
			}
			return nil
		})
		if err != nil {
			return nil, r.explain(d.endpoint, err)
		}
	}
	// The endpoint is for discovery only; from here on the server is the one
	// that the cluster names: behaviour catalogue §11 #43.
	return &found{source: "token discovery", access: a.withToken(d.bootstrapToken), tokenID: d.bootstrapTokenID}, nil
}

// checkSignature checks that somebody who knows the token signed cluster-info.
func (d *discovery) checkSignature(cm *corev1.ConfigMap) error {
	signature := cm.Data["jws-kubeconfig-"+d.tokenID]
	kubeconfig := cm.Data["kubeconfig"]
	switch {
	case signature == "":
		return fault.New(fault.Denied, "%w %s: the token is unknown or expired", errUnsigned, d.tokenID).WithHint("%s", newTokenHint)
	case kubeconfig == "":
		return fault.New(fault.Untrusted, "cluster-info holds no kubeconfig")
	case !signedBy(d.tokenID, d.tokenKey, []byte(kubeconfig), signature):
		return fault.New(fault.Untrusted, "the signature of cluster-info was not made with the token %s", d.tokenID).
			WithHint("the secret half of the token is wrong, or another cluster answers there")
	}
	return nil
}

// trust takes server and CA from a signed kubeconfig whose bundle holds a
// pinned CA, if any are pinned. The pinned ones are returned as PEM.
func (d *discovery) trust(kubeconfig []byte, address string) (a access, pinned []byte, err error) {
	a, certs, err := published(kubeconfig)
	if err != nil {
		return access{}, nil, fault.New(fault.Untrusted, "the kubeconfig in cluster-info %w", err).At(address)
	}
	if len(d.pins) == 0 {
		return a, nil, nil
	}
	matches := d.pins.Match(certs)
	if len(matches) == 0 {
		return access{}, nil, fault.New(fault.Untrusted, "none of the cluster's CA certificates is pinned: it has %s",
			strings.Join(SPKIPins(a.cluster.CertificateAuthorityData), ", ")).At(address).
			WithHint("if this is the right cluster, correct discovery.bootstrapToken.caCertHashes")
	}
	pinned, err = certutil.EncodeCertificates(matches...)
	return a, pinned, err
}

// clusterInfo reads cluster-info anonymously.
func (c *Client) clusterInfo(ctx context.Context) (*corev1.ConfigMap, error) {
	cm, err := c.configMap(ctx, "kube-public", "cluster-info")
	switch status(err) {
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, fault.New(fault.Denied, "the cluster does not show cluster-info to anonymous users: %w", err).At(c.address).
			WithHint("use discovery.file, or restore Role and RoleBinding kube-public/kubeadm:bootstrap-signer-clusterinfo and --anonymous-auth")
	case http.StatusNotFound:
		return nil, fault.New(fault.Denied, "the cluster has no cluster-info: %w", err).At(c.address).
			WithHint("was it made by kubeadm? on a control plane: kubeadm init phase bootstrap-token")
	}
	return cm, err
}

// state is what is known before anything was read with the bootstrap credential.
func (f *found) state() *State {
	return &State{
		Source:   f.source,
		Server:   f.access.cluster.Server,
		CA:       f.access.cluster.CertificateAuthorityData,
		TokenID:  f.tokenID,
		Warnings: f.warnings,
	}
}

// addBootstrap renders the kubelet's bootstrap kubeconfig; its cluster gets the
// cluster's name: behaviour catalogue §4.4.
func (f *found) addBootstrap(st *State) error {
	name := "kubernetes"
	if st.Configuration != nil && st.Configuration.ClusterName != "" {
		name = st.Configuration.ClusterName
	}
	var err error
	if st.Bootstrap, err = f.access.kubeconfig(name); err != nil {
		return fault.New(fault.Internal, "the bootstrap kubeconfig cannot be rendered")
	}
	return nil
}

func isURL(path string) bool {
	u, err := url.Parse(path)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http")
}
