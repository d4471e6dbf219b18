package partition

import (
	"slices"
	"sort"
	"sync"
	"time"

	"poked/events/stream"
	"poked/events/wait"
)

// refreshAfter is how many messages of NOTIFICATIONS a stored position may leave to a
// successor to read in addition to those since the messages that are open.
const refreshAfter = 1 << 14

// window is the messages that a follower has taken and not finished, in stream order. It
// is safe for concurrent use, because messages are finished from other goroutines.
type window struct {
	mu      sync.Mutex
	next    uint64         // newest sequence taken
	nextAt  time.Time      // when its message was stored; zero if that is not known
	log     stream.LogMark // Position.Log as of the messages that are not taken yet
	entries []windowItem   // ordered by sequence; the first is not done
	head    int            // index of the first live entry
	done    int            // of the live entries, how many are done
	undone  int
	stored  stream.LogMark // Log of the last position that was taken
	changed bool           // since the last position was taken
	wake    chan struct{}  // receives when a message is done
	changes chan struct{}  // receives when the position has changed
}

type windowItem struct {
	seq   uint64
	log   stream.LogMark // Position.Log as of this message
	taken bool           // false for what a predecessor left open and was not received again
	wrote bool           // everything that it causes by now is stored
	done  bool
	parts []byte // see [Position.Parts]
}

// newWindow begins with what the position leaves open: every later position names these
// sequences until they are received again and done.
func newWindow(pos Position) *window {
	w := &window{next: pos.Next, nextAt: pos.At, log: pos.Log, wake: make(chan struct{}, 1), changes: make(chan struct{}, 1)}
	for _, seq := range pos.Open {
		_, wrote := slices.BinarySearch(pos.Wrote, seq)
		w.entries = append(w.entries, windowItem{seq: seq, log: pos.Log, wrote: wrote, parts: pos.Parts[seq]})
	}
	return w
}

// take adds a message that was stored at a time. What it causes is written after a place in NOTIFICATIONS.
// Messages that a predecessor left open arrive first, are before next, and keep what the
// predecessor knew of them.
func (w *window) take(seq uint64, log stream.LogMark, at time.Time) (wrote bool, parts []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.undone++
	if item := w.find(seq); item != nil {
		item.taken = true
		return item.wrote, slices.Clone(item.parts)
	}
	w.entries = append(w.entries, windowItem{seq: seq, log: log, taken: true})
	if seq > w.next {
		w.next, w.nextAt = seq, at
	}
	return false, nil
}

// wrote records that everything is stored that an open message causes by now.
func (w *window) wrote(seq uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if item := w.find(seq); item != nil && !item.wrote {
		item.wrote, w.changed = true, true
		w.note()
	}
}

// logOf returns after which place in NOTIFICATIONS everything is that an open message has
// caused.
func (w *window) logOf(seq uint64) stream.LogMark {
	w.mu.Lock()
	defer w.mu.Unlock()
	if item := w.find(seq); item != nil {
		return item.log
	}
	return w.log
}

// advance records that what later messages cause will be written after a place in
// NOTIFICATIONS. If it is far beyond the one in the stored position, the position is stored
// again, so that a successor need not read all that lies between.
func (w *window) advance(log stream.LogMark) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = log
	if log.IsBeyond(w.stored, refreshAfter) {
		w.changed = true
		w.note()
	}
}

// cut records where NOTIFICATIONS ends: it may have lost what followed, as after a power cut,
// and numbers new messages from there.
func (w *window) cut(end stream.LogMark) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log.Lower(end)
	for i := range w.entries {
		w.entries[i].log.Lower(end)
	}
}

// rewind forgets what a predecessor took after a sequence, before anything is taken.
func (w *window) rewind(after uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.next > after {
		w.next, w.nextAt = after, time.Time{}
	}
	w.entries = slices.DeleteFunc(w.entries, func(item windowItem) bool { return item.seq > after })
	w.changed = true
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
	w.note()
	w.wakeUp()
}

// wakeUp wakes the follower up.
func (w *window) wakeUp() {
	wait.Wake(w.wake)
}

// note tells the saver that the position has changed.
func (w *window) note() {
	wait.Wake(w.changes)
}

// finishPart marks one of the users of an open message as done.
func (w *window) finishPart(seq uint64, index int) {
	w.mu.Lock()
	if item := w.find(seq); item != nil && !item.done {
		for len(item.parts) <= index/8 {
			item.parts = append(item.parts, 0)
		}
		item.parts[index/8] |= 1 << (index % 8)
		w.changed = true
	}
	w.mu.Unlock()
	w.note()
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
	pos := Position{Next: w.next, At: w.nextAt, Log: slices.Clone(w.log)}
	for _, item := range w.entries[w.head:] {
		switch {
		case item.done:
			continue
		case item.wrote:
			pos.Wrote = append(pos.Wrote, item.seq)
		default:
			pos.Log.Lower(item.log)
		}
		pos.Open = append(pos.Open, item.seq)
		if item.parts != nil {
			if pos.Parts == nil {
				pos.Parts = map[uint64][]byte{}
			}
			pos.Parts[item.seq] = slices.Clone(item.parts)
		}
	}
	w.changed, w.stored = false, pos.Log
	return pos
}

// touch marks the position as changed, because the last one was not stored.
func (w *window) touch() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changed = true
	w.note()
}
