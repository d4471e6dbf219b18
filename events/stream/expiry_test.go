package stream_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"poked/events"
	"poked/events/natstest"
)

// A marker of a deleted record that expires while the records are loaded holds up nothing:
// the consumer has counted it and never sends it.
func TestG1LoadEndsWhenAMarkerExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := natstest.StartServer(t).Connect(natstest.Topology())
		part := events.PartitionOf(events.Token(events.UserID("@a:x")), conn.Topology().Partitions)
		for range 5 {
			record := conn.BacklogRecord("worker", "p", "@a:x", 0)
			done := make(chan error, 2)
			record.Put(events.Backlog{UserID: "@a:x"}, func(err error) { done <- err })
			record.Delete(func(err error) { done <- err })
			for range cap(done) {
				if err := <-done; err != nil {
					t.Fatal(err)
				}
			}
			<-time.After(time.Minute) // until the marker expires
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			var loads errgroup.Group
			for range 8 {
				loads.Go(func() error {
					_, err := conn.LoadBacklog(ctx, part)
					return err
				})
			}
			err := loads.Wait()
			cancel()
			if err != nil {
				t.Fatal(err)
			}
			<-time.After(10 * time.Second) // the next record must not meet the marker
		}
	})
}
