package lab

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"time"
)

// DefaultVersion is the version of Kubernetes that cases run on unless told otherwise.
const DefaultVersion = "1.37.2"

// PreviousVersion is that of the minor before.
const PreviousVersion = "1.36.3"

// Kubeadms are the versions of kubeadm that cases ask what they write.
var Kubeadms = []string{"1.34.4", "1.35.4", PreviousVersion, DefaultVersion}

// Cluster is a Kubernetes cluster that kubeadm made.
type Cluster struct {
	// ControlPlane is the machine that was initialised.
	ControlPlane *Machine
	// Audit is the record of every request to the API servers.
	Audit *Audit
	// CertificateKey decrypts the kubeadm-certs Secret, for two hours. UploadCerts makes another one.
	CertificateKey string
	// CAHash is the pin of the cluster CA, as --discovery-token-ca-cert-hash takes it.
	CAHash string
	// ExternalEtcd says that etcd does not run on the control planes.
	ExternalEtcd bool

	lab      *Lab
	endpoint string // host:port
}

// The audit policy is in the root of every machine: a control plane that joins takes these arguments over
// from the cluster's configuration.
const initConfig = `apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
bootstrapTokens:
- token: %s
certificateKey: %s
localAPIEndpoint:
  advertiseAddress: %s
nodeRegistration:
  name: %s
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v%s
controlPlaneEndpoint: "%s"
networking:
  podSubnet: 10.88.0.0/16
apiServer:
  extraArgs:
  - name: audit-policy-file
    value: /etc/lab/audit-policy.yaml
  - name: audit-log-path
    value: /var/log/kubernetes/audit.log
  - name: audit-log-maxsize # MB; cases remember a place in it
    value: "10000"
  extraVolumes:
  - name: audit-policy
    hostPath: /etc/lab/audit-policy.yaml
    mountPath: /etc/lab/audit-policy.yaml
    readOnly: true
    pathType: File
  - name: audit-log
    hostPath: /var/log/kubernetes
    mountPath: /var/log/kubernetes
    pathType: DirectoryOrCreate
---
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
failCgroupV1: false
crashLoopBackOff: {maxContainerRestartPeriod: 40s} # cases change one pod again and again
`

// Init boots a machine and makes it the first control plane of a cluster: about 15 s. The cluster
// has no kube-proxy and no DNS; its nodes turn Ready through the bridge network of the machines' root. Where the lab is of
// IPv6, so is the cluster, and its endpoint is an address. Edits change the configuration that kubeadm gets.
func (l *Lab) Init(ctx context.Context, name string, edits ...func(string) string) (*Cluster, error) {
	m, err := l.Boot(ctx, name, ControlPlane)
	if err != nil {
		return nil, err
	}
	c := &Cluster{ControlPlane: m, Audit: &Audit{}, CertificateKey: newCertificateKey(), lab: l, endpoint: name + ":6443"}
	if l.network == network6 {
		c.endpoint = m.HostPort("6443")
		edits = append(edits, strings.NewReplacer("podSubnet: 10.88.0.0/16", "podSubnet: fd00:88::/56\n  serviceSubnet: fd00:96::/112").Replace)
	}
	token := newToken()
	l.Canary.Add("certificate key", c.CertificateKey)
	l.Canary.Add("bootstrap token", token)
	l.Canary.Add("token secret", token[7:])
	config := fmt.Sprintf(initConfig, token, c.CertificateKey, m.Address, name, l.base.Version, c.endpoint)
	for _, edit := range edits {
		config = edit(config)
	}
	if err := m.WriteFile("/root/init.yaml", []byte(config), 0o600); err != nil {
		return nil, err
	}
	err = step("kubeadm init "+name, func() error {
		return m.RunSecret(ctx, "kubeadm init --config=/root/init.yaml --upload-certs --skip-phases=addon --ignore-preflight-errors=all").Err()
	})
	if err != nil {
		return nil, err
	}
	c.Audit.Add(m)
	c.Audit.sentinel = func(ctx context.Context, server *Machine, path string) error {
		return m.Run(ctx, "timeout 10 kubectl --server=https://"+server.HostPort("6443")+" get --raw "+path).Err()
	}
	if err := c.LearnSecrets(ctx, m); err != nil {
		return nil, err
	}
	ca, err := m.ReadFile("/etc/kubernetes/pki/ca.crt")
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(ca)
	if block == nil {
		return nil, errors.New("ca.crt holds no PEM block")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	c.CAHash = "sha256:" + hex.EncodeToString(sum[:])
	return c, nil
}

// newCertificateKey returns a random key.
func newCertificateKey() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return hex.EncodeToString(key)
}

// newToken returns a bootstrap token of random characters.
func newToken() string {
	text := strings.ToLower(rand.Text())
	return text[:6] + "." + text[6:22]
}

// Token makes a bootstrap token that is valid for a time, waits until discovery with it works unless it is one that is
// to expire, and tells the canary. Without groups its user is in kubeadm's own, whose nodes are approved automatically.
func (c *Cluster) Token(ctx context.Context, ttl time.Duration, groups ...string) (string, error) {
	token := newToken()
	c.lab.Canary.Add("bootstrap token", token)
	c.lab.Canary.Add("token secret", token[7:])
	create := "kubeadm token create " + token + " --ttl=" + ttl.String()
	if len(groups) > 0 {
		create += " --groups=" + strings.Join(groups, ",")
	}
	if err := c.ControlPlane.RunSecret(ctx, create).Err(); err != nil {
		return "", err
	}
	if ttl < time.Minute {
		return token, nil // it may have expired before it is seen
	}
	// kube-controller-manager signs cluster-info with it in its own time; kubeadm join looks again only after 5 s.
	id, _, _ := strings.Cut(token, ".")
	return token, poll(ctx, time.Minute, func() error {
		info, err := c.Kubectl(ctx, "get configmap cluster-info --namespace=kube-public --output=yaml")
		if err == nil && !strings.Contains(info, "jws-kubeconfig-"+id) {
			err = fmt.Errorf("cluster-info is not signed with token %s", id)
		}
		return err
	})
}

// JoinCommand returns a kubeadm join command for a worker.
func (c *Cluster) JoinCommand(ctx context.Context) (string, error) {
	token, err := c.Token(ctx, time.Hour)
	return fmt.Sprintf("kubeadm join %s --token %s --discovery-token-ca-cert-hash %s --ignore-preflight-errors=all",
		c.Endpoint(), token, c.CAHash), err
}

// Endpoint is the API server's host:port, as machines reach it.
func (c *Cluster) Endpoint() string { return c.endpoint }

// KubeadmJoin joins a worker with kubeadm, for cases that compare with it or take its nodes over.
func (c *Cluster) KubeadmJoin(ctx context.Context, m *Machine) error {
	join, err := c.JoinCommand(ctx)
	if err != nil {
		return err
	}
	return c.kubeadmJoin(ctx, m, join)
}

// KubeadmJoinControlPlane joins a control plane with kubeadm. Its requests are audited from then on.
func (c *Cluster) KubeadmJoinControlPlane(ctx context.Context, m *Machine) error {
	join, err := c.JoinCommand(ctx)
	if err != nil {
		return err
	}
	c.Audit.Add(m)
	return c.kubeadmJoin(ctx, m, join+" --control-plane --certificate-key "+c.CertificateKey)
}

func (c *Cluster) kubeadmJoin(ctx context.Context, m *Machine, join string) error {
	err := step("kubeadm join "+m.Name, func() error { return m.RunSecret(ctx, join).Err() })
	if err != nil {
		return err
	}
	return c.LearnSecrets(ctx, m)
}

// Kubectl runs kubectl as the cluster's administrator and returns its output.
func (c *Cluster) Kubectl(ctx context.Context, args string) (string, error) {
	res := c.ControlPlane.Run(ctx, "kubectl "+args)
	return res.Stdout, res.Err()
}

// WaitReady waits until a Node is there and Ready. A kubelet whose API server was down for a while takes up to a minute, or two, to
// ask again.
func (c *Cluster) WaitReady(ctx context.Context, node string) error {
	return step("wait for Node "+node, func() error {
		if _, err := c.Kubectl(ctx, "wait --for=create --timeout=120s node/"+node); err != nil {
			return err
		}
		_, err := c.Kubectl(ctx, "wait --for=condition=Ready --timeout=300s node/"+node)
		return err
	})
}

// keyData matches client keys in kubeconfigs.
var keyData = regexp.MustCompile(`(?m)^\s*(?:client-key-data|token): *(\S+)$`)

// LearnSecrets tells the canary the private keys and credentials on a machine.
func (c *Cluster) LearnSecrets(ctx context.Context, m *Machine) error {
	res := m.RunSecret(ctx, `find /etc/kubernetes /var/lib/kubelet/pki -name '*.key' -o -name '*.conf' -o -name '*.pem'`)
	if err := res.Err(); err != nil {
		return err
	}
	for _, name := range strings.Fields(res.Stdout) {
		data, err := m.ReadFile(name)
		if err != nil {
			continue // a link out of the machine: the kubelet's *-current.pem, whose target is listed too
		}
		for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
			if strings.HasSuffix(block.Type, "PRIVATE KEY") {
				c.lab.Canary.Add(m.Name+":"+name, string(pem.EncodeToMemory(block)))
			}
		}
		for _, match := range keyData.FindAllStringSubmatch(string(data), -1) {
			c.lab.Canary.Add(m.Name+":"+name, match[1])
		}
	}
	return nil
}

// SignElsewhere puts all certificates and kubeconfigs of a control plane onto a machine that is to become one, and none of
// the keys that signed them: kubeadm signs on the first control plane.
func (c *Cluster) SignElsewhere(ctx context.Context, m *Machine) error {
	const dir = "/root/signed"
	config := fmt.Sprintf(`apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint:
  advertiseAddress: %s
nodeRegistration:
  name: %s
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v%s
controlPlaneEndpoint: "%s"
certificatesDir: %s/pki
`, m.Address, m.Name, c.lab.base.Version, c.endpoint, dir)
	if err := c.ControlPlane.WriteFile("/root/sign.yaml", []byte(config), 0o600); err != nil {
		return err
	}
	script := strings.NewReplacer("DIR", dir).Replace(`set -e
		rm -rf DIR; mkdir -p DIR/pki/etcd; cd /etc/kubernetes/pki
		cp ca.* front-proxy-ca.* sa.* DIR/pki/; cp etcd/ca.* DIR/pki/etcd/
		kubeadm init phase certs all --config=/root/sign.yaml
		for name in admin controller-manager scheduler; do
			kubeadm init phase kubeconfig $name --config=/root/sign.yaml --kubeconfig-dir=DIR
		done
		find DIR -name ca.key -delete -o -name front-proxy-ca.key -delete
		cd DIR; find . -type f`)
	res := c.ControlPlane.RunSecret(ctx, script)
	if err := res.Err(); err != nil {
		return err
	}
	for line := range strings.Lines(res.Stdout) {
		name, ok := strings.CutPrefix(strings.TrimSpace(line), "./")
		if !ok {
			continue // kubeadm's own words
		}
		data, err := c.ControlPlane.ReadFile(dir + "/" + name)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o600)
		if strings.HasSuffix(name, ".crt") || strings.HasSuffix(name, ".pub") {
			mode = 0o644
		}
		if err := m.WriteFile("/etc/kubernetes/"+name, data, mode); err != nil {
			return err
		}
	}
	return c.ControlPlane.RunSecret(ctx, "rm -rf "+dir+" /root/sign.yaml").Err()
}
