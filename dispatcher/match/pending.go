package match

import (
	"slices"
	"time"

	"poked/events"
)

const (
	// pendingLimit is how many receipts and redactions of a partition wait for their events.
	// For one more, the oldest of the room that has most is given up: any member may name
	// events that will never arrive.
	pendingLimit = 256
	// pendingFor is how long each waits.
	pendingFor = 10 * time.Minute
)

// pending keeps receipts and redactions whose event has not arrived yet: they may overtake
// it between two homeservers. Their message stays open meanwhile, so that the next owner of
// the partition gets it too. The goroutine that follows the partition owns pending.
type pending struct {
	items []*pendingItem // oldest first
}

// pendingItem is a receipt or a redaction whose event has not arrived, or is not stored.
type pendingItem struct {
	f         *fanout // of the message that holds it
	room      events.RoomID
	event     events.EventID
	receipt   events.Receipt
	redaction *redaction // nil for a receipt
	since     time.Time
	arrived   bool // its event has
	resolved  bool // its event is stored, or given up; guarded by the mutex of f
}

// add adds an item, which waits for its event from now on.
func (p *pending) add(it *pendingItem) {
	it.since = time.Now()
	it.f.mu.Lock()
	it.f.waiting++
	it.f.mu.Unlock()
	p.forget()
	p.items = append(p.items, it)
	if len(p.items) > pendingLimit {
		p.giveUpOne()
	}
}

// giveUpOne gives up an item whose event has not arrived. There is one: the item that was
// added last.
func (p *pending) giveUpOne() {
	of := map[events.RoomID][]*pendingItem{}
	most := 0
	for _, it := range p.items {
		if !it.arrived {
			of[it.room] = append(of[it.room], it)
			most = max(most, len(of[it.room]))
		}
	}
	i := slices.IndexFunc(p.items, func(it *pendingItem) bool { return !it.arrived && len(of[it.room]) == most })
	p.items[i].resolve()
}

// about returns the items that wait for an event, which has arrived now. They are resolved
// when everything that the event causes is stored.
func (p *pending) about(room events.RoomID, event events.EventID) (items []*pendingItem) {
	for _, it := range p.items {
		if it.event == event && it.room == room && it.waits() {
			it.arrived = true
			items = append(items, it)
		}
	}
	return items
}

// expire gives up items that have waited too long.
func (p *pending) expire(now time.Time) {
	for _, it := range p.items {
		if now.Sub(it.since) < pendingFor {
			break
		}
		if !it.arrived {
			it.resolve()
		}
	}
	p.forget()
}

// forget drops items that do not wait any more.
func (p *pending) forget() {
	p.items = slices.DeleteFunc(p.items, func(it *pendingItem) bool { return !it.waits() })
}

// waits reports whether the item's event has yet to arrive or to be stored. If the item's
// message failed, the item is added again when that is processed again.
func (it *pendingItem) waits() bool {
	it.f.mu.Lock()
	defer it.f.mu.Unlock()
	return !it.resolved && !it.f.over
}

// resolve is called when the item's event is stored, or given up.
func (it *pendingItem) resolve() {
	f := it.f
	f.mu.Lock()
	if !it.resolved {
		it.resolved = true
		f.waiting--
	}
	over := f.complete()
	f.mu.Unlock()
	if over {
		f.finish(nil)
	}
}

// without leaves out users whom an event does not notify any more because of a redaction
// or a receipt that arrived before it.
func without(notified []decision, items []*pendingItem, author events.UserID, thread events.EventID) []decision {
	if len(items) == 0 {
		return notified
	}
	return slices.DeleteFunc(notified, func(d decision) bool {
		return slices.ContainsFunc(items, func(it *pendingItem) bool {
			if it.redaction != nil {
				return it.redaction.appliesTo(author)
			}
			return it.receipt.User == d.member.id && (it.receipt.Whole || it.receipt.Thread == thread)
		})
	})
}
