package pushrule

import "slices"

// arena is memory for what an event caches. The next event uses it again.
type arena struct {
	objects []*members
	used    int    // of objects
	folded  []byte // texts, one after another
}

const (
	// keptEntries bounds the members of an object whose memory is kept, keptObjects the objects, and keptText the text:
	// nearly all events have less.
	keptEntries = fewEntries
	keptObjects = 8
	keptText    = 4 << 10
)

// reset makes all memory free. What was in it can be collected.
func (a *arena) reset() {
	a.objects = slices.DeleteFunc(a.objects, func(m *members) bool { return cap(m.nodes) > keptEntries })
	a.objects = a.objects[:min(len(a.objects), keptObjects)]
	for _, m := range a.objects {
		clear(m.names)
		clear(m.nodes)
		m.names, m.nodes = m.names[:0], m.nodes[:0]
	}
	a.used = 0
	if a.folded = a.folded[:0]; cap(a.folded) > keptText {
		a.folded = nil
	}
}

// members returns an object without members.
func (a *arena) members() *members {
	if a.used == len(a.objects) {
		a.objects = append(a.objects, &members{names: make([]string, 0, usualEntries), nodes: make([]node, 0, usualEntries)})
	}
	a.used++
	return a.objects[a.used-1]
}

// fold returns a folded text, which is not nil.
func (a *arena) fold(text string) []byte {
	start := len(a.folded)
	a.folded = appendFold(slices.Grow(a.folded, len(text)+1), text)
	return a.folded[start:len(a.folded):len(a.folded)]
}
