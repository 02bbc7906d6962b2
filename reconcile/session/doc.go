// Package session is one run: it binds a configuration, a machine and a cluster
// to a plan, and applies it. It decides the order of those three and nothing
// else; what is wanted is package node's to say, what is done the engine's.
//
// It never prints and never asks.
package session
