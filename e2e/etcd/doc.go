// Package etcd holds the cases of membership in etcd: real members, as processes on loopback with TLS, and
// kubejoin's own resources, which no command line runs alone. What stands between them on a machine, the
// kubelet that starts a member from its manifest, is played by the test.
//
// It needs no root and leaves nothing behind.
package etcd
