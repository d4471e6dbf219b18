package partition_test

import (
	"testing"
	"testing/synctest"
	"time"

	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/partition"
	"poked/events/stream"
)

// TestPositionsOfMatchAreFew publishes a message every millisecond: the position of match is stored
// ten times a second. A crowd is not held up by that: many unsaved messages are stored at once.
func TestPositionsOfMatchAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := natstest.StartServer(t).Connect(natstest.Topology())
		w := follow(t, conn, "first", func(w *worker, msg partition.Message) { w.follower.Done(msg.Seq) })
		writes := func() uint64 {
			_, last, err := conn.StreamEnd(t.Context(), "KV_"+stream.BucketPositions)
			if err != nil {
				t.Fatal(err)
			}
			return last
		}
		before := writes()
		for i := range 1000 {
			natstest.PublishAll(t, conn, i, i+1)
			<-time.After(time.Millisecond)
		}
		eventstest.WaitFor(t, "every message", func() bool { return w.count() == 1000 })
		if n := writes() - before; n < 9 || n > 20 {
			t.Errorf("%d writes of the position in a second", n)
		}
		w.stop(t)

		natstest.PublishAll(t, conn, 1000, 3000)
		began := time.Now()
		second := follow(t, conn, "second", done)
		eventstest.WaitFor(t, "the crowd", func() bool { return second.count() == 2000 })
		if took := time.Since(began); took > 300*time.Millisecond {
			t.Errorf("2000 messages that waited took %v", took)
		}
	})
}
