package deliver

import (
	"time"

	"poked/dispatcher/poke"
	"poked/events/stream"
	"poked/events/wait"
)

// finish ends the work: what is out may come back, for as long as drain allows.
func (d *Deliverer) finish(drain wait.Drain) {
	d.sendLastBadges()
	d.close()
	var out int
	settled := drain.Until(func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		out = d.out
		return d.out == 0 && d.backlog.idle()
	})
	if !settled {
		d.Log.Warn("ending with pokes out, their outcome stays unknown", "out", out)
	}
}

// close begins nothing new. Who still waits for a turn is written down, so that
// a notification which others of its user were told is not told to them again.
func (d *Deliverer) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closing = true
	for l := range d.busy {
		l.fallBehind(time.Now(), poke.Because(poke.ClassStopped))
		l.save()
	}
	d.backlog.again()
}

// end has nothing happen any more, whatever is still out.
func (d *Deliverer) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closing, d.ended = true, true
}

// Release has no lane stand anywhere any more, nor count as lagging: they are
// another worker's. One whose attempt is out has nothing to tell when it is back.
func (d *Deliverer) Release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range d.people {
		for _, l := range r.lanes {
			l.gone = true
			l.settleAll(&d.Counts.accounting.released)
			l.withdraw()
			l.dropLag()
			l.queue = nil
		}
	}
	clear(d.people)
	clear(d.busy)
}

// fence ends the work on the partition: it has another owner, or a predecessor that
// was held up has written late. If the partition is this worker's all the same it
// begins anew, with what is stored.
func (d *Deliverer) fence(conflict *stream.ConflictError) {
	d.closing, d.ended = true, true
	d.follower.Fence(conflict)
}
