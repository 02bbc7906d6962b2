package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/kubejoin/kubejoin/e2e/lab"
)

const (
	kubeletConf = "/etc/kubernetes/kubelet.conf"
	currentPEM  = "/var/lib/kubelet/pki/kubelet-client-current.pem"
)

// A credential that does not serve any more is replaced, and nothing else.
func TestDriftOfCredential(t *testing.T) {
	t.Parallel()
	f := use(t)
	m, _ := f.joined(t)
	ca, name := f.clusterCA(t), "system:node:"+m.Name
	tests := []struct {
		name   string
		breaks func(*testing.T)
		step   string
	}{
		{"kubelet.conf missing", command(m, "rm "+kubeletConf), "create " + credential + " missing"},
		{"kubelet.conf empty", command(m, "truncate -s0 "+kubeletConf), "replace " + credential + " drift"},
		{"kubelet.conf truncated", command(m, "truncate -s300 "+kubeletConf), "replace " + credential + " drift"},
		{"kubelet.conf is no YAML", command(m, "echo '{' >"+kubeletConf), "replace " + credential + " drift"},
		{"certificate missing", command(m, "rm /var/lib/kubelet/pki/kubelet-client-*"), "wait " + credential + " missing"},
		{"certificate truncated", command(m, "truncate -s300 $(readlink -f "+currentPEM+")"), "replace " + credential + " drift"},
		{"certificate expired", func(t *testing.T) {
			install(t, m, ca, name, time.Now().Add(-time.Hour))
		}, "replace " + credential + " drift"},
		{"certificate of a CA that the cluster does not know", func(t *testing.T) {
			install(t, m, otherCA(t), name, time.Now().Add(time.Hour))
		}, "replace " + credential + " drift"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			must(t, m.Run(t.Context(), "systemctl stop kubelet"))
			tt.breaks(t)
			s := f.pending(t, m, "create "+bootstrap+" missing", "start "+service+" missing", tt.step)
			if c := s.change(credential); c.Allow != "" {
				t.Errorf("asks for --allow=%s to replace what does not serve", c.Allow)
			}
			f.repair(t, m)
			leftovers(t, m)
			f.ready(t, m)
		})
	}
	// Neither needs the kubelet.
	for _, breaks := range []string{"chmod 0644 " + kubeletConf, "chown nobody " + kubeletConf, "chmod 0644 $(readlink -f " + currentPEM + ")"} {
		t.Run(breaks, func(t *testing.T) {
			command(m, breaks)(t)
			f.pending(t, m, "update "+credential+" drift")
			if f.repair(t, m) {
				t.Error("the kubelet was restarted")
			}
		})
	}
}

// What belongs to another cluster or node is left alone until somebody says otherwise.
func TestConflicts(t *testing.T) {
	t.Parallel()
	f := use(t)
	m, _ := f.joined(t)
	server := "https://" + f.cluster.Endpoint()
	tests := []struct {
		name    string
		breaks  func(*testing.T)
		address string
		allow   string
	}{
		{"CA of another cluster", func(t *testing.T) { put(t, m, "/etc/kubernetes/pki/ca.crt", otherCA(t).pem) }, caFile, "replace-ca"},
		{"identity in another cluster", func(t *testing.T) {
			ca := otherCA(t)
			put(t, m, kubeletConf, kubeconfig(server, ca.pem, clientCertificate(ca.client(t, "system:node:"+m.Name, "system:nodes", time.Now().Add(time.Hour)))))
		}, credential, "replace-identity"},
		{"identity of another node", func(t *testing.T) {
			ca := f.clusterCA(t)
			put(t, m, kubeletConf, kubeconfig(server, ca.pem, clientCertificate(ca.client(t, "system:node:other", "system:nodes", time.Now().Add(time.Hour)))))
		}, credential, "replace-identity"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.breaks(t)
			var s said
			f.unchanged(t, m, func() { s = run(t, m, "root", plan, 2) })
			if c := s.change(tt.address); c.Allow != tt.allow || c.Disruption != "destructive" {
				t.Errorf("%s: allow %q, disruption %q\n%s", tt.address, c.Allow, c.Disruption, s)
			}
			s = f.refused(t, m, 7)
			if e := s.Failure.about(tt.address); e.Class != "conflict" || !strings.Contains(e.Hint, "--allow="+tt.allow) {
				t.Errorf("said %+v", *s.Failure)
			}
			f.unchanged(t, m, func() { run(t, m, "root", apply+" --allow=replace-node", 7) }) // which is something else
			f.repair(t, m, "--allow="+tt.allow)
			leftovers(t, m)
			f.ready(t, m)
		})
	}
}

// The kubelet registers its Node when it starts, so that a deleted one needs a restart.
func TestNodeDeleted(t *testing.T) {
	t.Parallel()
	f := use(t)
	m := f.worker(t)
	f.configure(t, m)
	run(t, m, "root", apply, 0) // it may take longer to be Ready than a kubelet has just started
	f.kubectl(t, "delete node %s", m.Name)
	f.pending(t, m, "create node:"+m.Name+" missing") // a kubelet that just started registers it by itself
	<-time.After(21 * time.Second)
	f.pending(t, m, "restart "+service+" drift", "create node:"+m.Name+" missing")
	if !f.repair(t, m) {
		t.Error("the kubelet was not restarted")
	}
	f.ready(t, m)
}

// What a killed run left is removed, without disturbing the kubelet.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	f := use(t)
	m, _ := f.joined(t)
	tests := []struct{ name, file, address string }{
		{"bootstrap credential", "/etc/kubernetes/bootstrap-kubelet.conf", bootstrap},
		{"half a bootstrap credential", "/etc/kubernetes/.bootstrap-kubelet.conf.kubejoin-tmp", bootstrap},
		{"half a CA", "/etc/kubernetes/pki/.ca.crt.kubejoin-tmp", caFile},
		{"half a configuration", "/var/lib/kubelet/.config.yaml.kubejoin-tmp", configFile},
		{"half of the flags", "/var/lib/kubelet/.kubeadm-flags.env.kubejoin-tmp", flagsFile},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := m.WriteFile(tt.file, []byte("token: "+f.token(t)), 0o600); err != nil {
				t.Fatal(err)
			}
			f.pending(t, m, "delete "+tt.address+" drift")
			if f.repair(t, m) {
				t.Error("the kubelet was restarted")
			}
			leftovers(t, m)
		})
	}
}

func command(m *lab.Machine, text string) func(*testing.T) {
	return func(t *testing.T) { must(t, m.Run(t.Context(), text)) }
}

// install gives the kubelet another client certificate where it keeps its own.
func install(t *testing.T, m *lab.Machine, ca authority, name string, until time.Time) {
	t.Helper()
	cert, key := ca.client(t, name, "system:nodes", until)
	const file = "/var/lib/kubelet/pki/kubelet-client-lab.pem"
	if err := m.WriteFile(file, []byte(cert+key), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, m.Run(t.Context(), "ln -sfn "+file+" "+currentPEM))
}
