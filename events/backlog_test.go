package events_test

import (
	"testing"
	"testing/synctest"

	"poked/events"
	"poked/events/eventstest"
)

// A worker that was held up does not delete what its successor has written since.
func TestBacklogIsDeletedOnlyAsItWasWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := eventstest.StartServer(t).Connect(eventstest.Topology())
		type answer struct {
			revision uint64
			err      error
		}
		answers := make(chan answer, 1)
		done := func(revision uint64, err error) { answers <- answer{revision, err} }
		put := func(position uint64) uint64 {
			conn.PutBacklog("p", events.Backlog{UserID: "@a:x", Position: position}, done)
			a := <-answers
			if a.err != nil {
				t.Fatal(a.err)
			}
			return a.revision
		}
		first, second := put(1), put(2)
		part := events.PartitionOf(events.Token(events.UserID("@a:x")), conn.Partitions())
		lagging := func() map[events.PusherID]events.Backlog {
			all, err := conn.LoadBacklog(t.Context(), part)
			if err != nil {
				t.Fatal(err)
			}
			return all
		}
		conn.DeleteBacklog("p", "@a:x", first, done)
		if a := <-answers; a.err == nil {
			t.Error("an entry was deleted that another has written since")
		}
		if b := lagging()["p"]; b.Position != 2 || b.Revision != second {
			t.Errorf("the entry is %+v, want position 2 at revision %d", b, second)
		}
		conn.DeleteBacklog("p", "@a:x", second, done)
		if a := <-answers; a.err != nil || len(lagging()) != 0 {
			t.Errorf("%v, %d entries are left", a.err, len(lagging()))
		}
		put(3)
		conn.DeleteBacklog("p", "@a:x", 0, done)
		if a := <-answers; a.err != nil || len(lagging()) != 0 {
			t.Errorf("%v, %d entries are left", a.err, len(lagging()))
		}
	})
}
