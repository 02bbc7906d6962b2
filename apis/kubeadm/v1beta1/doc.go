// Package v1beta1 is the external configuration version
// kubeadm.k8s.io/v1beta1, which kubeadm 1.13 to 1.21 read: v1beta2 without
// certificate keys and preflight errors to ignore. It has the types, their
// static defaults and the conversion to and from the internal version.
//
// The static defaults depend on the configuration alone. The package must never
// look at the machine, the network or the clock.
//
// The tag `sensitive:"true"` marks a field whose value must not be shown.
package v1beta1
