package deliver

import (
	"sync/atomic"
	"time"

	"poked/dispatcher/poke"
)

// Counters are the statistics of deliver since the dispatcher started: every try by its
// outcome, every notification by its fate, and what neither of them shows. All partitions
// share them.
type Counters struct {
	Badges  atomic.Uint64 // delivered pokes with nothing but the unread count
	Read    atomic.Uint64 // notifications removed from the log because they were read
	Skipped atomic.Uint64 // messages of NOTIFICATIONS that could not be read
	Lagging atomic.Int64  // pushers that lag now

	tries      [poke.Kinds][poke.Classes]atomic.Uint64
	ages       histogram // of delivered notifications, since their event was stored
	accounting accounting
}

// outcome counts a try. Age is since its event was stored; a badge has no event.
func (c *Counters) outcome(out poke.Outcome, badge bool, age time.Duration) {
	c.tries[out.Kind][out.Class].Add(1)
	switch {
	case out.Kind != poke.Delivered:
	case badge:
		c.Badges.Add(1)
	default:
		c.ages.add(age)
	}
}

// Tries is how often tries had an outcome. What is paused or expired was not sent.
type Tries struct {
	Outcome poke.Kind
	Class   poke.Class
	Count   uint64
}

// Tries returns the outcomes that have occurred, and how often.
func (c *Counters) Tries() (all []Tries) {
	for kind := range poke.Kinds {
		for class := range poke.Classes {
			if n := c.tries[kind][class].Load(); n > 0 {
				all = append(all, Tries{Outcome: kind, Class: class, Count: n})
			}
		}
	}
	return all
}

// Tried returns how many tries had an outcome of one of the kinds.
func (c *Counters) Tried(kinds ...poke.Kind) (n uint64) {
	for _, kind := range kinds {
		for class := range c.tries[kind] {
			n += c.tries[kind][class].Load()
		}
	}
	return n
}

// Fate returns how many notifications had a fate.
func (c *Counters) Fate(f Fate) uint64 {
	return uint64(max(c.accounting.fates[f].Load(), 0))
}

// Outstanding returns how many notifications should still be waiting, by the accounting.
func (c *Counters) Outstanding() int64 { return c.accounting.outstanding() }

// Latency returns the age of delivered notifications, since their event was stored.
func (c *Counters) Latency() Histogram { return c.ages.snapshot() }
