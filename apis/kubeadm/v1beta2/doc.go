// Package v1beta2 is the external configuration version
// kubeadm.k8s.io/v1beta2, which kubeadm 1.15 to 1.26 read: v1beta3 without
// patches, phases to skip and a pull policy. It has the types, their static
// defaults and the conversion to and from the internal version.
//
// The static defaults depend on the configuration alone. The package must never
// look at the machine, the network or the clock.
//
// The tag `sensitive:"true"` marks a field whose value must not be shown.
package v1beta2
