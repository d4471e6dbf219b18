package pushrule

import (
	"bytes"
	"hash/maphash"
)

// seed makes the hashes of words ours alone, so that no sender can choose words that collide.
var seed = maphash.MakeSeed() //nolint:gochecknoglobals // made once, never changed

func isWordByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
}

// isBoundary reports whether a stretch of text may start or end at pos: everywhere but between two word characters.
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

// word is a run of word characters of a pattern or a name, with its hash and where it starts there.
type word struct {
	text  []byte
	hash  uint32
	start int
}

func newWord(text []byte, start, end int) word {
	return word{text[start:end], hashWord(text[start:end]), start}
}

// wordSet holds the words of one folded text with all their places: an open hash table, at most half full.
type wordSet struct {
	text   []byte
	table  []wordSlot
	places []place
}

// wordSlot is a word of the text; one with count == 0 is empty.
type wordSlot struct {
	hash  uint32
	count uint32 // of its places
	last  uint32 // of its places
}

// place is where a word stands in the text, and which place of the same word comes before it, if one does.
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

// usualWordBytes is how many bytes of text there are for each word, or more.
const usualWordBytes = 5

// find returns the word's slot, or the empty one where it would stand.
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

// has reports whether the text has the word.
func (s *wordSet) has(w word) bool { return s.find(w.hash, w.text).count > 0 }

// hasPhrase reports whether a phrase stands between word boundaries in the text, given one of its words. It looks only
// at that word's places.
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

// rarer returns of two words the one with fewer places; the zero word has the most.
func (s *wordSet) rarer(a, b word) word {
	if a.text == nil || b.text != nil && s.find(b.hash, b.text).count < s.find(a.hash, a.text).count {
		return b
	}
	return a
}

func hashWord(word []byte) uint32 {
	return uint32(maphash.Bytes(seed, word)) //nolint:gosec // half of a hash is a hash
}
