package directory

import (
	"time"

	"poked/events"
	"poked/events/stream"
)

// former is the set of users who had pushers and have none any more. The notification log
// may still hold something of theirs, so each is kept for as long as the log is, and at
// most twice as long: memory follows how many users left lately, not how many ever did.
// The zero value is empty.
type former struct {
	young, old map[events.UserID]struct{}
	rotated    time.Time // when young was begun
}

// add records that a user has had no pushers since a time; the zero time means now.
func (f *former) add(user events.UserID, since, now time.Time) {
	f.rotate(now)
	if since.IsZero() {
		since = now
	}
	if now.Sub(since) >= stream.LongestKeep {
		f.remove(user)
		return
	}
	if f.young == nil {
		f.young = map[events.UserID]struct{}{}
	}
	f.young[user] = struct{}{}
}

func (f *former) remove(user events.UserID) {
	delete(f.young, user)
	delete(f.old, user)
}

func (f *former) has(user events.UserID) bool {
	_, young := f.young[user]
	_, old := f.old[user]
	return young || old
}

// rotate forgets the old users and begins a new young set, once for each period for which
// the log is kept.
func (f *former) rotate(now time.Time) {
	if now.Sub(f.rotated) < stream.LongestKeep {
		return
	}
	f.young, f.old, f.rotated = nil, f.young, now
}
