package deliver

import (
	"sync/atomic"
	"time"

	"poked/dispatcher/poke"
)

// Counters count what deliver has done since the dispatcher started. All partitions share
// them.
type Counters struct {
	tries      outcomeCounts // every try, by outcome
	ages       histogram     // of delivered notifications, since their event was stored
	badges     atomic.Uint64 // delivered pokes with nothing but the unread count
	read       atomic.Uint64 // notifications removed from the log because they were read
	passedOver atomic.Uint64 // notifications not sent because newer ones of their room were
	skipped    atomic.Uint64 // messages of NOTIFICATIONS that could not be read
	lagging    atomic.Int64  // pushers that lag now

	accounting accounting
}

// outcome counts a try. Age is since its event was stored; a badge has no event.
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

// Stats is a snapshot of what deliver has done since the dispatcher started.
type Stats struct {
	Delivered  uint64 // pokes that a gateway accepted
	Badges     uint64 // of those, the ones with nothing but the unread count
	Failed     uint64 // tries that will be repeated
	Rejected   uint64 // pushkeys that a gateway rejected
	Expired    uint64 // pokes older than their time to live
	Read       uint64 // notifications removed from the log because they were read
	PassedOver uint64 // notifications not sent because newer ones of their room were
	Skipped    uint64 // messages that could not be read
	Lagging    int64  // pushers that lag now
}

// Stats returns what deliver has done since the dispatcher started.
func (c *Counters) Stats() Stats {
	return Stats{
		Delivered: c.tries.of(poke.Delivered), Badges: c.badges.Load(),
		Failed: c.tries.of(poke.Retry, poke.Slow), Rejected: c.tries.of(poke.Rejected), Expired: c.tries.of(poke.Expired),
		Read: c.read.Load(), PassedOver: c.passedOver.Load(), Skipped: c.skipped.Load(), Lagging: c.lagging.Load(),
	}
}

// Accounting returns what became of the notifications that lanes were given.
func (c *Counters) Accounting() Accounting { return c.accounting.snapshot() }

// Outstanding returns how many notifications should still be waiting, by the accounting.
func (c *Counters) Outstanding() int64 { return c.accounting.outstanding() }

// Latency returns the age of delivered notifications, since their event was stored.
func (c *Counters) Latency() Histogram { return c.ages.snapshot() }

// Outcomes returns how often each outcome has occurred.
func (c *Counters) Outcomes() []Tries { return c.tries.tries() }
