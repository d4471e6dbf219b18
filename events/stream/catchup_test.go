package stream_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/stream"
)

// threads formats unread threads; their order does not depend on the log.
func threads(u stream.Unread) string {
	var all []string
	for _, one := range u.Threads {
		all = append(all, fmt.Sprintf("%s: %d up to %d", one.Room, one.Messages, one.LastSeq))
	}
	slices.Sort(all)
	return fmt.Sprint(all)
}

func TestUnreadByThread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := eventstest.StartServer(t).Connect(eventstest.Topology())
		for i := range 9 {
			notify(t, conn, "@a:x", events.RoomID(fmt.Sprintf("!r%d", i%2)), uint64(i)+1)
		}
		notify(t, conn, "@b:x", "!r0", 10)
		for user, want := range map[events.UserID]string{
			"@a:x": "[!r0: 5 up to 9 !r1: 4 up to 8]", "@b:x": "[!r0: 1 up to 10]", "@nobody:x": "[]",
		} {
			if u, upTo, err := conn.Unread(t.Context(), user); err != nil || u.Unsettled || threads(u) != want || upTo != 10 {
				t.Errorf("%s: %s up to %d, %v; want %s", user, threads(u), upTo, err, want)
			}
		}
	})
}

// TestUnreadInVeryManyRooms uses more rooms than the server reports at once.
func TestUnreadInVeryManyRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := eventstest.StartServer(t).Connect(eventstest.Topology())
		const rooms = 1100
		for i := range rooms {
			notify(t, conn, "@a:x", events.RoomID(fmt.Sprintf("!r%d", i)), 1)
		}
		notify(t, conn, "@a:x", "!r0", 2)
		u, upTo, err := conn.Unread(t.Context(), "@a:x")
		if err != nil || u.Unsettled || len(u.Threads) != rooms || u.Messages != rooms+1 || upTo != rooms+1 {
			t.Fatalf("%d messages in %d threads up to %d, %v", u.Messages, len(u.Threads), upTo, err)
		}
		for _, one := range u.Threads {
			if one.Room == "!r0" && (one.Messages != 2 || one.LastSeq != rooms+1) {
				t.Errorf("!r0 has %d up to %d", one.Messages, one.LastSeq)
			}
		}
	})
}

func TestNotificationsIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		conn := server.Connect(eventstest.Topology())
		for i := range 10 {
			notify(t, conn, "@a:x", events.RoomID(fmt.Sprintf("!r%d", i%2)), uint64(i)+1)
		}
		check := func(last, after uint64, limit int, want string) {
			t.Helper()
			page, more, err := conn.NotificationsIn(t.Context(), "@a:x", "!r0", events.NoToken, last, after, limit)
			var seqs []uint64
			for _, one := range page {
				seqs = append(seqs, one.Seq)
			}
			if got := fmt.Sprint(seqs, more, err); got != want {
				t.Errorf("after %d: %s, want %s", after, got, want)
			}
		}
		check(9, 3, 2, "[5 7] 1 <nil>")
		check(9, 8, 2, "[9] 0 <nil>")
		server.DeleteMessage(stream.Notifications, 9)
		check(9, 6, 5, "[7] 0 <nil>") // it was removed meanwhile
	})
}

func TestBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		conn := server.Connect(eventstest.Topology())
		var seqs []uint64
		for i := range 600 { // more than are requested at once
			notify(t, conn, "@a:x", "!r", uint64(i)+1)
			seqs = append(seqs, uint64(i)+1)
		}
		server.DeleteMessage(stream.Notifications, 300)
		if _, err := conn.Bodies(t.Context(), []uint64{601}); err == nil {
			t.Error("what was never stored passes for removed")
		}
		bodies, err := conn.Bodies(t.Context(), seqs)
		if err != nil || len(bodies) != 599 || bodies[300] != nil {
			t.Fatalf("%d bodies, %v", len(bodies), err)
		}
		for seq, raw := range bodies {
			if n, err := events.ParseNotification(raw); err != nil || n.RoomSeq != seq {
				t.Errorf("%d is %s, %v", seq, raw, err)
			}
		}
	})
}

// TestAnswersFromBehindAreErrors reads from a replica that is still empty: that must
// not count as an empty log.
func TestAnswersFromBehindAreErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := eventstest.StartServer(t).Link()
		conn := link.Connect(t, eventstest.Topology())
		notify(t, conn, "@a:x", "!r", 1)
		for _, stream := range []string{"NOTIFICATIONS", ""} {
			link.Behind(stream)
			_, _, unread := conn.Unread(t.Context(), "@a:x")
			_, _, in := conn.NotificationsIn(t.Context(), "@a:x", "!r", events.NoToken, 1, 0, 5)
			_, bodies := conn.Bodies(t.Context(), []uint64{1})
			for what, err := range map[string]error{"unread": unread, "notifications": in, "bodies": bodies} {
				if (err != nil) != (stream != "") {
					t.Errorf("%q is behind, %s: %v", stream, what, err)
				}
			}
		}
	})
}

// TestRemoval removes messages that exist, and reports those that do not.
func TestRemoval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		conn := server.Connect(eventstest.Topology())
		for i := range 6 {
			notify(t, conn, "@a:x", "!r", uint64(i)+1)
		}
		remove := func(fill func(*stream.Removal)) error {
			r, done := conn.NewRemoval(), make(chan error, 1)
			fill(r)
			r.Send(func(err error) { done <- err })
			return <-done
		}
		err := remove(func(r *stream.Removal) {
			r.Purge("@a:x", "!r", events.NoToken, 3)
			r.Delete(5)
		})
		var left []uint64
		for _, msg := range server.Stored(stream.Notifications, "notify.") {
			left = append(left, msg.Seq)
		}
		if err != nil || !slices.Equal(left, []uint64{3, 4, 6}) {
			t.Errorf("left are %v, %v", left, err)
		}
		if err := remove(func(r *stream.Removal) { r.Delete(5) }); err == nil || errors.Is(err, stream.ErrUnknownOutcome) {
			t.Errorf("removed once more: %v", err)
		}
	})
}

// TestUnreadSkipsAStrangeSubject stores a message with an invalid subject next to a
// valid one.
func TestUnreadSkipsAStrangeSubject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		conn := server.Connect(eventstest.Topology())
		token := events.Token("@a:x")
		server.Publish(fmt.Sprintf("notify.%d.%s.?._", events.PartitionOf(token, conn.Partitions()), token), "{}")
		notify(t, conn, "@a:x", "!r", 1)
		if u, _, err := conn.Unread(t.Context(), "@a:x"); err != nil || u.Unsettled || threads(u) != "[!r: 1 up to 2]" {
			t.Errorf("%s, %v", threads(u), err)
		}
	})
}
