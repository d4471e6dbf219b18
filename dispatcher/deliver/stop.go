package deliver

import (
	"context"
	"time"

	"poked/dispatcher/poke"
	"poked/events/stream"
	"poked/events/wait"
)

// finish ends the work. Pokes in flight may finish, as long as drain allows.
func (d *Deliverer) finish(drain wait.Drain) {
	d.sendLastBadges()
	d.closeAll()
	var out int
	settled := drain.Until(func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		out = d.out
		return d.out == 0 && d.backlog.idle()
	})
	d.flushLast()
	if !settled {
		d.Log.Warn("ending with pokes in flight, their outcome stays unknown", "out", out)
	}
	d.attempts.publish()
}

// flushLast stores all that has changed, so that the next owner need not read the log again.
// If the last flush was a moment ago the next owner reads it: a power cut could take both
// versions of a room, and INBOX may hold none before these.
func (d *Deliverer) flushLast() {
	d.mu.Lock()
	fenced, recent := d.ended, time.Since(d.snapshots.storedAt) < unsyncedFor
	d.mu.Unlock()
	if fenced || recent || !d.Gates.lease.Held() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastFlush)
	defer cancel()
	err := wait.Until(ctx, wait.RetryPause, nil, func() error { return d.flush(ctx, true) }) // many may stop at once
	if err != nil {
		d.Log.Warn("ending without the last snapshots, the next owner reads the log since the ones before", "error", err)
	}
}

// closeAll begins nothing new. Lanes that still wait are recorded as lagging, so that a
// notification which the user's other pushers have received is not sent to those again.
func (d *Deliverer) closeAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closing = true
	for l := range d.busy {
		l.fallBehind(time.Now(), poke.Because(poke.ClassStopped))
		l.save()
	}
	d.backlog.again()
}

func (d *Deliverer) isClosing() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closing
}

// end stops everything, whatever is still in flight.
func (d *Deliverer) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closing, d.ended = true, true
}

// Release removes every lane from the queues and the counts: another worker owns them now. A
// poke that is still in flight changes nothing when it returns.
func (d *Deliverer) Release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.people {
		for _, l := range r.lanes {
			l.gone = true
			l.settleAll(FateReleased)
			l.withdraw()
			l.dropLag()
			l.queue = nil
		}
	}
	clear(d.people)
	clear(d.inboxes)
	clear(d.busy)
}

// fence ends the work on the partition: it has another owner, or an earlier owner that was
// held up has written late. If this worker owns the partition all the same, the work begins
// anew with what is stored.
func (d *Deliverer) fence(conflict *stream.ConflictError) {
	d.closing, d.ended = true, true
	d.follower.Fence(conflict)
}
