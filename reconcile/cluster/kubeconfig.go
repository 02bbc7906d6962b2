package cluster

import (
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	certutil "k8s.io/client-go/util/cert"

	"github.com/kubejoin/kubejoin/reconcile/host"
)

// Files reads the machine's files. *host.Host satisfies it.
type Files interface {
	// ReadFile gives the content of the file at path, at most max bytes of it
	// being allowed. A file that is absent or may not be read shows in the state.
	ReadFile(path string, max int64) ([]byte, host.FileState, error)
}

// maxFile bounds the kubeconfigs, certificates, keys and tokens read from files.
const maxFile = 1 << 20

// readFile reads one file; its error says so in io/fs's words.
type readFile func(path string) ([]byte, error)

// through reads by files.
func through(files Files) readFile {
	return func(path string) ([]byte, error) {
		data, state, err := files.ReadFile(path, maxFile)
		switch {
		case err != nil:
			return nil, err
		case state.Denied:
			return nil, &fs.PathError{Op: "read", Path: path, Err: fs.ErrPermission}
		case !state.Exists() || state.Kind == host.Link:
			return nil, &fs.PathError{Op: "read", Path: path, Err: fs.ErrNotExist}
		case state.Kind != host.File:
			return nil, fmt.Errorf("%s is a %s, not a file", path, state.Kind)
		}
		return data, nil
	}
}

// access is one way to an API server: one cluster and one user, with no
// reference to a file.
type access struct {
	clusterName string
	contextName string
	userName    string
	cluster     clientcmdapi.Cluster
	user        *clientcmdapi.AuthInfo // nil for anonymous access
}

// withToken is the access of a bootstrap token to the same cluster. Of the
// cluster it keeps how it is reached and verified (kubeadm loses proxy-url and
// tls-server-name: behaviour catalogue §11 #46), of the user nothing.
func (a access) withToken(token string) access {
	// The names are kubeadm's: behaviour catalogue §4.4.
	a.userName = "tls-bootstrap-token-user"
	a.contextName = a.userName + "@kubernetes"
	a.user = &clientcmdapi.AuthInfo{Token: token}
	return a
}

func (a access) config() clientcmdapi.Config {
	c := clientcmdapi.NewConfig()
	c.Clusters[a.clusterName] = &a.cluster
	context := &clientcmdapi.Context{Cluster: a.clusterName}
	if a.user != nil {
		c.AuthInfos[a.userName] = a.user
		context.AuthInfo = a.userName
	}
	c.Contexts[a.contextName] = context
	c.CurrentContext = a.contextName
	return *c
}

// kubeconfig renders it as a kubeconfig whose cluster has the given name.
func (a access) kubeconfig(clusterName string) ([]byte, error) {
	a.clusterName = clusterName
	return clientcmd.Write(a.config())
}

// rest is the configuration of a client.
func (a access) rest() (*rest.Config, error) {
	// clientcmd wants a name for everything, and a user.
	a.clusterName, a.contextName = "cluster", "context"
	if a.userName = "user"; a.user == nil {
		a.user = clientcmdapi.NewAuthInfo()
	}
	c, err := clientcmd.NewNonInteractiveClientConfig(a.config(), a.contextName, &clientcmd.ConfigOverrides{}, nil).ClientConfig()
	if err != nil {
		return nil, err
	}
	if c.ExecProvider != nil {
		c.ExecProvider.StdinUnavailable = true
		c.ExecProvider.StdinUnavailableMessage = "kubejoin asks no questions"
	}
	return c, nil
}

// secrets are the values that must not show in any text.
func (a access) secrets() []string {
	var out []string
	if a.user != nil {
		out = append(out, a.user.Token, a.user.Password)
		if a.user.AuthProvider != nil {
			for name, value := range a.user.AuthProvider.Config {
				if !slices.Contains(provided, name) {
					out = append(out, value) // id-token, refresh-token, client-secret and whatever else
				}
			}
		}
		if a.user.Exec != nil {
			for _, e := range a.user.Exec.Env {
				out = append(out, e.Value)
			}
		}
	}
	if u, err := url.Parse(a.cluster.ProxyURL); err == nil && u.User != nil {
		password, _ := u.User.Password()
		out = append(out, password)
	}
	return out
}

// hasCredential tells whether the user can be more than anonymous.
func (a access) hasCredential() bool {
	u := a.user
	return u != nil && (u.Token != "" || u.Username != "" && u.Password != "" ||
		len(u.ClientCertificateData) > 0 && len(u.ClientKeyData) > 0 || u.Exec != nil || u.AuthProvider != nil)
}

var yamlLine = regexp.MustCompile(`line \d+`)

// parseKubeconfig says where the syntax is wrong but repeats nothing: what is
// there may be a credential.
func parseKubeconfig(data []byte) (*clientcmdapi.Config, error) {
	c, err := clientcmd.Load(data)
	if err == nil {
		return c, nil
	}
	if line := yamlLine.FindString(err.Error()); line != "" {
		return nil, fmt.Errorf("is not a kubeconfig: syntax error near %s", line)
	}
	return nil, errors.New("is not a kubeconfig")
}

// publishedCluster is the cluster that a kubeconfig made for discovery means:
// the one without a name, as in cluster-info, else the current context's.
// Behaviour catalogue §4.2.
func publishedCluster(c *clientcmdapi.Config) (*clientcmdapi.Cluster, error) {
	if cluster := c.Clusters[""]; cluster != nil {
		return cluster, nil
	}
	if context := c.Contexts[c.CurrentContext]; context != nil {
		if cluster := c.Clusters[context.Cluster]; cluster != nil {
			return cluster, nil
		}
	}
	return nil, errors.New("has neither an unnamed cluster nor one in its current context")
}

// published takes from cluster-info what it is allowed to say: the server and
// the CA. Whatever else it holds (paths, plugins, proxies) is not even looked at.
func published(kubeconfig []byte) (access, []*x509.Certificate, error) {
	c, err := parseKubeconfig(kubeconfig)
	if err != nil {
		return access{}, nil, err
	}
	cluster, err := publishedCluster(c)
	if err != nil {
		return access{}, nil, err
	}
	a := access{cluster: clientcmdapi.Cluster{Server: cluster.Server, CertificateAuthorityData: cluster.CertificateAuthorityData}}
	if err := checkServer(a.cluster.Server); err != nil {
		return access{}, nil, err
	}
	certs, err := certutil.ParseCertsPEM(a.cluster.CertificateAuthorityData)
	if err != nil {
		return access{}, nil, errors.New("holds no CA certificate")
	}
	return a, certs, nil
}

// checkServer wants a URL whose server can be verified.
func checkServer(server string) error {
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return errors.New("names a server that is not of the form https://host:port")
	}
	return nil
}

// embed reads the files that a kubeconfig's cluster and user refer to, by
// paths relative to dir, into copies of them. The paths read are returned too.
func embed(cluster *clientcmdapi.Cluster, user *clientcmdapi.AuthInfo, dir string, read readFile) (clientcmdapi.Cluster, *clientcmdapi.AuthInfo, []string, error) {
	c := *cluster.DeepCopy()
	var u *clientcmdapi.AuthInfo
	var paths []string
	var failed error
	load := func(path *string, into *[]byte, override bool) {
		if *path == "" || failed != nil {
			return
		}
		if len(*into) == 0 || override {
			name := resolve(dir, *path)
			paths = append(paths, name)
			if *into, failed = read(name); failed != nil {
				return
			}
		}
		*path = ""
	}
	c.LocationOfOrigin = ""
	load(&c.CertificateAuthority, &c.CertificateAuthorityData, false)
	if user != nil {
		u = user.DeepCopy()
		u.LocationOfOrigin = ""
		load(&u.ClientCertificate, &u.ClientCertificateData, false)
		load(&u.ClientKey, &u.ClientKeyData, false)
		token := []byte(u.Token)
		load(&u.TokenFile, &token, true) // a token file takes precedence over a token
		u.Token = strings.TrimSpace(string(token))
		if u.AuthProvider != nil {
			const file = "idp-certificate-authority"
			path, config := u.AuthProvider.Config[file], u.AuthProvider.Config
			data, _ := base64.StdEncoding.DecodeString(config[file+"-data"])
			if load(&path, &data, false); path == "" && len(data) > 0 {
				delete(config, file)
				config[file+"-data"] = base64.StdEncoding.EncodeToString(data)
			}
		}
		if u.Exec != nil && strings.ContainsRune(u.Exec.Command, filepath.Separator) {
			u.Exec.Command = resolve(dir, u.Exec.Command)
		}
	}
	return c, u, paths, failed
}

func resolve(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}
