package pushrule

import "unicode/utf8"

// automaton searches for a segment, which may contain single-character wildcards, by the shift-and method: bit i of
// its state is set if the segment's bytes up to i match the text that ends here. Each byte of text costs one step for
// every 64 bytes of segment, whatever the text contains.
//
// Text is UTF-8 and a ? matches one character, so the first byte of a character sets the bit of the ? and its other
// bytes keep it.
type automaton struct {
	class  [256]uint8 // byte → its class; bytes that the segment treats alike share one
	fits   []uint64   // class*words + word → positions that a byte of the class matches
	wild   []uint64   // positions that are a ?
	words  int
	length int
}

// The bytes that do not occur in the segment form two classes; each of the others has its own.
const (
	otherFirst        = 0 // first byte of a character
	otherContinuation = 1
	firstOwn          = 2
)

// stackWords is the size of the state, in words, up to which find does not allocate: segments of up to 256 bytes.
const stackWords = 4

// newAutomaton compiles a segment. If wildcards is true, a ? in it matches any character.
func newAutomaton(segment []byte, wildcards bool) *automaton {
	a := &automaton{words: (len(segment) + 63) / 64, length: len(segment)}
	classes := a.classify(segment)
	a.fits = make([]uint64, classes*a.words)
	a.wild = make([]uint64, a.words)
	for i, c := range segment {
		word, bit := i/64, uint64(1)<<(i%64)
		if c != '?' || !wildcards {
			a.fits[int(a.class[c])*a.words+word] |= bit
			continue
		}
		a.wild[word] |= bit
		for b := range 256 {
			if utf8.RuneStart(byte(b)) {
				a.fits[int(a.class[b])*a.words+word] |= bit
			}
		}
	}
	return a
}

// classify assigns a class to every byte and returns the number of classes. UTF-8 uses fewer than 250 byte values, so
// they fit into a uint8.
func (a *automaton) classify(segment []byte) int {
	for b := range 256 {
		if !utf8.RuneStart(byte(b)) {
			a.class[b] = otherContinuation
		}
	}
	next := firstOwn
	for _, c := range segment {
		if a.class[c] < firstOwn {
			a.class[c] = uint8(next)
			next++
		}
	}
	return next
}

// find returns the end of the first match that begins at or after from.
func (a *automaton) find(text []byte, from int, where bound) (end int, ok bool) {
	var stack [stackWords]uint64
	state := stack[:]
	if a.words > stackWords {
		state = make([]uint64, a.words)
	}
	for i := from; i < len(text); i++ {
		a.step(state, text[i], where&startBound == 0 || isBoundary(text, i))
		if a.accepts(state) && (i+1 == len(text) || utf8.RuneStart(text[i+1])) &&
			(where&endBound == 0 || isBoundary(text, i+1)) {
			return i + 1, true
		}
	}
	return 0, false
}

// step advances the state by one byte; mayStart reports whether the segment may begin with it.
func (a *automaton) step(state []uint64, c byte, mayStart bool) {
	var carry uint64
	if mayStart {
		carry = 1
	}
	fits := a.fits[int(a.class[c])*a.words:]
	for w := range a.words {
		old := state[w]
		state[w] = (old<<1 | carry) & fits[w]
		if !utf8.RuneStart(c) {
			state[w] |= old & a.wild[w]
		}
		carry = old >> 63
	}
}

func (a *automaton) accepts(state []uint64) bool {
	last := a.length - 1
	return state[last/64]>>(last%64)&1 == 1
}
