package reconcile

import (
	"crypto/sha256"
	"encoding/hex"
)

// Mask is the only form in which a secret may leave the data model.
func Mask(secret []byte) string {
	if len(secret) == 0 {
		return "(sensitive, empty)"
	}
	sum := sha256.Sum256(secret)
	return "(sensitive, sha256:" + hex.EncodeToString(sum[:4]) + ")"
}
