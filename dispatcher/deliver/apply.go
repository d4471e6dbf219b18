package deliver

import (
	"context"
	"maps"
	"slices"

	"poked/events"
	"poked/events/partition"
)

// opened is a message of the log that is not done. The deliverer's mutex guards it.
type opened struct {
	seq     uint64
	waiting int  // reasons to keep it open
	shared  bool // it is about several users
}

// open returns a message with one reason to keep it open, or nil if it is done already.
func (d *Deliverer) open(msg partition.Message) *opened {
	if msg.Settled {
		return nil
	}
	return &opened{seq: msg.Seq, waiting: 1}
}

// close removes one reason to keep a message open. Without any it is done.
func (d *Deliverer) close(m *opened) {
	if m == nil {
		return
	}
	if m.waiting--; m.waiting == 0 {
		d.follower.Done(m.seq)
	}
}

// release removes one reason to keep an item open. Without any it is sent or recorded, as
// far as its messages are concerned.
func (d *Deliverer) release(it *item) {
	if it.waiting--; it.waiting > 0 {
		return
	}
	for _, m := range it.of {
		if !it.badge && m.shared && m.waiting > 1 {
			d.follower.DonePart(m.seq, it.index) // or it would be sent again after a crash because another user's hangs
		}
		d.close(m)
	}
}

// noteApplied records that the inboxes include a message.
func (d *Deliverer) noteApplied(msg partition.Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.appliedTo(msg)
}

// appliedTo is noteApplied for a caller that holds the mutex.
func (d *Deliverer) appliedTo(msg partition.Message) {
	if msg.Seq > d.applied {
		d.applied, d.appliedAt = msg.Seq, msg.Time
	}
}

// notified adds an event to the inboxes of its users, and gives it to their lanes.
func (d *Deliverer) notified(ctx context.Context, msg partition.Message, n *events.LogNotification) {
	users := make([]events.UserID, len(n.Users))
	for i := range n.Users {
		users[i] = n.Users[i].UserID
	}
	if !msg.Replayed && !msg.Settled {
		d.holdNoMore()
	}
	if d.mustLoad(ctx, users...) != nil {
		return // ctx has ended; the message stays open
	}
	repeated, err := d.repeated(ctx, msg, n)
	if err != nil {
		return
	}
	m := newLogged(msg.Seq, n)
	d.noteEarlier(m)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.recent.add(m, d.recentLimit())
	open := d.open(msg)
	if open != nil {
		open.shared = len(n.Users) > 1
	}
	for i := range n.Users {
		switch {
		case repeated[n.Users[i].UserID]:
		case msg.DonePart(i):
			d.notify(m, i, nil)
		default:
			d.notify(m, i, open)
		}
	}
	d.appliedTo(msg)
	d.close(open)
}

// notify adds an event to the inbox of one of its users, by index, and gives it to the user's lanes if open is
// not nil. The caller holds the mutex.
func (d *Deliverer) notify(m *logged, index int, open *opened) {
	to := &m.n.Users[index]
	in := d.inboxes[to.UserID]
	note := m.note(to.Decision)
	unread := false
	d.expire(to.UserID, in)
	d.resize(in, func() {
		r := d.room(in, m.n.RoomID)
		var added bool
		if unread, added = in.add(r, entryOf(m, note), m.n.Thread); added {
			d.snapshots.touch(to.UserID, in, r)
		}
	})
	if open == nil || !unread {
		return
	}
	it := &item{seq: m.seq, n: note, room: m.n.RoomID, unread: in.badge(d.Badge), index: index, one: [1]*opened{open}, waiting: 1}
	it.of = it.one[:]
	open.waiting++
	if !d.isLate(to, it) {
		d.give(to.UserID, it)
	}
}

func entryOf(m *logged, n *events.Notification) events.InboxEntry {
	e := events.InboxEntry{Seq: m.seq, RoomSeq: n.RoomSeq, Hash: events.HashEvent(n.EventID)}
	if n.Only != "" || n.Silent || len(n.Devices) > 0 || n.Rings() {
		e.Flags |= events.InboxPartial
	}
	if n.Only != "" {
		e.Flags |= events.InboxRetried
	}
	if n.Highlight {
		e.Flags |= events.InboxHighlight
	}
	return e
}

// give gives a notification to its user's lanes. The caller holds the mutex.
func (d *Deliverer) give(user events.UserID, it *item) {
	r := d.recipient(user)
	for _, l := range r.lanes {
		l.enqueue(it)
	}
	d.delay(r, it.n)
	d.release(it)
	if in := d.inboxes[user]; in != nil {
		if room := in.rooms[it.room]; room != nil {
			d.trim(user, in, room)
		}
	}
}

// trim forgets the oldest of very many notifications of a room, but none that a lane needs
// which is behind and has not failed.
func (d *Deliverer) trim(user events.UserID, in *inbox, r *unreadRoom) {
	if len(r.Entries) <= entriesKept+entriesSlack {
		return
	}
	upTo := ^uint64(0) - 1
	if to := d.people[user]; to != nil {
		for _, l := range to.lanes {
			upTo = min(upTo, l.needs())
		}
	}
	d.resize(in, func() {
		if in.trim(r, upTo) {
			d.snapshots.touch(user, in, r)
		}
	})
}

// read removes from a user's inbox and lanes what the user has read.
func (d *Deliverer) read(ctx context.Context, msg partition.Message, read events.Read) {
	if d.mustLoad(ctx, read.UserID) != nil {
		return // ctx has ended; the message stays open
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n, unmarked := d.readIn(&read, msg.Seq)
	d.appliedTo(msg)
	if msg.Settled {
		return
	}
	d.Counts.Read.Add(n)
	r := d.people[read.UserID]
	if r != nil {
		r.activeAt = msg.Time
	}
	open := d.open(msg)
	// What it removes may have been removed before a crash, without a badge being sent.
	if n > 0 || unmarked && d.Badge == BadgeRooms || msg.Replayed || read.Cleared {
		d.forget(read.UserID, func(n *events.Notification, seq uint64, room events.RoomID) bool {
			return room == read.RoomID && seq < msg.Seq && read.Covers(n.RoomSeq, n.Thread)
		})
		d.badgeChanged(read.UserID, open, read.RoomID, read.Cleared)
	}
	d.close(open)
}

// marked records that a user marked a room as unread, or took that back. It changes only the
// count of rooms.
func (d *Deliverer) marked(ctx context.Context, msg partition.Message, marked events.Marked) {
	if d.mustLoad(ctx, marked.UserID) != nil {
		return // ctx has ended; the message stays open
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	in := d.inboxes[marked.UserID]
	d.expire(marked.UserID, in)
	changed := false
	if r := in.rooms[marked.RoomID]; r != nil || marked.Unread {
		d.resize(in, func() {
			r = d.room(in, marked.RoomID)
			if changed = in.mark(r, marked.Unread, msg.Seq, marked.By); changed {
				d.snapshots.touch(marked.UserID, in, r)
			}
		})
	}
	d.appliedTo(msg)
	if msg.Settled {
		return
	}
	open := d.open(msg)
	if d.Badge == BadgeRooms && (changed || msg.Replayed) {
		d.badgeChanged(marked.UserID, open, "", false)
	}
	d.close(open)
}

// readIn removes from a user's inbox what a read marker covers, and returns how many
// notifications that were, and whether it took back a mark. If the marker
// names only an event, it fills in where that is.
func (d *Deliverer) readIn(read *events.Read, at uint64) (n uint64, unmarked bool) {
	in := d.inboxes[read.UserID]
	d.expire(read.UserID, in)
	r := in.rooms[read.RoomID]
	if r == nil {
		return 0, false
	}
	if read.Event != "" {
		read.UpTo, _ = r.eventAt(read.Event)
	}
	d.resize(in, func() {
		n = in.read(r, *read, at)
		unmarked = read.TakesBack(r.MarkedBy) && in.mark(r, false, at, 0)
		if n > 0 || unmarked {
			d.snapshots.touch(read.UserID, in, r)
		}
	})
	return n, unmarked
}

// forget removes from the lanes of a user what was read or redacted.
func (d *Deliverer) forget(user events.UserID, gone func(*events.Notification, uint64, events.RoomID) bool) {
	if w := d.late[user]; w != nil {
		w.items = slices.DeleteFunc(w.items, func(it *item) bool {
			out := gone(it.n, it.seq, it.room)
			if out {
				d.release(it)
			}
			return out
		})
	}
	if r := d.people[user]; r != nil {
		for _, l := range r.lanes {
			l.forget(gone)
		}
	}
}

// deletion is a redacted event's messages, to be deleted from the log. The message that says
// so stays open until that is done.
type deletion struct {
	seqs []uint64
	of   *opened
}

// redacted removes an event from the inboxes of its users, and deletes its messages.
func (d *Deliverer) redacted(ctx context.Context, msg partition.Message, gone events.Redaction) {
	for users := range slices.Chunk(gone.Users, loadAtOnce) {
		if d.mustLoad(ctx, users...) != nil {
			return // ctx has ended; the message stays open
		}
	}
	d.mu.Lock()
	open := d.open(msg)
	seqs := map[uint64]bool{gone.Seq: true}
	for _, user := range gone.Users {
		in := d.inboxes[user]
		r := in.rooms[gone.RoomID]
		var removed []uint64
		if r != nil {
			d.resize(in, func() {
				if removed = in.redact(r, gone.RoomSeq, msg.Seq); len(removed) > 0 {
					d.snapshots.touch(user, in, r)
				}
			})
		}
		for _, seq := range removed {
			seqs[seq] = true
		}
		if open == nil || len(removed) == 0 && !msg.Replayed {
			continue
		}
		d.forget(user, func(n *events.Notification, _ uint64, room events.RoomID) bool {
			return room == gone.RoomID && n.RoomSeq == gone.RoomSeq
		})
		d.badgeChanged(user, open, gone.RoomID, false)
	}
	d.appliedTo(msg)
	d.mu.Unlock()
	if open != nil {
		d.delete(&deletion{seqs: slices.Collect(maps.Keys(seqs)), of: open})
	}
}

// delete deletes messages from the log. What fails is repeated with the next tick.
func (d *Deliverer) delete(what *deletion) {
	left, failed := len(what.seqs), false
	for _, seq := range what.seqs {
		d.Conn.DeleteLogged(seq, func(err error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			if err != nil {
				d.Log.Warn("redacted notification not deleted, trying again", "seq", seq, "error", err)
				failed = true
			}
			switch left--; {
			case left > 0:
			case failed:
				d.undeleted = append(d.undeleted, what)
			default:
				d.close(what.of)
			}
		})
	}
}

// deleteAgain repeats what failed.
func (d *Deliverer) deleteAgain() {
	d.mu.Lock()
	again := d.undeleted
	d.undeleted = nil
	d.mu.Unlock()
	for _, what := range again {
		d.delete(what)
	}
}
