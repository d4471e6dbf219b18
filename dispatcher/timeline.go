package dispatcher

import (
	"bytes"
	"context"
	"hash/maphash"
	"slices"
	"time"

	"github.com/tidwall/gjson"

	"poked/events"
	"poked/events/wait"
)

// timelineLimit is how many of a room's newest events are remembered.
const timelineLimit = 1024

// timeline remembers where the newest events of a room stand, for receipts,
// redactions and relations name events by id. What it does not remember stands in
// ROOMS. The goroutine that owns the room owns it.
type timeline struct {
	seed    maphash.Seed
	marks   []mark           // by sequence
	threads []events.EventID // roots that marks refer to
	filled  span             // how far back it knows all that ROOMS holds
	past    map[uint64]bool  // hashes of events that are known and not remembered, once all is filled
}

// span is how much of ROOMS a timeline has been filled from. Most of what is asked
// for is recent; reading all there is takes a busy room a tenth of a second.
type span uint8

const (
	nothing span = iota
	recent       // what was stored within fillRecent
	everything
)

const fillRecent = time.Hour

// mark is one event of a timeline.
type mark struct {
	id     uint64 // hash of the event id
	seq    uint64 // in ROOMS
	at     uint32 // when it was stored, in seconds since the Unix epoch
	thread uint16 // place of its thread's root in threads, from 1; 0 for the main timeline
	silent bool   // it is known to have notified nobody
	past   bool   // it was published as historical, and may come live yet
}

func newTimeline() timeline { return timeline{seed: maphash.MakeSeed()} }

// since returns a time before which the event was not stored.
func (k mark) since() time.Time { return time.Unix(int64(k.at), 0) }

// find returns where an event stands.
func (t *timeline) find(id events.EventID) (mark, bool) {
	hash := maphash.String(t.seed, string(id))
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
	t.append(id, mark{seq: seq, at: uint32(at.Unix()), thread: t.threadNumber(thread)}) //nolint:gosec // until 2106
}

// silence takes in that the newest event, if it is this one, notified nobody.
func (t *timeline) silence(seq uint64) {
	if n := len(t.marks); n > 0 && t.marks[n-1].seq == seq {
		t.marks[n-1].silent = true
	}
}

// addPast takes in an event that was published as historical.
func (t *timeline) addPast(id events.EventID, seq uint64, at time.Time, thread events.EventID) {
	t.append(id, mark{seq: seq, at: uint32(at.Unix()), thread: t.threadNumber(thread), silent: true, past: true}) //nolint:gosec // until 2106
}

func (t *timeline) append(id events.EventID, k mark) {
	if n := len(t.marks); n > 0 && t.marks[n-1].seq >= k.seq {
		return
	}
	k.id = maphash.String(t.seed, string(id))
	t.marks = append(t.marks, k)
	t.trim(timelineLimit / 4)
}

// trim forgets the oldest events, and a few more, if there are too many.
func (t *timeline) trim(more int) {
	extra := len(t.marks) - timelineLimit
	if extra <= 0 {
		return
	}
	extra += more
	if t.filled == everything {
		for _, k := range t.marks[:extra] {
			t.past[k.id] = true
		}
	}
	t.marks = slices.Delete(t.marks, 0, extra)
}

// maxThreads bounds the threads of a room that are told apart by relations.
const maxThreads = 1 << 12

func (t *timeline) threadNumber(root events.EventID) uint16 {
	if root == "" {
		return 0
	}
	if i := slices.Index(t.threads, root); i >= 0 {
		return uint16(i + 1) //nolint:gosec // at most maxThreads
	}
	if len(t.threads) == maxThreads {
		return 0
	}
	t.threads = append(t.threads, root)
	return uint16(len(t.threads)) //nolint:gosec // at most maxThreads
}

// threadOf returns the root of the thread that an event belongs to, or "" for the
// main timeline: its own relation says so, or that of the event which it is a
// reaction to, an edit of or another child (Matrix specification, "Threading").
func (t *timeline) threadOf(content []byte) events.EventID {
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
		if k, ok := t.find(events.EventID(target.Str)); ok && k.thread > 0 {
			return t.threads[k.thread-1]
		}
	}
	return ""
}

// locate returns where an event of a room stands, up to the newest that is folded
// in. It reads ROOMS if the event is not remembered and may stand there.
func (m *matcher) locate(ctx context.Context, r *room, id events.EventID) (k mark, found bool, err error) {
	t := &r.timeline
	for {
		if k, found = t.find(id); found || t.filled == everything && !t.past[maphash.String(t.seed, string(id))] {
			return k, found, nil
		}
		again := t.filled == everything
		err = wait.Until(ctx, wait.RetryPause, m.failed, func() (err error) {
			k, found, err = m.fill(ctx, r, id)
			return err
		})
		if err != nil || found || again {
			return k, found, err
		}
	}
}

// fill has a room's timeline know more of what came before it began, and looks for
// one event meanwhile.
func (m *matcher) fill(ctx context.Context, r *room, id events.EventID) (sought mark, found bool, err error) {
	t := &r.timeline
	var since time.Time
	next := min(t.filled+1, everything)
	if next == recent {
		since = time.Now().Add(-fillRecent)
	}
	older, seen := timeline{seed: t.seed, threads: t.threads, filled: next, past: map[uint64]bool{}}, map[events.EventID]bool{}
	for logged, err := range m.conn.RoomLog(ctx, r.id, since) {
		if err != nil {
			return mark{}, false, err
		}
		if logged.Seq > r.seq || len(t.marks) > 0 && logged.Seq >= t.marks[0].seq {
			break
		}
		fields := gjson.GetManyBytes(logged.Data, "event_id", "content")
		each := events.EventID(fields[0].Str)
		if seen[each] {
			continue // it was published a second time
		}
		if seen[each] = !logged.Historical; logged.Historical {
			older.addPast(each, logged.Seq, logged.Time, older.threadOf([]byte(fields[1].Raw)))
		} else {
			older.add(each, logged.Seq, logged.Time, older.threadOf([]byte(fields[1].Raw)))
		}
		if each == id {
			sought, found = older.marks[len(older.marks)-1], true
		}
	}
	t.marks, t.threads = slices.Concat(older.marks, t.marks), older.threads
	t.filled, t.past = next, older.past
	t.trim(0)
	return sought, found, nil
}

// lateAfter is how old an event may be when it is stored, by what its sender says,
// to be taken for new without a look at what there was before: a homeserver that
// publishes an event again within this time is told apart by NATS itself.
const lateAfter = 9 * time.Minute

// isRepeated says whether the homeserver published an event a second time, long
// after the first: then it is nobody's news. What was published as historical is
// not: it may have come with the state of a room while it was on its way.
func (m *matcher) isRepeated(ctx context.Context, r *room, ev *events.RoomEvent, msg events.Message) (bool, error) {
	var first mark
	var found bool
	var err error
	if ev.OriginServerTS == 0 || msg.Time.Sub(time.UnixMilli(ev.OriginServerTS)) < lateAfter {
		first, found = r.timeline.find(ev.EventID)
	} else {
		first, found, err = m.locate(ctx, r, ev.EventID)
	}
	return found && !first.past && first.seq < msg.Seq, err
}
