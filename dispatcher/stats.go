package dispatcher

import (
	"poked/dispatcher/deliver"
	"poked/dispatcher/poke"
)

// Stats is a snapshot of what a dispatcher has done since it began.
type Stats struct {
	RoomEvents    uint64 `json:"room_events"`   // processed by match
	Notifications uint64 `json:"notifications"` // stored
	Delivered     uint64 `json:"delivered"`     // pokes that a gateway took
	Badges        uint64 `json:"badges"`        // of those, the ones with nothing but the unread count
	Read          uint64 `json:"read"`          // notifications removed from the log because they were read
	Failed        uint64 `json:"failed"`        // tries that will be repeated
	PutAside      uint64 `json:"put_aside"`     // pokes that an operator has skipped
	Rejected      uint64 `json:"rejected"`      // pushkeys that a gateway rejected
	Expired       uint64 `json:"expired"`       // pokes older than their time to live
	Refused       uint64 `json:"refused"`       // pokes put aside: their gateway refused them and took others
	Skipped       uint64 `json:"skipped"`       // messages that could not be read
	PassedOver    uint64 `json:"passed_over"`   // notifications not sent because newer ones of their room were
	Lagging       int64  `json:"lagging"`       // pushers that lag now
	Partitions    int64  `json:"partitions"`    // partitions owned now
}

// Stats returns what the dispatcher has done since it began.
func (d *Dispatcher) Stats() Stats {
	m, c := &d.matched, &d.counts
	return Stats{
		RoomEvents: m.RoomEvents.Load(), Notifications: m.Notifications.Load(), Skipped: m.Skipped.Load() + c.Skipped.Load(),
		Delivered: c.Tried(poke.Delivered), Failed: c.Tried(poke.Retry, poke.Slow), Rejected: c.Tried(poke.Rejected),
		Expired: c.Tried(poke.Expired), Refused: c.Fate(deliver.FateRefused), PutAside: c.Fate(deliver.FateSkipped), PassedOver: c.Fate(deliver.FatePassedOver),
		Badges: c.Badges.Load(), Read: c.Read.Load(), Lagging: c.Lagging.Load(), Partitions: d.partitions.Load(),
	}
}
