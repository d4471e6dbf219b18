package deliver

import (
	"sync/atomic"
	"time"

	"poked/dispatcher/poke"
)

// Counters count what deliver has done since the dispatcher began. All partitions
// share them.
type Counters struct {
	tries      outcomeCounts // every try, by how it went
	ages       histogram     // of what was delivered, since its event was stored
	badges     atomic.Uint64 // of what was delivered, the pokes that carried nothing but the unread count
	read       atomic.Uint64 // notifications that left the log because they were read
	passedOver atomic.Uint64 // notifications not sent because newer ones of their room were
	skipped    atomic.Uint64 // messages of NOTIFICATIONS that could not be read
	lagging    atomic.Int64  // pushers that lag now

	accounting accounting
}

// outcome counts a try to tell something whose event was stored an age ago; a badge
// has no event.
func (c *Counters) outcome(out poke.Outcome, badge bool, age time.Duration) {
	c.tries.add(out)
	switch {
	case out.Kind != poke.Delivered:
	case badge:
		c.badges.Add(1)
	default:
		c.ages.add(age)
	}
}

// deliverStats is a snapshot of what deliver has done since the dispatcher began.
type deliverStats struct {
	Delivered  uint64 // pokes that a gateway took
	Badges     uint64 // of those, the ones that carried nothing but the unread count
	Failed     uint64 // tries that have to be repeated
	Rejected   uint64 // pushkeys that a gateway refused
	Expired    uint64 // pokes that outlived their time to live
	Read       uint64 // notifications that left the log because they were read
	PassedOver uint64 // notifications not sent because newer ones of their room were
	Skipped    uint64 // messages that could not be read
	Lagging    int64  // pushers that lag now
}

func (c *Counters) Stats() deliverStats {
	return deliverStats{
		Delivered: c.tries.of(poke.Delivered), Badges: c.badges.Load(),
		Failed: c.tries.of(poke.Retry, poke.Slow), Rejected: c.tries.of(poke.Rejected), Expired: c.tries.of(poke.Expired),
		Read: c.read.Load(), PassedOver: c.passedOver.Load(), Skipped: c.skipped.Load(), Lagging: c.lagging.Load(),
	}
}

// Accounting returns what became of what lanes were to send.
func (c *Counters) Accounting() Accounting { return c.accounting.snapshot() }

// Outstanding returns how many notifications lanes are still to send, by the accounting.
func (c *Counters) Outstanding() int64 { return c.accounting.outstanding() }

// Latency returns how old delivered notifications were, since their event was stored.
func (c *Counters) Latency() Histogram { return c.ages.snapshot() }

// Outcomes returns how often tries had an outcome.
func (c *Counters) Outcomes() []Tries { return c.tries.tries() }
