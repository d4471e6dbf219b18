package stream_test

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/stream"
)

func lastSeq(conn *stream.Conn, name string) uint64 {
	for _, s := range conn.Streams() {
		if s.Name == name {
			return s.LastSeq
		}
	}
	return 0
}

// TestKeepMakesStreamsAnew deletes every stream once, with a message in it.
func TestKeepMakesStreamsAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, log := natstest.StartServer(t), &eventstest.LogBuffer{}
		link := server.Link()
		link.Log = slog.New(slog.NewTextHandler(log, nil))
		conn := link.Connect(t, natstest.Topology())
		natstest.PublishAll(t, conn, 0, 3)
		natstest.Keep(t, conn)
		var again sync.WaitGroup
		conn.OnReconnect(func() { again.Done() })
		for _, stream := range conn.Streams() {
			again.Add(1)
			server.DeleteStream(stream.Name)
			again.Wait()
			if got := lastSeq(conn, stream.Name); got <= stream.LastSeq {
				t.Errorf("%s: it ended at %d and now begins after %d", stream.Name, stream.LastSeq, got)
			}
			if !strings.Contains(log.String(), "made anew, what it held is lost\" stream="+stream.Name) {
				t.Errorf("%s: not logged: %s", stream.Name, log)
			}
		}
		// The new streams have the old configuration, so Setup changes nothing.
		if err := server.Dial().Setup(t.Context(), natstest.Topology()); err != nil {
			t.Errorf("set up: %v", err)
		}
		natstest.PublishAll(t, conn, 3, 5)
		if n := len(server.Stored("ROOMS", "")); n != 2 {
			t.Errorf("ROOMS has %d events, want 2", n)
		}
	})
}
