// Package preflight is the checks: what a machine needs before its plan can be
// applied, told as findings under the names that kubeadm gave them. It judges
// facts and has no side effects: it opens, starts, loads and pulls nothing.
package preflight
