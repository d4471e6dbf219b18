package deliver

import (
	"time"

	"poked/dispatcher/directory"
	"poked/dispatcher/poke"
	"poked/events"
)

// notCounted stands for a number of notifications that nobody has counted.
const notCounted = -1

// lag is where a lane stands that could not be told at once. What it has still
// to be told is the log between position and target; nothing of it is in memory
// but what a catcher has read for the turn that the lane has.
type lag struct {
	position uint64 // newest notification told or passed
	target   uint64 // newest notification that is not another worker's to tell
	attempts int    // failed in a row
	alone    int    // of those, the ones at times when the gateway was not down
	turn     int    // pokes told since it fell behind
	since    time.Time
	nextTry  time.Time    // not before, if the gateway lets it
	failure  poke.Failure // the last
	gate     *gateway     // where the lane is counted as lagging

	unread  uint64 // the user's, up to position
	counted bool   // unread is known

	due        int  // notifications that the books say are to be told
	waiting    int  // notifications between position and target, or notCounted
	badge      bool // when all of them are told, the pusher is to be told how much is unread
	cleared    int  // how often something has left the log
	heldUntil  time.Time
	passedOver uint64 // of those before position, how many were not told because newer ones were
	thinTo     uint64 // up to here only the newest of each room is told

	items      []logItem // read from the log, to be told in this turn
	end        uint64    // the position once they are told
	read       bool      // items and end are of the log as it is from position on
	unreadable bool      // the log could not be read
}

// pass moves on beyond a notification. If it was told, the gateway works.
func (g *lag) pass(seq uint64, told bool) {
	if len(g.items) > 0 && g.items[0].seq == seq {
		g.items[0] = logItem{}
		g.items = g.items[1:]
	}
	if seq > g.position {
		g.position = seq
		g.unread++
		g.waiting = max(g.waiting-1, notCounted)
	}
	if told {
		g.attempts, g.alone, g.failure = 0, 0, poke.Failure{}
	}
	g.turnPage()
}

// turnPage moves on beyond what was read when all of it is told.
func (g *lag) turnPage() {
	if g.read && len(g.items) == 0 {
		g.position, g.read, g.items = max(g.position, g.end), false, nil
	}
}

// dropPage forgets what was read: the turn is over, and the next may be far off.
func (g *lag) dropPage() { g.items, g.read = nil, false }

// grow takes in that there is one more notification to tell, and returns whether
// there is.
func (g *lag) grow(seq uint64) (more bool) {
	if seq <= g.target {
		return false // one that was left open comes again, below the target
	}
	g.target = seq
	if g.waiting != notCounted {
		g.waiting++
	}
	return true
}

// atEnd says that the lane has told all notifications that are not another's to
// tell.
func (g *lag) atEnd() bool { return !g.read && g.position >= g.target }

// caughtUp says that there is nothing left to be told.
func (g *lag) caughtUp() bool { return g.atEnd() && !g.badge }

// putOff sets the next try after a failure that is the lane's own matter.
func (g *lag) putOff(now time.Time, out poke.Outcome) {
	g.attempts++
	g.alone++
	g.failure = out.Failure()
	g.nextTry = now.Add(poke.ScheduleOf(out.Kind).Wait(g.alone))
}

// stand takes in that nothing was told because the gateway is down or paused,
// which it is until a time at least. A poke that was not sent is no attempt, and
// says less than the failure before it.
func (g *lag) stand(out poke.Outcome, until time.Time) {
	g.nextTry = until
	if out.Asked() {
		g.attempts++
	}
	if out.Asked() || g.failure.Class == poke.ClassOK {
		g.failure = out.Failure()
	}
}

// outgoing is one thing to tell one pusher, on its way.
type outgoing struct {
	pusher  *directory.Pusher
	seq     uint64
	n       events.Notification
	room    events.RoomID
	unread  uint64
	badge   bool // it tells how much is unread, and of no notification
	attempt int  // 1 for the first
	known   bool // the pusher's pokes have failed before while the gateway was not down
}

// turn is what a lane does with the place that it has at its gateway.
type turn uint8

const (
	turnOver turn = iota // it has nothing to tell, or must not
	turnPoke             // it has
	turnRead             // it keeps the place while the log is read for it
)

// next returns what the lane has to tell now, which then counts as out. Without
// anything it leaves the lane unscheduled, live or put off.
func (l *lane) next() (outgoing, bool) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	p, what := l.pick()
	switch what {
	case turnPoke:
		l.d.out++
		p.known = l.lag != nil && l.lag.alone > 0
		return p, true
	case turnRead:
		l.d.catchUpReader.want(l, l.d.Gates.hold(l))
	case turnOver:
		l.d.Gates.release(l)
	}
	return outgoing{}, false
}

func (l *lane) pick() (outgoing, turn) {
	if l.lag == nil {
		return l.pickLive()
	}
	switch g := l.lag; {
	case l.gone || l.d.closing:
		l.scheduled = false
		return outgoing{}, turnOver
	case g.unreadable:
		g.unreadable = false
		l.failed(time.Now(), poke.Outcome{Kind: poke.Retry, Class: poke.ClassNATS})
		return outgoing{}, turnOver
	case time.Now().Before(g.heldUntil):
		l.scheduled = false
		l.d.Gates.sleep(l, g.heldUntil)
		return outgoing{}, turnOver
	}
	return l.pickLagging()
}

func (l *lane) pickLive() (outgoing, turn) {
	l.skipBadges()
	if l.gone || l.d.closing || len(l.queue) == 0 {
		l.scheduled = false
		return outgoing{}, turnOver
	}
	it := l.queue[0]
	if it.badge {
		return l.badgePoke(it.seq), turnPoke
	}
	unread := it.unread
	if !l.unreadCount().stale {
		unread = min(unread, l.unread()) // some may have been read meanwhile
	}
	return outgoing{pusher: l.pusher, seq: it.seq, n: it.n, room: it.room, unread: unread, attempt: 1}, turnPoke
}

func (l *lane) pickLagging() (outgoing, turn) {
	g := l.lag
	for len(g.items) > 0 && !l.pusher.Wants(&g.items[0].n) {
		g.pass(g.items[0].seq, false)
	}
	g.turnPage()
	if g.badge && g.atEnd() && (!l.showsBadge() || l.knowsBadge()) {
		g.badge = false
	}
	switch {
	case g.caughtUp():
		l.catchUpDone()
		l.scheduled = false
		return outgoing{}, turnOver
	case g.atEnd() && l.d.isKnown(l.unreadCount()):
		p := l.badgePoke(g.position)
		p.attempt = g.attempts + 1
		return p, turnPoke
	case len(g.items) == 0:
		return outgoing{}, turnRead
	}
	it := g.items[0]
	return outgoing{
		pusher: l.pusher, seq: it.seq, n: it.n, room: it.room,
		unread: g.count(l.unread()), attempt: g.attempts + 1,
	}, turnPoke
}

// count returns what the next notification of the log says is unread, given what
// the user has unread by now: that, if it is not known how the two differ.
func (g *lag) count(now uint64) uint64 {
	if !g.counted {
		return now
	}
	return min(g.unread+1, now)
}

// backlog returns what BACKLOG is to say of the lag.
func (g *lag) backlog(user events.UserID, pausedUntil time.Time) events.Backlog {
	return events.Backlog{
		UserID: user, Position: g.position, Attempts: g.attempts, Alone: g.alone,
		Since: g.since, NextTry: g.nextTry, LastError: g.failure.String(),
		PausedUntil: pausedUntil, PassedOver: g.passedOver, Badge: g.badge,
	}
}
