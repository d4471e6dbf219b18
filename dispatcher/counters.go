package dispatcher

import (
	"sync/atomic"
	"time"
)

// counters count what deliver has done since the dispatcher began. All partitions
// share them.
type counters struct {
	skipped    atomic.Uint64 // messages of NOTIFICATIONS that could not be read
	delivered  atomic.Uint64
	badges     atomic.Uint64 // of those, the pokes that carried nothing but the unread count
	read       atomic.Uint64 // notifications that left the log because they were read
	rejected   atomic.Uint64
	expired    atomic.Uint64
	failed     atomic.Uint64 // tries that have to be repeated
	passedOver atomic.Uint64 // notifications not sent because newer ones of their room were
	lagging    atomic.Int64  // pushers that lag now

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
