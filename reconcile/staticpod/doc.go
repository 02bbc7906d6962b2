// Package staticpod knows what the static pods of a control plane are:
// kube-apiserver, kube-controller-manager, kube-scheduler and etcd, as kubeadm
// of the cluster's minor version writes them, and whether a manifest on disk
// means the same.
//
// It is pure: no file, no network, no environment, no clock. What differs
// between minor versions is data in one table (versions.go), never an if in
// the generators.
package staticpod
