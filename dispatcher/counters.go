package dispatcher

import (
	"sync/atomic"
	"time"
)

// counters is what a dispatcher has done since it began. All partitions share
// one.
type counters struct {
	roomEvents    atomic.Uint64 // taken in by match
	notifications atomic.Uint64 // written by match
	skipped       atomic.Uint64 // messages that could not be read
	delivered     atomic.Uint64
	badges        atomic.Uint64 // of those, the pokes that told nothing but how much is unread
	read          atomic.Uint64 // notifications that left the log because they were read
	rejected      atomic.Uint64
	expired       atomic.Uint64
	failed        atomic.Uint64 // tries that have to be repeated
	passedOver    atomic.Uint64 // notifications not told because newer ones of their room were
	lagging       atomic.Int64  // pushers that lag now
	partitions    atomic.Int64  // partitions that are worked on now

	books books
	tries tally     // every try, by how it went
	ages  histogram // of what was delivered, since its event was stored
}

// outcome counts a try to tell something whose event was stored an age ago; a badge
// has no event.
func (c *counters) outcome(out outcome, badge bool, age time.Duration) {
	c.tries.add(out)
	switch out.kind {
	case outcomeDelivered:
		c.delivered.Add(1)
		if badge {
			c.badges.Add(1)
		} else {
			c.ages.add(age)
		}
	case outcomeRejected:
		c.rejected.Add(1)
	case outcomeExpired:
		c.expired.Add(1)
	case outcomeRetry, outcomeSlow:
		c.failed.Add(1)
	case outcomePaused:
	}
}

// Stats is a snapshot of what a dispatcher has done since it began.
type Stats struct {
	RoomEvents    uint64 `json:"room_events"`   // taken in by match
	Notifications uint64 `json:"notifications"` // stored
	Delivered     uint64 `json:"delivered"`     // pokes that a gateway took
	Badges        uint64 `json:"badges"`        // of those, the ones that told nothing but how much is unread
	Read          uint64 `json:"read"`          // notifications that left the log because they were read
	Failed        uint64 `json:"failed"`        // tries that have to be repeated
	Rejected      uint64 `json:"rejected"`      // pushkeys that a gateway refused
	Expired       uint64 `json:"expired"`       // pokes that outlived their time to live
	Skipped       uint64 `json:"skipped"`       // messages that could not be read
	PassedOver    uint64 `json:"passed_over"`   // notifications not told because newer ones of their room were
	Lagging       int64  `json:"lagging"`       // pushers that lag now
	Partitions    int64  `json:"partitions"`    // partitions that are worked on now
}

func (c *counters) stats() Stats {
	return Stats{
		RoomEvents:    c.roomEvents.Load(),
		Notifications: c.notifications.Load(), Delivered: c.delivered.Load(), Badges: c.badges.Load(), Read: c.read.Load(), Failed: c.failed.Load(),
		Rejected: c.rejected.Load(), Expired: c.expired.Load(), Skipped: c.skipped.Load(), Lagging: c.lagging.Load(),
		PassedOver: c.passedOver.Load(), Partitions: c.partitions.Load(),
	}
}
