package stream_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"poked/events"
	"poked/events/natstest"
	"poked/events/publish"
	"poked/events/stream"
)

func TestSetupIsIdempotent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
		natstest.PublishAll(t, conn, 0, 3)
		for range 2 {
			if err := server.Dial().Setup(t.Context(), natstest.Topology()); err != nil {
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
		server := natstest.StartServer(t)
		replicas := server.Dial().Setup(t.Context(), stream.Topology{Partitions: 2, Replicas: 3})
		if replicas == nil || !strings.Contains(replicas.Error(), "3 replicas") || !strings.Contains(replicas.Error(), "cluster") {
			t.Errorf("3 replicas on one server: %v", replicas)
		}
		server.Connect(natstest.Topology())
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
			server := natstest.StartServer(t)
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

// The partition that poked computes must be the one that the server computes: otherwise
// a user's pushers would be looked up in the wrong partition.
func TestPartitionOfIsTheServersOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		const partitions = 7
		conn := server.Connect(stream.Topology{Partitions: partitions, Replicas: 1})
		publisher := publish.NewPublisher(conn)
		var want []string
		for i := range 50 {
			id := events.RoomID(fmt.Sprintf("!room-%d:example.org", i))
			raw := fmt.Appendf(nil, `{"event_id":"$e%d","room_id":%q,"type":"m.room.message","sender":"@a:x","content":{}}`, i, id)
			if err := publisher.Event(t.Context(), raw); err != nil {
				t.Fatal(err)
			}
			token := events.Token(id)
			want = append(want, fmt.Sprintf("rooms.%d.%s.event", events.PartitionOf(token, partitions), token))
		}
		used := map[string]bool{}
		for i, msg := range server.Stored("ROOMS", "") {
			if msg.Subject != want[i] {
				t.Errorf("the server stores %s, want %s", msg.Subject, want[i])
			}
			used[strings.Split(msg.Subject, ".")[1]] = true
		}
		if len(used) != partitions {
			t.Errorf("50 rooms fall into %d partitions, want %d", len(used), partitions)
		}
	})
}

// Without a registry or a dispatcher there is no topology to join, and Join creates
// none.
func TestJoinCreatesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := natstest.StartServer(t).Dial()
		for range 2 {
			if err := conn.Join(t.Context()); !errors.Is(err, stream.ErrNoStreams) {
				t.Errorf("joined: %v", err)
			}
		}
	})
}
