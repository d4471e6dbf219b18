package deliver

import (
	"context"
	"iter"
	"slices"
	"strings"
	"time"

	"poked/dispatcher/poke"
	"poked/events"
)

// Operators list the pushers of a partition in pieces. The deliverer's mutex is held once to
// copy the user ids, and then for listPiece users at a time: a few milliseconds in a
// partition of 60 000.
const (
	listPiece = 1000
	// countPiece bounds the pushers of a piece for which inboxes are loaded to count what
	// waits, 0.3 ms each, if the lane does not know.
	countPiece = 256
)

// history is what operators see of a lane and the lane itself does not need: when it last
// delivered, and its last failure, which outlasts the lag that it caused. Times are in
// seconds since the Unix epoch, to save memory: there are as many lanes as pushers.
type history struct {
	deliveredAt uint32 // last success
	failedAt    uint32
	failure     poke.Failure
}

// note records the outcome of a try.
func (h *history) note(out poke.Outcome, now time.Time) {
	at := uint32(now.Unix()) //nolint:gosec // until 2106
	switch out.Kind {
	case poke.Delivered:
		h.deliveredAt = at
	case poke.Rejected, poke.Retired, poke.Retry, poke.Slow, poke.Refused:
		h.failedAt, h.failure = at, out.Failure()
	case poke.Paused, poke.Expired, poke.Skipped, poke.Withheld:
	}
}

// failure returns why the lane lags.
func (l *lane) failure() poke.Failure {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	if l.lag == nil {
		return poke.Failure{}
	}
	return l.lag.failure
}

// listed is one pusher in a list.
type listed struct {
	events.PusherState

	lane     *lane
	position uint64 // of a lagging lane
}

// States yields the pushers of the partition that filter admits and that come after a
// cursor, in order.
func (d *Deliverer) States(ctx context.Context, filter events.PusherFilter, after events.PusherCursor) iter.Seq[events.PusherState] {
	return func(yield func(events.PusherState) bool) {
		for piece := range d.pieces(filter, after) {
			d.countWaiting(ctx, piece)
			for i := range piece {
				if !yield(piece[i].PusherState) {
					return
				}
			}
		}
	}
}

// statesOf returns the state of each of a user's pushers, without counting what waits for one
// that lags.
func (d *Deliverer) statesOf(_ context.Context, user events.UserID) (states []events.PusherState, err error) {
	if d.isClosing() || !d.Gates.lease.Held() {
		return nil, errNotOwner
	}
	for _, one := range d.piece([]events.UserID{user}, events.PusherFilter{}, events.PusherCursor{}) {
		states = append(states, one.PusherState)
	}
	return states, nil
}

// Retry schedules the lagging pushers that filter admits for now.
func (d *Deliverer) Retry(ctx context.Context, filter events.PusherFilter) (n events.RetriedPushers) {
	for piece := range d.pieces(filter, events.PusherCursor{}) {
		n.Pushers += len(piece)
		for i := range piece {
			if ctx.Err() != nil {
				return n
			}
			if piece[i].State == events.PusherLagging {
				piece[i].lane.tryNow()
				n.Retried++
			}
		}
	}
	return n
}

// pieces yields the pushers of the partition that filter admits and that come after a
// cursor, in order, those of listPiece users at a time.
func (d *Deliverer) pieces(filter events.PusherFilter, after events.PusherCursor) iter.Seq[[]listed] {
	return func(yield func([]listed) bool) {
		for users := range slices.Chunk(d.users(filter, after.UserID), listPiece) {
			if piece := d.piece(users, filter, after); len(piece) > 0 && !yield(piece) {
				return
			}
		}
	}
}

// users returns the users of the partition from one on, in order, that filter may admit.
func (d *Deliverer) users(filter events.PusherFilter, from events.UserID) []events.UserID {
	if filter.UserID != "" {
		return []events.UserID{filter.UserID}
	}
	users := d.usersFrom(from)
	slices.Sort(users)
	return users
}

func (d *Deliverer) usersFrom(from events.UserID) (users []events.UserID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for user := range d.people {
		if user >= from {
			users = append(users, user)
		}
	}
	return users
}

// piece returns the pushers of some users, in order.
func (d *Deliverer) piece(users []events.UserID, filter events.PusherFilter, after events.PusherCursor) (piece []listed) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, user := range users {
		first := len(piece)
		for _, l := range d.lanesOf(user) {
			one := l.listed()
			if filter.Admits(&one.PusherState) && (user > after.UserID || one.Pusher > after.Pusher) {
				piece = append(piece, one)
			}
		}
		slices.SortFunc(piece[first:], func(a, b listed) int { return strings.Compare(string(a.Pusher), string(b.Pusher)) })
	}
	return piece
}

// lanesOf returns the lanes of a user. A user without notifications so far has none, and
// gets some to show.
func (d *Deliverer) lanesOf(user events.UserID) []*lane {
	if r := d.people[user]; r != nil {
		return r.lanes
	}
	if d.follower == nil || d.ended {
		return nil // another worker owns the partition
	}
	var lanes []*lane
	for _, p := range d.Directory.Pushers(user) {
		lanes = append(lanes, &lane{d: d, pusher: p})
	}
	return lanes
}

// listed returns the state of the lane. The caller holds the mutex.
func (l *lane) listed() listed {
	one := listed{lane: l, PusherState: events.PusherState{
		UserID: l.pusher.User, AppID: l.pusher.AppID, Pusher: l.pusher.ID, Gateway: l.pusher.Origin(),
		State: events.PusherIdle, LastSuccess: second(l.history.deliveredAt),
		LastError: l.history.failure.String(), LastErrorAt: second(l.history.failedAt),
		Waiting: uint64(len(l.queue)),
	}}
	switch {
	case l.lag != nil:
		one.lag(l)
	case l.refused == l.pusher:
		one.State = events.PusherRefused
	case len(l.queue) > 0:
		one.State = events.PusherBusy
	}
	return one
}

// lag fills in the state of a lagging lane.
func (one *listed) lag(l *lane) {
	one.State, one.position = events.PusherLagging, l.lag.position
	one.Attempts, one.Since, one.NextTry = l.lag.attempts, l.lag.since, l.lag.nextTry
	one.PassedOver, one.Because = l.lag.passedOver, l.lag.failure.String()
	if one.LastError == "" { // of the last owner, or no failure of a try
		one.LastError = l.lag.failure.String()
	}
	if l.lag.waiting != notCounted {
		one.Waiting = uint64(l.lag.waiting) //nolint:gosec // a count
		return
	}
	one.Waiting, one.Estimated = l.lag.target-min(l.lag.target, l.lag.position), true
}

func second(unix uint32) time.Time {
	if unix == 0 {
		return time.Time{}
	}
	return time.Unix(int64(unix), 0).UTC()
}

// countWaiting counts what waits for pushers whose lanes do not know. If the inbox of the
// user is not in memory, it is loaded, for countPiece pushers at most; the others keep an
// upper bound.
func (d *Deliverer) countWaiting(ctx context.Context, piece []listed) {
	left := countPiece
	for i := range piece {
		one := &piece[i]
		if !one.Estimated {
			continue
		}
		n, known := d.unreadAfter(one.UserID, one.position)
		if !known && left > 0 {
			left--
			_ = d.load(ctx, one.UserID) // else the upper bound stays
			n, known = d.unreadAfter(one.UserID, one.position)
		}
		if known {
			one.Waiting, one.Estimated = n, false
		}
	}
}

// unreadAfter returns how many notifications a user has not read after a sequence of the log,
// and whether that is known.
func (d *Deliverer) unreadAfter(user events.UserID, seq uint64) (n uint64, known bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	in := d.inboxes[user]
	if in == nil || !d.follower.Replayed() {
		return 0, false
	}
	places, more, _ := in.after(seq)
	return uint64(len(places) + more), true //nolint:gosec // counts
}
