package pushrule

import (
	"unicode"
	"unicode/utf8"
)

// appendFold appends s with each character replaced by the one that stands for all of its case variants, in valid
// UTF-8. Two texts are equal but for case exactly if they fold to the same bytes.
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

// foldRune returns the smallest case variant of a rune outside ASCII that is outside ASCII too.
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

// isCaseless knows the scripts of East Asia and the emoji, where asking the tables for each rune would make the
// folding of a long body slow.
func isCaseless(r rune) bool {
	return 0x2E80 <= r && r < 0xA640 || 0xAC00 <= r && r < 0xFB00 || 0x1F000 <= r
}
