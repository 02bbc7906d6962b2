// Package v1 is the external configuration version kubeadm.k8s.io/v1: v1beta4
// with a merge method for arguments. kubeadm 1.37 has it as an experiment. The
// package has the types, their static defaults and the conversion to and from
// the internal version.
//
// The static defaults depend on the configuration alone. The package must never
// look at the machine, the network or the clock.
//
// The tag `sensitive:"true"` marks a field whose value must not be shown.
package v1
