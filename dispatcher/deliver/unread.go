package deliver

import (
	"context"
	"fmt"
	"time"

	"poked/events"
	"poked/events/stream"
	"poked/events/wait"
)

// BadgeOf says what a badge counts.
type BadgeOf string

// What a badge may count.
const (
	BadgeMessages BadgeOf = "messages" // notifications
	BadgeRooms    BadgeOf = "rooms"    // rooms that have notifications
	BadgeNone     BadgeOf = "none"     // nothing: pokes carry no counts
)

func (b BadgeOf) Validate() error {
	switch b {
	case BadgeMessages, BadgeRooms, BadgeNone:
		return nil
	}
	return fmt.Errorf("--badge must be %s, %s or %s", BadgeMessages, BadgeRooms, BadgeNone)
}

// unreadCount is what a user has unread: what stands in their log. It is learned from
// there when the user is first seen, counted on from there, and learned anew
// whenever something left the log.
type unreadCount struct {
	messages uint64
	rooms    map[events.RoomID]struct{} // only if the badge counts rooms
	upTo     uint64                     // the newest notification that is counted; 0 until the user is first seen
	stale    bool                       // something has left the log since, or it was unsettled
	changes  uint64                     // how often something has left the log
	learned  time.Time                  // when the log was asked, or when the user was first seen
}

// badge returns what a poke says.
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
		return // it was counted when it came for the first time
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

// left notes that something has left the log, or may have.
func (t *unreadCount) left() { t.stale, t.changes = true, t.changes+1 }

// learn takes in what the log says, up to a sequence, to one who asked when this many
// changes were known. What has changed meanwhile may be missing in the answer, and
// another may know better already: then it says nothing, and is asked for again by
// whoever needs the count.
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

// relearnAfter is how long a count is trusted: notifications that grow too old
// leave the log without a word.
const relearnAfter = 24 * time.Hour

// count returns what the user has unread: up to this notification, or, if the
// log was asked when more of them stood there already, up to those. A badge tells
// what is unread, not when it became so.
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

// learnUnread asks the log what a user has unread, unless that is known.
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
	if d.people[user] == r { // or the user's last pusher went, and may be back
		r.unread.learn(d.Badge, count, upTo, changes)
	}
	return nil
}

// isKnown says whether a count need not be learned.
func (d *Deliverer) isKnown(t *unreadCount) bool {
	return !t.stale && (t.upTo > 0 || d.fresh) && time.Since(t.learned) < relearnAfter
}

// notFresh is called when somebody may have something unread that no recipient
// counted.
func (d *Deliverer) notFresh() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fresh = false
}
