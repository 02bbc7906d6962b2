// Package load turns the bytes of a configuration file into the internal
// configuration, and knows the line and column of every field on the way. All
// problems of a file are reported at once, each where it is.
//
// It reads no file but the one that the user named, and it must never look at
// the machine or the network. It is strict with what users write and lenient
// with what the cluster publishes. No problem shows the value of a field, except
// where package validation has decided that it is no secret.
package load
