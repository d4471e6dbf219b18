package partition

import (
	"slices"
	"sort"
	"sync"
)

// window is the messages that a follower has taken and not finished, in stream order. It
// is safe for concurrent use, because messages are finished from other goroutines.
type window struct {
	mu      sync.Mutex
	next    uint64       // newest sequence taken
	entries []windowItem // ordered by sequence; the first is not done
	head    int          // index of the first live entry
	done    int          // of the live entries, how many are done
	undone  int
	changed bool // since the last position was taken
	wake    chan struct{}
}

type windowItem struct {
	seq   uint64
	taken bool // false for what a predecessor left open and was not received again
	done  bool
}

// newWindow begins with what the position leaves open: every later position names these
// sequences until they are received again and done.
func newWindow(pos Position) *window {
	w := &window{next: pos.Next, wake: make(chan struct{}, 1)}
	for _, seq := range pos.Open {
		w.entries = append(w.entries, windowItem{seq: seq})
	}
	return w
}

// take adds a message. Messages that a predecessor left open arrive first, and are before
// next.
func (w *window) take(seq uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.undone++
	if item := w.find(seq); item != nil {
		item.taken = true
		return
	}
	w.entries = append(w.entries, windowItem{seq: seq, taken: true})
	w.next = max(w.next, seq)
}

// find returns the entry of a sequence, or nil.
func (w *window) find(seq uint64) *windowItem {
	live := w.entries[w.head:]
	i := sort.Search(len(live), func(i int) bool { return live[i].seq >= seq })
	if i < len(live) && live[i].seq == seq {
		return &live[i]
	}
	return nil
}

// finish marks a message as done. It returns at once and may be called from any
// goroutine. A sequence that is not in the window is ignored.
func (w *window) finish(seq uint64) {
	w.mu.Lock()
	if item := w.find(seq); item != nil && !item.done {
		item.done = true
		w.done++
		if item.taken {
			w.undone--
		}
		w.changed = true
		w.trim()
	}
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default: // a wake-up is waiting already
	}
}

// trim drops the finished prefix. If most entries are finished it drops all of these: one
// message that stays open for long must not keep the ones after it in memory.
func (w *window) trim() {
	for w.head < len(w.entries) && w.entries[w.head].done {
		w.head++
		w.done--
	}
	switch live := w.entries[w.head:]; {
	case w.done > len(live)/2:
		live = slices.DeleteFunc(live, func(item windowItem) bool { return item.done })
		n := copy(w.entries, live)
		w.entries, w.head, w.done = w.entries[:n], 0, 0
	case w.head > len(w.entries)/2:
		n := copy(w.entries, live)
		w.entries, w.head = w.entries[:n], 0
	}
}

// open returns how many messages were taken and are not done.
func (w *window) open() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.undone
}

// dirty reports whether the position differs from the one returned last.
func (w *window) dirty() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// position returns the position to be written.
func (w *window) position() Position {
	w.mu.Lock()
	defer w.mu.Unlock()
	pos := Position{Next: w.next}
	for _, item := range w.entries[w.head:] {
		if !item.done {
			pos.Open = append(pos.Open, item.seq)
		}
	}
	w.changed = false
	return pos
}

// touch marks the position as changed, because the last one was not stored.
func (w *window) touch() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changed = true
}
