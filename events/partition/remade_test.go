package partition_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/stream"
)

// A follower ends when its stream is deleted and made anew, and its successor reads the
// new stream.
func TestFollowerOfDeletedStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
		natstest.Keep(t, conn)
		before := follow(t, conn, "a", done)
		natstest.PublishAll(t, conn, 0, 3)
		eventstest.WaitFor(t, "three events", func() bool { return before.count() == 3 })
		server.DeleteStream("ROOMS")
		<-before.ended
		if !errors.Is(before.err, stream.ErrRemade) {
			t.Fatalf("it ended with %v", before.err)
		}
		after := follow(t, conn, "b", done)
		natstest.PublishAll(t, conn, 3, 5)
		eventstest.WaitFor(t, "two more", func() bool { return after.count() == 2 })
	})
}
