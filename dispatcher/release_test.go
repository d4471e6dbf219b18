package dispatcher

import (
	"testing"
	"time"

	"poked/events"
)

// After a handover only the new owner has the lagging pushers: each is counted once.
func TestLaggingPushersMoveWithTheirPartition(t *testing.T) {
	bubbleOf(t, manyParts, func(t *testing.T, h *harness) {
		users := h.audience(40)
		h.start()
		first := h.instance
		h.room("!r", append([]events.UserID{"@alice:x"}, users...)...)
		h.gateway.Answer(down())
		next := h.sayEvery(0, 3, time.Second)
		<-time.After(time.Minute)
		lag := func(when string, instances ...*instance) {
			t.Helper()
			total := int64(0)
			for _, l := range instances {
				total += l.d.Stats().Lagging
			}
			atGateways, inLine := 0, 0
			for g, err := range h.conn.Gateways(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				if g.Worker == "" {
					t.Errorf("a gateway state without its dispatcher: %+v", g)
				}
				atGateways, inLine = atGateways+g.Lagging, inLine+g.Waiting
			}
			if inLine < 30 || inLine > 40 {
				t.Errorf("%s: %d wait, want most of 40", when, inLine)
			}
			if n := len(h.pushers(events.PusherFilter{State: "lagging"})); total != 40 || atGateways != 40 || n != 40 || h.backlog() != 40 {
				t.Errorf("%s: %d lag, %d at gateways, %d in the list and %d with a record, want 40", when, total, atGateways, n, h.backlog())
			}
		}
		lag("with one", first)
		h.begin()
		second := h.instance
		h.shared(5*time.Second, first, second)
		<-time.After(time.Minute)
		lag("with two", first, second)
		if n := second.d.Stats().Lagging; n < 5 || n > 35 {
			t.Errorf("%d of 40 lag at one of two", n)
		}
		if n := h.retryPushers(events.PusherFilter{}); n != 40 {
			t.Errorf("%d are retried, want 40", n)
		}
		first.halt()
		h.shared(time.Second, second)
		<-time.After(time.Minute)
		lag("with the other", second)
		if n := first.d.Stats().Lagging; n != 0 {
			t.Errorf("a stopped dispatcher counts %d lagging pushers", n)
		}
		h.gateway.Answer(up())
		h.sayEvery(next, 3, time.Second)
		h.caughtUp()
		h.checkAll(users, 0)
	})
}
