package stream_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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

// A process that starts updates what differs from what it wants, and nothing else.
func TestSetupUpdatesWhatDiffers(t *testing.T) {
	for _, streams := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			topology := stream.Topology{Partitions: 2, Streams: streams, Replicas: 1, TraceFor: time.Hour, TraceBytes: 1 << 20}
			server := eventstest.StartServer(t)
			server.Connect(topology)
			updates := func() int {
				link := server.Link()
				link.Connect(t, topology)
				if n := link.Asked("$JS.API.STREAM.CREATE"); n != 0 {
					t.Errorf("%d streams were made, and all were there", n)
				}
				return link.Asked("$JS.API.STREAM.UPDATE")
			}
			if n := updates(); n != 0 {
				t.Errorf("%d updates of what was just made", n)
			}
			server.ChangeSubjects("KV_GATEWAYS", "$KV.GATEWAYS.paused.>")
			topology.Keep = stream.LongestKeep // of ROOMS and NOTIFICATIONS, and of INBOX
			if n := updates(); n != 2*streams+2 {
				t.Errorf("%d updates of %d streams with another age, and of a bucket", n, 2*streams+1)
			}
			if n := updates(); n != 0 {
				t.Errorf("%d updates of what was just updated", n)
			}
		})
	}
}
