package dispatcher

import (
	"strings"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/stream"
)

// bobsRecord returns the record of bob's pusher as another worker that has read it.
func (h *house) bobsRecord() *stream.BacklogRecord {
	h.t.Helper()
	id := events.NewPusherID("@bob:x", "app", "bob")
	lagging, err := h.conn.LoadBacklog(h.t.Context(), events.PartitionOf(events.Token(events.UserID("@bob:x")), h.conn.Partitions()))
	if err != nil || lagging[id].Revision == 0 {
		h.t.Fatalf("bob does not lag: %v, %v", lagging, err)
	}
	return h.conn.BacklogRecord("another", id, "@bob:x", lagging[id].Revision)
}

// takeRecord makes another worker write the record of bob's pusher anew.
func (h *house) takeRecord(position uint64) {
	h.t.Helper()
	stored := make(chan error, 1)
	h.bobsRecord().Put(events.Backlog{
		UserID: "@bob:x", Position: position, Since: time.Now(), NextTry: time.Now().Add(time.Hour),
	}, func(err error) { stored <- err })
	if err := <-stored; err != nil {
		h.t.Fatal(err)
	}
}

// G1 across a handover: a worker whose pusher has caught up, or fails again, neither
// deletes nor overwrites the record that its successor has written meanwhile.
func TestG1SuccessorsRecordIsLeftAlone(t *testing.T) {
	for name, answer := range map[string]func(eventstest.Poke) eventstest.Reply{"deleted": up(), "overwritten": down()} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, h *house) {
				h.alone = true
				h.register("@bob:x", "gw.test", "bob")
				h.start()
				h.room("!r", "@alice:x", "@bob:x")
				h.gateway.Answer(down())
				h.say("!r", "@alice:x", 0, 1)
				<-time.After(3 * time.Second)
				h.takeRecord(1)
				h.gateway.Answer(answer)
				<-time.After(2 * time.Minute)
				if n := h.backlog(); n != 1 {
					t.Fatalf("%d records, want the successor's", n)
				}
				records := h.server.Stored("KV_BACKLOG", "$KV.")
				if b := string(records[len(records)-1].Data); !strings.Contains(b, `"position":1,"attempts":0`) {
					t.Errorf("the record is %s", b)
				}
			})
		})
	}
}

// A record that a predecessor writes late, which was held up, ends nothing for good: the
// owner of the partition begins anew with it, and its pusher is told everything.
func TestG1LateRecordOfAPredecessorLosesNothing(t *testing.T) {
	eventstest.Long(t)
	bubble(t, func(t *testing.T, h *house) {
		h.register("@bob:x", "gw.test", "bob")
		h.start()
		h.room("!r", "@alice:x", "@bob:x")
		h.gateway.Answer(down())
		h.say("!r", "@alice:x", 0, 3)
		<-time.After(3 * time.Second)
		h.takeRecord(0)
		h.say("!r", "@alice:x", 3, 3)
		<-time.After(time.Minute)
		h.gateway.Answer(up())
		<-time.After(2 * time.Hour) // it was put off for an hour
		h.say("!r", "@alice:x", 6, 1)
		<-time.After(time.Minute)
		h.calm()
		h.promise("@bob:x", 0, "bob")
		if n := h.backlog(); n != 0 {
			t.Errorf("%d records are left", n)
		}
	})
}
