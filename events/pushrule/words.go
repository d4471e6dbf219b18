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

// isBoundary tells whether a stretch of text may start or end at pos: everywhere but between two word characters.
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

// wordSet holds the words of one folded text: an open hash table of their places, at most half full.
type wordSet struct {
	text  []byte
	table []place
}

// place is where a word stands in the text; one with end == 0 is empty, for no word is.
type place struct {
	hash       uint32
	start, end uint32
}

func newWordSet(text []byte) *wordSet {
	count := 0
	for start, end := nextWord(text, 0); start < len(text); start, end = nextWord(text, end) {
		count++
	}
	size := 8
	for size < 2*count {
		size *= 2
	}
	set := &wordSet{text: text, table: make([]place, size)}
	for start, end := nextWord(text, 0); start < len(text); start, end = nextWord(text, end) {
		hash := hashWord(text[start:end])
		if slot := set.find(hash, text[start:end]); slot.end == 0 {
			*slot = place{hash, uint32(start), uint32(end)} //nolint:gosec // an event is far smaller than 4 GiB
		}
	}
	return set
}

// has tells whether the text has the word, given with its hash.
func (s *wordSet) has(hash uint32, word []byte) bool { return s.find(hash, word).end != 0 }

// find returns the word's slot, or the empty one where it would stand.
func (s *wordSet) find(hash uint32, word []byte) *place {
	for i := hash; ; i++ {
		slot := &s.table[i&uint32(len(s.table)-1)] //nolint:gosec // a table is far smaller than 4 Gi
		if slot.end == 0 || slot.hash == hash && bytes.Equal(s.text[slot.start:slot.end], word) {
			return slot
		}
	}
}

func hashWord(word []byte) uint32 {
	return uint32(maphash.Bytes(seed, word)) //nolint:gosec // half of a hash is a hash
}
