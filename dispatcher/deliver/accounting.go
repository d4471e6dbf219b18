package deliver

import (
	"sync/atomic"
	"time"
)

// accounting counts the notifications that lanes were given, and what became of each.
// Together with what waits at the lanes the numbers must balance: if they do not, a
// notification was lost or sent twice unnoticed. Badge-only pokes are not counted.
//
//	due ──▶ lane: queue, lag.due ──▶ delivered, expired, passed over, cleared, dropped, released
type accounting struct {
	due        atomic.Int64
	delivered  atomic.Int64
	expired    atomic.Int64
	passedOver atomic.Int64 // only newer ones of the same room were sent
	cleared    atomic.Int64 // read, redacted, or too old for the log
	dropped    atomic.Int64 // the pusher was rejected or removed
	released   atomic.Int64 // another dispatcher took the partition, or its work began anew
}

// Accounting is a snapshot of what became of the notifications that lanes were given.
type Accounting struct {
	Due, Delivered, Expired, PassedOver, Cleared, Dropped, Released int64
}

// snapshot returns the numbers. While pokes are in flight they are not of one moment.
func (b *accounting) snapshot() Accounting {
	return Accounting{
		Due: b.due.Load(), Delivered: b.delivered.Load(), Expired: b.expired.Load(), PassedOver: b.passedOver.Load(),
		Cleared: b.cleared.Load(), Dropped: b.dropped.Load(), Released: b.released.Load(),
	}
}

// outstanding returns how many notifications should still be waiting.
func (b *accounting) outstanding() int64 {
	s := b.snapshot()
	return s.Due - s.Delivered - s.Expired - s.PassedOver - s.Cleared - s.Dropped - s.Released
}

// Due is what is undelivered.
type Due struct {
	Waiting int64     // notifications
	Oldest  time.Time // since when the oldest of them waits; zero if none does
}

// see adds what waits at a lane.
func (w *Due) see(l *lane) {
	w.Waiting += int64(l.waiting())
	switch {
	case l.lag != nil:
		w.since(l.lag.since)
	case len(l.queue) > 0 && !l.queue[0].badge:
		w.since(l.queue[0].n.At)
	}
}

func (w *Due) since(at time.Time) {
	if w.Oldest.IsZero() || !at.IsZero() && at.Before(w.Oldest) {
		w.Oldest = at
	}
}

// See adds what waits at the lanes of a partition to w. If none lags, only the busy ones
// have anything to deliver.
func (d *Deliverer) See(w *Due, lagging bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !lagging {
		for l := range d.busy {
			w.see(l)
		}
		return
	}
	for _, r := range d.people {
		for _, l := range r.lanes {
			w.see(l)
		}
	}
}

// Holdings is how much a deliverer keeps in memory for notifications (G7).
type Holdings struct {
	Users  int // with lanes
	Live   int // lanes that do not lag
	Queued int // notifications in the queues of lanes
	Held   int // notifications that wait for a record in BACKLOG
	Open   int // messages of the partition that are not done
}

// Holds returns what the deliverer keeps in memory. It looks at every lane.
func (d *Deliverer) Holds() (h Holdings) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h.Users, h.Open = len(d.people), d.follower.Open()
	for _, r := range d.people {
		for _, l := range r.lanes {
			if l.lag == nil {
				h.Live++
			}
			h.Queued += len(l.queue)
			h.Held += len(l.record.held) + len(l.record.out)
		}
	}
	return h
}
