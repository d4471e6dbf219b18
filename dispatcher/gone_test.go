package dispatcher

import (
	"fmt"
	"testing"
	"time"

	"poked/events"
)

// Whoever has had no pushers for as long as logs are kept is forgotten, however many
// they were, be it that the bucket still says so.
func TestG7DirectoryForgetsWhoIsGone(t *testing.T) {
	d := newDirectory(nil, nil, 1, func(events.UserID) {})
	now := time.Now()
	gone := func(user events.UserID, since time.Time) { d.apply(events.UserPushers{UserID: user, At: since}) }
	gone("@long-ago:x", now.Add(-events.NotificationsKept))
	gone("@lately:x", now.Add(-events.NotificationsKept+time.Hour))
	gone("@now:x", time.Time{})
	for user, want := range map[events.UserID]bool{"@long-ago:x": false, "@lately:x": true, "@now:x": true, "@never:x": false} {
		if d.knows(user) != want {
			t.Errorf("%s is known: %t", user, !want)
		}
	}
	most := 0
	for day := range 100 {
		now = now.Add(24 * time.Hour)
		d.forgetFormer(now)
		for i := range 10 {
			d.former.add(events.UserID(fmt.Sprintf("@%d-%d:x", day, i)), now, now)
		}
		most = max(most, len(d.former.young)+len(d.former.old))
		if week := events.UserID(fmt.Sprintf("@%d-0:x", day-6)); day > 6 && !d.knows(week) {
			t.Errorf("day %d: %s is forgotten before their log is", day, week)
		}
	}
	if most > 14*10+2 {
		t.Errorf("%d who went are remembered, of 10 a day", most)
	}
}

// A user whose pushers went while something was still to be done for them leaves no
// recipient behind.
func TestG7NobodyIsKeptWithoutPushers(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		all := h.startInside()
		h.register("@bob:x", "gw.test", "bob")
		<-time.After(time.Second)
		h.room("!r", "@alice:x", "@bob:x")
		h.say("!r", "@alice:x", 0, 2)
		h.arrived(2)
		h.receipt("!r", "@bob:x", "m.read", "$r-1", "") // the badge goes out in half a second
		<-time.After(100 * time.Millisecond)
		h.register("@bob:x", "gw.test")
		<-time.After(10 * time.Second)
		for part, dl := range all.deliverers() {
			dl.mu.Lock()
			if len(dl.people) > 0 {
				t.Errorf("partition %d knows %d people", part, len(dl.people))
			}
			dl.mu.Unlock()
		}
	})
}

// A record by the clock of a worker that was ahead, or that somebody has edited, keeps
// nobody waiting for longer than a gateway may ask for.
func TestG6PauseOfARecordIsBounded(t *testing.T) {
	for name, record := range map[string]events.Backlog{
		"pause":    {PausedUntil: time.Now().Add(100 * 365 * 24 * time.Hour)},
		"next try": {NextTry: time.Now().Add(100 * 365 * 24 * time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *house) {
				h.register("@bob:x", "gw.test", "bob")
				h.notify("@bob:x", "!r", 1, "")
				record.UserID, record.Since, record.LastError = "@bob:x", time.Now(), "http_429"
				stored := make(chan error, 1)
				id := events.NewPusherID("@bob:x", "app", "bob")
				h.conn.BacklogRecord("another", id, "@bob:x", 0).Put(record, func(err error) { stored <- err })
				if err := <-stored; err != nil {
					t.Fatal(err)
				}
				h.start()
				<-time.After(50 * time.Minute)
				if n := len(h.gateway.Pokes()); n != 0 {
					t.Errorf("%d pokes within the hour", n)
				}
				<-time.After(15 * time.Minute)
				if got := told(h.gateway.Pokes(), "bob"); got != "1" {
					t.Errorf("told %q", got)
				}
			})
		})
	}
}
