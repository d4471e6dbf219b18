package stream_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/stream"
)

// notify stores the notification of the event at ROOMS sequence roomSeq.
func notify(t *testing.T, conn *stream.Conn, user events.UserID, room events.RoomID, roomSeq uint64) {
	t.Helper()
	n := eventstest.Notification()
	n.RoomSeq = roomSeq
	n.Body = []byte(`{"prio":"high","sender":"@s:x"}`)
	natstest.Notify(t, conn, user, room, n)
}

// The messages that notified users of an event are found, wherever the search begins.
func TestNotifiedOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := natstest.StartServer(t).Connect(natstest.Topology())
		var times []time.Time
		for seq := range uint64(5) {
			times = append(times, time.Now())
			if seq != 3 {
				notify(t, conn, "@a:x", "!r", seq+1)
			}
			notify(t, conn, "@b:x", "!r", seq+1)
			<-time.After(5 * time.Minute)
		}
		for seq, want := range []string{"[@a:x] at 1, [@b:x] at 2, ", "[@a:x] at 3, [@b:x] at 4, ", "[@a:x] at 5, [@b:x] at 6, ", "[@b:x] at 7, ", "[@a:x] at 8, [@b:x] at 9, "} {
			for name, at := range map[string]stream.NotifiedAt{
				"since a time":          {Since: times[seq]},
				"after a sequence":      {Spans: []stream.Span{{After: 1}}, Since: times[seq]},
				"beyond the end":        {Spans: []stream.Span{{After: 1000}}, Since: times[seq]}, // the log was cut
				"that many after one":   {Spans: []stream.Span{{After: 1, Count: 2}}, Since: times[seq]},
				"in a room with others": {Since: times[0]},
			} {
				if name != "since a time" && name != "beyond the end" && seq == 0 || name == "in a room with others" && seq > 1 {
					continue
				}
				at.Room, at.RoomSeq = "!r", uint64(seq)+1
				found, sender, err := conn.NotifiedLog().Of(t.Context(), at)
				got := ""
				for _, one := range found {
					got += fmt.Sprintf("%v at %d, ", one.Users, one.Seq)
					if one.Part != conn.Topology().PartOf(one.Users[0]) {
						t.Errorf("%v are in partition %d", one.Users, one.Part)
					}
				}
				if err != nil || got != want || sender != "@s:x" {
					t.Errorf("event %d %s: %sby %s, %v; want %s", seq+1, name, got, sender, err, want)
				}
			}
		}
		for _, at := range []stream.NotifiedAt{{Room: "!other", RoomSeq: 1, Since: times[0]}, {Room: "!r", RoomSeq: 1, Since: time.Now().Add(time.Hour)}} {
			if found, _, err := conn.NotifiedLog().Of(t.Context(), at); err != nil || len(found) > 0 {
				t.Errorf("%+v: %v, %v", at, found, err)
			}
		}
	})
}

// A replica that lacks what the leader acknowledged hides nothing.
func TestNotifiedOfAtAReplicaThatIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := natstest.StartServer(t).Link()
		conn := link.Connect(t, natstest.Topology())
		before := time.Now()
		for seq := range uint64(3) {
			notify(t, conn, "@a:x", "!r", seq+1)
		}
		for _, behind := range []string{"NOTIFICATIONS", ""} {
			link.Behind(behind)
			for _, after := range []uint64{0, 1} {
				found, _, err := conn.NotifiedLog().Of(t.Context(), stream.NotifiedAt{Room: "!r", RoomSeq: 2, Spans: []stream.Span{{After: after}}, Since: before})
				if err != nil || len(found) != 1 || found[0].Seq != 2 {
					t.Errorf("%q is behind: after %d %v, %v", behind, after, found, err)
				}
			}
		}
	})
}

// TestG12ManyEventsAreFoundInOneReading asks for many events of one room, one after the other and
// in any order, as when a room's moderator redacts what a spammer wrote: the log is read once, and
// no more than what is found is read for each.
func TestG12ManyEventsAreFoundInOneReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := natstest.StartServer(t).Link()
		conn := link.Connect(t, natstest.Topology())
		since := time.Now()
		const count = 1500
		for seq := range uint64(count) {
			notify(t, conn, "@a:x", events.RoomID(fmt.Sprintf("!%d:x", seq%3)), seq+1)
		}
		log := conn.NotifiedLog()
		find := func(seq uint64) {
			at := stream.NotifiedAt{Room: events.RoomID(fmt.Sprintf("!%d:x", (seq-1)%3)), RoomSeq: seq, Since: since}
			found, _, err := log.Of(t.Context(), at)
			if err != nil || len(found) != 1 || found[0].Seq != seq || found[0].Users[0] != "@a:x" {
				t.Fatalf("event %d: %v, %v", seq, found, err)
			}
		}
		find(700)
		consumers, asked := link.Asked("$JS.API.CONSUMER.CREATE."), link.Asked("$JS.")
		const searches = 300
		for n := range uint64(searches) {
			find(1 + n*7919%count)
			if n == 100 {
				notify(t, conn, "@a:x", "!0:x", count+1) // more arrives meanwhile
			}
		}
		if more := link.Asked("$JS.API.CONSUMER.CREATE.") - consumers; more > 0 {
			t.Errorf("%d consumers were made", more)
		}
		if more := link.Asked("$JS.") - asked; more > 4*searches {
			t.Errorf("%d requests for %d events", more, searches)
		}
		log.Forget()
		find(5)
	})
}

// TestNotifiedLogForgetsWhatWasLost finds the messages that the log has in place of those that it
// has lost, although it remembers these.
func TestNotifiedLogForgetsWhatWasLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
		since := time.Now()
		for seq := range uint64(4) {
			notify(t, conn, "@a:x", "!r", seq+1)
		}
		log := conn.NotifiedLog()
		find := func(seq uint64, want ...events.UserID) {
			t.Helper()
			found, _, err := log.Of(t.Context(), stream.NotifiedAt{Room: "!r", RoomSeq: seq, Since: since})
			var users []events.UserID
			for _, one := range found {
				users = append(users, one.Users...)
			}
			if err != nil || !slices.Equal(users, want) {
				t.Errorf("event %d: %v, %v, want %v", seq, users, err, want)
			}
		}
		find(4, "@a:x")
		server.LoseEnd(200, stream.Notifications)
		<-time.After(10 * time.Second) // until connections are back
		notify(t, conn, "@b:x", "!r", 3)
		notify(t, conn, "@b:x", "!r", 4)
		notify(t, conn, "@b:x", "!r", 5)
		find(3, "@a:x", "@b:x")
		find(2, "@a:x")
		find(5, "@b:x")
	})
}
