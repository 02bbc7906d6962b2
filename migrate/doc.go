// Package migrate rewrites kubeadm configuration files from one version of
// kubeadm.k8s.io to another. It edits the text at the places that the version
// changes and leaves every other byte alone: comments, blank lines, order, quoting,
// anchors, separators and documents that it does not know.
//
// Each hop between two neighbouring versions has a file of its own; longer ways
// are made of hops. Every edit is made twice, in the text and in the parsed tree,
// and the edited text must parse to the edited tree: what cannot be edited safely
// is refused with its position, never guessed.
//
// A document has to be one that its version can read. It must never set a default,
// look at the machine or judge a value. No change, loss or error shows the
// value of a field.
package migrate
