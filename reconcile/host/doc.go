// Package host is the machine: files below a root that no link leads out of,
// services, processes, facts. It is the only package that touches the machine.
//
// Every path goes through Host (law 8). A file is replaced by a temporary file
// in its own directory, fsync, rename, fsync of the directory (law 4). What
// only looks (Stat, ReadFile, ReadDir, Facts, ServiceState, Watch) writes
// nothing and works without root (law 1).
//
// Nothing here connects to anything but sockets of this machine, knows what a
// JoinConfiguration is, or puts a file's content into an error.
package host
