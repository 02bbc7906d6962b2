// Package spell finds the known word that a misspelt one was probably meant to
// be. It is used for field names, kinds and phase names; it must never be used
// to accept a misspelt word, only to suggest the right one.
package spell
