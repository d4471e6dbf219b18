package match

import (
	"context"
	"slices"

	"poked/events"
	"poked/events/partition"
	"poked/events/wait"
)

// readReceipts turns the receipts of one EDU into what their users have read. A receipt for
// an event that has not arrived waits for it. If some receipts cannot be parsed, the EDU
// becomes a dead letter as well.
func (m *Matcher) readReceipts(ctx context.Context, msg partition.Message) {
	id, receipts, unread := events.ParsePublishedReceipts(msg.Subject, msg.Data)
	receipts = slices.DeleteFunc(receipts, func(r events.Receipt) bool { return !m.cfg.Directory.Knows(r.User) })
	switch { // without known users, no log holds anything to read
	case len(receipts) == 0 && unread != nil:
		m.reject(msg, events.DeadBadReceipt, unread)
		return
	case len(receipts) == 0:
		m.done(msg)
		return
	}
	s := m.searches.take(msg.Seq)
	var r *room
	err := wait.Until(ctx, wait.RetryPause, m.failed, func() (err error) {
		r, err = m.rooms.latest(ctx, id, msg.Seq, s != nil)
		return err
	})
	if err != nil {
		return
	}
	if s == nil && m.searchReceipts(r, msg, receipts) {
		return
	}
	f := m.newFanout(msg)
	if unread != nil {
		f.addDead(msg.Dead(events.DeadBadReceipt, unread))
	}
	for i := 0; i < len(receipts) && err == nil; i++ {
		err = m.readReceipt(ctx, f, r, s, receipts[i])
	}
	f.end(err)
}

// readMarks writes who marked a room as unread, or took that back.
func (m *Matcher) readMarks(ctx context.Context, msg partition.Message) {
	id, marks, err := events.ParsePublishedMarks(msg.Subject, msg.Data)
	if err != nil {
		m.reject(msg, events.DeadBadReceipt, err)
		return
	}
	marks = slices.DeleteFunc(marks, func(k events.Mark) bool { return !m.cfg.Directory.Knows(k.User) })
	if len(marks) == 0 {
		m.done(msg)
		return
	}
	var r *room
	err = wait.Until(ctx, wait.RetryPause, m.failed, func() (err error) {
		r, err = m.rooms.latest(ctx, id, msg.Seq, false)
		return err
	})
	if err != nil {
		return
	}
	f := m.newFanout(msg)
	for i := 0; i < len(marks) && err == nil; i++ {
		marked := events.Marked{UserID: marks[i].User, RoomID: id, Unread: marks[i].Unread, By: msg.Seq}
		if k := r.markerOf(marked.UserID); marked.Unread {
			k.markedBy = marked.By
		} else {
			k.markedBy = 0
		}
		err = f.addMarked(ctx, marked)
	}
	f.end(err)
}

// searchReceipts looks up unknown events of receipts in the background, and reports whether
// there are any. The room does not wait meanwhile. If too many receipts are being looked up
// already, nothing is: their events count as not arrived.
func (m *Matcher) searchReceipts(r *room, msg partition.Message, receipts []events.Receipt) bool {
	s := search{before: r.timeline.from}
	for _, receipt := range receipts {
		if _, _, known := m.locate(r, nil, receipt.Event); !known {
			s.receipts = append(s.receipts, receipt)
		}
	}
	if len(s.receipts) == 0 || !m.searches.add(s, msg, r.id) {
		return false
	}
	m.resumeRoom(msg)
	return true
}

// readReceipt writes what a receipt says that its user has read. If its event has not
// arrived, it waits for that. The event may also be one that ROOMS has lost: deliver looks
// for it among what the user has not read.
func (m *Matcher) readReceipt(ctx context.Context, f *fanout, r *room, s *search, receipt events.Receipt) error {
	k, found, _ := m.locate(r, s, receipt.Event)
	if found {
		return m.markRead(ctx, f, r, readUpTo(r.id, k.seq, receipt, f.msg.Seq))
	}
	m.pending.add(&pendingItem{f: f, room: r.id, event: receipt.Event, receipt: receipt})
	read := readUpTo(r.id, 0, receipt, f.msg.Seq)
	read.Event = receipt.Event
	return f.addRead(ctx, read)
}

// readUpTo returns what a receipt says, which was published at a sequence of ROOMS.
func readUpTo(room events.RoomID, seq uint64, receipt events.Receipt, by uint64) events.Read {
	return events.Read{UserID: receipt.User, RoomID: room, UpTo: seq, Whole: receipt.Whole, Thread: receipt.Thread, By: by, Cleared: receipt.Cleared}
}

// readerOf returns the user who has read a room, or a thread, up to an event because of the event itself:
// the sender of a message, or a member who leaves, is removed, or joins. It returns "" if
// there is none. r must not include the event yet.
func readerOf(ev *events.RoomEvent, r *room) events.UserID {
	switch {
	case ev.IsState && ev.Type == "m.room.member":
		who := events.UserID(ev.StateKey)
		switch textOf(ev.Content, "membership") {
		case "leave", "ban":
			return who
		case "join":
			if r.membership(who) != "join" {
				return who
			}
		}
	case ev.IsState, ev.Type == "m.room.redaction", ev.Type == "m.reaction":
	default:
		return ev.Sender
	}
	return ""
}

// readByEvent writes who has read the room by an event, or by a receipt that arrived before
// it. Sending an event marks what came before it as read, and what that affects depends on
// threads (Matrix specification, "Marking notifications as read"): a message in a thread was
// written in the sight of that thread, and reads it alone; any other reads the whole room, as
// an unthreaded receipt does, since its sender's client may know no threads.
func (m *Matcher) readByEvent(ctx context.Context, f *fanout, r *room, reader events.UserID, thread events.EventID) error {
	if reader != "" && m.cfg.Directory.Knows(reader) {
		if err := m.markRead(ctx, f, r, events.Read{UserID: reader, RoomID: r.id, UpTo: f.msg.Seq, Whole: thread == "", Thread: thread, By: f.msg.Seq}); err != nil {
			return err
		}
	}
	for _, it := range f.pending {
		if it.redaction != nil {
			continue
		}
		if err := m.markRead(ctx, f, r, readUpTo(r.id, f.msg.Seq, it.receipt, it.f.msg.Seq)); err != nil {
			return err
		}
	}
	return nil
}
