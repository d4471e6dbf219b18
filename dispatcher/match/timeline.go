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
	thread uint16 // its place, as roots encode it; 0 for the main timeline
	silent bool   // it certainly notified nobody
	past   bool   // it was published as historical, and may yet be published live

	log   uint64 // a sequence of NOTIFICATIONS before the messages that it caused, or 0
	wrote uint32 // how many messages it caused, or 0 if that is not known
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
func (t *timeline) add(id events.EventID, seq uint64, at time.Time, in place) {
	t.append(mark{id: hashOf(id), seq: seq, at: uint32(at.Unix()), thread: t.roots.encode(in)}) //nolint:gosec // until 2106
}

// addPast adds an event that was published as historical, unless it is known already.
func (t *timeline) addPast(id events.EventID, seq uint64, at time.Time, in place) {
	if _, known := t.find(id); !known {
		t.append(mark{id: hashOf(id), seq: seq, at: uint32(at.Unix()), thread: t.roots.encode(in), silent: true, past: true}) //nolint:gosec // until 2106
	}
}

// notified records whether the event at a sequence notified anybody. When it is matched
// again, by newer rules, the answer may change.
func (t *timeline) notified(seq uint64, anybody bool) {
	if i, found := slices.BinarySearchFunc(t.marks, seq, bySeq); found {
		t.marks[i].silent = !anybody
	}
}

// wrote records which messages of NOTIFICATIONS the event at a sequence caused: this many
// after one.
func (t *timeline) wrote(seq, after uint64, count int) {
	if i, found := slices.BinarySearchFunc(t.marks, seq, bySeq); found {
		t.marks[i].log, t.marks[i].wrote = after, uint32(count) //nolint:gosec // at most one for each user
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

// place is where an event belongs: to the thread of a root event, as the child of a child …
// of an event that names the root, so many steps away. The zero place is the main timeline.
type place struct {
	root events.EventID
	hops uint8 // at most maxHops
}

// maxHops is how many relations an event may be away from one that names the thread's root,
// to belong to the thread (Matrix specification, "Marking notifications as read").
const maxHops = 3

// child returns the place of an event that relates to an event here.
func (p place) child() place {
	if p.root == "" || p.hops == maxHops {
		return place{}
	}
	return place{p.root, p.hops + 1}
}

// roots numbers the threads of a room by their root events, so that a mark can name one,
// with the hops, in two bytes.
type roots []events.EventID

// maxThreads is how many threads of a room are distinguished; events in any more count as
// in the main timeline.
const maxThreads = 1 << 12

// encode returns a place in two bytes: the number of the thread, from 1 on, times four, and
// the hops. It is 0 for the main timeline.
func (r *roots) encode(p place) uint16 {
	if p.root == "" {
		return 0
	}
	i := slices.Index(*r, p.root)
	if i < 0 {
		if len(*r) == maxThreads {
			return 0
		}
		i = len(*r)
		*r = append(*r, p.root)
	}
	return uint16(i+1)<<2 | uint16(p.hops) //nolint:gosec // at most maxThreads
}

func (r roots) decode(encoded uint16) place {
	if encoded == 0 {
		return place{}
	}
	return place{r[encoded>>2-1], uint8(encoded & maxHops)}
}

// placeOf returns where an event belongs. Its own relation names the thread; or the event is
// a reaction, an edit, a vote or another child by a relation of any type, and belongs to the
// thread of its parent, which known returns (Matrix specification, "Threaded read
// receipts"). A rich reply is no such relation.
func placeOf(content []byte, known func(events.EventID) place) place {
	switch kind, target := relationOf(content); {
	case target == "":
		return place{}
	case kind == "m.thread":
		return place{root: target}
	default:
		return known(target).child()
	}
}

// relationOf returns the type and the target of an event's relation, or nothing if it has
// none.
func relationOf(content []byte) (kind string, target events.EventID) {
	if !bytes.Contains(content, []byte("m.relates_to")) {
		return "", ""
	}
	relation := gjson.GetBytes(content, `m\.relates_to`)
	kind, id := relation.Get("rel_type").Str, relation.Get("event_id")
	if kind == "" || id.Type != gjson.String || len(id.Str) > events.MaxIDBytes {
		return "", ""
	}
	return kind, events.EventID(id.Str)
}
