package match

import (
	"bytes"
	"hash/maphash"
	"slices"
	"time"

	"github.com/tidwall/gjson"

	"poked/events"
	"poked/events/stream"
)

// timelineLimit is how many of a room's newest events are remembered.
const timelineLimit = 1024

// timeline remembers the sequences of a room's newest events, because receipts, redactions
// and relations name events by id. Older events are in the archive. The goroutine that owns
// the room owns its timeline.
type timeline struct {
	from  uint64        // it knows everything that ROOMS holds of the room from here on
	marks []mark        // by sequence
	spans []stream.Span // see wrote: for each mark one of each stream of NOTIFICATIONS, or empty
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

// wrote records where the messages of NOTIFICATIONS are that the event at a sequence caused.
func (t *timeline) wrote(seq uint64, spans []stream.Span) {
	i, found := slices.BinarySearchFunc(t.marks, seq, bySeq)
	if !found {
		return
	}
	if len(t.spans) == 0 {
		t.spans = make([]stream.Span, len(t.marks)*len(spans))
	}
	copy(t.spans[i*len(spans):], spans)
}

// spansOf returns what wrote recorded, or nil.
func (t *timeline) spansOf(seq uint64) []stream.Span {
	i, found := slices.BinarySearchFunc(t.marks, seq, bySeq)
	if !found {
		return nil
	}
	n := t.stride()
	return slices.Clone(t.spans[i*n : (i+1)*n])
}

// stride returns how many spans each mark has.
func (t *timeline) stride() int { return len(t.spans) / max(len(t.marks), 1) }

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
	n := t.stride()
	t.marks, t.spans = append(t.marks, k), append(t.spans, make([]stream.Span, n)...)
	// A quarter more than necessary, so that it is seldom.
	if extra := len(t.marks) - timelineLimit; extra > 0 {
		extra += timelineLimit / 4
		t.marks, t.spans = slices.Delete(t.marks, 0, extra), slices.Delete(t.spans, 0, extra*n)
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
		*r = append(*r, copyOf(p.root))
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
