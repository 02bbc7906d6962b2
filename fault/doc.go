// Package fault classifies errors. A class decides the exit code of the
// program, a hint says what the user should do now, an address says which
// resource, file or server it is about.
//
// It is a leaf: every other package may import it and it imports none of them.
// It must never print.
package fault
