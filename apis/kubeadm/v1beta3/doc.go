// Package v1beta3 is the external configuration version
// kubeadm.k8s.io/v1beta3, which kubeadm 1.22 to 1.36 read: arguments are a map,
// and only discovery and the API server have a timeout. It has the types, their
// static defaults and the conversion to and from the internal version.
//
// The static defaults depend on the configuration alone. The package must never
// look at the machine, the network or the clock.
//
// The tag `sensitive:"true"` marks a field whose value must not be shown.
package v1beta3
