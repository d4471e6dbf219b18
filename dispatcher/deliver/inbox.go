package deliver

import (
	"slices"

	"poked/events"
)

// inbox is what a user has not read. The owner of the partition applies each message of the
// log to it, in order, and writes snapshots of it to INBOX (see snapshots); it is loaded from
// there when it is first needed, and leaves memory when it was not used for a while. Counts,
// what a read removes, what a lagging pusher has yet to receive and what GET /notifications
// lists come from it. The deliverer's mutex guards it.
type inbox struct {
	rooms    map[events.RoomID]*unreadRoom
	messages uint64 // unread; a retried dead letter counts once
	oldest   uint64 // no notification is older, by sequence of NOTIFICATIONS
	unsaved  int    // rooms whose snapshot is not stored
	used     bool   // since the last sweep
	bytes    int    // what it takes in memory, roughly
}

// unreadRoom is what a user has not read in a room.
type unreadRoom struct {
	events.InboxRoom
	id events.RoomID

	dirty   bool // it has changed since its snapshot was made
	writing bool // its snapshot is being stored
}

const (
	// entriesKept is how many notifications of a room are known one by one at least, if there
	// are so many. Of older ones only the number is kept, once no pusher needs them.
	entriesKept = 1000
	// entriesSlack is how many more there are before the older ones are forgotten.
	entriesSlack = 256
	// What an inbox takes in memory, roughly, in bytes.
	inboxBytes  = 128
	roomBytes   = 256
	entryBytes  = 32
	threadBytes = 16
)

// size returns what a room takes in memory.
func (r *unreadRoom) size() int { return roomBytes + entryBytes*len(r.Entries) + sizeOf(r.Threads) }

// counted returns how many notifications of the room count as unread.
func (r *unreadRoom) counted() uint64 {
	n := r.Older
	for i := range r.Entries {
		if r.Entries[i].Flags&events.InboxRetried == 0 {
			n++
		}
	}
	return n
}

// threadOf returns the thread of an entry.
func (r *unreadRoom) threadOf(e *events.InboxEntry) events.EventID {
	if e.Thread == 0 {
		return ""
	}
	return r.Threads[e.Thread-1]
}

// number returns the number of a thread, which is added if there is none.
func (in *inbox) number(r *unreadRoom, thread events.EventID) int {
	if thread == "" {
		return 0
	}
	i := slices.Index(r.Threads, thread)
	if i < 0 {
		i = len(r.Threads)
		r.Threads = append(r.Threads, events.EventID([]byte(thread))) // a copy: thread is part of a message
		in.bytes += threadBytes + len(thread)
	}
	return i + 1
}

// dropThreads forgets the threads without an entry, and returns roughly how many bytes they took:
// anybody in a room may begin any number of threads, with ids as long as they like.
func (r *unreadRoom) dropThreads() (bytes int) {
	numbers := make([]int, len(r.Threads)+1)
	var used []events.EventID
	for i := range r.Entries {
		e := &r.Entries[i]
		if e.Thread > 0 && numbers[e.Thread] == 0 {
			used = append(used, r.Threads[e.Thread-1])
			numbers[e.Thread] = len(used)
		}
		e.Thread = numbers[e.Thread]
	}
	bytes = sizeOf(r.Threads) - sizeOf(used)
	r.Threads = used
	return bytes
}

// sizeOf returns what threads take in memory.
func sizeOf(threads []events.EventID) (bytes int) {
	for _, root := range threads {
		bytes += threadBytes + len(root)
	}
	return bytes
}

// find returns the entry of a notification, by its sequence in NOTIFICATIONS, or nil.
func (r *unreadRoom) find(seq uint64) *events.InboxEntry {
	i, found := slices.BinarySearchFunc(r.Entries, seq, bySeq)
	if !found {
		return nil
	}
	return &r.Entries[i]
}

func bySeq(e events.InboxEntry, seq uint64) int {
	switch {
	case e.Seq < seq:
		return -1
	case e.Seq > seq:
		return 1
	}
	return 0
}

// remove removes the entries that gone accepts, and returns their sequences.
func (in *inbox) remove(r *unreadRoom, gone func(*events.InboxEntry) bool) (seqs []uint64) {
	kept := r.Entries[:0]
	for i := range r.Entries {
		e := r.Entries[i]
		if !gone(&e) {
			kept = append(kept, e)
			continue
		}
		seqs = append(seqs, e.Seq)
		if e.Flags&events.InboxRetried == 0 {
			in.messages--
		}
	}
	r.Entries = kept
	if len(kept) == 0 {
		r.Entries = nil
	}
	in.bytes -= entryBytes * len(seqs)
	if len(seqs) > 0 && len(r.Threads) > 0 {
		in.bytes -= r.dropThreads()
	}
	return seqs
}

// forgetOlder removes the older notifications of a room that are only a number.
func (in *inbox) forgetOlder(r *unreadRoom) (n uint64) {
	n = r.Older
	in.messages -= n
	r.Older, r.OlderSeq, r.OlderRoomSeq = 0, 0, 0
	return n
}

// add adds a notification, and reports whether the user has it to read: not if a snapshot
// that includes it lacks it, for then it was read, or redacted.
func (in *inbox) add(r *unreadRoom, e events.InboxEntry, thread events.EventID) (unread, added bool) {
	if r.find(e.Seq) != nil {
		return true, false
	}
	if e.Seq <= r.Applied {
		return false, false
	}
	e.Thread = in.number(r, thread)
	r.Entries = append(r.Entries, e)
	in.bytes += entryBytes
	in.oldest = min(in.oldest, e.Seq)
	if e.Flags&events.InboxRetried == 0 {
		in.messages++
	}
	return true, true
}

// read removes what a read marker at a sequence of the log covers, and returns how many
// notifications that were.
func (in *inbox) read(r *unreadRoom, read events.Read, at uint64) (n uint64) {
	seqs := in.remove(r, func(e *events.InboxEntry) bool {
		return e.Seq < at && read.Covers(e.RoomSeq, r.threadOf(e))
	})
	n = uint64(len(seqs))
	// Of which threads the older ones were is not known: nearly all are of the main timeline.
	if r.Older > 0 && r.OlderRoomSeq <= read.UpTo && r.OlderSeq < at && (read.Whole || read.Thread == "") {
		n += in.forgetOlder(r)
	}
	return n
}

// mark marks a room as unread at a sequence of the log, by a message at a sequence of ROOMS, or
// takes that back. It reports whether that changed the room: not if its snapshot includes the
// sequence.
func (in *inbox) mark(r *unreadRoom, unread bool, at, by uint64) (changed bool) {
	before := r.Marked
	switch {
	case at <= max(r.Applied, before):
	case unread:
		r.Marked, r.MarkedBy = at, by
		in.oldest = min(in.oldest, at)
	default:
		r.Marked, r.MarkedBy = 0, 0
	}
	return r.Marked != before
}

// isEmpty reports whether nothing in the room is unread.
func (r *unreadRoom) isEmpty() bool { return len(r.Entries) == 0 && r.Older == 0 && r.Marked == 0 }

// redact removes the notifications of an event before a sequence of the log, and returns
// their sequences.
func (in *inbox) redact(r *unreadRoom, roomSeq, at uint64) (seqs []uint64) {
	return in.remove(r, func(e *events.InboxEntry) bool { return e.RoomSeq == roomSeq && e.Seq < at })
}

// eventAt returns the sequence in ROOMS of an event that the user has not read.
func (r *unreadRoom) eventAt(id events.EventID) (roomSeq uint64, found bool) {
	hash := events.HashEvent(id)
	i := slices.IndexFunc(r.Entries, func(e events.InboxEntry) bool { return e.Hash == hash })
	if i < 0 {
		return 0, false
	}
	return r.Entries[i].RoomSeq, true
}

// trim turns the oldest of very many entries into a number, up to a sequence. It reports
// whether it did.
func (in *inbox) trim(r *unreadRoom, upTo uint64) bool {
	if len(r.Entries) <= entriesKept+entriesSlack {
		return false
	}
	n, _ := slices.BinarySearchFunc(r.Entries, upTo+1, bySeq)
	n = min(n, len(r.Entries)-entriesKept)
	if n <= 0 {
		return false
	}
	in.bytes -= entryBytes*n + r.forgetFirst(n)
	return true
}

// forgetFirst turns the first n entries into a number, and returns roughly how many bytes their
// threads took.
func (r *unreadRoom) forgetFirst(n int) (bytes int) {
	for i := range r.Entries[:n] {
		e := &r.Entries[i]
		r.OlderSeq, r.OlderRoomSeq = max(r.OlderSeq, e.Seq), max(r.OlderRoomSeq, e.RoomSeq)
		if e.Flags&events.InboxRetried == 0 {
			r.Older++
		}
	}
	r.Entries = slices.Clone(r.Entries[n:])
	return r.dropThreads()
}

// expire removes what is older than the log, which begins at a sequence. It returns the
// rooms that changed.
func (in *inbox) expire(begin uint64) (changed []*unreadRoom) {
	if in.oldest >= begin {
		return nil
	}
	in.oldest = ^uint64(0)
	for _, r := range in.rooms {
		n := 0
		if r.Older > 0 && r.OlderSeq < begin {
			n += int(in.forgetOlder(r)) //nolint:gosec // a count
		}
		if len(r.Entries) > 0 && r.Entries[0].Seq < begin {
			n += len(in.remove(r, func(e *events.InboxEntry) bool { return e.Seq < begin }))
		}
		if r.Marked > 0 && r.Marked < begin {
			r.Marked, r.MarkedBy = 0, 0
			n++
		}
		if n > 0 {
			changed = append(changed, r)
		}
		if r.Older > 0 {
			in.oldest = 0
		} else if len(r.Entries) > 0 {
			in.oldest = min(in.oldest, r.Entries[0].Seq)
		}
		if r.Marked > 0 {
			in.oldest = min(in.oldest, r.Marked)
		}
	}
	return changed
}

// badge returns the unread count of a poke.
func (in *inbox) badge(of BadgeOf) (n uint64) {
	if of != BadgeRooms {
		return in.messages
	}
	for _, r := range in.rooms {
		if r.Marked > 0 || r.counted() > 0 {
			n++
		}
	}
	return n
}

// after returns the notifications after a sequence, in order, and how many more there are that
// are known only as a number, the newest of them at olderTo.
func (in *inbox) after(seq uint64) (places []placeIn, more int, olderTo uint64) {
	for room, r := range in.rooms {
		if r.Older > 0 && r.OlderSeq > seq {
			more += int(r.Older) //nolint:gosec // a count
			olderTo = max(olderTo, r.OlderSeq)
		}
		first, _ := slices.BinarySearchFunc(r.Entries, seq+1, bySeq)
		for _, e := range r.Entries[first:] {
			places = append(places, placeIn{seq: e.Seq, roomSeq: e.RoomSeq, flags: e.Flags, hash: e.Hash, room: room})
		}
	}
	slices.SortFunc(places, comparePlaces)
	return places, more, olderTo
}
