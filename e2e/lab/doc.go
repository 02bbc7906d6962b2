// Package lab makes Debian machines with systemd, containerd and a kubelet, and a
// Kubernetes cluster on them, on one Linux host: everything a join needs to be real.
//
// A machine is a systemd-nspawn container with its own network, process, mount and cgroup
// namespaces on an overlay over a cached root. What is slow to make (Kubernetes, etcd and
// containerd from source, the Debian root, the image store) is kept in a cache; what a run
// makes is under one directory, in one network namespace and in cgroups that bear the run's
// name, so that a run can be swept completely even after it was killed.
//
// It must never end a process it did not start, touch a run that is alive, or take a half-built
// cache entry for a finished one.
package lab
