package pushrule

import (
	"bytes"
	"hash/maphash"
)

// seed makes word hashes unpredictable, so that no sender can choose words that collide.
var seed = maphash.MakeSeed() //nolint:gochecknoglobals // made once, never changed

func isWordByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}

// isBoundary reports whether pos is a word boundary: every position except those between two word characters.
func isBoundary(text []byte, pos int) bool {
	return pos == 0 || pos == len(text) || !isWordByte(text[pos-1]) || !isWordByte(text[pos])
}

// nextWord returns the first run of word characters at or after from, or start == len(text).
func nextWord(text []byte, from int) (start, end int) {
	for start = from; start < len(text) && !isWordByte(text[start]); start++ {
	}
	for end = start; end < len(text) && isWordByte(text[end]); end++ {
	}
	return start, end
}

// word is a run of word characters in a pattern or a name, with its hash and its start.
type word struct {
	text  []byte
	hash  uint32
	start int
}

func newWord(text []byte, start, end int) word {
	return word{text[start:end], hashWord(text[start:end]), start}
}

// wordSet holds the words of a folded text and all their occurrences, in an open-addressing hash table that is at
// most half full.
type wordSet struct {
	text   []byte
	table  []wordSlot
	places []place
}

// wordSlot is a word of the text; count is 0 in an empty slot.
type wordSlot struct {
	hash  uint32
	count uint32 // number of occurrences
	last  uint32 // its last occurrence
}

// place is an occurrence of a word; before is the index of the previous one, if count says that there is one.
type place struct{ start, end, before uint32 }

func newWordSet(text []byte) *wordSet {
	set := &wordSet{text: text, places: make([]place, 0, len(text)/usualWordBytes+1)}
	for start, end := nextWord(text, 0); start < len(text); start, end = nextWord(text, end) {
		set.places = append(set.places, place{start: uint32(start), end: uint32(end)}) //nolint:gosec // an event is far smaller than 4 GiB
	}
	size := 8
	for size < 2*len(set.places) {
		size *= 2
	}
	set.table = make([]wordSlot, size)
	for i := range set.places {
		p := &set.places[i]
		hash := hashWord(text[p.start:p.end])
		slot := set.find(hash, text[p.start:p.end])
		p.before = slot.last
		*slot = wordSlot{hash, slot.count + 1, uint32(i)}
	}
	return set
}

// usualWordBytes is the usual number of bytes of text for each word.
const usualWordBytes = 5

// find returns the word's slot, or the empty slot where it belongs.
func (s *wordSet) find(hash uint32, text []byte) *wordSlot {
	for i := hash; ; i++ {
		slot := &s.table[i&uint32(len(s.table)-1)] //nolint:gosec // a table is far smaller than 4 Gi
		if slot.count == 0 {
			return slot
		}
		if p := &s.places[slot.last]; slot.hash == hash && bytes.Equal(s.text[p.start:p.end], text) {
			return slot
		}
	}
}

// has reports whether the text contains the word.
func (s *wordSet) has(w word) bool { return s.find(w.hash, w.text).count > 0 }

// hasPhrase reports whether the text contains a phrase between word boundaries. It examines only the occurrences of
// w, one of its words.
func (s *wordSet) hasPhrase(phrase []byte, w word) bool {
	slot := s.find(w.hash, w.text)
	at := slot.last
	for range slot.count {
		p := &s.places[at]
		start := int(p.start) - w.start
		if start >= 0 && bytes.HasPrefix(s.text[start:], phrase) &&
			(startBound|endBound).holds(s.text, start, start+len(phrase)) {
			return true
		}
		at = p.before
	}
	return false
}

// rarer returns the word that occurs less often; the zero word counts as the most frequent.
func (s *wordSet) rarer(a, b word) word {
	if a.text == nil || b.text != nil && s.find(b.hash, b.text).count < s.find(a.hash, a.text).count {
		return b
	}
	return a
}

func hashWord(word []byte) uint32 {
	return uint32(maphash.Bytes(seed, word)) //nolint:gosec // half of a hash is a good hash, too
}
