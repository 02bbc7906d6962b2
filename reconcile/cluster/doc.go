// Package cluster is the network: discovery, credentials, the API client. It is
// the only package that opens a connection. It never writes a file.
//
// Every read has one retry policy (retry.go): an error is permanent, and ends
// the read at once, or transient, and is retried with full jitter, honouring
// Retry-After, within a named timeout of the configuration.
//
// A credential that has to be fetched comes from an exec plugin, by client-go, or
// from an OpenID Connect issuer (authprovider.go).
package cluster
