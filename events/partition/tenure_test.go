package partition_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"poked/events/natstest"
	"poked/events/partition"
	"poked/events/stream"
)

// A partition that cannot be prepared delays the others of its batch only for a while.
func TestUnpreparedPartitionKeepsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := natstest.StartServer(t).Connect(stream.Topology{Partitions: 4, Replicas: 1})
		ctx, cancel := context.WithCancel(t.Context())
		var working atomic.Int64
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			partition.NewGroup(conn).OwnAll(ctx, func(ctx context.Context, tenure *partition.Tenure) error {
				if tenure.Part != 2 {
					tenure.Prepared(ctx)
					working.Add(1)
				}
				<-ctx.Done()
				return nil
			}, func() {})
		}()
		<-time.After(time.Minute)
		if n := working.Load(); n != 3 {
			t.Errorf("%d partitions are worked on, want 3", n)
		}
		cancel()
		<-ended
	})
}
