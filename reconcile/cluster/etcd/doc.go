// Package etcd asks an etcd cluster about its members and changes them: the
// client, what it sees as plain data, and the arithmetic of quorum.
//
// It speaks etcd's own protocol over gRPC without etcd's client library: that
// one balances over its endpoints, tries dead ones in turn, and brings a logger
// of its own. Here every endpoint has its connection, all are asked at the same
// moment, and a dead one costs one patience in the life of a client.
//
// It never reads or writes a key, and never a file.
package etcd
