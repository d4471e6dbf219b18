package pushrule

import (
	"unicode"
	"unicode/utf8"
)

// appendFold appends s in valid UTF-8 with each character replaced by one representative of its case variants. Two
// texts fold to the same bytes if and only if they differ only in case.
func appendFold(dst []byte, s string) []byte {
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			dst = append(dst, c)
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		dst = utf8.AppendRune(dst, foldRune(r))
		i += size
	}
	return dst
}

// foldRune returns the smallest non-ASCII case variant of a non-ASCII rune.
func foldRune(r rune) rune {
	if isCaseless(r) {
		return r
	}
	least := r
	for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
		if next >= utf8.RuneSelf && next < least {
			least = next
		}
	}
	return least
}

// isCaseless reports whether a rune belongs to the East Asian scripts or the emoji, for which looking up each rune in
// the tables would make folding a long body slow.
func isCaseless(r rune) bool {
	return 0x2E80 <= r && r < 0xA640 || 0xAC00 <= r && r < 0xFB00 || 0x1F000 <= r
}
