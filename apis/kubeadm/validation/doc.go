// Package validation says what is wrong with a configuration, given the
// configuration alone. Field paths are those of the external versions, in JSON
// notation, so that they can be found in the user's file.
//
// It must never read a file or look at the machine: whether a discovery file or
// a patch directory exists is a preflight question. A secret never appears in an
// error.
package validation
