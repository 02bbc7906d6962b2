// Package kubeadm holds the internal version of every configuration kind: the
// only one that the rest of the program sees. External versions live in the
// packages below it and convert to and from these types.
//
// The types carry no JSON tags on purpose: nothing outside an external version
// may serialise them. The package must never read a file, an environment
// variable or the machine.
package kubeadm
