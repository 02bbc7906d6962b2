package reconcile

import (
	"crypto/sha256"
	"encoding/hex"
)

// maskBegin tells a masked secret from other values.
const maskBegin = "(sensitive, "

// Mask is the only form in which a secret may leave the data model.
func Mask(secret []byte) string {
	if len(secret) == 0 {
		return maskBegin + "empty)"
	}
	sum := sha256.Sum256(secret)
	return maskBegin + "sha256:" + hex.EncodeToString(sum[:4]) + ")"
}
