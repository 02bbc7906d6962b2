package cluster

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"regexp"

	"github.com/kubejoin/kubejoin/fault"
)

var tokenForm = regexp.MustCompile(`^([a-z0-9]{6})\.([a-z0-9]{16})$`)

// splitToken gives a bootstrap token's public ID and its secret. The error does
// not repeat the token.
func splitToken(token, field string) (id, secret string, err error) {
	m := tokenForm.FindStringSubmatch(token)
	if m == nil {
		return "", "", fault.New(fault.InvalidConfig, "the token is not of the form [a-z0-9]{6}.[a-z0-9]{16}").At(field)
	}
	return m[1], m[2], nil
}

// detachedJWS signs as the bootstrap signer does: HS256 with the token's
// secret, the payload left out (RFC 7515, appendix F). Behaviour catalogue §0.4.
func detachedJWS(id, secret string, payload []byte) string {
	b64 := base64.RawURLEncoding
	header := b64.EncodeToString([]byte(`{"alg":"HS256","kid":"` + id + `"}`))
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(header + "." + b64.EncodeToString(payload)))
	return header + ".." + b64.EncodeToString(mac.Sum(nil))
}

// signedBy compares in constant time.
func signedBy(id, secret string, payload []byte, signature string) bool {
	return hmac.Equal([]byte(detachedJWS(id, secret, payload)), []byte(signature))
}
