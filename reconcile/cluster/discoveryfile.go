package cluster

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"syscall"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	certutil "k8s.io/client-go/util/cert"

	"github.com/kubejoin/kubejoin/fault"
)

// byFile: behaviour catalogue §4.3.
func (d *discovery) byFile(ctx context.Context) (*found, error) {
	var a access
	var err error
	if isURL(d.path) {
		a, err = d.download(ctx)
	} else {
		a, err = d.load()
	}
	if err != nil {
		return nil, err
	}
	if err := d.checkFile(a); err != nil {
		return nil, err
	}
	f := &found{source: "file discovery"}
	if err := d.completeFromClusterInfo(ctx, &a, f); err != nil {
		return nil, err
	}
	if _, err := certutil.ParseCertsPEM(a.cluster.CertificateAuthorityData); err != nil {
		return nil, d.invalid("names no CA certificate, and the cluster did not show its own").
			WithHint("set certificate-authority-data")
	}
	f.access = a
	if d.bootstrapToken != "" {
		f.access, f.tokenID = a.withToken(d.bootstrapToken), d.bootstrapTokenID
	}
	return f, nil
}

func (d *discovery) invalid(format string, args ...any) *fault.Error {
	return fault.New(fault.InvalidConfig, "the discovery file "+format, args...).At(d.path)
}

// checkFile checks the file alone.
func (d *discovery) checkFile(a access) error {
	d.run.secret(a.secrets()...)
	if err := checkServer(a.cluster.Server); err != nil {
		return d.invalid("%w", err)
	}
	if a.cluster.InsecureSkipTLSVerify {
		return d.invalid("says insecure-skip-tls-verify: nothing would prove the cluster's identity").
			WithHint("replace it by certificate-authority-data")
	}
	if d.run.o.NoPlugins && a.user != nil && (a.user.Exec != nil || a.user.AuthProvider != nil) {
		return d.invalid("gets its credential from a program, which is not run for a machine below --rootfs").
			WithHint("use a token or a certificate in the file")
	}
	if d.bootstrapToken == "" && !a.hasCredential() {
		return d.invalid("holds no credential, and discovery.tlsBootstrapToken is not set").
			WithHint("one of the two is needed for the kubelet's first certificate")
	}
	return nil
}

// completeFromClusterInfo asks the cluster. What it says only fills in a CA
// that the file does not name; the server was verified by the machine's own
// trust store then.
func (d *discovery) completeFromClusterInfo(ctx context.Context, a *access, f *found) error {
	r := d.run
	c, err := r.client(*a)
	if err != nil {
		return err
	}
	var info access
	err = r.retry(ctx, "cluster-info from "+c.address, c.address, d.timeout(), func(ctx context.Context) error {
		cm, err := c.configMap(ctx, "kube-public", "cluster-info")
		if err != nil {
			return err
		}
		// One that does not parse is ignored, as kubeadm does.
		info, _, _ = published([]byte(cm.Data["kubeconfig"]))
		return nil
	})
	switch status(err) {
	case http.StatusForbidden, http.StatusNotFound:
		f.warnings = append(f.warnings, fmt.Sprintf("cluster-info could not be read from %s, the discovery file is used as it is: %v", c.address, err))
		return nil
	case http.StatusUnauthorized:
		return fault.New(fault.Denied, "the discovery file's credential is not accepted: %w", err).At(c.address).
			WithHint("renew the credential in %s", d.path)
	}
	if err != nil {
		return r.explain(c.address, err)
	}
	if info.cluster.Server != "" && info.cluster.Server != a.cluster.Server {
		f.warnings = append(f.warnings, fmt.Sprintf("the cluster calls its server %s, the discovery file %s, which is used", info.cluster.Server, a.cluster.Server))
	}
	if len(a.cluster.CertificateAuthorityData) == 0 {
		a.cluster.CertificateAuthorityData = info.cluster.CertificateAuthorityData
	}
	return nil
}

// load reads the file and what it refers to from this machine.
func (d *discovery) load() (access, error) {
	read := readFile(d.run.o.LocalFiles)
	if filepath.IsAbs(d.path) {
		read = d.read
	} else if read == nil {
		return access{}, d.invalid("has a relative path, and there is nothing it is relative to")
	}
	data, err := read(d.path)
	if err != nil {
		return access{}, d.unreadable(err)
	}
	return d.parse(data, filepath.Dir(d.path), func(path string) ([]byte, error) {
		if filepath.IsAbs(path) {
			return d.read(path)
		}
		return read(path)
	})
}

func (d *discovery) read(path string) ([]byte, error) {
	if d.run.o.Files == nil {
		return nil, errors.New("the machine's files are out of reach")
	}
	return through(d.run.o.Files)(path)
}

func (d *discovery) unreadable(err error) error {
	f := d.invalid("cannot be read: %w", err)
	if errors.Is(err, fs.ErrNotExist) {
		f = f.WithHint("copy it to this machine, or correct discovery.file.kubeConfigPath")
	}
	return f
}

// parse takes the cluster and the current user out of the file. Without read
// everything has to be in the file itself.
func (d *discovery) parse(data []byte, dir string, read readFile) (access, error) {
	config, err := parseKubeconfig(data)
	if err != nil {
		return access{}, d.invalid("%w", err)
	}
	cluster, err := publishedCluster(config)
	if err != nil {
		return access{}, d.invalid("%w", err)
	}
	a := access{clusterName: "kubernetes", contextName: config.CurrentContext}
	var user *clientcmdapi.AuthInfo
	if context := config.Contexts[config.CurrentContext]; context != nil {
		a.userName, user = context.AuthInfo, config.AuthInfos[context.AuthInfo]
	}
	if read == nil {
		if err := d.checkInline(cluster, user); err != nil {
			return access{}, err
		}
	}
	a.cluster, a.user, _, err = embed(cluster, user, dir, read)
	if err != nil {
		return access{}, d.invalid("refers to a file that cannot be read: %w", err)
	}
	return a, nil
}

// download fetches the file. The machine's trust store vouches for the server.
func (d *discovery) download(ctx context.Context) (access, error) {
	r := d.run
	u, err := url.Parse(d.path)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return access{}, fault.New(fault.InvalidConfig, "the discovery URL is not of the form https://host/path").At("discovery.file.kubeConfigPath")
	}
	if u.User != nil { // the name alone may be a token
		password, _ := u.User.Password()
		r.secret(u.User.Username(), password)
	}
	r.secret(u.RawQuery)
	for _, values := range u.Query() { // a signed URL
		r.secret(values...)
	}
	address := u.Host
	transport := http.DefaultTransport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if req.URL.Scheme != "https" || len(via) >= 5 {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	var data []byte
	err = r.retry(ctx, "the discovery file from "+address, address, d.timeout(), func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.path, nil)
		if err != nil {
			return err
		}
		req.Header.Set("User-Agent", r.o.UserAgent)
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return r.refusal(resp)
		}
		data, err = io.ReadAll(io.LimitReader(resp.Body, maxFile+1))
		if err == nil && len(data) > maxFile {
			return fault.New(fault.InvalidConfig, "the discovery file has more than %d bytes", maxFile).At(address)
		}
		return err
	})
	if code := status(err); code != 0 && code < 500 && code != http.StatusTooManyRequests {
		return access{}, fault.New(fault.Denied, "the discovery file cannot be downloaded: %w", err).At(address).
			WithHint("only an answer of 200 over https counts; check discovery.file.kubeConfigPath")
	}
	if err != nil {
		return access{}, r.explainDownload(address, err)
	}
	// It shows in errors, and the rest of the URL may be as good as a password.
	d.path = u.Scheme + "://" + u.Host
	return d.parse(data, "", nil)
}

// explainDownload is explain for a web server, which is not the cluster's: other
// things are wrong with it, and can be done about it.
func (r *run) explainDownload(address string, err error) *fault.Error {
	f := r.explain(address, err)
	var (
		name    x509.HostnameError
		unknown x509.UnknownAuthorityError
		op      *net.OpError
	)
	switch {
	case errors.As(err, &op) && op.Op == "proxyconnect":
		return f
	case errors.As(err, &name):
		return f.WithHint("use an address that the certificate names in discovery.file.kubeConfigPath")
	case errors.As(err, &unknown):
		return fault.New(fault.Untrusted, "the certificate of the web server with the discovery file is not signed by a CA that this machine trusts").At(address).
			WithHint("add that CA to this machine's own (update-ca-certificates or update-ca-trust), or put the file on this machine and give its path as discovery.file.kubeConfigPath")
	case errors.Is(err, syscall.ECONNREFUSED):
		return f.WithHint("no web server listens there: check the URL in discovery.file.kubeConfigPath")
	case status(err) != 0:
		return f.WithHint("the web server with the discovery file, or what stands before it, is overloaded or starting")
	}
	return f
}

// checkInline refuses what makes this machine open a file or run a program, both
// as root: a web server is trusted with the cluster's address and a credential, not
// with the machine's files.
func (d *discovery) checkInline(cluster *clientcmdapi.Cluster, user *clientcmdapi.AuthInfo) error {
	refused := func(what string) error {
		return d.invalid("%s, which one that is downloaded may not", what).
			WithHint("put the data into the file itself, or download the file, look at it, and give its path as discovery.file.kubeConfigPath")
	}
	if cluster.CertificateAuthority != "" {
		return refused("refers to a file of this machine (certificate-authority)")
	}
	switch {
	case user == nil:
	case user.ClientCertificate != "":
		return refused("refers to a file of this machine (client-certificate)")
	case user.ClientKey != "":
		return refused("refers to a file of this machine (client-key)")
	case user.TokenFile != "":
		return refused("refers to a file of this machine (tokenFile)")
	case user.Exec != nil:
		return refused("runs a program of this machine (exec)")
	case user.AuthProvider != nil:
		return refused("gets its credential from a program (auth-provider)")
	}
	return nil
}
