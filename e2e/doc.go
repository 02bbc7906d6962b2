// Package e2e holds the cases that run kubejoin on real machines against a real
// cluster. It is its own module, so that what the lab needs stays out of kubejoin's.
//
// It must never use kubejoin's own packages: a case sees the program as its user does,
// through its command line, its exit code and what it leaves behind.
//
// Run it as root on Debian 12:
//
//	go test -count=1 -timeout 75m ./...
package e2e
