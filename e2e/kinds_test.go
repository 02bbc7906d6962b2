package e2e

import (
	"fmt"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kubejoin/kubejoin/e2e/lab"
)

// ofUsers are the lines of a manifest that make a component run as a user of its own.
var ofUsers = regexp.MustCompile(`(?m)^- +(securityContext:|allowPrivilegeEscalation: false|capabilities:|(add|drop):|- (ALL|NET_BIND_SERVICE|\d+)|runAs(User|Group): \d+|supplementalGroups:)$`)

// Control planes whose components run as users of their own: what kubejoin makes is what kubeadm makes, and each file is its
// reader's.
func TestRootlessControlPlane(t *testing.T) {
	t.Parallel()
	f := ofOwn(t, (*lab.Lab).Of, 60, strings.NewReplacer("kind: ClusterConfiguration\n", "kind: ClusterConfiguration\nfeatureGates: {RootlessControlPlane: true}\n").Replace)
	f.rootless = true
	t.Run("adopted", func(t *testing.T) { adopted(t, f) })
	t.Run("joined", func(t *testing.T) {
		first, m := f.cluster.ControlPlane, f.controlPlane(t)
		f.configureControlPlane(t, m)
		f.becomes(t, m)
		f.healthy(t, first, m)
		f.kubeadmWorks(t, m)
		for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"} {
			const user = "ps -o uid= -C "
			if r := must(t, m.Run(t.Context(), user+name)); strings.TrimSpace(r.Stdout) == "0" {
				t.Errorf("%s runs as root", name)
			}
		}
		// A file that its reader cannot read any more is given back to it.
		must(t, m.Run(t.Context(), "chown root:root /etc/kubernetes/scheduler.conf /etc/kubernetes/pki/sa.key"))
		s := run(t, m, "root", plan, 2)
		for _, address := range []string{"kubeconfig:/etc/kubernetes/scheduler.conf", "file:/etc/kubernetes/pki/sa.key"} {
			if c := s.change(address); len(c.Fields) != 1 || c.Fields[0].Path != "owner" {
				t.Errorf("%s: %+v", address, c)
			}
		}
		f.becomes(t, m)
		f.healthy(t, first, m)
	})
}

// A cluster whose machines have no address but one of IPv6, named by literals.
func TestIPv6(t *testing.T) {
	t.Parallel()
	f := ofOwn(t, func(l *lab.Lab, b *lab.Base) *lab.Lab { return l.Of(b).IPv6() }, 70)
	t.Run("a worker", func(t *testing.T) {
		m := f.worker(t)
		f.configure(t, m)
		run(t, m, "root", apply, 0)
		f.ready(t, m)
		f.inSync(t, m)
	})
	t.Run("adopted", func(t *testing.T) { adopted(t, f) })
	t.Run("one becomes three, one at a time", func(t *testing.T) { oneBecomesThree(t, f) })
}

// A control plane that has no CA's key, on purpose: all that it would sign was signed elsewhere.
func externalCA(t *testing.T, f *fixture) {
	first, m := f.cluster.ControlPlane, f.controlPlane(t)
	must(t, m.Run(t.Context(), "systemctl stop kubelet"))
	if err := f.cluster.SignElsewhere(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	withKey := "  certificateKey: " + f.cluster.CertificateKey + "\n"
	f.configureControlPlane(t, m)
	config, err := m.ReadFile("/etc/join.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.WriteFile("/etc/join.yaml", []byte(strings.Replace(string(config), withKey, "", 1)), 0o600); err != nil {
		t.Fatal(err)
	}

	// Whatever is missing is named, and nobody makes a CA.
	for _, name := range []string{"/etc/kubernetes/pki/apiserver.crt", "/etc/kubernetes/scheduler.conf", "/etc/kubernetes/pki/etcd/peer.key"} {
		kept := "/root/" + path.Base(name)
		must(t, m.Run(t.Context(), "mv "+name+" "+kept))
		if s := f.refused(t, m, 4); !strings.Contains(s.String(), name) {
			t.Errorf("%s is not named:\n%s", name, s)
		}
		must(t, m.Run(t.Context(), "mv "+kept+" "+name))
	}
	must(t, m.Run(t.Context(), "chmod 0644 /etc/kubernetes/admin.conf"))

	s := run(t, m, "root", plan, 2)
	if !s.found("ExternalCA", "static-pod:kube-controller-manager") || !strings.Contains(s.String(), "signs no certificates, as those of "+first.Name) {
		t.Errorf("does not say who signs:\n%s", s)
	}
	f.becomes(t, m)
	f.healthy(t, first, m)
	must(t, m.Run(t.Context(), "! find /etc/kubernetes/pki -name ca.key -o -name front-proxy-ca.key | grep . && stat -c %a /etc/kubernetes/admin.conf | grep -x 600"))

	// What only the CA could mend is a finding, and not a change.
	const name = "/etc/kubernetes/pki/apiserver-kubelet-client.crt"
	must(t, m.Run(t.Context(), "cp "+name+" /root/kept && truncate -s 0 "+name))
	f.unchanged(t, m, func() { s = run(t, m, "root", plan, 4) })
	if len(s.steps()) != 0 || !s.found("ExternalCA", "certificate:"+name) {
		t.Errorf("not found:\n%s", s)
	}
	must(t, m.Run(t.Context(), "cp /root/kept "+name))
	f.converged(t, m)
}

// A cluster whose etcd runs elsewhere, with TLS: the certificates for it are shared as the others are, and no member is added.
func TestExternalEtcd(t *testing.T) {
	t.Parallel()
	server := use(t).worker(t)
	ca := otherCA(t)
	cert, key := ca.server(t, server.Name)
	binary, err := lab.Etcd(t.Context(), "3.7.0")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{"/usr/local/bin/etcd": string(program), "/etc/etcd/ca.crt": ca.pem, "/etc/etcd/server.crt": cert, "/etc/etcd/server.key": key} {
		if err := server.WriteFile(name, []byte(data), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	url := "https://" + server.Name + ":2379"
	must(t, server.Run(t.Context(), "systemd-run --quiet --unit=etcd etcd --data-dir=/var/lib/etcd --listen-client-urls=https://0.0.0.0:2379 --advertise-client-urls="+url+
		" --cert-file=/etc/etcd/server.crt --key-file=/etc/etcd/server.key --trusted-ca-file=/etc/etcd/ca.crt --client-cert-auth=true"))

	const dir = "/etc/kubernetes/pki/external-etcd/"
	clientCert, clientKey := ca.client(t, "kubernetes", "", time.Now().Add(24*time.Hour))
	f := ofOwn(t, (*lab.Lab).Of, 80, func(config string) string {
		first := use(t).Machine("cp80")
		for name, data := range map[string]string{"ca.crt": ca.pem, "client.crt": clientCert, "client.key": clientKey} {
			if err := first.WriteFile(dir+name, []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		etcd := fmt.Sprintf("etcd:\n  external:\n    endpoints: [%q]\n    caFile: %sca.crt\n    certFile: %sclient.crt\n    keyFile: %sclient.key\n", url, dir, dir, dir)
		return strings.Replace(config, "kind: ClusterConfiguration\n", "kind: ClusterConfiguration\n"+etcd, 1)
	})
	f.cluster.ExternalEtcd = true
	serves := func(t *testing.T, m *lab.Machine) {
		t.Helper()
		f.kubectl(t, "--server=https://%s get --raw /readyz", m.HostPort("6443"))
		must(t, m.Run(t.Context(), "test ! -e /etc/kubernetes/manifests/etcd.yaml -a ! -e /var/lib/etcd"))
	}
	t.Run("joined", func(t *testing.T) {
		m := f.controlPlane(t)
		must(t, m.Run(t.Context(), "systemctl stop kubelet"))
		f.configureControlPlane(t, m)
		var s said
		f.unchanged(t, m, func() { s = run(t, m, "root", plan, 2) })
		if s.change("file:"+dir+"client.key").Action != "create" || strings.Contains(strings.Join(s.steps(), "\n"), "etcd-") {
			t.Errorf("planned:\n%s", s)
		}
		f.becomes(t, m)
		serves(t, m)
		must(t, m.Run(t.Context(), "rm "+dir+"client.key"))
		f.pending(t, m, "create file:"+dir+"client.key missing")
		f.becomes(t, m)
	})
	t.Run("adopted", func(t *testing.T) {
		m := f.controlPlane(t)
		if err := f.cluster.KubeadmJoinControlPlane(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		f.configureControlPlane(t, m)
		f.converged(t, m)
		serves(t, m)
	})
}
