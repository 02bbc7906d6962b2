package migrate

// v1beta2 adds the certificate key and the ignored preflight errors.
// Behaviour catalogue §1.2, §1.3.

func upToV1beta2(*document) {}

func downToV1beta1(d *document) {
	var fields []field
	if joinOrInit(d.kind) {
		fields = append(fields, field{"nodeRegistration.ignorePreflightErrors", empty})
	}
	switch d.kind {
	case "JoinConfiguration":
		fields = append(fields, field{"controlPlane.certificateKey", empty})
	case "InitConfiguration":
		fields = append(fields, field{"certificateKey", empty})
	}
	d.dropNew("v1beta1", "v1beta2", fields)
}
