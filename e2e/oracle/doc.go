// Package oracle asks a real, published kubeadm what it would write for a
// cluster, without a cluster: "kubeadm join --dry-run" runs against a small fake
// API server that serves the objects a join reads (behaviour catalogue §0.3).
// The fake is only there to feed kubeadm; kubejoin is never tested against it.
//
// kubeadm runs with a temporary folder as its root, so that the machine's own
// /etc/kubernetes is neither read nor written. It needs no root: without it a
// user namespace gives the right to change the root.
package oracle
