package pushrule

import (
	"bytes"
)

// glob is a compiled pattern: the segments between its stars. Each segment has a fixed number of characters, so
// taking the first match of a segment leaves the most text for the following ones. That is always right, so the match
// never backtracks and reads the text once.
//
//	"ab*c?d*"  →  [ab] [c?d] []      the first segment is anchored at the start, the last at the end
type glob struct {
	segments []segment
	words    []word // that every matching body contains
	isWord   bool   // the pattern is a single word
	isPhrase bool   // it has words, no wildcards, and is short enough to compare at each occurrence of a word
}

// newGlob compiles a pattern for matching folded text.
func newGlob(pattern string) glob {
	folded := appendFold(nil, pattern)
	g := glob{words: wholeWords(folded)}
	g.isWord = len(g.words) == 1 && len(g.words[0].text) == len(folded)
	parts := bytes.Split(folded, []byte("*"))
	for i, part := range parts {
		if len(part) > 0 || i == 0 || i == len(parts)-1 {
			g.segments = append(g.segments, newSegment(part, true))
		}
	}
	g.isPhrase = len(g.words) > 0 && len(g.segments) == 1 && g.segments[0].slow == nil
	return g
}

// wholeWords returns the words that every matching text must contain as whole words: those not adjacent to a
// wildcard.
func wholeWords(folded []byte) []word {
	var words []word
	wild := func(pos int) bool {
		return 0 <= pos && pos < len(folded) && (folded[pos] == '*' || folded[pos] == '?')
	}
	for start, end := nextWord(folded, 0); start < len(folded); start, end = nextWord(folded, end) {
		if !wild(start-1) && !wild(end) {
			words = append(words, newWord(folded, start, end))
		}
	}
	return words
}

// matchWhole reports whether the pattern matches all of text.
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

// matchWords reports whether the pattern matches a part of the body between two word boundaries.
func (g *glob) matchWords(b *body) bool {
	var rarest word
	for _, w := range g.words {
		if !b.words().has(w) {
			return false
		}
		if g.isPhrase {
			rarest = b.words().rarer(rarest, w)
		}
	}
	switch {
	case g.isWord:
		return true
	case g.isPhrase:
		return b.words().hasPhrase(g.segments[0].text, rarest)
	}
	return g.matchStretch(b.text)
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
			continue // a star, or an empty pattern, reaches the start or the end of the text
		}
		var ok bool
		if pos, ok = g.segments[i].find(text, pos, where); !ok {
			return false
		}
	}
	return true
}
