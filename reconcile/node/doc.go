// Package node knows what makes a machine a node: the files, the kubelet's
// service, its credential and the Node object.
//
// Compute says what should be, as a pure function of the configuration, the
// cluster and the machine's facts: no clock, no environment, no disk, no
// network. The resources beside it observe and apply, and touch the machine and
// the cluster only through the Ports they are given. The package must never
// open a file or a connection itself, and never print.
package node
