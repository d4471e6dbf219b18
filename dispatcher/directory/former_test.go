package directory

import (
	"fmt"
	"testing"
	"time"

	"poked/events"
	"poked/events/stream"
)

// A user who has had no pushers for as long as logs are kept is forgotten, also if the
// bucket still holds the empty value, and memory does not grow with how many ever left.
func TestG7DirectoryForgetsFormerUsers(t *testing.T) {
	d := New(nil, nil, 1, func(events.UserID) {})
	now := time.Now()
	gone := func(user events.UserID, since time.Time) { d.Apply(events.UserPushers{UserID: user, At: since}) }
	gone("@long-ago:x", now.Add(-stream.LongestKeep))
	gone("@lately:x", now.Add(-stream.LongestKeep+time.Hour))
	gone("@now:x", time.Time{})
	for user, want := range map[events.UserID]bool{"@long-ago:x": false, "@lately:x": true, "@now:x": true, "@never:x": false} {
		if d.Knows(user) != want {
			t.Errorf("%s is known: %t", user, !want)
		}
	}
	most := 0
	for day := range 100 {
		now = now.Add(24 * time.Hour)
		d.ForgetFormer(now)
		for i := range 10 {
			d.former.add(events.UserID(fmt.Sprintf("@%d-%d:x", day, i)), now, now)
		}
		most = max(most, len(d.former.young)+len(d.former.old))
		if week := events.UserID(fmt.Sprintf("@%d-0:x", day-6)); day > 6 && !d.Knows(week) {
			t.Errorf("day %d: %s is forgotten before their log is", day, week)
		}
	}
	if most > 14*10+2 {
		t.Errorf("%d former users are remembered, of 10 a day", most)
	}
}
