package directory

import (
	"time"

	"poked/events"
	"poked/events/stream"
)

// former is the users who have no pushers any more and had some, for as long as their
// logs are kept from then on, and for twice as long at most: memory follows who left
// lately, not who ever did. Its zero value is empty.
type former struct {
	young, old map[events.UserID]struct{}
	turned     time.Time // when what is young began
}

// add takes in that a user has no pushers since a time; the zero time is now.
func (f *former) add(user events.UserID, since, now time.Time) {
	f.turn(now)
	if since.IsZero() {
		since = now
	}
	if now.Sub(since) >= stream.NotificationsKept {
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

// turn lets what is young grow old, and what is old go, when it is time.
func (f *former) turn(now time.Time) {
	if now.Sub(f.turned) < stream.NotificationsKept {
		return
	}
	f.young, f.old, f.turned = nil, f.young, now
}
