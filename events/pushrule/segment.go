package pushrule

import (
	"bytes"
	"unicode/utf8"
)

// bound selects which ends of a match must be word boundaries.
type bound uint8

const (
	unbound    bound = 0
	startBound bound = 1
	endBound   bound = 2
)

func (b bound) holds(text []byte, start, end int) bool {
	return (b&startBound == 0 || isBoundary(text, start)) && (b&endBound == 0 || isBoundary(text, end))
}

// segment is the part of a pattern between two stars, folded.
type segment struct {
	text   []byte
	isWild bool       // it contains a ?
	slow   *automaton // searches at bounded cost; nil if bytes.Index does so as well
}

// longLiteral is the length in bytes from which a call of bytes.Index may cost more than the distance that it
// advances, so that repeating it after each match without word boundaries is no longer linear.
const longLiteral = 32

// newSegment compiles a segment. If wildcards is true, a ? in it matches any character.
func newSegment(text []byte, wildcards bool) segment {
	s := segment{text: text, isWild: wildcards && bytes.IndexByte(text, '?') >= 0}
	if s.isWild || len(text) >= longLiteral {
		s.slow = newAutomaton(text, s.isWild)
	}
	return s
}

// at matches the segment at pos and returns where it ends.
func (s *segment) at(text []byte, pos int) (end int, ok bool) {
	if !s.isWild {
		return pos + len(s.text), bytes.HasPrefix(text[pos:], s.text)
	}
	for _, c := range s.text {
		if pos == len(text) {
			return 0, false
		}
		size := 1
		if c == '?' {
			_, size = utf8.DecodeRune(text[pos:])
		} else if c != text[pos] {
			return 0, false
		}
		pos += size
	}
	return pos, true
}

// startFromEnd matches the segment at the end of the text and returns where it starts.
func (s *segment) startFromEnd(text []byte) (start int, ok bool) {
	start = len(text)
	for range utf8.RuneCount(s.text) {
		if start == 0 {
			return 0, false
		}
		_, size := utf8.DecodeLastRune(text[:start])
		start -= size
	}
	end, ok := s.at(text, start)
	return start, ok && end == len(text)
}

// find returns the end of the first match of the non-empty segment that begins at or after from.
func (s *segment) find(text []byte, from int, where bound) (end int, ok bool) {
	if s.isWild {
		return s.slow.find(text, from, where)
	}
	for {
		i := bytes.Index(text[from:], s.text)
		if i < 0 {
			return 0, false
		}
		start := from + i
		if where.holds(text, start, start+len(s.text)) {
			return start + len(s.text), true
		}
		from = start + 1
		if s.slow != nil {
			return s.slow.find(text, from, where)
		}
	}
}
