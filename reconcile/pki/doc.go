// Package pki knows the certificates, keys and kubeconfigs of a control plane:
// which there are, what must be in them, whether those that exist are right, and
// how new ones are signed.
//
// It is pure: contents come in and go out as bytes, the time is a parameter. It
// must never read or write a file, open a connection, make a new CA, or let a
// private key into an error.
package pki
