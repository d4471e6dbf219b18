package owners_test

import (
	"strings"
	"testing"
	"time"

	"poked/dispatcher/dispatchertest"
	"poked/events"
	"poked/events/eventstest"
	"poked/events/stream"
)

// bobsRecord returns the record of bob's pusher as another worker reads it.
func (h *harness) bobsRecord() *stream.BacklogRecord {
	h.T.Helper()
	id := events.NewPusherID("@bob:x", "app", "bob")
	lagging, err := h.Conn.LoadBacklog(h.T.Context(), events.PartitionOf(events.Token(events.UserID("@bob:x")), h.Conn.Topology().Partitions))
	if err != nil || lagging[id].Revision == 0 {
		h.T.Fatalf("bob does not lag: %v, %v", lagging, err)
	}
	return h.Conn.BacklogRecord("another", id, "@bob:x", lagging[id].Revision)
}

// takeRecord writes the record of bob's pusher as another worker.
func (h *harness) takeRecord(position uint64) {
	h.T.Helper()
	stored := make(chan error, 1)
	h.bobsRecord().Put(events.Backlog{
		UserID: "@bob:x", Position: position, Since: time.Now(), NextTry: time.Now().Add(time.Hour),
	}, func(err error) { stored <- err })
	if err := <-stored; err != nil {
		h.T.Fatal(err)
	}
}

// After a handover, a worker whose pusher has caught up, or fails again, neither deletes nor
// overwrites the record that the next owner has written.
func TestG1SuccessorsRecordIsLeftAlone(t *testing.T) {
	for name, answer := range map[string]func(eventstest.Poke) eventstest.Reply{"deleted": dispatchertest.Up(), "overwritten": dispatchertest.Down()} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *harness) {
				h.Alone = true
				h.Register("@bob:x", "gw.test", "bob")
				h.Start()
				h.Room("!r", "@alice:x", "@bob:x")
				h.GatewayDown()
				h.Say("!r", "@alice:x", 0, 1)
				<-time.After(3 * time.Second)
				h.takeRecord(1)
				h.Gateway.Answer(answer)
				<-time.After(2 * time.Minute)
				if n := h.Backlog(); n != 1 {
					t.Fatalf("%d records, want the successor's", n)
				}
				records := h.Server.Stored("KV_BACKLOG", "$KV.")
				if b := string(records[len(records)-1].Data); !strings.Contains(b, `"position":1,"attempts":0`) {
					t.Errorf("the record is %s", b)
				}
			})
		})
	}
}

// A record that the previous owner writes late loses nothing: the owner of the partition
// starts over from it, and the pusher receives every notification.
func TestG1LateRecordOfAPredecessorLosesNothing(t *testing.T) {
	eventstest.Long(t)
	bubble(t, func(t *testing.T, h *harness) {
		h.SpanHours()
		h.Register("@bob:x", "gw.test", "bob")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.GatewayDown()
		h.Say("!r", "@alice:x", 0, 3)
		<-time.After(3 * time.Second)
		h.takeRecord(0)
		h.Say("!r", "@alice:x", 3, 3)
		<-time.After(time.Minute)
		h.GatewayUp()
		<-time.After(2 * time.Hour) // the late record's next try is an hour away
		h.Say("!r", "@alice:x", 6, 1)
		<-time.After(time.Minute)
		h.CaughtUp()
		h.Check("@bob:x", 0, "bob")
		if n := h.Backlog(); n != 0 {
			t.Errorf("%d records are left", n)
		}
	})
}
