// Package v1beta4 is the external configuration version
// kubeadm.k8s.io/v1beta4: what users write and what the cluster's
// kubeadm-config ConfigMap holds. It has the types, their static defaults and
// the conversion to and from the internal version.
//
// The static defaults depend on the configuration alone. The package must never
// look at the machine, the network or the clock.
//
// The tag `sensitive:"true"` marks a field whose value must not be shown.
package v1beta4
