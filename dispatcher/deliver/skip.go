package deliver

import (
	"context"
	"time"

	"poked/events"
)

// An operator may put aside the poke that a lagging pusher is stuck at. The lane does it in
// its next turn, which it gets at once, also at a gateway that is down or paused: nothing is
// sent. The poke becomes a dead letter, and the lane goes on with what comes after it.

// skipLimit bounds how long an operator waits for the lanes.
const skipLimit = 5 * time.Second

// Skip puts aside the poke at which each lagging pusher is stuck that filter admits. It
// returns how many pushers filter admits, and of how many a poke was put aside.
func (d *Deliverer) Skip(ctx context.Context, filter events.PusherFilter) (n events.SkippedPushers) {
	ctx, cancel := context.WithTimeout(ctx, skipLimit)
	defer cancel()
	for piece := range d.pieces(filter, events.PusherCursor{}) {
		n.Pushers += len(piece)
		asked := map[*lane]chan bool{}
		for i := range piece {
			if done := piece[i].lane.skip(); done != nil {
				asked[piece[i].lane] = done
			}
		}
		for l, done := range asked {
			select {
			case skipped := <-done:
				if skipped {
					n.Skipped++
				}
			case <-ctx.Done():
				l.skipped(false)
			}
		}
	}
	return n
}

// skip makes a lagging lane put aside its next poke. The channel receives whether it did. It
// is nil if the lane does not lag.
func (l *lane) skip() (done chan bool) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	if l.lag == nil || l.gone || l.d.closing || l.held() {
		return nil
	}
	l.skippedLocked(false) // of another request
	done = make(chan bool, 1)
	l.lag.skip, l.lag.heldUntil = done, time.Time{}
	l.skipSoon()
	return done
}

// skipSoon gives a lane that is to put something aside the next turn at its gateway, unless
// it has one.
func (l *lane) skipSoon() {
	if l.withdraw(); !l.scheduled && !l.held() {
		l.scheduled = true
		l.submit(true, time.Time{})
	}
}

// skipped ends a request of an operator.
func (l *lane) skipped(done bool) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	l.skippedLocked(done)
}

func (l *lane) skippedLocked(done bool) {
	if l.lag != nil && l.lag.skip != nil {
		l.lag.skip <- done
		l.lag.skip = nil
	}
}
