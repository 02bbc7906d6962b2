// Package cli is the command line: one file per command, which turns flags into
// one call and the outcome into an exit code. It touches neither machine nor
// cluster, and prints only through package report.
package cli
