package migrate

import "regexp"

// Redact hides what looks like a secret in a text: bootstrap tokens,
// certificate keys, long base64 and passwords in URLs. Digests stay.
func Redact(text string) string {
	secret := regexp.MustCompile(`\b([a-z0-9]{6})\.[a-z0-9]{16}\b|sha256:[0-9a-fA-F]{64}|://[^/\s@]*:[^/\s@]*@|[0-9a-fA-F]{64,}|[A-Za-z0-9+/]{80,}=*`)
	return secret.ReplaceAllStringFunc(text, func(match string) string {
		switch {
		case len(match) > 7 && match[:7] == "sha256:":
			return match
		case match[0] == ':':
			return "://(sensitive)@"
		case len(match) == 23 && match[6] == '.':
			return match[:6] + ".(sensitive)"
		}
		return "(sensitive)"
	})
}
