package deliver

import (
	"time"

	"sync/atomic"

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

// expect takes in that a lagging lane has one more to tell.
func (g *lag) expect(b *accounting) {
	g.due++
	b.due.Add(1)
}

// settle takes one out of what a lagging lane is to tell. What a predecessor left
// is known only when it comes up, and goes in and out at once.
func (g *lag) settle(b *accounting, out *atomic.Int64) {
	if g.due > 0 {
		g.due--
	} else {
		b.due.Add(1)
	}
	out.Add(1)
}

// takeOut takes up to n out of what a lagging lane is to tell.
func (g *lag) takeOut(n int, out *atomic.Int64) {
	n = min(n, g.due)
	g.due -= n
	out.Add(int64(n))
}
