package validation

import "slices"

// Phases are the names that skipPhases may hold.
func Phases() []string { return slices.Clone(phases) }

// EncryptionAlgorithms are the names of key types that encryptionAlgorithm may be.
func EncryptionAlgorithms() []string { return slices.Clone(encryptionAlgorithms) }
