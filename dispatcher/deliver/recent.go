package deliver

import (
	"cmp"
	"slices"
)

// recent holds the newest notifications of a partition, bounded in bytes: a lane that is only
// a little behind reads them from here. The deliverer's mutex guards it.
type recent struct {
	items []*item // by sequence
	head  int     // index of the oldest
	bytes int
}

// itemBytes is roughly what an item takes in memory beside its message.
const itemBytes = 512

// add adds a notification, and drops the oldest ones beyond a limit in bytes.
func (r *recent) add(it *item, limit int) {
	if n := len(r.items); n > 0 && r.items[n-1].seq >= it.seq {
		return // it was left open by the last owner, or is handled again
	}
	r.items = append(r.items, it)
	r.bytes += it.bytes()
	for r.head < len(r.items) && r.bytes > limit {
		r.bytes -= r.items[r.head].bytes()
		r.items[r.head] = nil
		r.head++
	}
	if r.head > len(r.items)/2 {
		n := copy(r.items, r.items[r.head:])
		clear(r.items[n:])
		r.items, r.head = r.items[:n], 0
	}
}

// get returns the notification at a sequence, or nil.
func (r *recent) get(seq uint64) *item {
	live := r.items[r.head:]
	i, found := slices.BinarySearchFunc(live, seq, func(it *item, seq uint64) int { return cmp.Compare(it.seq, seq) })
	if !found {
		return nil
	}
	return live[i]
}

func (it *item) bytes() int { return itemBytes + len(it.n.Body) + len(it.n.Tweaks) }
