package deliver

import (
	"slices"

	"poked/events"
	"poked/events/stream"
)

// singlesLimit bounds how many notifications a read removes one by one.
const singlesLimit = 64

// read removes what a read marker covers of the notifications before a sequence, and adds
// the requests for that to r. n is how many they are. If they are not known well enough,
// known is false, and the log has to be searched.
func (in *inbox) read(user events.UserID, room events.RoomID, read events.Read, before uint64, r *stream.Removal) (n int, known bool) {
	in.used = true
	threads := in.covered(room, read)
	if !decidable(threads, read.UpTo, before) {
		return 0, false
	}
	whole := read.Whole // all that is unread in the room is read
	var reads []threadRead
	for _, t := range threads {
		one := t.split(read.UpTo, before)
		whole = whole && one.until == before
		reads = append(reads, one)
		if n += one.n; len(one.singles) > singlesLimit {
			return 0, false
		}
	}
	if n == 0 {
		return 0, true
	}
	if whole {
		r.Purge(user, room, events.AnyThread, before)
	}
	for _, one := range reads {
		in.apply(one)
		if !whole {
			one.request(user, r)
		}
	}
	in.removed()
	return n, true
}

// covered returns the threads of a room that a read marker may concern.
func (in *inbox) covered(room events.RoomID, read events.Read) (threads []*thread) {
	token := events.Token(read.Thread)
	for _, t := range in.threads {
		if t.room == room && (read.Whole || t.thread == token || t.thread == events.Retried) {
			threads = append(threads, t)
		}
	}
	return threads
}

// decidable reports whether it is known which notifications are up to an event and before a
// sequence. Where only the newest of several is known, it is if that one is: they are in the
// order of their events, but for dead letters that are retried.
func decidable(threads []*thread, upTo, before uint64) bool {
	return !slices.ContainsFunc(threads, func(t *thread) bool {
		all := t.last.roomSeq <= upTo && t.last.seq < before && t.thread != events.Retried
		return t.older > 1 && !all
	})
}

// threadRead is what a read marker removes from a thread.
type threadRead struct {
	t       *thread
	n       int
	older   bool    // those of which only the newest is known
	left    []place // what stays
	until   uint64  // everything before this sequence goes
	singles []uint64
}

// split divides the notifications of a thread by a read marker.
func (t *thread) split(upTo, before uint64) threadRead {
	one := threadRead{t: t, until: before}
	covers := func(p place) bool { return p.roomSeq <= upTo && p.seq < before }
	if t.older > 0 && covers(t.last) {
		one.older, one.n = true, int(t.older) //nolint:gosec // a count
	} else if t.older > 0 {
		one.until = min(one.until, t.last.seq)
	}
	for _, p := range t.since {
		switch {
		case !covers(p):
			one.left = append(one.left, p)
			one.until = min(one.until, p.seq)
		case p.seq > one.until: // written a second time, after a later one
			one.singles = append(one.singles, p.seq)
			one.n++
		default:
			one.n++
		}
	}
	return one
}

// request adds the requests that remove what was read from the log.
func (one *threadRead) request(user events.UserID, r *stream.Removal) {
	if one.n > len(one.singles) {
		r.Purge(user, one.t.room, one.t.thread, one.until)
	}
	for _, seq := range one.singles {
		r.Delete(seq)
	}
}

// apply removes what was read from the inbox.
func (in *inbox) apply(one threadRead) {
	in.count(one.t, -one.n)
	in.bytes -= placeBytes * (len(one.t.since) - len(one.left))
	if one.t.since = one.left; one.older {
		one.t.older, one.t.last = 0, place{}
	}
	in.close(one.t)
}

// close forgets a thread without notifications.
func (in *inbox) close(t *thread) {
	if t.older > 0 || len(t.since) > 0 {
		return
	}
	in.threads = slices.DeleteFunc(in.threads, func(other *thread) bool { return other == t })
	delete(in.byKey, t.threadKey)
	in.bytes -= threadBytes
}

// redact removes one notification of a room.
func (in *inbox) redact(room events.RoomID, seq uint64) {
	in.removed()
	for _, t := range slices.Clone(in.threads) {
		if t.room == room {
			in.redactIn(t, seq)
		}
	}
}

func (in *inbox) redactIn(t *thread, seq uint64) {
	i := slices.IndexFunc(t.since, func(p place) bool { return p.seq == seq })
	switch {
	case i >= 0:
		t.since = slices.Delete(t.since, i, i+1)
		in.bytes -= placeBytes
		in.count(t, -1)
	case t.older == 1 && t.last.seq == seq:
		t.older, t.last = 0, place{}
		in.count(t, -1)
	case t.older > 1 && seq <= t.last.seq:
		in.doubt() // it may have been one of these, or have been removed before
	}
	in.close(t)
}
