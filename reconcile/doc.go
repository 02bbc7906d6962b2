// Package reconcile is the engine: it observes resources, computes what
// differs, orders it, applies it and observes again. It knows nothing about
// Kubernetes, opens no file and no connection, and prints nothing.
//
// The laws it serves are those of docs/concepts.md: a plan only reads, a plan
// is empty exactly when apply would write nothing, no memory of an earlier run
// is needed, destruction is asked for.
package reconcile
