package stream_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"poked/events/eventstest"
	"poked/events/stream"
)

func TestSetupIsIdempotent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		conn := server.Connect(eventstest.Topology())
		eventstest.PublishAll(t, conn, 0, 3)
		for range 2 {
			if err := server.Dial().Setup(t.Context(), eventstest.Topology()); err != nil {
				t.Errorf("again: %v", err)
			}
		}
		if n := len(server.Stored("ROOMS", "")); n != 3 {
			t.Errorf("ROOMS has %d events, want 3", n)
		}
	})
}

func TestSetupRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		replicas := server.Dial().Setup(t.Context(), stream.Topology{Partitions: 2, Replicas: 3})
		if replicas == nil || !strings.Contains(replicas.Error(), "3 replicas") || !strings.Contains(replicas.Error(), "cluster") {
			t.Errorf("3 replicas on one server: %v", replicas)
		}
		server.Connect(eventstest.Topology())
		partitions := server.Dial().Setup(t.Context(), stream.Topology{Partitions: 3, Replicas: 1})
		if !errors.Is(partitions, stream.ErrPartitions) || !strings.Contains(partitions.Error(), `"2"`) || !strings.Contains(partitions.Error(), "3") {
			t.Errorf("3 partitions instead of 2: %v", partitions)
		}
		for _, n := range []int{-1, 0, stream.MaxPartitions + 1} {
			if err := server.Dial().Setup(t.Context(), stream.Topology{Partitions: n, Replicas: 1}); err == nil {
				t.Errorf("%d partitions were accepted", n)
			}
		}
	})
}
