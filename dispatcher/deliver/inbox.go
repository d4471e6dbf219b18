package deliver

import (
	"time"

	"poked/events"
	"poked/events/stream"
)

// inbox is what a user has unread, as NOTIFICATIONS holds it: the places of the
// notifications, not their bodies. It is learnt by key when it is first needed, and then
// kept up to date by the owner of the partition, which applies every change in order. So
// counts, what a read removes, and what a lagging pusher has yet to receive are answered
// from memory. The log stays the only truth: an inbox can be forgotten at any time.
type inbox struct {
	threads   []*thread
	byKey     map[threadKey]*thread // nil while there are few threads
	messages  uint64                // a retried dead letter counts once
	upTo      uint64                // the newest notification that it includes
	learnt    bool                  // from the log
	unsettled bool                  // the log changed while the inbox was learnt
	stale     bool                  // it has to be learnt again
	changes   uint64                // how often something was removed
	learned   time.Time             // when it was learnt, or when the user was first seen
	used      bool                  // since the last sweep
	bytes     int                   // what threads and places take in memory, roughly
}

// threadKey names a thread of a room by its token, see [events.LogSubject].
type threadKey struct {
	room   events.RoomID
	thread string
}

// thread is what a user has unread in one thread of a room: notifications of which only the
// newest is known, and after it those that arrived since.
type thread struct {
	threadKey
	older uint64 // how many there were when the inbox was learnt
	last  place  // the newest of these
	since []place
}

// place is where a notification is.
type place struct {
	seq     uint64 // in NOTIFICATIONS
	roomSeq uint64 // of its event, in ROOMS
	partial bool   // it may not be for each of the user's pushers
}

func placeOf(seq uint64, n *events.Notification) place {
	return place{seq: seq, roomSeq: n.RoomSeq, partial: n.Only != "" || n.Silent || len(n.Devices) > 0}
}

const (
	// manyThreads is from how many threads on an inbox finds them by a map.
	manyThreads = 16
	// sinceLimit is how many notifications of a thread are known one by one.
	sinceLimit = 1024
	// What an inbox takes in memory, roughly, in bytes.
	threadBytes = 192
	placeBytes  = 24
)

// find returns a thread, or nil.
func (in *inbox) find(key threadKey) *thread {
	if in.byKey != nil {
		return in.byKey[key]
	}
	for _, t := range in.threads {
		if t.threadKey == key {
			return t
		}
	}
	return nil
}

// open returns a thread, made if there is none.
func (in *inbox) open(key threadKey) *thread {
	t := in.find(key)
	if t != nil {
		return t
	}
	t = &thread{threadKey: key}
	in.bytes += threadBytes
	in.threads = append(in.threads, t)
	if len(in.threads) > manyThreads && in.byKey == nil {
		in.byKey = make(map[threadKey]*thread, len(in.threads))
		for _, t := range in.threads {
			in.byKey[t.threadKey] = t
		}
	}
	if in.byKey != nil {
		in.byKey[key] = t
	}
	return t
}

// add adds a notification that arrives, unless the inbox includes it already.
func (in *inbox) add(key threadKey, p place) {
	if p.seq <= in.upTo {
		return
	}
	in.upTo, in.used = p.seq, true
	t := in.open(key)
	t.since = append(t.since, p)
	in.bytes += placeBytes
	in.count(t, 1)
	if len(t.since) > sinceLimit {
		t.forget(sinceLimit / 2)
		in.bytes -= placeBytes * sinceLimit / 2
	}
}

// count changes how many messages are unread.
func (in *inbox) count(t *thread, n int) {
	if t.thread == events.Retried {
		return // it was counted when it first arrived
	}
	in.messages += uint64(n) //nolint:gosec // a difference, which never goes below 0
}

// forget turns the first n known places into a number.
func (t *thread) forget(n int) {
	roomSeq := t.last.roomSeq
	for _, p := range t.since[:n] {
		roomSeq = max(roomSeq, p.roomSeq)
	}
	t.last = t.since[n-1]
	t.last.roomSeq = roomSeq
	t.older += uint64(n) //nolint:gosec // a length
	t.since = append([]place(nil), t.since[n:]...)
}

// badge returns the unread count of a poke.
func (in *inbox) badge(of BadgeOf) uint64 {
	if of != BadgeRooms {
		return in.messages
	}
	rooms := make(map[events.RoomID]struct{}, len(in.threads))
	for _, t := range in.threads {
		if t.thread != events.Retried {
			rooms[t.room] = struct{}{}
		}
	}
	return uint64(len(rooms))
}

// after returns where the notifications after a sequence are, in no order, and the threads of
// which only the newest of several is known.
func (in *inbox) after(seq uint64) (known []placeIn, unknown []thread) {
	for _, t := range in.threads {
		switch {
		case t.older == 0 || t.last.seq <= seq:
		case t.older == 1:
			known = append(known, placeIn{t.last, t.room})
		default:
			unknown = append(unknown, *t)
		}
		for _, p := range t.since {
			if p.seq > seq {
				known = append(known, placeIn{p, t.room})
			}
		}
	}
	return known, unknown
}

// removed records that something was removed.
func (in *inbox) removed() { in.changes++ }

// doubt records that something was removed that the inbox does not know.
func (in *inbox) doubt() { in.stale, in.changes = true, in.changes+1 }

// release forgets everything, to save memory.
func (in *inbox) release() {
	*in = inbox{messages: in.messages, upTo: in.upTo, stale: true, changes: in.changes, learned: in.learned}
}

// learn applies what the log holds up to a sequence, read when a number of changes was known.
// If something was removed meanwhile, or newer notifications are included already, it is
// dropped, and the log is read again when the inbox is needed.
func (in *inbox) learn(unread *stream.Unread, upTo, changes uint64) {
	if upTo < in.upTo || changes != in.changes {
		return
	}
	*in = inbox{upTo: upTo, changes: changes, learnt: true, unsettled: unread.Unsettled, learned: time.Now(), used: true}
	for i := range unread.Threads {
		of := &unread.Threads[i]
		t := in.open(threadKey{of.Room, of.Thread})
		t.older, t.last = of.Messages, place{seq: of.LastSeq, partial: true}
		if n, err := events.ParseNotification(of.Last); err == nil { // or it became a dead letter when it arrived
			t.last = placeOf(of.LastSeq, &n)
		}
		in.count(t, int(of.Messages)) //nolint:gosec // a count
	}
}
