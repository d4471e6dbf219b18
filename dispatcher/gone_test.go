package dispatcher

import (
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
)

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
			if n := dl.Holds().Users; n > 0 {
				t.Errorf("partition %d knows %d people", part, n)
			}
		}
	})
}

// A record by the clock of a worker that was ahead, or that somebody has edited, keeps
// nobody waiting for longer than a gateway may ask for.
func TestG6PauseOfARecordIsBounded(t *testing.T) {
	eventstest.Long(t)
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
				if got := delivered(h.gateway.Pokes(), "bob"); got != "1" {
					t.Errorf("told %q", got)
				}
			})
		})
	}
}
