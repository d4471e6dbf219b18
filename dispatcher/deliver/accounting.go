package deliver

import (
	"sync/atomic"
	"time"
)

// Fate is what became of a notification that a lane was given. The set is closed.
type Fate uint8

// The fates.
const (
	FateDelivered  Fate = iota
	FateExpired         // older than its time to live
	FateRefused         // the gateway refused it and took others
	FateSkipped         // an operator put it aside
	FateWithheld        // the user was not to be told of it (any more)
	FatePassedOver      // only newer ones of the same room were sent
	FateCleared         // read, redacted, or too old for the log
	FateDropped         // the pusher was rejected or removed
	FateReleased        // another dispatcher took the partition, or its work began anew

	Fates // how many there are
)

// String returns the name of the fate.
func (f Fate) String() string {
	return [Fates]string{
		FateDelivered: "delivered", FateExpired: "expired", FateRefused: "refused", FateSkipped: "skipped", FateWithheld: "withheld", FatePassedOver: "passed_over", FateCleared: "cleared",
		FateDropped: "dropped", FateReleased: "released",
	}[f]
}

// accounting counts the notifications that lanes were given, and the fate of each. Together
// with what waits at the lanes the numbers must balance: if they do not, a notification was
// lost or sent twice unnoticed. Badge-only pokes are not counted.
//
//	due ──▶ lane: queue, lag.due ──▶ a fate
type accounting struct {
	due   atomic.Int64
	fates [Fates]atomic.Int64
}

// settle counts the fate of n notifications that are due.
func (a *accounting) settle(fate Fate, n int) { a.fates[fate].Add(int64(n)) }

// outstanding returns how many notifications should still be waiting. While pokes are in
// flight the numbers are not of one moment.
func (a *accounting) outstanding() int64 {
	n := a.due.Load()
	for fate := range a.fates {
		n -= a.fates[fate].Load()
	}
	return n
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
