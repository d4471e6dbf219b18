package gateways_test

import (
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
)

// A user whose pushers are removed while work for them is pending leaves nothing in memory.
func TestG7UserWithoutPushersIsForgotten(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		h.Start()
		h.Register("@bob:x", "gw.test", "bob")
		<-time.After(time.Second)
		h.Room("!r", "@alice:x", "@bob:x")
		h.Say("!r", "@alice:x", 0, 2)
		h.Arrived(2)
		h.Receipt("!r", "@bob:x", "m.read", "$r-1", "") // its badge is due in half a second
		<-time.After(100 * time.Millisecond)
		h.Register("@bob:x", "gw.test")
		<-time.After(10 * time.Second)
		all := h.Dispatcher.Holds()
		if len(all) != h.Conn.Topology().Partitions {
			t.Fatalf("%d partitions are owned", len(all))
		}
		for part, held := range all {
			if held.Users > 0 {
				t.Errorf("partition %d keeps %d users", part, held.Users)
			}
		}
	})
}

// A record with a time far ahead, by a wrong clock or by hand, delays its pusher no longer
// than a gateway may ask for.
func TestG6PauseOfARecordIsBounded(t *testing.T) {
	eventstest.Long(t)
	for name, record := range map[string]events.Backlog{
		"pause":    {PausedUntil: time.Now().Add(100 * 365 * 24 * time.Hour)},
		"next try": {NextTry: time.Now().Add(100 * 365 * 24 * time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				h.SpanHours()
				h.Register("@bob:x", "gw.test", "bob")
				h.notify("@bob:x", "!r", 1, "")
				record.UserID, record.Since, record.LastError = "@bob:x", time.Now(), "http_429"
				stored := make(chan error, 1)
				id := events.NewPusherID("@bob:x", "app", "bob")
				h.Conn.BacklogRecord("another", id, "@bob:x", 0).Put(record, func(err error) { stored <- err })
				if err := <-stored; err != nil {
					t.Fatal(err)
				}
				h.Start()
				<-time.After(50 * time.Minute)
				if n := len(h.Gateway.Pokes()); n != 0 {
					t.Errorf("%d pokes within the hour", n)
				}
				<-time.After(15 * time.Minute)
				if got := h.Delivered("bob"); got != "1" {
					t.Errorf("got %q", got)
				}
			})
		})
	}
}
