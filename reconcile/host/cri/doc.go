// Package cri asks the container runtime of this machine, over the socket on
// which the kubelet talks to it, what images it holds and what has become of a
// pod's containers.
//
// Everything but Pull and StopContainer only reads. Nothing here starts a
// container: that is the kubelet's work, which knows what to start and when to
// give up. An image is pulled without credentials, as kubeadm does it
// (behaviour catalogue §8.5); the runtime may have its own.
//
// What a container wrote can hold anything: it leaves this package as a few
// last lines only, and never as part of an error of this package.
package cri
