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
	stored := make(chan error, 1)
	batch := conn.NewBatch(func(_ uint64, err error) { stored <- err })
	batch.Notify(conn, user, room, "", n.AppendJSON(nil))
	batch.Send()
	if err := <-stored; err != nil {
		t.Fatal(err)
	}
}

func TestWithNotification(t *testing.T) {
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
		for seq, at := range times {
			for _, who := range []struct {
				user events.UserID
				room events.RoomID
				want bool
			}{{"@a:x", "!r", seq != 3}, {"@b:x", "!r", true}, {"@a:x", "!other", false}, {"@c:x", "!r", false}} {
				all, _, err := conn.WithNotification(t.Context(), who.room, uint64(seq)+1, at)
				if err != nil || len(all[who.user]) > 0 != who.want {
					t.Errorf("%s, event %d, is in the logs of %v, %v; want %s: %t", who.room, seq+1, all, err, who.user, who.want)
				}
			}
		}
	})
}

// Messages that were stored before the event cannot be its notification, and are not
// read.
func TestWithNotificationLooksFromTheEventOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := eventstest.StartServer(t).Connect(eventstest.Topology())
		notify(t, conn, "@a:x", "!r", 1)
		<-time.After(time.Hour)
		if got, _, err := conn.WithNotification(t.Context(), "!r", 1, time.Now()); err != nil || len(got) > 0 {
			t.Errorf("%v, %v", got, err)
		}
	})
}

func TestUnread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		conn := server.Connect(eventstest.Topology())
		if count, _, err := conn.Unread(t.Context(), "@a:x"); err != nil || count.Messages != 0 {
			t.Errorf("%v unread in an empty log, %v", count, err)
		}
		for i := range 600 { // 1, 4, 7 … are bob's
			user := events.UserID("@a:x")
			if i%3 == 0 {
				user = "@b:x"
			}
			notify(t, conn, user, events.RoomID(fmt.Sprintf("!r%d", i%2)), uint64(i)+1)
		}
		count, upTo, err := conn.Unread(t.Context(), "@b:x")
		if err != nil || count.Messages != 200 || len(count.Threads) != 2 || upTo != 600 {
			t.Errorf("%v unread up to %d, %v; want 200 in two rooms up to 600", count, upTo, err)
		}
	})
}
