package stream_test

import (
	"testing"
	"testing/synctest"
	"time"

	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/stream"
)

// All partitions ask once in a minute where the log begins.
func TestLogBeginIsAskedOnceForAllPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		topology := stream.Topology{Partitions: 16, Streams: 1, Replicas: 1}
		server := natstest.StartServer(t)
		link := server.Link()
		conn := link.Connect(t, topology)
		before := link.Asked("$JS.API.STREAM.INFO")
		asked := func(requests int, want uint64) {
			t.Helper()
			for part := range conn.Topology().Partitions {
				if begin, err := conn.LogBeginLately(t.Context(), part); err != nil || begin != want {
					t.Errorf("partition %d begins at %d, want %d: %v", part, begin, want, err)
				}
			}
			if n := link.Asked("$JS.API.STREAM.INFO") - before; n != requests {
				t.Errorf("%d requests, want %d", n, requests)
			}
		}
		asked(1, 0)
		for range 3 {
			natstest.Notify(t, conn, "@bob:x", eventstest.Room, eventstest.Notification())
		}
		if err := conn.TrimLogs(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Second)
		asked(1, 0)
		<-time.After(time.Minute)
		asked(2, 3)
		<-time.After(2 * time.Minute)
		link.Part()
		if _, err := conn.LogBeginLately(t.Context(), 0); err == nil {
			t.Error("no error while NATS is away")
		}
		link.Mend()
		eventstest.WaitFor(t, "the connection", conn.Connected)
		before = link.Asked("$JS.API.STREAM.INFO")
		asked(1, 3)
	})
}
