package pushrule

import "unicode/utf8"

// automaton finds a segment, also one with single-character wildcards, by keeping the set of all places where the
// segment may have begun as bits (the shift-and method): bit i says that the segment's bytes up to i fit the text
// read so far. A byte of text costs one step for each 64 bytes of segment, whatever came before.
//
// Text is UTF-8 and a ? is one character, so its bit is set by a character's first byte and stays through the
// others.
type automaton struct {
	class  [256]uint8 // byte → its class
	fits   []uint64   // class*words + word → positions a byte of the class fits
	wild   []uint64   // positions that are a ?
	words  int
	length int
}

// Bytes the segment does not have fall into two classes; those it has get one each.
const (
	otherFirst        = 0 // first byte of a character
	otherContinuation = 1
	firstOwn          = 2
)

// stackWords is how many words of state find keeps without allocating: segments to 256 bytes.
const stackWords = 4

// newAutomaton compiles a segment in which, if wildcards, a ? is any character.
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

// classify gives every byte its class and returns how many there are. UTF-8 has fewer than 250 different bytes, so
// they fit.
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

// find returns the end of the first place at or after from where the segment fits.
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

// step reads one byte; mayStart reports whether the segment may begin with it.
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
