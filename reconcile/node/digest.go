package node

import (
	"crypto/sha256"
	"encoding/json"

	"github.com/kubejoin/kubejoin/reconcile/cluster"
)

// The digests of the observations are for saved plans: two observations that
// differ in one of these respects call for another look. What changes by itself
// is none of them: times, process IDs, a certificate that was renewed.

// Digest covers what the file is and holds.
func (o fileObservation) Digest() []byte {
	content := sha256.Sum256(o.content)
	return digest("file", o.state.Kind, o.state.Mode, o.state.UID, o.state.GID, o.state.Denied, o.state.Leftover, o.problem, content)
}

// Digest covers whose credential it is, whether it serves, and who may read it.
func (o credentialObservation) Digest() []byte {
	return digest("credential", o.State, o.CommonName, o.Server, cluster.SPKIPins(o.CA), o.wrong, o.foreign, o.stray,
		o.kubeconfig.Mode, o.kubeconfig.UID, o.kubeconfig.GID, o.certificate.Mode, o.certificate.UID, o.certificate.GID)
}

// Digest covers what the service manager was told; whether the service runs at the
// moment is no part of that.
func (o serviceObservation) Digest() []byte {
	return digest("service", o.Manager, o.Found, o.Enabled, o.Masked, o.ExecStart, o.EnvironmentFiles)
}

// Digest covers which Node it is.
func (o nodeObservation) Digest() []byte {
	if o.info == nil {
		return digest("node", o.seen)
	}
	return digest("node", o.seen, o.info.UID, o.info.MachineID)
}

func digest(parts ...any) []byte {
	text, err := json.Marshal(parts) // plain data has a JSON form
	if err != nil {
		text = []byte(err.Error())
	}
	sum := sha256.Sum256(text)
	return sum[:]
}

// Digest covers the certificate and its key.
func (o certificateObservation) Digest() []byte {
	return digest("certificate", o.cert.Digest(), o.key.Digest())
}

// Digest covers the file. What it refers to is a resource of its own, or others'.
func (o kubeconfigObservation) Digest() []byte { return digest("kubeconfig", o.file.Digest()) }

// Digest covers the manifest. The pod comes and goes by itself.
func (o staticPodObservation) Digest() []byte { return digest("static pod", o.file.Digest()) }

// Digest covers which API server the kubelet talks to.
func (o kubeletServerObservation) Digest() []byte { return digest("server", o.state, o.server) }

// Digest covers who is a member, and whose data lies on this machine.
func (o *etcdObservation) Digest() []byte {
	return digest("etcd", o.cluster.ID, o.cluster.Members, o.data.begun, o.data.identity, o.data.denied, o.data.problem, o.recorded.begun, o.recorded.identity)
}
