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

// timeline remembers where the newest events of a room stand, for receipts,
// redactions and relations name events by id. What stands before its beginning is
// the archive's. The goroutine that owns the room owns it.
type timeline struct {
	from  uint64 // it knows all that ROOMS holds of the room from here on
	marks []mark // by sequence
	roots roots
}

// mark is one event of a room.
type mark struct {
	id     uint64 // hash of the event id
	seq    uint64 // in ROOMS
	at     uint32 // when it was stored, in seconds since the Unix epoch
	thread uint16 // its thread, numbered by roots; 0 for the main timeline
	silent bool   // it is known to have notified nobody
	past   bool   // it was published as historical, and may come live yet
}

// idSeed keeps a sender from choosing ids that are taken for each other's.
var idSeed = maphash.MakeSeed() //nolint:gochecknoglobals // it never changes

func hashOf(id events.EventID) uint64 { return maphash.String(idSeed, string(id)) }

// since returns a time before which the event was not stored.
func (k mark) since() time.Time { return time.Unix(int64(k.at), 0) }

// find returns where an event stands.
func (t *timeline) find(id events.EventID) (mark, bool) {
	hash := hashOf(id)
	for _, k := range slices.Backward(t.marks) {
		if k.id == hash {
			return k, true
		}
	}
	return mark{}, false
}

// add takes in an event that comes after all others; one that comes a second time
// changes nothing.
func (t *timeline) add(id events.EventID, seq uint64, at time.Time, thread events.EventID) {
	t.append(mark{id: hashOf(id), seq: seq, at: uint32(at.Unix()), thread: t.roots.number(thread)}) //nolint:gosec // until 2106
}

// addPast takes in an event that was published as historical. If it is known to have
// come live, it stands there.
func (t *timeline) addPast(id events.EventID, seq uint64, at time.Time, thread events.EventID) {
	if _, known := t.find(id); !known {
		t.append(mark{id: hashOf(id), seq: seq, at: uint32(at.Unix()), thread: t.roots.number(thread), silent: true, past: true}) //nolint:gosec // until 2106
	}
}

// notified takes in whether the event at a sequence notified anybody. One that is
// matched again may notify by rules that it did not know the first time.
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
	// A few more than need be, so that it is seldom.
	if extra := len(t.marks) - timelineLimit; extra > 0 {
		t.marks = slices.Delete(t.marks, 0, extra+timelineLimit/4)
		t.from = t.marks[0].seq
	}
}

// roots are the threads of a room that its events belong to, which a mark names by
// their number.
type roots []events.EventID

// maxThreads bounds the threads of a room that are told apart by relations.
const maxThreads = 1 << 12

// number returns a thread's number, from 1 on, or 0 for the main timeline.
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

// threadOf returns the root of the thread that an event belongs to, or "" for the
// main timeline: its own relation says so, or that of the event which it is a
// reaction to, an edit of or another child (Matrix specification, "Threading"), whose
// thread known returns.
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
