package session

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/utils/ptr"

	"github.com/kubejoin/kubejoin/apis/kubeadm"
	"github.com/kubejoin/kubejoin/fault"
	"github.com/kubejoin/kubejoin/reconcile"
	"github.com/kubejoin/kubejoin/reconcile/cluster"
	"github.com/kubejoin/kubejoin/reconcile/cluster/etcd"
	"github.com/kubejoin/kubejoin/reconcile/host"
	"github.com/kubejoin/kubejoin/reconcile/host/cri"
	"github.com/kubejoin/kubejoin/reconcile/node"
	"github.com/kubejoin/kubejoin/reconcile/patch"
	"github.com/kubejoin/kubejoin/reconcile/pki"
	"github.com/kubejoin/kubejoin/reconcile/staticpod"
)

// adminPath is the administrator's kubeconfig on a control plane.
const adminPath = "/etc/kubernetes/admin.conf"

// advertiseAddress is settleAddress where a plan needs the address.
func (r *Run) advertiseAddress(cfg *kubeadm.JoinConfiguration, facts host.Facts) error {
	if cfg.ControlPlane == nil {
		return nil
	}
	given := cfg.ControlPlane.LocalAPIEndpoint.AdvertiseAddress
	_, why := r.settleAddress(cfg, facts)
	if why == nil {
		return nil
	}
	return fault.New(fault.InvalidConfig, "%s", unsettled(given, why)).At(r.position(advertiseField)).
		WithHint("set it to the address that the other control planes reach this machine at")
}

// credentials are what a node asks the cluster with. One that is a control
// plane can ask as its administrator, by the cluster's endpoint: its own API
// server, which its kubelet asks, may be what has to be repaired. A machine that
// has not joined has to discover the cluster all the same.
func (r *Run) credentials(cfg *kubeadm.JoinConfiguration, own cluster.Credential) (first, second cluster.Credential) {
	if cfg.ControlPlane == nil || !r.machine.Live() || own.State != cluster.CredentialValid {
		return own, cluster.Credential{}
	}
	admin := cluster.ReadCredential(r.machine, adminPath, time.Now())
	if admin.State == cluster.CredentialValid && sharePin(admin.CA, own.CA) {
		return admin, own
	}
	if t := cfg.Discovery.BootstrapToken; t != nil {
		if elsewhere, err := own.WithServer("https://" + t.APIServerEndpoint); err == nil {
			return own, elsewhere
		}
	}
	return own, cluster.Credential{}
}

// sharePin tells whether two bundles have a CA in common.
func sharePin(a, b []byte) bool {
	known := cluster.SPKIPins(b)
	return slices.ContainsFunc(cluster.SPKIPins(a), func(pin string) bool { return slices.Contains(known, pin) })
}

// atRest adds to a failure that a control plane's kubelet still has its
// bootstrap credential: it is removed last, so that the next run knows how far
// this one came.
func (r *Run) atRest(err error) error {
	st, statErr := r.machine.Stat(node.BootstrapKubeconfigPath)
	if r.o.Join.Config.ControlPlane == nil || statErr != nil || !st.Exists() {
		return err
	}
	hint := fault.HintOf(err)
	if hint != "" {
		hint += "; "
	}
	told := fault.New(fault.ClassOf(err), "%w", err)
	if e, ok := err.(*fault.Error); ok { //nolint:errorlint // only its outermost: what it wraps stays wrapped
		told = fault.New(e.Class, "%w", e.Err).At(e.Address)
	}
	return told.WithHint("%s%s stays, run again to go on from here", hint, node.BootstrapKubeconfigPath)
}

// localServer is the URL of the API server that this machine is to run.
func localServer(e kubeadm.APIEndpoint) string {
	return "https://" + net.JoinHostPort(e.AdvertiseAddress, strconv.Itoa(int(e.BindPort)))
}

// clusterEndpoint is the URL of the cluster's API, as admin.conf has it
// (behaviour catalogue §5.4, §11 #68).
func clusterEndpoint(c *kubeadm.ClusterConfiguration) string {
	host, port, err := net.SplitHostPort(c.ControlPlaneEndpoint)
	if err != nil { // its port is not this machine's
		host, port = strings.Trim(c.ControlPlaneEndpoint, "[]"), strconv.Itoa(kubeadm.DefaultBindPort)
	}
	return "https://" + net.JoinHostPort(host, port)
}

// controlPlane learns what a control plane needs beside its kubelet. It is nil
// for a worker, and where the cluster could not be read.
func (r *Run) controlPlane(ctx context.Context, cfg *kubeadm.JoinConfiguration, state *cluster.State, facts host.Facts, patches *patch.Set) (*node.ControlPlane, []reconcile.Finding, error) {
	if cfg.ControlPlane == nil {
		return nil, nil, r.noControlPlane()
	}
	c := state.Configuration
	if c == nil {
		return nil, []reconcile.Finding{{Severity: reconcile.SeverityWarning, Name: node.FindingNotCompared,
			Seen: "the control plane's certificates, kubeconfigs, static pods and etcd member: the cluster's configuration is not known"}}, nil
	}
	if c.ControlPlaneEndpoint == "" {
		return nil, nil, fault.New(fault.Preflight, "the cluster has no controlPlaneEndpoint: clients know one control plane only").
			At("configmap kube-system/kubeadm-config").
			WithHint("give it a name that stays, such as a load balancer's or a DNS name: kubectl -n kube-system edit configmap kubeadm-config, and add controlPlaneEndpoint to ClusterConfiguration; the API servers need it in their certificates")
	}
	row, err := staticpod.For(c.KubernetesVersion)
	if err != nil {
		return nil, nil, err
	}
	endpoint := cfg.ControlPlane.LocalAPIEndpoint
	cp := &node.ControlPlane{Server: localServer(endpoint), Endpoint: clusterEndpoint(c)}
	findings := r.addressFindings(endpoint.AdvertiseAddress, facts, c)

	// Certificates and kubeconfigs.
	in := pki.Input{Cluster: c, NodeName: kubeadm.EffectiveNodeName(cfg), Endpoint: endpoint,
		Organizations: map[string][]string{pki.APIServerKubeletClient: row.APIServerKubeletClientOrganizations}}
	leaves, notes, err := pki.Leaves(in)
	if err != nil {
		return nil, nil, err
	}
	for _, n := range notes {
		findings = append(findings, reconcile.Finding{Severity: reconcile.SeverityWarning, Name: "CertificateNames", Seen: n})
	}
	kubeconfigs := pki.Kubeconfigs(in)
	shared, err := r.shared(ctx, cfg, state, leaves, kubeconfigs)
	switch {
	case err == nil:
	case r.selection.SharedKeys() || ctx.Err() != nil:
		return nil, nil, err
	default: // what is to be done needs none of it
		shared = nil
	}
	findings = append(findings, bundleEnds(r.uploaded, time.Now().Add(state.Clock.Offset))...)
	if shared == nil && r.selection.SharedKeys() {
		findings = append(findings, reconcile.Finding{Severity: reconcile.SeverityWarning, Name: node.FindingNotCompared,
			Seen: "certificates and kubeconfigs: those that all control planes share come from the cluster's Secret kubeadm-certs, and are not on this machine"})
	}
	cp.PKI = node.PKI{Shared: shared, Leaves: leaves, Kubeconfigs: kubeconfigs, Algorithm: c.EncryptionAlgorithm,
		Validity: c.CertificateValidityPeriod, RenewBefore: ptr.Deref(r.o.RenewBefore, DefaultRenewBefore), AnyOwner: r.anyOwner(facts)}

	// Who asks the cluster and etcd. What these certificates are for ends with
	// the run, and nothing of them is written.
	switch {
	case shared != nil:
		if err := r.beAdministrator(shared, state, cp.Endpoint); err != nil {
			return nil, nil, err
		}
	case r.asAdministrator:
		r.admin = r.client
	}
	findings = append(findings, r.externalCAs(ctx, shared, c)...)
	cp.Marker = func() (node.NodeMarker, error) {
		if r.admin == nil {
			return nil, nil
		}
		return r.admin, nil
	}
	if r.machine.Live() {
		runtime, err := cri.Open(cfg.NodeRegistration.CRISocket, r.machine.ReadTail)
		if err != nil {
			return nil, nil, err
		}
		r.onClose(runtime.Close)
		cp.Runtime = runtime
	}

	// Static pods.
	cp.Pods = staticpod.Input{
		Cluster:        c,
		Endpoint:       endpoint,
		NodeName:       in.NodeName,
		StartupTimeout: cfg.Timeouts.ControlPlaneComponentHealthCheck,
		Host:           staticpod.Host{ProxyEnv: facts.ProxyEnv, CADirs: facts.CADirs},
		Recorded:       node.RecordedManifests(r.machine, c),
		ExternalCA:     shared != nil && shared.CAs[pki.ClusterCA] != nil && shared.CAs[pki.ClusterCA].External,
		Patches:        patches,
	}
	if row.Gate(staticpod.GateRootless, c.FeatureGates) {
		if cp.Pods.Users, err = node.PlanUsers(r.machine); err != nil {
			return nil, nil, err
		}
		cp.Accounts = r.machine
	}
	for _, name := range []string{staticpod.APIServer, staticpod.ControllerManager, staticpod.Scheduler} {
		if record, ok := cp.Pods.Recorded[name]; ok {
			findings = append(findings, staticpod.HostChanged(name, record, cp.Pods.Host)...)
		}
	}
	if c.Etcd.External == nil {
		more, err := r.etcd(ctx, cp, cfg, shared, facts)
		if err != nil {
			return nil, nil, err
		}
		findings = append(findings, more...)
	}
	if r.admin != nil {
		if gaps, err := r.admin.RBACGaps(ctx, row.KubeletClientBinding()); err != nil {
			findings = append(findings, reconcile.Finding{Severity: reconcile.SeverityWarning, Name: node.FindingNotCompared,
				Seen: "the cluster's rules for control planes: " + withHint(err)})
		} else {
			findings = append(findings, node.RBACFindings(gaps)...)
		}
	}
	cp.Health = r.health(cp, shared)
	return cp, findings, nil
}

// noControlPlane refuses to make a worker of a control plane bit by bit: its
// member of etcd would stay (behaviour catalogue, appendix A.1).
func (r *Run) noControlPlane() error {
	if node.RecordedAddress(r.machine) == "" {
		return nil
	}
	return fault.New(fault.Conflict, "this machine is a control plane, and the configuration has no controlPlane").
		At("file:" + staticpod.Path(staticpod.APIServer)).
		WithHint("add controlPlane to the configuration; to make the machine a worker, `kubeadm reset` takes it out of the cluster and of etcd first")
}

func (r *Run) anyOwner(facts host.Facts) bool { return !r.machine.Live() && facts.EffectiveUID != 0 }

// addressFindings judges the address that others are to reach this machine at.
func (r *Run) addressFindings(address string, facts host.Facts, c *kubeadm.ClusterConfiguration) []reconcile.Finding {
	addr, ok := kubeadm.ParseAddress(address)
	if !ok {
		return nil
	}
	var out []reconcile.Finding
	if r.machine.Live() && len(facts.Addresses) > 0 && !slices.Contains(facts.Addresses, addr) {
		var own []string
		for _, a := range facts.Addresses {
			if a.IsGlobalUnicast() {
				own = append(own, a.String())
			}
		}
		out = append(out, reconcile.Finding{Severity: reconcile.SeverityError, Name: "AdvertiseAddress",
			Seen: fmt.Sprintf("%s (%s) is not an address of this machine, which has %s", address, r.position(advertiseField), strings.Join(own, ", ")),
			Hint: "set " + advertiseField + " to one of them, or give the machine the address first"})
	}
	service, _, _ := strings.Cut(c.Networking.ServiceSubnet, ",")
	if p, err := netip.ParsePrefix(service); err == nil && p.Addr().Is4() != addr.Is4() {
		out = append(out, reconcile.Finding{Severity: reconcile.SeverityError, Name: "AdvertiseAddress",
			Seen: fmt.Sprintf("%s is not of the family of the cluster's services (%s): kube-apiserver does not start", address, service),
			Hint: "set " + advertiseField + " to an address of that family"})
	}
	return out
}

// shared finds what all control planes share. A machine that is not a node yet
// takes it from the Secret if it has the key for it: what lies around on it may
// be of an earlier life. A node that has all of it needs no Secret, which has
// expired by then.
func (r *Run) shared(ctx context.Context, cfg *kubeadm.JoinConfiguration, state *cluster.State, leaves []pki.Leaf, kubeconfigs []pki.Kubeconfig) (*pki.Shared, error) {
	s := pki.Sources{
		Cluster:        state.Configuration,
		Disk:           node.ReadPKI(r.machine, pki.SharedFiles(state.Configuration), leaves, kubeconfigs),
		Discovered:     state.CA,
		CertificateKey: cfg.ControlPlane.CertificateKey != "",
		KeyUsed:        node.KeyUsed(r.machine),
		Leaves:         leaves,
		Kubeconfigs:    kubeconfigs,
		Now:            time.Now(),
	}
	if r.client == nil {
		shared, err := pki.Resolve(s)
		if err != nil && r.o.ReadOnly {
			return nil, nil
		}
		return shared, err
	}
	if !r.bootstrapping || !s.CertificateKey {
		shared, err := pki.Resolve(s)
		if err == nil || !s.CertificateKey {
			return shared, err
		}
	}
	key, err := pki.DecodeCertificateKey(cfg.ControlPlane.CertificateKey)
	if err != nil {
		return nil, err
	}
	data, err := r.bundle(ctx)
	switch {
	case err == nil:
		r.uploaded = data.Uploaded
		if s.Bundle, err = pki.OpenBundle(data.Files, key); err != nil {
			// Somebody uploaded it again with another key: what an earlier run
			// wrote is whole all the same, or the key is what is wrong.
			if shared, other := pki.Resolve(s); other == nil {
				return shared, nil
			}
			return nil, err
		}
	case ctx.Err() != nil:
		return nil, err
	default:
		s.BundleProblem = err.Error()
	}
	return pki.Resolve(s)
}

// bundle reads the Secret with the shared files. A machine that is a node
// already, but no control plane yet, may not do that as the node: it was a
// worker, or was killed when its kubelet had its certificate and some of the
// files were not written yet.
func (r *Run) bundle(ctx context.Context) (cluster.Bundle, error) {
	data, err := r.client.CertificateBundle(ctx)
	if err == nil || r.bootstrapping || r.asAdministrator || fault.ClassOf(err) != fault.Denied {
		return data, err
	}
	brief, cancel := context.WithTimeout(ctx, planPatience)
	defer cancel()
	bootstrapper, other := r.client.Bootstrapper(brief)
	if other == nil {
		data, other = bootstrapper.CertificateBundle(brief)
	}
	if other != nil {
		return cluster.Bundle{}, fault.New(fault.Denied, "%w; nor with the discovery's credential: %w", err, other).WithHint("%s", fault.HintOf(other))
	}
	return data, nil
}

// How long the files live that kubeadm uploads (behaviour catalogue §8.3), and from
// when on that is worth a word: a plan may be read for a while before it is applied.
const (
	bundleLife     = 2 * time.Hour
	bundleEndsSoon = 30 * time.Minute
)

// bundleEnds says that the Secret with the shared files will be gone soon. It is no
// warning: a saved plan would not hold any more for it, and apply reads the Secret
// before anything else.
func bundleEnds(uploaded, now time.Time) []reconcile.Finding {
	age := now.Sub(uploaded)
	if uploaded.IsZero() || age < bundleLife-bundleEndsSoon || age > bundleLife {
		return nil
	}
	return []reconcile.Finding{{Severity: reconcile.SeverityInfo, Name: "CertificateSecret",
		Seen: fmt.Sprintf("the Secret kube-system/kubeadm-certs was uploaded %s ago, and kubeadm's is deleted after two hours", strings.TrimSuffix(age.Round(time.Minute).String(), "0s")),
		Why:  "apply takes what all control planes share from it",
		Hint: "apply before that; afterwards `kubeadm init phase upload-certs --upload-certs` on a control plane uploads it again and prints another key"}}
}

// beAdministrator makes r.admin the API as an administrator sees it: the one
// whose kubeconfig is on this machine, or one for this run only, whose
// certificate is signed with the cluster's key that a control plane has.
func (r *Run) beAdministrator(shared *pki.Shared, state *cluster.State, endpoint string) error {
	ca := shared.CAs[pki.ClusterCA]
	switch {
	case r.client == nil:
	case r.asAdministrator:
		r.admin = r.client
	case ca != nil && ca.Key != nil:
		cert, key, err := pki.ClientCertificate(ca, "kubernetes-admin", []string{pki.GroupClusterAdmins}, time.Now(), node.Ephemeral)
		if err != nil {
			return err
		}
		if r.admin, err = r.client.WithClientCertificate(endpoint, state.CA, cert, key); err != nil {
			return err
		}
	default: // an external CA has signed it
		admin := cluster.ReadCredential(r.machine, adminPath, time.Now())
		if admin.State != cluster.CredentialValid || !sharePin(admin.CA, state.CA) {
			return nil
		}
		var err error
		if r.admin, err = r.client.WithCredential(admin); err != nil {
			return err
		}
	}
	return nil
}

// externalCAs says which CAs are taken for external, and what that costs: nobody
// should learn it from a certificate that is not renewed.
func (r *Run) externalCAs(ctx context.Context, shared *pki.Shared, c *kubeadm.ClusterConfiguration) []reconcile.Finding {
	if shared == nil {
		return nil
	}
	var here, elsewhere []string
	for _, a := range []pki.Authority{pki.ClusterCA, pki.FrontProxyCA, pki.EtcdCA} {
		key := path.Join(cmp.Or(c.CertificatesDir, kubeadm.DefaultCertificatesDir), string(a)+".key")
		switch ca := shared.CAs[a]; {
		case ca == nil:
		case ca.External:
			elsewhere = append(elsewhere, key)
		default:
			here = append(here, key)
		}
	}
	if len(elsewhere) == 0 {
		return nil
	}
	f := reconcile.Finding{Severity: reconcile.SeverityInfo, Name: node.FindingExternalCA,
		Seen: strings.Join(elsewhere, ", ") + ": not here, and taken to be kept elsewhere on purpose",
		Why:  "what these sign is not renewed here"}
	if len(here) > 0 {
		f.Severity, f.Wanted = reconcile.SeverityWarning, "the keys of all CAs, or of none"
		f.Seen += ", although " + strings.Join(here, ", ") + " is here"
		f.Hint = "if it is only missing, copy it from a control plane of this cluster, or give a certificate key: `kubeadm init phase upload-certs --upload-certs` prints one"
	}
	out := []reconcile.Finding{f}
	if ca := shared.CAs[pki.ClusterCA]; ca == nil || !ca.External || r.admin == nil {
		return out
	}
	signers, err := r.admin.Signers(ctx)
	switch {
	case err != nil:
		out = append(out, reconcile.Finding{Severity: reconcile.SeverityWarning, Name: node.FindingNotCompared, Seen: "who signs the kubelets' certificates: " + withHint(err)})
	case len(signers) > 0:
		out = append(out, reconcile.Finding{Severity: reconcile.SeverityWarning, Name: node.FindingExternalCA, Address: node.StaticPodAddress(staticpod.ControllerManager),
			Seen: "the controller manager of this machine signs no certificates, as those of " + strings.Join(signers, ", ") + " do",
			Why:  "while it leads, kubelets get none and renew none",
			Hint: "put ca.key here, or take it away there and have a signer of the CA's"})
	case cluster.ReadCredential(r.machine, node.KubeletKubeconfigPath, time.Now()).State != cluster.CredentialValid:
		out = append(out, reconcile.Finding{Severity: reconcile.SeverityWarning, Name: node.FindingExternalCA, Address: node.KubeletCredential,
			Seen: "no controller manager of this cluster signs certificates, and the kubelet here has none",
			Why:  "unless somebody else signs its request, the kubelet waits for its certificate until timeouts.tlsBootstrap",
			Hint: "put a " + node.KubeletKubeconfigPath + " here whose certificate the external CA has signed, or sign the request when it is pending"})
	}
	return out
}

// etcd learns what the cluster's etcd is, and how to ask it.
func (r *Run) etcd(ctx context.Context, cp *node.ControlPlane, cfg *kubeadm.JoinConfiguration, shared *pki.Shared, facts host.Facts) ([]reconcile.Finding, error) {
	address := cp.Pods.Endpoint.AdvertiseAddress
	in := &node.EtcdInput{
		NodeName:  cp.Pods.NodeName,
		PeerURL:   staticpod.PeerURL(address),
		ClientURL: "https://" + net.JoinHostPort(address, "2379"),
		Addresses: facts.Addresses,
		Data:      r.machine,
		Timeout:   cfg.Timeouts.EtcdAPICall,
		Turn:      cfg.Timeouts.ControlPlaneComponentHealthCheck + etcd.LockTime,
		Required:  facts.EffectiveUID == 0,
	}
	cp.Etcd = in
	record, recorded := cp.Pods.Recorded[staticpod.Etcd]
	storage, err := etcdStorage(cp.Pods)
	if err != nil {
		in.NoData = err.Error()
	}
	in.DataDir, in.WALDir, in.RecordedWALDir = storage.Data, storage.WAL, record.Storage.WAL
	for _, m := range record.InitialCluster {
		if m.Name == in.NodeName {
			in.RecordedPeerURL = m.PeerURL
		}
	}
	if !r.machine.Live() {
		cp.Etcd = nil
		return nil, nil
	}
	var findings []reconcile.Finding
	in.NoClient = "this run has no credential for it"
	if r.admin == nil || shared == nil {
		return nil, nil
	}
	endpoints, missing, err := r.admin.EtcdEndpoints(ctx)
	if err != nil {
		in.NoClient = withHint(err)
	}
	for _, pod := range missing {
		findings = append(findings, reconcile.Finding{Severity: reconcile.SeverityWarning, Name: "EtcdPod",
			Seen: "the pod kube-system/" + pod + " does not say where its member serves (annotation " + staticpod.AnnotationEtcd + ")",
			Hint: "if it is no etcd of this cluster, it should not carry the labels component=etcd, tier=control-plane"})
	}
	var urls, tags []string
	for _, e := range endpoints {
		urls = append(urls, e.ClientURL)
		if e.Node != in.NodeName {
			tags = append(tags, e.Image[strings.LastIndex(e.Image, ":")+1:])
		}
	}
	cp.Pods.EtcdTag = oldest(tags)
	if recorded && !slices.Contains(urls, in.ClientURL) {
		urls = append(urls, in.ClientURL)
	}
	if len(urls) == 0 {
		if err == nil {
			in.NoClient = "no pod of kube-system with the labels component=etcd, tier=control-plane says where its member serves"
		}
		return findings, nil
	}
	cert, key, err := r.etcdCertificate(shared, cp.Pods.Cluster)
	if err != nil {
		in.NoClient = err.Error()
		return findings, nil
	}
	var bundle []byte
	for _, f := range shared.Files {
		if f.Authority == pki.EtcdCA && f.Kind == pki.KindCA {
			bundle = f.Content
		}
	}
	client, err := etcd.New(urls, bundle, cert, key)
	if err != nil {
		return nil, err
	}
	r.onClose(client.Close)
	in.Client, in.NoClient = client, ""
	if in.RecordedPeerURL != "" && in.RecordedPeerURL != in.PeerURL {
		seen, err := client.Look(ctx)
		_, in.RecordedMember = seen.ByPeerURL(in.RecordedPeerURL)
		in.RecordedMember = in.RecordedMember || err != nil
	}
	r.etcdInput = in
	if !recorded {
		seen, err := client.Look(ctx)
		leader, ok := seen.Leader()
		cp.SlowEtcd = err != nil || !ok || seen.Status[leader.ID].DBSize > slowEtcd
	}
	pods, _, err := staticpod.Build(cp.Pods)
	if err == nil {
		for _, p := range pods {
			if p.Name == staticpod.Etcd {
				check := staticpod.Health(p.Pod)
				if check.Scheme == "http" {
					check.Path = ""
					in.Metrics = func(ctx context.Context) (etcd.Metrics, error) { return etcd.ReadMetrics(ctx, check.URL()) }
				}
				image := p.Pod.Spec.Containers[0].Image
				in.Version, _, _ = strings.Cut(image[strings.LastIndex(image, ":")+1:], "-")
			}
		}
	}
	// A member that was told of others than there are now, and has no data yet,
	// would not start.
	if recorded {
		if peers := node.EtcdStartPeers(ctx, *in); len(peers) > 0 {
			cp.Pods.EtcdMembers = node.EtcdMembers(peers)
		}
	}
	return findings, nil
}

// etcdStorage is where the etcd that this machine is to run keeps its data, by
// the pod as it is after the user's arguments and patches.
func etcdStorage(in staticpod.Input) (staticpod.Storage, error) {
	pods, _, err := staticpod.Build(in)
	if err != nil {
		return staticpod.Storage{}, err // which ends the run anyway
	}
	i := slices.IndexFunc(pods, func(p staticpod.Pod) bool { return p.Name == staticpod.Etcd })
	return staticpod.EtcdStorage(pods[i].Pod)
}

// slowEtcd is a database, in bytes, that a new member has copied in a second or
// two, where the API server waits for it for 20 s.
const slowEtcd = 256 << 20

// oldest is the tag of the oldest version of etcd that other members run: a
// newer one must not join before they are all newer.
func oldest(tags []string) string {
	var out string
	var least *version.Version
	for _, t := range tags {
		if v, err := version.ParseGeneric(t); err == nil && (least == nil || v.LessThan(least)) {
			out, least = t, v
		}
	}
	return out
}

// etcdCertificate is a client certificate for etcd: one for this run, or that of
// the machine's health checks where the CA's key is elsewhere.
func (r *Run) etcdCertificate(shared *pki.Shared, c *kubeadm.ClusterConfiguration) (cert, key []byte, err error) {
	if ca := shared.CAs[pki.EtcdCA]; ca != nil && ca.Key != nil {
		return pki.ClientCertificate(ca, "kube-etcd-healthcheck-client", nil, time.Now(), node.Ephemeral)
	}
	base := path.Join(cmp.Or(c.CertificatesDir, kubeadm.DefaultCertificatesDir), "etcd/healthcheck-client")
	if cert, _, err = r.machine.ReadFile(base+".crt", 1<<20); err == nil {
		key, _, err = r.machine.ReadFile(base+".key", 1<<20)
	}
	if err == nil && (len(cert) == 0 || len(key) == 0) {
		err = fmt.Errorf("%s.crt and .key are not here", base)
	}
	return cert, key, err
}

// health asks the components of this machine whether they serve.
func (r *Run) health(cp *node.ControlPlane, shared *pki.Shared) func(context.Context, staticpod.Pod) error {
	var ca, cert, key []byte
	if shared != nil {
		for _, f := range shared.Files {
			if f.Authority == pki.ClusterCA && f.Kind == pki.KindCA {
				ca = f.Content
			}
		}
		// A cluster may have turned anonymous requests off.
		if authority := shared.CAs[pki.ClusterCA]; authority != nil && authority.Key != nil {
			cert, key, _ = pki.ClientCertificate(authority, "kubernetes-admin", []string{pki.GroupClusterAdmins}, time.Now(), node.Ephemeral) // without it the question is anonymous
		}
	}
	return func(ctx context.Context, pod staticpod.Pod) error {
		if pod.Name == staticpod.Etcd && cp.Etcd != nil && cp.Etcd.Client != nil {
			// A learner serves nothing but this.
			st := cp.Etcd.Client.Status(ctx, cp.Etcd.ClientURL)
			switch {
			case !st.Answers():
				return fmt.Errorf("%s", st.Err)
			case st.Leader == 0:
				return fmt.Errorf("the member has found no leader yet")
			}
			return nil
		}
		check := staticpod.Health(pod.Pod)
		if pod.Name == staticpod.APIServer {
			return cluster.HealthzTLS(ctx, check.URL(), ca, cert, key)
		}
		return cluster.HealthzTLS(ctx, check.URL(), nil, nil, nil)
	}
}
