package dispatcher

import (
	"sync/atomic"
	"time"
)

// books say what lanes were to tell of notifications, and what became of it: what
// went in and what came out is counted where it happens, and what waits is counted
// at the lanes. If the three do not agree, something was dropped, or told, that
// nobody knows of. A badge is no notification and stands in no book.
//
//	owed ──▶ lane: queue, lag.owed ──▶ told, expired, passed over, cleared, dropped, left
type books struct {
	owed       atomic.Int64
	told       atomic.Int64
	expired    atomic.Int64
	passedOver atomic.Int64 // newer ones of the same room were told
	cleared    atomic.Int64 // read, redacted, or too old for the log
	dropped    atomic.Int64 // the pusher was refused or removed
	left       atomic.Int64 // the partition went to another dispatcher, or its work began anew
}

// accounting is a snapshot of books.
type accounting struct {
	Owed, Told, Expired, PassedOver, Cleared, Dropped, Left int64
}

// snapshot returns the books as they stand. While pokes are made they are not read at
// one moment.
func (b *books) snapshot() accounting {
	return accounting{
		Owed: b.owed.Load(), Told: b.told.Load(), Expired: b.expired.Load(), PassedOver: b.passedOver.Load(),
		Cleared: b.cleared.Load(), Dropped: b.dropped.Load(), Left: b.left.Load(),
	}
}

// outstanding returns what is to be told still, by the books.
func (b *books) outstanding() int64 {
	s := b.snapshot()
	return s.Owed - s.Told - s.Expired - s.PassedOver - s.Cleared - s.Dropped - s.Left
}

// owe takes in that a lagging lane has one more to tell.
func (g *lag) owe(b *books) {
	g.owed++
	b.owed.Add(1)
}

// settle takes one out of what a lagging lane is to tell. What a predecessor left
// is known only when it comes up, and goes in and out at once.
func (g *lag) settle(b *books, out *atomic.Int64) {
	if g.owed > 0 {
		g.owed--
	} else {
		b.owed.Add(1)
	}
	out.Add(1)
}

// takeOut takes up to n out of what a lagging lane is to tell.
func (g *lag) takeOut(n int, out *atomic.Int64) {
	n = min(n, g.owed)
	g.owed -= n
	out.Add(int64(n))
}

// waiting returns how many notifications a lane is to tell.
func (l *lane) waiting() (n int) {
	for _, it := range l.queue {
		if !it.badge {
			n++
		}
	}
	if l.lag != nil {
		n += l.lag.owed
	}
	return n
}

// strike takes out all that a lane is to tell.
func (l *lane) strike(out *atomic.Int64) { out.Add(int64(l.waiting())) }

// due is what waits to be told.
type due struct {
	waiting int64     // notifications
	oldest  time.Time // since when something waits; zero if nothing does
}

// see takes in a lane.
func (w *due) see(l *lane) {
	w.waiting += int64(l.waiting())
	switch {
	case l.lag != nil:
		w.since(l.lag.since)
	case len(l.queue) > 0 && !l.queue[0].badge:
		w.since(l.queue[0].n.At)
	}
}

func (w *due) since(at time.Time) {
	if w.oldest.IsZero() || !at.IsZero() && at.Before(w.oldest) {
		w.oldest = at
	}
}

// see adds what waits at the lanes of a partition. Unless some lag, only those that
// are busy have anything to tell.
func (d *deliverer) see(w *due, lagging bool) {
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

// holds returns what the deliverer holds. It looks at every lane.
func (d *deliverer) holds() (h holdings) {
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
