package lab

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"
)

func TestCanary(t *testing.T) {
	const token = "abcdef.0123456789abcdef"
	key := "-----BEGIN EC PRIVATE KEY-----\n" + strings.Repeat("Zm9v", 16) + "\n-----END EC PRIVATE KEY-----\n"
	tests := []struct {
		name, output string
		found        bool
	}{
		{"nothing", "", false},
		{"a digest", "(sensitive, sha256:1a2b3c4d)", false},
		{"the token's public half", "token abcdef", false},
		{"a key's frame", "-----BEGIN EC PRIVATE KEY-----", false},
		{"the token", "using token " + token + ".", true},
		{"the token in base64", base64.StdEncoding.EncodeToString([]byte(token)), true},
		{"the token in hex", hex.EncodeToString([]byte(token)), true},
		{"a line of the key", "data: " + strings.Repeat("Zm9v", 16), true},
		{"the key in base64, as in a kubeconfig", base64.StdEncoding.EncodeToString([]byte(key)), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var c Canary
			c.Saw("here", tt.output)
			c.Add("token", token) // a secret counts even when it is learnt later
			c.Add("key", key)
			err := c.Check()
			if (err != nil) != tt.found {
				t.Fatalf("Check() = %v, want found %t", err, tt.found)
			}
			if err != nil && (!strings.Contains(err.Error(), "here") || strings.Contains(err.Error(), token)) {
				t.Errorf("the error must name the place and not the secret: %v", err)
			}
		})
	}
}
