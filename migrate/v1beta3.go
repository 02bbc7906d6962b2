package migrate

// v1beta3 adds skipPhases, patches and imagePullPolicy. It drops ClusterStatus,
// the hyperkube image and the choice of a DNS server: only CoreDNS is left.
// Behaviour catalogue §1.2, §1.3.

func upToV1beta3(d *document) {
	if d.kind == "ClusterConfiguration" {
		d.dropGone("v1beta3", []field{{"useHyperKubeImage", is("false")}, {"dns.type", is("CoreDNS")}})
	}
}

func downToV1beta2(d *document) {
	if joinOrInit(d.kind) {
		d.dropNew("v1beta2", "v1beta3", []field{
			{"skipPhases", empty},
			{"patches", holds(field{"directory", empty})},
			{"nodeRegistration.imagePullPolicy", is("IfNotPresent")},
		})
	}
}
