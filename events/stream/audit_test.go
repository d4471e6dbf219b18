package stream_test

import (
	"testing"
	"testing/synctest"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/stream"
)

// Messages that are stored or removed count, whichever process does it; reads do not.
func TestCountLogWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		conn, other := server.Connect(eventstest.Topology()), server.Connect(eventstest.Topology())
		notify(t, conn, "@a:x", "!r", 1)
		writes, err := conn.CountLogWrites(t.Context(), 4, func() error {
			for seq := range uint64(3) {
				notify(t, other, "@a:x", "!r", seq+2)
			}
			if _, _, err := other.Unread(t.Context(), "@a:x"); err != nil {
				return err
			}
			if err := other.RemoveNotification(t.Context(), 1); err != nil {
				return err
			}
			_, err := other.MarkRead(t.Context(), "@a:x", "!r", events.Read{UpTo: 4, Whole: true}, 5)
			return err
		})
		if want := (stream.LogWrites{Stored: 3, Removed: 2}); err != nil || writes != want {
			t.Errorf("%+v, %v; want %+v", writes, err, want)
		}
	})
}

// Every stream and bucket is listed, with what is in it now.
func TestAskStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		conn := server.Connect(eventstest.Topology())
		for seq := range uint64(3) {
			notify(t, conn, "@a:x", "!r", seq+1)
		}
		if err := conn.RemoveNotification(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		all, err := conn.AskStreams(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		state := map[string]stream.Status{}
		for _, s := range all {
			state[s.Name] = s
		}
		got := state[stream.Notifications]
		if got.Messages != 2 || got.LastSeq != 3 || got.Bytes == 0 || !got.LastTime.Equal(time.Now()) {
			t.Errorf("%+v, want two messages of three", got)
		}
		if _, there := state["KV_"+stream.BucketPositions]; !there {
			t.Errorf("no buckets in %v", all)
		}
	})
}
