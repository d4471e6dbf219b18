package natstest

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"poked/events/eventstest"
	"poked/events/stream"
)

// Bubble runs a test in fake time, with a server and a connection to it.
func Bubble(t *testing.T, test func(t *testing.T, server *Server, conn *stream.Conn)) {
	t.Helper()
	BubbleOf(t, Topology().Partitions, test)
}

// BubbleOf is [Bubble] with this many partitions.
func BubbleOf(t *testing.T, partitions int, test func(t *testing.T, server *Server, conn *stream.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		t.Cleanup(func() { <-time.After(time.Minute) }) // fasthttp's cleanup goroutines sleep before they end
		server := StartServer(t)
		test(t, server, server.Connect(Streams(stream.Topology{Partitions: partitions, Replicas: 1})))
	})
}

// Keep runs [stream.Conn.Keep] until the end of the test, and returns after its first
// check.
func Keep(t *testing.T, conn *stream.Conn) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- conn.Keep(ctx, Topology()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("keep: %v", err)
		}
	})
	all := 14 + 3*(len(conn.Topology().StreamsOf(stream.Rooms))-1)
	eventstest.WaitFor(t, "the first look", func() bool { return len(conn.Streams()) == all })
}
