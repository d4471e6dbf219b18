package pushrule

import (
	"bytes"
)

// glob is a compiled pattern: the segments between its stars. Segments have a fixed number of characters, so in a
// text the first place where the next segment fits leaves the most room for those behind it: taking that place is
// never wrong, and no choice is ever taken back. The whole match is one walk along the text.
//
//	"ab*c?d*"  →  [ab] [c?d] []      the first segment is bound to the start, the last to the end
type glob struct {
	segments []segment
	word     []byte // a word every matching body has, nil if unknown
	hash     uint32 // of word
	isWord   bool   // the pattern is just that word
}

// newGlob compiles a pattern, to be matched against folded text.
func newGlob(pattern string) glob {
	folded := appendFold(nil, pattern)
	g := glob{word: wholeWord(folded)}
	g.isWord = len(g.word) > 0 && len(g.word) == len(folded)
	g.hash = hashWord(g.word)
	parts := bytes.Split(folded, []byte("*"))
	for i, part := range parts {
		if len(part) > 0 || i == 0 || i == len(parts)-1 {
			g.segments = append(g.segments, newSegment(part, true))
		}
	}
	return g
}

// wholeWord returns the pattern's longest word that must stand as a word in any text it matches: one that no
// wildcard touches.
func wholeWord(folded []byte) []byte {
	var longest []byte
	wild := func(pos int) bool {
		return 0 <= pos && pos < len(folded) && (folded[pos] == '*' || folded[pos] == '?')
	}
	for start, end := nextWord(folded, 0); start < len(folded); start, end = nextWord(folded, end) {
		if end-start > len(longest) && !wild(start-1) && !wild(end) {
			longest = folded[start:end]
		}
	}
	return longest
}

// matchWhole tells whether the pattern is the whole of text.
func (g *glob) matchWhole(text []byte) bool {
	first, last := &g.segments[0], &g.segments[len(g.segments)-1]
	pos, ok := first.at(text, 0)
	if len(g.segments) == 1 || !ok {
		return ok && pos == len(text)
	}
	tail, ok := last.startFromEnd(text)
	if !ok || tail < pos {
		return false
	}
	for i := 1; i < len(g.segments)-1; i++ {
		if pos, ok = g.segments[i].find(text[:tail], pos, unbound); !ok {
			return false
		}
	}
	return true
}

// matchWords tells whether the pattern matches a stretch of the body between two word boundaries.
func (g *glob) matchWords(b *body) bool {
	if g.word != nil && !b.words().has(g.hash, g.word) {
		return false
	}
	return g.isWord || g.matchStretch(b.text)
}

func (g *glob) matchStretch(text []byte) bool {
	pos, end := 0, len(g.segments)-1
	for i := range g.segments {
		var where bound
		if i == 0 {
			where |= startBound
		}
		if i == end {
			where |= endBound
		}
		if len(g.segments[i].text) == 0 {
			continue // a star, or nothing at all, reaches the start or the end of the text
		}
		var ok bool
		if pos, ok = g.segments[i].find(text, pos, where); !ok {
			return false
		}
	}
	return true
}
