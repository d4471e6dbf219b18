package stream_test

import (
	"testing"
	"testing/synctest"

	"poked/events"
	"poked/events/natstest"
	"poked/events/stream"
)

func TestBodies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
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
			if m, err := events.ParseLog(raw); err != nil || m.Notify.RoomSeq != seq {
				t.Errorf("%d is %s, %v", seq, raw, err)
			}
		}
	})
}

// A replica that is still empty must not count as an empty log.
func TestBodiesFromBehindAreErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := natstest.StartServer(t).Link()
		conn := link.Connect(t, natstest.Topology())
		notify(t, conn, "@a:x", "!r", 1)
		for _, behind := range []string{"NOTIFICATIONS", ""} {
			link.Behind(behind)
			if _, err := conn.Bodies(t.Context(), []uint64{1}); (err != nil) != (behind != "") {
				t.Errorf("%q is behind: %v", behind, err)
			}
		}
	})
}

// A message is deleted once, and one that is gone counts as deleted.
func TestDeleteLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
		for seq := range uint64(3) {
			notify(t, conn, "@a:x", "!r", seq+1)
		}
		for range 2 {
			done := make(chan error, 1)
			conn.DeleteLogged(2, func(err error) { done <- err })
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if left := server.Stored(stream.Notifications, ""); len(left) != 2 {
			t.Errorf("%d messages are left", len(left))
		}
		server.DeleteStream(stream.Notifications)
		done := make(chan error, 1)
		conn.DeleteLogged(1, func(err error) { done <- err })
		if err := <-done; err == nil {
			t.Error("deleted from a stream that is gone")
		}
	})
}

// A part of a log is empty only if the leader says so, and knows its end.
func TestNoneBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
		for seq := range uint64(6) {
			notify(t, conn, "@a:x", "!r", seq+1)
		}
		server.DeleteMessage(stream.Notifications, 4)
		for _, tt := range []struct {
			after, upTo uint64
			none, fails bool
		}{{3, 4, true, false}, {3, 5, false, false}, {6, 6, true, false}, {2, 3, false, false}, {6, 7, false, true}} {
			none, err := conn.NoneBetween(t.Context(), stream.Notifications, "log.*", tt.after, tt.upTo)
			if none != tt.none || (err != nil) != tt.fails {
				t.Errorf("%+v: %t, %v", tt, none, err)
			}
		}
	})
}
