// Package host is the machine: files below a root that no link leads out of,
// services, processes, facts. It is the only package that touches the machine.
//
// Every path goes through Host (law 8). A file is replaced by a temporary file
// in its own directory, fsync, rename, fsync of the directory (law 4). Nothing
// here opens a network connection or knows what a JoinConfiguration is.
package host
