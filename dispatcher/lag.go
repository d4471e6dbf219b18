package dispatcher

import (
	"context"
	"time"

	"poked/events"
)

// lag is where a lane stands that could not be told at once. What it has still
// to be told is the log between position and target; nothing of it is kept in
// memory.
type lag struct {
	position  uint64 // newest notification told or passed
	target    uint64 // newest notification that is not another worker's to tell
	attempts  int    // failed in a row
	alone     int    // of those, the ones at times when the gateway was not down
	turn      int    // pokes told since it fell behind
	since     time.Time
	nextTry   time.Time // not before, if the gateway lets it
	lastError string
	gate      *gateway // where the lane is counted as lagging

	unread  uint64 // the user's, up to position
	counted bool   // unread is known
}

// pass moves on beyond a notification. If it was told, the gateway works.
func (g *lag) pass(seq uint64, told bool) {
	if seq > g.position {
		g.position = seq
		g.unread++
	}
	if told {
		g.attempts, g.alone, g.lastError = 0, 0, ""
	}
}

// putOff sets the next try after a failure that is the lane's own matter.
func (g *lag) putOff(now time.Time, out outcome) {
	g.attempts++
	g.alone++
	g.lastError = out.class
	g.nextTry = now.Add(scheduleOf(out.kind).wait(g.alone))
}

// stand takes in that nothing was told because the gateway is down or paused,
// which it is until a time at least. A poke that was not sent is no attempt.
func (g *lag) stand(out outcome, until time.Time) {
	if out.asked() {
		g.attempts++
	}
	g.lastError, g.nextTry = out.class, until
}

// poke is one thing to tell one pusher, on its way.
type poke struct {
	pusher  *pusher
	seq     uint64
	n       events.Notification
	room    events.RoomID
	unread  uint64
	attempt int  // 1 for the first
	known   bool // the pusher's pokes have failed before while the gateway was not down
}

// next returns what the lane has to tell now, which then counts as out. Without
// anything it leaves the lane unscheduled, live or put off.
func (l *lane) next(ctx context.Context) (poke, bool) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	p, ok := l.pick(ctx)
	if !ok {
		l.d.gates.release(l)
		return p, false
	}
	l.d.out++
	p.known = l.lag != nil && l.lag.alone > 0
	return p, true
}

func (l *lane) pick(ctx context.Context) (poke, bool) {
	for {
		switch {
		case l.gone || l.d.closing:
			l.scheduled = false
			return poke{}, false
		case l.lag == nil && len(l.queue) == 0:
			l.scheduled = false
			return poke{}, false
		case l.lag == nil:
			it := l.queue[0]
			return poke{pusher: l.pusher, seq: it.seq, n: it.n, room: it.room, unread: it.unread, attempt: 1}, true
		case l.lag.position >= l.lag.target:
			l.catchUpDone()
		default:
			if p, ok := l.readOn(ctx); ok || !l.scheduled {
				return p, ok
			}
		}
	}
}

// readOn reads the next notification from the log, with the mutex released.
// Without one, either the lane's state has changed, or the log could not be
// read and the lane is put off.
func (l *lane) readOn(ctx context.Context) (poke, bool) {
	g, user := l.lag, l.pusher.user
	after, target := g.position, g.target
	l.d.mu.Unlock()
	logged, found, err := l.d.conn.NextNotification(ctx, user, after)
	if err == nil {
		err = l.d.learnUnread(ctx, user)
	}
	l.d.mu.Lock()
	switch {
	case l.lag != g || g.position != after || l.d.closing: // removed meanwhile, or all ends
		return poke{}, false
	case err != nil:
		l.d.log.Warn("log not read, trying again", "user_id", user, "pusher", l.pusher.id, "error", err)
		l.failed(time.Now(), outcome{kind: outcomeRetry, class: classNATS})
		return poke{}, false
	case !found || logged.Seq > target: // what lies beyond the target comes by live
		g.position = target
		return poke{}, false
	}
	n, err := events.ParseNotification(logged.Data)
	if err != nil || !n.Reaches(l.pusher.handle) { // buried when it came by, or for other devices
		g.pass(logged.Seq, false)
		return poke{}, false
	}
	return poke{
		pusher: l.pusher, seq: logged.Seq, n: n, room: logged.Room,
		unread: g.badge(l.d.recipient(user).unread), attempt: g.attempts + 1,
	}, true
}

// badge returns what the next notification of the log says is unread, given what
// the user has unread by now: that, if it is not known how the two differ.
func (g *lag) badge(now uint64) uint64 {
	if !g.counted {
		return now
	}
	return min(g.unread+1, now)
}

// backlogRecord is what BACKLOG is to say of a lane. Writes go out one at a
// time; a change while one is out is written after it.
type backlogRecord struct {
	stored  bool // the bucket has an entry
	covers  bool // the entry stands before all that the lane has not told
	writing bool
	stale   bool    // the bucket is to say something else than what was written last
	held    []*item // done once the lag that covers them is stored
	out     []*item // held when the write that is out began
}

// cover keeps an item of a lagging lane open until the bucket has an entry:
// without one a successor would not know that it was never told.
func (r *backlogRecord) cover(it *item) {
	if !r.covers {
		it.waiting++
		r.held = append(r.held, it)
	}
}

// save has the bucket say how the lane stands.
func (l *lane) save() {
	r := &l.record
	if l.d.ended {
		return
	}
	if r.writing {
		r.stale = true
		return
	}
	if l.lag == nil && !r.stored && len(r.held) == 0 {
		return
	}
	r.writing, r.stale = true, false
	r.out, r.held = r.held, nil
	l.d.writing++
	delete(l.d.unsaved, l)
	if l.lag == nil {
		r.covers = false
		l.d.conn.DeleteBacklog(l.pusher.id, l.pusher.user, func(err error) { l.saved(false, err) })
		return
	}
	l.d.conn.PutBacklog(l.pusher.id, events.Backlog{
		UserID: l.pusher.user, Position: l.lag.position, Attempts: l.lag.attempts,
		Since: l.lag.since, NextTry: l.lag.nextTry, LastError: l.lag.lastError,
		PausedUntil: l.d.gates.pausedUntil(l.lag.gate),
	}, func(err error) { l.saved(true, err) })
}

// saved takes in the answer to a write. What failed is tried again by the next
// tick.
func (l *lane) saved(stored bool, err error) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	r := &l.record
	r.writing = false
	l.d.writing--
	if err != nil {
		l.d.log.Warn("backlog not stored, trying again", "user_id", l.pusher.user, "pusher", l.pusher.id, "error", err)
		r.held = append(r.out, r.held...)
		r.stored = true // it may be
		l.d.unsaved[l] = struct{}{}
		return
	}
	if r.stored, r.covers = stored, stored; r.covers {
		r.out, r.held = append(r.out, r.held...), nil
	}
	for _, it := range r.out {
		l.d.release(it)
	}
	if r.out = nil; r.stale {
		l.save()
	} else if l.gone {
		delete(l.d.ending, l.pusher.id)
	}
}
