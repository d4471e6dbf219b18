package deliver

import (
	"sync/atomic"
	"time"
)

// accounting say what lanes were to tell of notifications, and what became of it: what
// went in and what came out is counted where it happens, and what waits is counted
// at the lanes. If the three do not agree, something was dropped, or told, that
// nobody knows of. A badge is no notification and stands in no book.
//
//	owed ──▶ lane: queue, lag.owed ──▶ told, expired, passed over, cleared, dropped, left
type accounting struct {
	due        atomic.Int64
	delivered  atomic.Int64
	expired    atomic.Int64
	passedOver atomic.Int64 // newer ones of the same room were told
	cleared    atomic.Int64 // read, redacted, or too old for the log
	dropped    atomic.Int64 // the pusher was refused or removed
	released   atomic.Int64 // the partition went to another dispatcher, or its work began anew
}

// Accounting is a snapshot of books.
type Accounting struct {
	Due, Delivered, Expired, PassedOver, Cleared, Dropped, Released int64
}

// snapshot returns the books as they stand. While pokes are made they are not read at
// one moment.
func (b *accounting) snapshot() Accounting {
	return Accounting{
		Due: b.due.Load(), Delivered: b.delivered.Load(), Expired: b.expired.Load(), PassedOver: b.passedOver.Load(),
		Cleared: b.cleared.Load(), Dropped: b.dropped.Load(), Released: b.released.Load(),
	}
}

// outstanding returns what is to be told still, by the books.
func (b *accounting) outstanding() int64 {
	s := b.snapshot()
	return s.Due - s.Delivered - s.Expired - s.PassedOver - s.Cleared - s.Dropped - s.Released
}

// Due is what waits to be told.
type Due struct {
	Waiting int64     // notifications
	Oldest  time.Time // since when something waits; zero if nothing does
}

// see takes in a lane.
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

// See adds what waits at the lanes of a partition. Unless some lag, only those that
// are busy have anything to tell.
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

// holdings is how much a deliverer holds in memory for notifications (G7).
type holdings struct {
	Users  int // with lanes
	Live   int // lanes that do not lag
	Queued int // notifications in the queues of lanes
	Held   int // notifications that wait for a record in BACKLOG
	Open   int // messages that are not done
}

// Holds returns what the deliverer holds. It looks at every lane.
func (d *Deliverer) Holds() (h holdings) {
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
