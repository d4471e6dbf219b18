package deliver

import (
	"time"

	"poked/dispatcher/poke"
)

// When the client of a device sets a new pushkey for the same app, because its push service
// gave it a new one, what waits for the old pushkey can reach the device only under the new
// one. The registry names the old pusher in the new one (events.Pusher.Follows), and the new
// lane, the heir, takes over the old one's place in the backlog:
//
//	heir appears ──▶ old: nothing new begins ──▶ its poke in flight is settled
//	                                                     │
//	   old: empty, its record deleted ◀── record stored ◀── heir: lags from the old position
//	   heir: sends
//
// Nothing is sent for either until then, so nothing is sent under both. After a crash, or a
// stop, the next owner finds the old record as it was, and begins again: what the heir has
// sent since is sent once more only if the crash came before the old record was deleted. A
// record contains whether its lane has had its heir: what it lags with later is its own. What was
// dropped before the heir appeared, because the gateway rejected the old pushkey or its pusher
// was removed, does not come back.

// inherit makes every new pusher of a user take over from the one that it follows, once. The
// caller holds the mutex, as for all of this file.
func (r *recipient) inherit(d *Deliverer) {
	for _, heir := range r.lanes {
		old := findLane(r.lanes, heir.pusher.Follows)
		if old == nil || old.handed == heir.pusher.ID || old.heir != nil {
			continue
		}
		old.handed = heir.pusher.ID
		if heir.lag == nil || d.restoring { // else it has a place of its own
			heir.takeFrom(old)
		}
	}
}

// takeFrom begins to take over from an older lane, if anything waits there.
func (l *lane) takeFrom(old *lane) {
	if len(old.queue) > 0 {
		old.fallBehind(time.Now(), poke.Because(poke.ClassBehind))
		old.save()
	}
	if old.lag == nil {
		return
	}
	if l.withdraw(); l.scheduled { // it was not new, and has sent what comes later
		return
	}
	old.heir, l.from = l, old
	old.withdraw()
	if !old.scheduled {
		l.takePlace()
	} // else once its poke in flight is settled
}

// takePlace gives the lane the place of the older one, which sends nothing any more.
func (l *lane) takePlace() {
	place := l.from.lag
	if place == nil { // its last poke was the one in flight
		l.tookOver()
		return
	}
	if len(l.queue) > 0 {
		l.fallBehind(time.Now(), poke.Because(poke.ClassBehind))
	}
	if l.lag == nil {
		l.lag = &lag{position: place.position}
		l.lagsAt(l.pusher.Origin())
	}
	g := l.lag
	g.position, g.target = min(place.position, g.position), max(place.target, g.target)
	g.since, g.nextTry, g.failed, g.passedOver = place.since, time.Now(), place.failed, place.passedOver
	if place.clearing != nil {
		g.clearing = g.clearing.and(place.clearing)
	}
	g.badge, g.counted, g.waiting = g.badge || place.badge, false, notCounted
	g.calls = place.calls // of its own, which is new, there are none that are not among these
	g.dropReading()
	l.save()
}

// tookOver ends the older lane's part: the place is this lane's, and stored.
func (l *lane) tookOver() {
	old := l.from
	l.from, old.heir = nil, nil
	old.empty()
	if l.lag != nil || len(l.queue) > 0 {
		l.schedule()
	}
}

// giveBack ends a taking over whose heir was removed. The older lane goes on.
func (l *lane) giveBack() {
	old := l.from
	if old == nil {
		return
	}
	l.from, old.heir, old.handed = nil, nil, ""
	if old.gone || old.refused == old.pusher {
		old.empty()
	} else if old.lag != nil {
		old.schedule()
	}
}

// held reports whether the lane must not send: its place is being taken over, or it takes one
// over itself.
func (l *lane) held() bool { return l.heir != nil || l.from != nil }
