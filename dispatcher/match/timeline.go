package match

import (
	"bytes"
	"hash/maphash"
	"slices"
	"time"

	"github.com/tidwall/gjson"

	"poked/events"
)

// timelineLimit is how many of a room's newest events are remembered.
const timelineLimit = 1024

// timeline remembers the sequences of a room's newest events, because receipts, redactions
// and relations name events by id. Older events are in the archive. The goroutine that owns
// the room owns its timeline.
type timeline struct {
	from  uint64 // it knows everything that ROOMS holds of the room from here on
	marks []mark // by sequence
	roots roots
}

// mark is one event of a room.
type mark struct {
	id     uint64 // hash of the event id
	seq    uint64 // in ROOMS
	at     uint32 // when it was stored, in seconds since the Unix epoch
	thread uint16 // its number in roots; 0 for the main timeline
	silent bool   // it certainly notified nobody
	past   bool   // it was published as historical, and may yet be published live
}

// idSeed prevents a sender from choosing ids whose hashes collide.
var idSeed = maphash.MakeSeed() //nolint:gochecknoglobals // it never changes

func hashOf(id events.EventID) uint64 { return maphash.String(idSeed, string(id)) }

// since returns a time at or before which the event was not stored yet, to the second.
func (k mark) since() time.Time { return time.Unix(int64(k.at), 0) }

// find returns the mark of an event.
func (t *timeline) find(id events.EventID) (mark, bool) {
	hash := hashOf(id)
	for _, k := range slices.Backward(t.marks) {
		if k.id == hash {
			return k, true
		}
	}
	return mark{}, false
}

// add adds an event that is newer than all others; one that is delivered again changes
// nothing.
func (t *timeline) add(id events.EventID, seq uint64, at time.Time, thread events.EventID) {
	t.append(mark{id: hashOf(id), seq: seq, at: uint32(at.Unix()), thread: t.roots.number(thread)}) //nolint:gosec // until 2106
}

// addPast adds an event that was published as historical, unless it is known already.
func (t *timeline) addPast(id events.EventID, seq uint64, at time.Time, thread events.EventID) {
	if _, known := t.find(id); !known {
		t.append(mark{id: hashOf(id), seq: seq, at: uint32(at.Unix()), thread: t.roots.number(thread), silent: true, past: true}) //nolint:gosec // until 2106
	}
}

// notified records whether the event at a sequence notified anybody. When it is matched
// again, by newer rules, the answer may change.
func (t *timeline) notified(seq uint64, anybody bool) {
	if i, found := slices.BinarySearchFunc(t.marks, seq, bySeq); found {
		t.marks[i].silent = !anybody
	}
}

func bySeq(k mark, seq uint64) int {
	switch {
	case k.seq < seq:
		return -1
	case k.seq > seq:
		return 1
	}
	return 0
}

func (t *timeline) append(k mark) {
	if n := len(t.marks); n > 0 && t.marks[n-1].seq >= k.seq {
		return
	}
	t.marks = append(t.marks, k)
	// A quarter more than necessary, so that it is seldom.
	if extra := len(t.marks) - timelineLimit; extra > 0 {
		t.marks = slices.Delete(t.marks, 0, extra+timelineLimit/4)
		t.from = t.marks[0].seq
	}
}

// roots numbers the threads of a room by their root events, so that a mark can name one in
// two bytes.
type roots []events.EventID

// maxThreads is how many threads of a room are distinguished; events in any more count as
// in the main timeline.
const maxThreads = 1 << 12

// number returns the number of a thread, from 1 on, or 0 for the main timeline.
func (r *roots) number(root events.EventID) uint16 {
	if root == "" {
		return 0
	}
	if i := slices.Index(*r, root); i >= 0 {
		return uint16(i + 1) //nolint:gosec // at most maxThreads
	}
	if len(*r) == maxThreads {
		return 0
	}
	*r = append(*r, root)
	return uint16(len(*r)) //nolint:gosec // at most maxThreads
}

func (r roots) root(number uint16) events.EventID {
	if number == 0 {
		return ""
	}
	return r[number-1]
}

// threadOf returns the root of the thread that an event belongs to, or "" for the main
// timeline. It is named by the event's own relation or, if the event is a reaction, an edit
// or another child, it is the thread of its parent (Matrix specification, "Threading"),
// which known returns.
func threadOf(content []byte, known func(events.EventID) events.EventID) events.EventID {
	if !bytes.Contains(content, []byte("m.relates_to")) {
		return ""
	}
	relation := gjson.GetBytes(content, `m\.relates_to`)
	target := relation.Get("event_id")
	if target.Type != gjson.String || len(target.Str) > events.MaxIDBytes {
		return ""
	}
	switch relation.Get("rel_type").Str {
	case "m.thread":
		return events.EventID(target.Str)
	case "m.annotation", "m.replace", "m.reference":
		return known(events.EventID(target.Str))
	}
	return ""
}
