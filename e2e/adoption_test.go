package e2e

import "testing"

// A node that kubeadm joined is taken over: there is nothing to do, and what is done later works as on one's own.
func TestAdoption(t *testing.T) {
	t.Parallel()
	f := use(t)
	m := f.worker(t)
	if err := f.cluster.KubeadmJoin(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	f.ready(t, m)
	discovery := f.configure(t, m)
	f.inSync(t, m)
	f.unchanged(t, m, func() { run(t, m, "root", apply, 0) })

	tests := []struct {
		name, command, more string
		want                []string
	}{
		{
			"an argument of the kubelet", "true", "nodeRegistration:\n  kubeletExtraArgs:\n  - {name: v, value: \"3\"}\n",
			[]string{"update " + flagsFile + " intent", "restart " + service + " intent"},
		},
		{
			"taken away again", "true", "",
			[]string{"update " + flagsFile + " intent", "restart " + service + " intent"},
		},
		{
			"an edited configuration", "sed -i 's/^clusterDomain:.*/clusterDomain: other.example/' /var/lib/kubelet/config.yaml", "",
			[]string{"update " + configFile + " drift", "restart " + service + " drift"},
		},
		{"a stopped kubelet", "systemctl stop kubelet", "", []string{"start " + service + " drift"}},
		{"a lost credential", "systemctl stop kubelet; rm " + kubeletConf, "",
			[]string{"create " + bootstrap + " missing", "start " + service + " missing", "create " + credential + " missing"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			must(t, m.Run(t.Context(), tt.command))
			put(t, m, "/etc/join.yaml", joinConfig(discovery, tt.more))
			f.pending(t, m, tt.want...)
			f.repair(t, m)
			f.ready(t, m)
		})
	}
}
