package pushgateway

import "unicode/utf8"

// appendString appends s as a JSON string (RFC 8259, section 7). Each byte that is not
// UTF-8 becomes U+FFFD. U+2028 and U+2029 are escaped for gateways that evaluate JSON
// as JavaScript.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for {
		n := plainLen(s)
		dst = append(dst, s[:n]...)
		if s = s[n:]; s == "" {
			return append(dst, '"')
		}
		r, size := utf8.DecodeRuneInString(s)
		dst = appendEscape(dst, r)
		s = s[size:]
	}
}

// plainLen returns the number of leading bytes of s that need no escaping.
func plainLen(s string) int {
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c < ' ' || c == '"' || c == '\\' {
				return i
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if size == 1 || r == '\u2028' || r == '\u2029' {
			return i
		}
		i += size
	}
	return len(s)
}

// appendEscape appends a rune of the basic multilingual plane as \uXXXX.
func appendEscape(dst []byte, r rune) []byte {
	switch r {
	case '"', '\\':
		return append(dst, '\\', byte(r))
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	}
	const hex = "0123456789abcdef"
	return append(dst, '\\', 'u', hex[r>>12&0xf], hex[r>>8&0xf], hex[r>>4&0xf], hex[r&0xf])
}
