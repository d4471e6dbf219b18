package deliver

import (
	"time"

	"poked/dispatcher/poke"
	"poked/events"
)

// notCounted is in place of a number of notifications that is not known.
const notCounted = -1

// lag is the state of a lagging lane. It has yet to send the log between position and
// target, of which only what the catch-up reader has read for the current turn is in
// memory.
type lag struct {
	position uint64 // newest notification that was sent or skipped
	target   uint64 // newest notification that it has to send
	attempts int    // failed in a row
	alone    int    // of those, the ones while the gateway was not down
	failed   bool   // a poke has failed since it fell behind, or its gateway was down
	turn     int    // pokes sent since it fell behind
	since    time.Time
	nextTry  time.Time    // not tried before
	failure  poke.Failure // the last
	gate     *gateway     // where the lane is counted as lagging

	unread  uint64 // the user's, up to position
	counted bool   // unread is known

	due        int      // undelivered notifications, by the accounting
	waiting    int      // notifications between position and target, or notCounted
	badge      bool     // the unread count is to be sent once everything else is
	clearing   *cleared // to be told with the badge; nil if nothing is
	cleared    int      // how often something was removed from the log
	heldUntil  time.Time
	passedOver uint64 // of those before position, how many were not sent because newer ones were
	thinTo     uint64 // up to here only the newest of each room is sent
	olderTo    uint64 // up to here what is only a number was counted as passed over

	items      []logItem // read from the log, to be sent in this turn
	end        uint64    // the position once they are sent
	readFor    uint64    // the target when the log was read last
	read       bool      // items and end are what the log holds from position on
	unreadable bool      // the log could not be read
	skip       chan bool // an operator waits for the next poke to be put aside
	calls      *calls    // those go before all else; nil if there are none
	looked     looked    // how far it has tried what comes after the next notification, in vain
	wakes      bool      // a new notification is tried at once
	contrast   uint8     // tries of the next notification before which the gateway took others of its app
}

// pass moves the position beyond a notification, and all before it. If it was delivered, the
// gateway works.
func (g *lag) pass(seq uint64, delivered bool) {
	for len(g.items) > 0 && g.items[0].seq <= seq {
		g.moveTo(g.items[0].seq)
		g.items[0] = logItem{}
		g.items = g.items[1:]
	}
	g.moveTo(seq)
	g.contrast, g.looked, g.wakes = 0, lookedNot, false
	if delivered {
		g.attempts, g.alone, g.failure = 0, 0, poke.Failure{}
	}
	g.finishReading()
}

// moveTo moves the position to a notification, the next one of the user.
func (g *lag) moveTo(seq uint64) {
	if seq > g.position {
		g.position = seq
		g.unread++
		g.waiting = max(g.waiting-1, notCounted)
	}
}

// finishReading moves the position to the end of what was read once all of it is sent.
func (g *lag) finishReading() {
	if g.read && len(g.items) == 0 {
		g.position, g.read, g.items = max(g.position, g.end), false, nil
	}
}

// dropReading forgets what was read: the turn is over, and the next may be far off.
func (g *lag) dropReading() { g.items, g.read = nil, false }

// grow adds a notification, and reports whether it is new.
func (g *lag) grow(seq uint64) (more bool) {
	if seq <= g.target {
		return false // one that was left open is read again, below the target
	}
	g.target = seq
	if g.looked == lookedAll {
		g.looked = lookedNot
	}
	if g.waiting != notCounted {
		g.waiting++
	}
	return true
}

// atEnd reports whether the lane has sent all notifications.
func (g *lag) atEnd() bool { return !g.read && g.position >= g.target }

// caughtUp reports whether nothing is left to send, a badge included.
func (g *lag) caughtUp() bool { return g.atEnd() && !g.badge }

// putOff sets the next try after a failure of the lane itself.
func (g *lag) putOff(now time.Time, out poke.Outcome) {
	g.attempts++
	g.alone++
	g.failed = g.failed || out.Class != poke.ClassNATS
	g.failure = out.Failure()
	g.nextTry = now.Add(poke.ScheduleOf(out.Kind).Wait(g.alone))
}

// waitFor records that nothing was delivered because the gateway is down or paused, at
// least until a time. A poke that was not sent is no attempt, and does not replace the
// failure before it.
func (g *lag) waitFor(out poke.Outcome, until time.Time) {
	g.nextTry, g.failed = until, true
	if out.Asked() {
		g.attempts++
	}
	if out.Asked() || g.failure.Class == poke.ClassOK {
		g.failure = out.Failure()
	}
}

// busyFor is how long a lane may be behind without a failure before it counts as one that
// cannot keep up.
const busyFor = 10 * time.Minute

// mayPassOver reports whether notifications may be left out because their room has newer
// ones. Not so for a lane that is behind because the dispatcher is: after a crash, or while
// more arrives than this machine can do.
func (g *lag) mayPassOver(now time.Time) bool { return g.failed || now.Sub(g.since) > busyFor }

// count returns the unread count as of an item that was read, given the current one. If the
// difference is not known it returns the current one.
func (g *lag) count(item int, now uint64) uint64 {
	if !g.counted {
		return now
	}
	return min(g.unread+uint64(item)+1, now) //nolint:gosec // an index
}

// backlog returns the record of the lag in BACKLOG.
func (g *lag) backlog(user events.UserID, pausedUntil time.Time) events.Backlog {
	return events.Backlog{
		UserID: user, Position: g.position, Attempts: g.attempts, Alone: g.alone,
		Since: g.since, NextTry: g.nextTry, LastError: g.failure.String(),
		PausedUntil: pausedUntil, PassedOver: g.passedOver, Badge: g.badge,
		Rang: g.calls.deliveredAfter(g.position),
	}
}

// expect counts one more notification that the lane has to send.
func (g *lag) expect(a *accounting) {
	g.due++
	a.due.Add(1)
}

// settle counts the fate of n notifications. Those that the last owner left behind are known
// only now, and are counted as due and settled at once.
func (g *lag) settle(a *accounting, fate Fate, n int) {
	known := min(n, g.due)
	g.due -= known
	a.due.Add(int64(n - known))
	a.settle(fate, n)
}
