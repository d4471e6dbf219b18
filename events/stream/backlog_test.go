package stream_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"poked/events"
	"poked/events/natstest"
	"poked/events/stream"
)

// A worker that was delayed neither deletes nor overwrites what its successor has
// written since.
func TestG1BacklogIsWrittenOnlyByItsReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := natstest.StartServer(t).Connect(natstest.Topology())
		part := events.PartitionOf(events.Token(events.UserID("@a:x")), conn.Topology().Partitions)
		lagging := func() map[events.PusherID]events.Backlog {
			all, err := conn.LoadBacklog(t.Context(), part)
			if err != nil {
				t.Fatal(err)
			}
			return all
		}
		wait := func(write func(done func(error))) error {
			answer := make(chan error, 1)
			write(func(err error) { answer <- err })
			return <-answer
		}
		put := func(r *stream.BacklogRecord, position uint64) error {
			return wait(func(done func(error)) { r.Put(events.Backlog{UserID: "@a:x", Position: position}, done) })
		}
		old := conn.BacklogRecord("old", "p", "@a:x", 0)
		if err := put(old, 1); err != nil {
			t.Fatal(err)
		}
		successor := conn.BacklogRecord("new", "p", "@a:x", lagging()["p"].Revision)
		if err := put(successor, 2); err != nil {
			t.Fatal(err)
		}
		for range 2 { // repeatedly
			var conflict *stream.ConflictError
			if err := put(old, 3); !errors.As(err, &conflict) {
				t.Errorf("the old worker wrote: %v", err)
			}
			if err := wait(old.Delete); !errors.As(err, &conflict) {
				t.Errorf("the old worker deleted: %v", err)
			}
			if b := lagging()["p"]; b.Position != 2 {
				t.Errorf("the record is %+v, want position 2", b)
			}
		}
		if err := wait(successor.Delete); err != nil || len(lagging()) != 0 {
			t.Errorf("%v, %d records are left", err, len(lagging()))
		}
		if err := wait(old.Delete); err != nil {
			t.Errorf("a second deletion fails: %v", err)
		}
		if err := put(successor, 4); err != nil || lagging()["p"].Position != 4 {
			t.Errorf("%v, %+v", err, lagging())
		}
	})
}
