package deliver

import (
	"context"
	"fmt"
	"time"

	"poked/events"
	"poked/events/stream"
	"poked/events/wait"
)

// BadgeOf is what the unread count of a poke counts.
type BadgeOf string

// What an unread count may count.
const (
	BadgeMessages BadgeOf = "messages" // notifications
	BadgeRooms    BadgeOf = "rooms"    // rooms that have notifications
	BadgeNone     BadgeOf = "none"     // nothing: pokes carry no counts
)

// Validate returns an error if b is none of them.
func (b BadgeOf) Validate() error {
	switch b {
	case BadgeMessages, BadgeRooms, BadgeNone:
		return nil
	}
	return fmt.Errorf("--badge must be %s, %s or %s", BadgeMessages, BadgeRooms, BadgeNone)
}

// unreadCount is what a user has unread: the notifications in their log. It is read from the
// log when it is first needed, counted up from there, and read again after something was
// removed from the log.
type unreadCount struct {
	messages uint64
	rooms    map[events.RoomID]struct{} // only if the badge counts rooms
	upTo     uint64                     // the newest notification that is counted; 0 until the log was read
	stale    bool                       // something was removed from the log since, or it was unsettled
	changes  uint64                     // how often something was removed from the log
	learned  time.Time                  // when the log was read, or when the user was first seen
}

// badge returns the unread count of a poke.
func (t *unreadCount) badge(of BadgeOf) uint64 {
	if of == BadgeRooms {
		return uint64(len(t.rooms))
	}
	return t.messages
}

// add counts one notification, if it is not counted yet.
func (t *unreadCount) add(of BadgeOf, seq uint64, n *events.Notification, room events.RoomID) {
	if seq <= t.upTo {
		return
	}
	t.upTo = seq
	if n.Only != "" {
		return // it was counted when it first arrived
	}
	t.messages++
	if of != BadgeRooms {
		return
	}
	if t.rooms == nil {
		t.rooms = map[events.RoomID]struct{}{}
	}
	t.rooms[room] = struct{}{}
}

// removed records that something was, or may have been, removed from the log.
func (t *unreadCount) removed() { t.stale, t.changes = true, t.changes+1 }

// learn applies what the log holds up to a sequence, read when a number of changes was
// known. If something changed meanwhile, or a newer count is known already, the result is
// dropped, and the log is read again when the count is needed.
func (t *unreadCount) learn(of BadgeOf, count stream.Unread, upTo, changes uint64) {
	if upTo < t.upTo || changes != t.changes {
		return
	}
	*t = unreadCount{
		messages: count.Messages, upTo: upTo, changes: changes, stale: count.Unsettled, learned: time.Now(),
	}
	if of != BadgeRooms {
		return
	}
	t.rooms = make(map[events.RoomID]struct{}, len(count.Rooms))
	for _, room := range count.Rooms {
		t.rooms[room] = struct{}{}
	}
}

// relearnAfter is how long a count is trusted: notifications expire from the log without a
// message.
const relearnAfter = 24 * time.Hour

// count sets the item's unread count: up to its notification or, if the log held more of
// them when it was read, up to those. A badge shows what is unread, not when it arrived.
func (d *Deliverer) count(ctx context.Context, user events.UserID, it *item) error {
	if d.Badge == BadgeNone {
		return nil
	}
	if err := wait.Until(ctx, wait.RetryPause, d.waiting, func() error { return d.learnUnread(ctx, user) }); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.recipient(user)
	r.unread.add(d.Badge, it.seq, &it.n, it.room)
	it.unread = r.unread.badge(d.Badge)
	return nil
}

// learnUnread reads what a user has unread from the log, unless that is known.
func (d *Deliverer) learnUnread(ctx context.Context, user events.UserID) error {
	if d.Badge == BadgeNone {
		return nil
	}
	d.mu.Lock()
	r := d.recipient(user)
	known, changes := d.isKnown(&r.unread), r.unread.changes
	d.mu.Unlock()
	if known {
		return nil
	}
	count, upTo, err := d.Conn.Unread(ctx, user)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.people[user] == r { // else the user's last pusher was removed meanwhile
		r.unread.learn(d.Badge, count, upTo, changes)
	}
	return nil
}

// isKnown reports whether a count need not be read from the log.
func (d *Deliverer) isKnown(t *unreadCount) bool {
	return !t.stale && (t.upTo > 0 || d.fresh) && time.Since(t.learned) < relearnAfter
}

// notFresh records that a user may have something unread that no recipient counted.
func (d *Deliverer) notFresh() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fresh = false
}
