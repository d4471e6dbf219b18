package stream_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/stream"
)

// notify stores the notification of the event at ROOMS sequence roomSeq.
func notify(t *testing.T, conn *stream.Conn, user events.UserID, room events.RoomID, roomSeq uint64) {
	t.Helper()
	n := eventstest.Notification()
	n.RoomSeq = roomSeq
	n.Body = []byte(`{"prio":"high","sender":"@s:x"}`)
	eventstest.Notify(t, conn, user, room, n)
}

// The messages that notified users of an event are found, wherever the search begins.
func TestNotifiedOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := eventstest.StartServer(t).Connect(eventstest.Topology())
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
				found, sender, err := conn.NotifiedOf(t.Context(), at)
				got := ""
				for _, one := range found {
					got += fmt.Sprintf("%v at %d, ", one.Users, one.Seq)
					if one.Part != conn.PartOf(one.Users[0]) {
						t.Errorf("%v are in partition %d", one.Users, one.Part)
					}
				}
				if err != nil || got != want || sender != "@s:x" {
					t.Errorf("event %d %s: %sby %s, %v; want %s", seq+1, name, got, sender, err, want)
				}
			}
		}
		for _, at := range []stream.NotifiedAt{{Room: "!other", RoomSeq: 1, Since: times[0]}, {Room: "!r", RoomSeq: 1, Since: time.Now().Add(time.Hour)}} {
			if found, _, err := conn.NotifiedOf(t.Context(), at); err != nil || len(found) > 0 {
				t.Errorf("%+v: %v, %v", at, found, err)
			}
		}
	})
}

// A replica that lacks what the leader acknowledged hides nothing.
func TestNotifiedOfAtAReplicaThatIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := eventstest.StartServer(t).Link()
		conn := link.Connect(t, eventstest.Topology())
		before := time.Now()
		for seq := range uint64(3) {
			notify(t, conn, "@a:x", "!r", seq+1)
		}
		for _, behind := range []string{"NOTIFICATIONS", ""} {
			link.Behind(behind)
			for _, after := range []uint64{0, 1} {
				found, _, err := conn.NotifiedOf(t.Context(), stream.NotifiedAt{Room: "!r", RoomSeq: 2, Spans: []stream.Span{{After: after}}, Since: before})
				if err != nil || len(found) != 1 || found[0].Seq != 2 {
					t.Errorf("%q is behind: after %d %v, %v", behind, after, found, err)
				}
			}
		}
	})
}
