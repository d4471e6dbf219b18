package chaos

import (
	"cmp"
	"context"
	"slices"

	"poked/events"
	"poked/events/owner"
	"poked/events/stream"
)

// storedNotification is a notification in a user's log.
type storedNotification struct {
	seq   uint64
	room  events.RoomID
	event events.EventID
}

// storedPage is how many notifications one question asks for.
const storedPage = 256

// readStored reads the unread notifications of every user in log order, which is the order
// of delivery.
func (h *history) readStored(ctx context.Context, conn *stream.Conn) error {
	h.stored = map[events.UserID][]storedNotification{}
	owners := owner.NewClient(conn)
	for _, u := range h.people.users {
		for query := (owner.ListQuery{User: u.id, Limit: storedPage}); ; {
			page, next, err := owners.ListNotifications(ctx, query)
			if err != nil {
				return err
			}
			for _, n := range page {
				h.stored[u.id] = append(h.stored[u.id], storedNotification{n.Seq, n.Room, n.EventID})
			}
			if query.Before = next; next == 0 {
				break
			}
		}
		slices.SortFunc(h.stored[u.id], func(a, b storedNotification) int { return cmp.Compare(a.seq, b.seq) })
	}
	return nil
}

// storage finds notifications that are stored twice, or not in the order of their room.
func (c *checker) storage() {
	for user, all := range c.stored {
		newest := map[events.RoomID]storedNotification{}
		seen := map[events.EventID]bool{}
		for _, n := range all {
			if seen[n.event] {
				c.problem(&c.report.StoredTwice, "%s has %s twice, again at %d", user, n.event, n.seq)
			}
			seen[n.event] = true
			if before, ok := newest[n.room]; ok && c.numbers[before.event] > c.numbers[n.event] {
				c.problem(&c.report.Swapped, "%s has %s at %d, after %s at %d", user, n.event, n.seq, before.event, before.seq)
				continue
			}
			newest[n.room] = n
		}
	}
}

// order finds pokes that were not delivered in the order of their user's log (G3).
// Repeated pokes do not count.
func (c *checker) order() {
	for key, pokes := range c.byKey {
		places := map[events.EventID]uint64{}
		if user := c.owners[key]; user != nil {
			for _, n := range slices.Backward(c.stored[user.id]) {
				places[n.event] = n.seq // the first one, if it is stored twice
			}
		}
		var newest *request
		for _, p := range pokes {
			if places[p.Event] == 0 || c.again(p) {
				continue // it was read meanwhile, or is a repetition
			}
			if newest != nil && places[newest.Event] > places[p.Event] {
				c.problem(&c.report.Disordered, "%s got %s after %s", key, p.Event, newest.Event)
				continue
			}
			newest = p
		}
	}
}

// again reports whether the pusher got the event before.
func (c *checker) again(p *request) bool {
	return p.Event != "" && p != &c.Pokes[c.first[delivery{p.Pushkey, p.Event}]]
}
