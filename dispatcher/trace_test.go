package dispatcher_test

import (
	"fmt"
	"testing"
	"time"

	"poked/events"
	"poked/events/publish"
)

// sayTraced publishes a message that is a part of a trace.
func (h *harness) sayTraced(id, traceparent string) {
	h.T.Helper()
	raw := fmt.Sprintf(`{"event_id":%q,"room_id":"!r","type":"m.room.message","sender":"@alice:x","content":{"body":"hi"}}`, id)
	if err := publish.NewPublisher(h.Conn).Event(h.T.Context(), []byte(raw), publish.Traced(traceparent)); err != nil {
		h.T.Fatal(err)
	}
}

// The traceparent of an event goes to the gateway with each of its pokes: at once, late, after a
// restart, and when its dead letter is retried.
func TestTraceParentReachesTheGateway(t *testing.T) {
	bubble(t, func(t *testing.T, h *harness) {
		parent := func(n int) string { return fmt.Sprintf("00-0af7651916cd43dd8448eb211c80319c-%016x-01", n) }
		h.Register("@bob:x", "gw.test", "one", "two")
		h.Start()
		h.Room("!r", "@alice:x", "@bob:x")
		h.sayTraced("$1", parent(1))
		h.sayTraced("$2", "")
		h.Arrived(4)
		h.GatewayDown()
		h.sayTraced("$3", parent(3))
		<-time.After(10 * time.Second)
		h.sayTraced("$4", parent(4))
		<-time.After(10 * time.Second)
		h.Skip(events.PusherFilter{UserID: "@bob:x"})
		h.Halt()
		h.Start()
		h.GatewayUp()
		h.RetryDead()
		h.CaughtUp()
		h.Arrived(8)
		want := map[events.EventID]string{"$1": parent(1), "$3": parent(3), "$4": parent(4)}
		seen := map[events.EventID]int{}
		for _, p := range h.Gateway.Tried() {
			if p.TraceParent != want[p.EventID] && p.RoomID != "" {
				t.Errorf("%s: traceparent %q, want %q", p.EventID, p.TraceParent, want[p.EventID])
			}
			if p.Status == 200 {
				seen[p.EventID]++
			}
		}
		for id, n := range seen {
			if n != 2 && id != "" {
				t.Errorf("%s: %d pokes, want 2", id, n)
			}
		}
	})
}
